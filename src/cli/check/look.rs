//! Called by `check`: programs, directories and arguments that cannot work here, or mean another place than one thinks.
//! They may be right elsewhere, so these are warnings.

use std::ffi::OsStr;
use std::path::Path;

use crate::config::{Config, Server};
use crate::pool::process::search;

/// Programs that read their arguments as commands, in which `~` and `$HOME` have a meaning.
const SHELLS: [&str; 6] = ["sh", "bash", "zsh", "dash", "fish", "ksh"];

/// A sentence for each thing.
pub fn warnings(config: &Config) -> Vec<String> {
    let home = config.file.as_deref().and_then(Path::parent);
    let mut warnings: Vec<String> = config.servers.iter().flat_map(|server| server_warnings(server, home)).collect();
    let searched = warnings.iter().any(|warning| warning.contains("PATH"));
    if searched {
        warnings.push(format!("the PATH of servers comes from {}", config.environment));
    }
    warnings
}

fn server_warnings(server: &Server, home: Option<&Path>) -> Vec<String> {
    let name = &server.name;
    let mut warnings = Vec::new();
    let cwd = server.cwd.as_deref().or(home);
    if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
        warnings.push(format!("server `{name}`: its `cwd` {} is no directory", cwd.display()));
    } else if server.lacks.is_empty()
        && let Err(why) = search::find(&server.command, server.variables().get(OsStr::new("PATH")), cwd)
    {
        let relative = server.command.contains('/') && !server.command.starts_with('/');
        let from = cwd.filter(|_| relative).map_or_else(String::new, |cwd| format!(", from {} on", cwd.display()));
        warnings.push(format!("server `{name}` cannot be started: `{}`{from}: {why}", server.command));
    }
    let program = Path::new(&server.command).file_name().and_then(OsStr::to_str).unwrap_or_default();
    if !SHELLS.contains(&program) {
        warnings.extend(server.args.iter().filter_map(|arg| strange(server, arg, cwd)));
    }
    warnings
}

/// What an argument means that is read by no shell and starts in no project. The argument may hold a secret, so it is not
/// shown whole.
fn strange(server: &Server, arg: &str, cwd: Option<&Path>) -> Option<String> {
    let name = &server.name;
    let value = arg.split_once('=').filter(|_| arg.starts_with('-')).map_or(arg, |(_, value)| value);
    if value == "~" || value.starts_with("~/") {
        return Some(format!(
            "server `{name}`: `~` in an argument means nothing: no shell reads it; write `${{env:HOME}}`"
        ));
    }
    if value.contains("$HOME") || value.contains("$USER") || value.contains("$PWD") {
        return Some(format!(
            "server `{name}`: `$HOME` and the like in an argument mean nothing: no shell reads them; write `${{env:HOME}}`"
        ));
    }
    let relative = matches!(value, "." | "..") || value.starts_with("./") || value.starts_with("../");
    let cwd = cwd.filter(|_| relative && server.cwd.is_none())?;
    let first: String = value.chars().take_while(|letter| matches!(letter, '.' | '/')).collect();
    Some(format!(
        "server `{name}`: an argument begins with `{first}`, which starts at {} for all callers, and not in their projects; \
         write the path from `/` on, or say `cwd`",
        cwd.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &str, args: &[&str], cwd: Option<&str>) -> String {
        let mut server = Server::new("a", command);
        server.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        server.cwd = cwd.map(Into::into);
        server_warnings(&server, Some(Path::new("/tmp"))).join("\n")
    }

    #[test]
    fn what_cannot_be_started_is_told_with_where_it_was_looked_for() {
        assert_eq!(said("sh", &[], None), "");
        assert!(said("no-such-program", &[], None).contains("cannot be started: `no-such-program`: "));
        assert!(said("./rel/prog", &[], None).contains("`./rel/prog`, from /tmp on: "));
        assert!(said("/etc/passwd", &[], None).contains("executable") && !said("/tmp", &[], None).is_empty());
        assert_eq!(said("no-such-program", &[], Some("/no/such")), "server `a`: its `cwd` /no/such is no directory");
    }

    #[test]
    fn arguments_that_mean_another_place_are_told_and_not_shown() {
        for arg in [".", "./x", "../hunter2", "--root=.", "--root=./hunter2"] {
            let told = said("env", &[arg], None);
            assert!(told.contains("starts at /tmp for all callers") && !told.contains("hunter2"), "{arg}: {told}");
            assert_eq!(said("env", &[arg], Some("/tmp")), "", "who says `cwd` means it");
        }
        for arg in ["~", "~/hunter2", "--in=~/x", "$HOME/hunter2", "--in=$HOME"] {
            let told = said("env", &[arg], Some("/tmp"));
            assert!(told.contains("no shell reads") && !told.contains("hunter2"), "{arg}: {told}");
            assert_eq!(said("sh", &["-c", arg], None), "", "a shell reads it");
        }
        assert_eq!(said("env", &["-y", "@scope/pkg", "/abs", "https://x/../y", "a=b"], None), "");
    }
}
