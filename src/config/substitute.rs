//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in the file's texts, so that secrets stay out of it.
//! Called by `fields.rs`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{is_plain, strict};

/// The largest file that `${file:...}` takes in, in bytes: more than a secret, a token or a certificate has.
const LARGEST: u64 = 1 << 20;

/// Looks up one environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What is to be told of a reference, and the remedy. Never holds a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: String,
    pub(super) kind: Kind,
}

/// How much a fault spoils.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The reference is written wrongly.
    Wrong,
    /// It is written well, and what it stands for is not to be had here.
    Missing,
    /// It was filled in, by what others can read too.
    Exposed,
}

impl Fault {
    fn wrong(message: String, help: &str) -> Self {
        Self { message, help: help.to_owned(), kind: Kind::Wrong }
    }

    fn missing(message: String, help: &str) -> Self {
        Self { message, help: help.to_owned(), kind: Kind::Missing }
    }
}

/// What a reference stands for.
struct Found {
    value: String,
    is_secret: bool,
    /// Others can read it where it is from.
    exposed: Option<Fault>,
}

/// Fills in every `${...}` of `text`; `$${` stands for a plain `${`.
/// What is filled in and may be a secret is told to `secret`; all that can't be filled in is told to `fault`, and left
/// out of the answer.
pub(super) fn expand(text: &str, env: Env<'_>, secret: &mut dyn FnMut(&str), fault: &mut dyn FnMut(Fault)) -> String {
    let mut full = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        let inside = &rest[at + 2..];
        if let Some(before) = before.strip_suffix('$') {
            full.push_str(before);
            full.push_str("${");
            rest = inside;
            continue;
        }
        full.push_str(before);
        let Some(end) = inside.find('}') else {
            let help = "close it with `}`, or write `$${` for a plain `${`";
            fault(Fault::wrong("`${` without its `}`".to_owned(), help));
            return full;
        };
        match look_up(&inside[..end], env) {
            Ok(found) => {
                full.push_str(&found.value);
                if found.is_secret {
                    secret(&found.value);
                }
                found.exposed.into_iter().for_each(&mut *fault);
            }
            Err(found) => fault(found),
        }
        rest = &inside[end + 1..];
    }
    full.push_str(rest);
    full
}

/// Looks up what a reference stands for.
fn look_up(reference: &str, env: Env<'_>) -> Result<Found, Fault> {
    let mut exposed = None;
    let (value, is_secret) = match reference.split_once(':') {
        Some(("env", inside)) => match inside.split_once(":-") {
            Some((name, default)) => with_default(name, default, env)?,
            None => (variable(inside, env)?, !is_plain(inside)),
        },
        Some(("file", path)) => {
            let text = contents(path)?;
            exposed = exposure(Path::new(path), &format!("what `${{{reference}}}` stands for"));
            (text, true)
        }
        _ => {
            return Err(Fault::wrong(
                format!("`${{{reference}}}` is not something to fill in"),
                "write `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`, or `$${` for a plain `${`",
            ));
        }
    };
    if value.contains('\0') {
        return Err(Fault::missing(
            format!("`${{{reference}}}` contains a NUL character"),
            "no argument or environment variable of a process can hold one",
        ));
    }
    Ok(Found { value, is_secret, exposed })
}

/// As in a shell, the default stands for a variable that is empty, too. It is written in the file, so it is no secret.
fn with_default(name: &str, default: &str, env: Env<'_>) -> Result<(String, bool), Fault> {
    check(name)?;
    if default.contains("${") {
        return Err(Fault::wrong(format!("the default of `{name}` holds another `${{`"), "a default is plain text"));
    }
    match env(name).filter(|value| !value.is_empty()) {
        Some(_) => Ok((variable(name, env)?, !is_plain(name))),
        None => Ok((default.to_owned(), false)),
    }
}

fn check(name: &str) -> Result<(), Fault> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Fault::wrong(
        format!("`{name}` is not the name of an environment variable"),
        "names are letters, digits and `_`; a default is written `${env:NAME:-default}`",
    ))
}

fn variable(name: &str, env: Env<'_>) -> Result<String, Fault> {
    check(name)?;
    let value = env(name).ok_or_else(|| {
        let help = format!("set `{name}` for the daemon, or write `${{file:/path}}`: hosts start commands with an almost empty environment");
        Fault::missing(format!("the environment variable `{name}` is not set"), &help)
    })?;
    value
        .into_string()
        .map_err(|_| Fault::missing(format!("the environment variable `{name}` is not UTF-8"), "set it to UTF-8 text"))
}

/// What is to be told of a file that may hold secrets, if others can read it. `what`: the file as the config has it.
pub(super) fn exposure(path: &Path, what: &str) -> Option<Fault> {
    let help = format!("`chmod go-r {}`", path.display());
    let fault = Fault { message: format!("other users can read {what}"), help, kind: Kind::Exposed };
    strict::others_can_read(path).then_some(fault)
}

/// The text of a file, without the newline at its end.
pub(super) fn contents(path: &str) -> Result<String, Fault> {
    if !path.starts_with('/') {
        let message = format!("the file `{path}` is not an absolute path");
        return Err(Fault::wrong(message, "write it from `/` on: the daemon may be started anywhere"));
    }
    let fault = |what: &str, help: &str| Fault::missing(format!("the file `{path}` {what}"), help);
    let unreadable =
        |e: std::io::Error| fault(&format!("cannot be read: {e}"), "create it, or let the daemon's user read it");
    // A pipe or a device could block for ever or never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(fault("is not a regular file", "name a regular file that holds the value"));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(fault("is larger than 1MiB", "name a file that holds the value alone"));
    }
    let mut text = String::from_utf8(text).map_err(|_| fault("is not UTF-8", "write UTF-8 text into it"))?;
    // Editors and `echo` end a file with a newline that nobody means.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn env(name: &str) -> Option<OsString> {
        (name == "TOKEN").then(|| "hunter2".into())
    }

    fn filled(text: &str) -> Result<String, Vec<Fault>> {
        let mut faults = Vec::new();
        let full = expand(text, &env, &mut |_| {}, &mut |fault| faults.push(fault));
        if faults.is_empty() { Ok(full) } else { Err(faults) }
    }

    #[test]
    fn fills_in_variables_and_leaves_the_rest() {
        assert_eq!(filled("a ${env:TOKEN} b ${env:TOKEN}"), Ok("a hunter2 b hunter2".to_owned()));
        assert_eq!(filled("$${env:TOKEN} $5 $$ }"), Ok("${env:TOKEN} $5 $$ }".to_owned()));
    }

    #[test]
    fn a_default_stands_for_a_variable_that_is_not_set_or_empty() {
        assert_eq!(filled("${env:TOKEN:-x} ${env:NO:-a:-b} ${env:NO:-}."), Ok("hunter2 a:-b .".to_owned()));
        let mut secrets = Vec::new();
        let empty = |name: &str| Some(if name == "EMPTY" { "".into() } else { "hunter2".into() });
        let mut fault = |fault| panic!("{fault:?}");
        let full =
            expand("${env:EMPTY:-plain} ${env:TOKEN:-plain}", &empty, &mut |s| secrets.push(s.to_owned()), &mut fault);
        assert_eq!((full.as_str(), secrets), ("plain hunter2", vec!["hunter2".to_owned()]));
    }

    #[test]
    fn a_file_loses_one_newline() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("mcpool-substitute-{}", std::process::id()));
        std::fs::write(&path, "hunter2\n\n")?;
        let reference = format!("${{file:{}}}", path.display());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        let told: Vec<_> =
            filled(&reference).unwrap_err().into_iter().map(|fault| (fault.kind, fault.message)).collect();
        assert_eq!(told, [(Kind::Exposed, format!("other users can read what `{reference}` stands for"))]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        assert_eq!(filled(&reference), Ok("hunter2\n".to_owned()));
        std::fs::remove_file(&path)
    }

    #[test]
    fn says_everything_that_it_cannot_fill_in() {
        let faults = filled(
            "${env:NO} ${HOME} ${env:A-b} ${file:rel} ${file:/no/such} ${file:/} ${env:A:-${env:B}} ${env:TOKEN",
        )
        .unwrap_err();
        let said: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(said[0], "the environment variable `NO` is not set");
        assert_eq!(said[1], "`${HOME}` is not something to fill in");
        assert_eq!(said[2], "`A-b` is not the name of an environment variable");
        assert_eq!(said[3], "the file `rel` is not an absolute path");
        assert!(said[4].starts_with("the file `/no/such` cannot be read: "));
        assert_eq!(said[5], "the file `/` is not a regular file");
        assert_eq!(said[6], "the default of `A` holds another `${`");
        assert_eq!(said[7], "`${` without its `}`");
        assert!(!format!("{faults:?}").contains("hunter2"));
    }
}
