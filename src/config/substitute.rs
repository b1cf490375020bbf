//! `${env:NAME}` and `${file:/path}` in the file's texts, so that secrets stay out of it. Called by `fields.rs`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;

use super::is_plain;

/// The largest file that `${file:...}` takes in, in bytes: more than a secret, a token or a certificate has.
const LARGEST: u64 = 1 << 20;

/// Looks up one environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Why a text could not be filled in: what is wrong, and the remedy. Never holds a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: String,
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
            fault(Fault { message: "`${` without its `}`".to_owned(), help: help.to_owned() });
            return full;
        };
        match look_up(&inside[..end], env) {
            Ok(value) => {
                full.push_str(&value);
                if !inside[..end].strip_prefix("env:").is_some_and(is_plain) {
                    secret(&value);
                }
            }
            Err(found) => fault(found),
        }
        rest = &inside[end + 1..];
    }
    full.push_str(rest);
    full
}

fn look_up(reference: &str, env: Env<'_>) -> Result<String, Fault> {
    let value = match reference.split_once(':') {
        Some(("env", name)) => variable(name, env)?,
        Some(("file", path)) => contents(path)?,
        _ => {
            return Err(Fault {
                message: format!("`${{{reference}}}` is not something to fill in"),
                help: "write `${env:NAME}` or `${file:/path}`, or `$${` for a plain `${`".to_owned(),
            });
        }
    };
    if value.contains('\0') {
        return Err(Fault {
            message: format!("`${{{reference}}}` contains a NUL character"),
            help: "no argument or environment variable of a process can hold one".to_owned(),
        });
    }
    Ok(value)
}

fn variable(name: &str, env: Env<'_>) -> Result<String, Fault> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Fault {
            message: format!("`{name}` is not the name of an environment variable"),
            help: "names are letters, digits and `_`; there is no syntax for defaults".to_owned(),
        });
    }
    let value = env(name).ok_or_else(|| Fault {
        message: format!("the environment variable `{name}` is not set"),
        help: format!("set `{name}` for the daemon, or write `${{file:/path}}`: hosts start commands with an almost empty environment"),
    })?;
    value.into_string().map_err(|_| Fault {
        message: format!("the environment variable `{name}` is not UTF-8"),
        help: "set it to UTF-8 text".to_owned(),
    })
}

fn contents(path: &str) -> Result<String, Fault> {
    let fault = |what: &str, help: &str| Fault { message: format!("the file `{path}` {what}"), help: help.to_owned() };
    if !path.starts_with('/') {
        return Err(fault("is not an absolute path", "write it from `/` on: the daemon may be started anywhere"));
    }
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
    fn a_file_loses_one_newline() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("mcpool-substitute-{}", std::process::id()));
        std::fs::write(&path, "hunter2\n\n")?;
        assert_eq!(filled(&format!("${{file:{}}}", path.display())), Ok("hunter2\n".to_owned()));
        std::fs::remove_file(&path)
    }

    #[test]
    fn says_everything_that_it_cannot_fill_in() {
        let faults =
            filled("${env:NO} ${HOME} ${env:A:-b} ${file:rel} ${file:/no/such} ${file:/} ${env:TOKEN").unwrap_err();
        let said: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(said[0], "the environment variable `NO` is not set");
        assert_eq!(said[1], "`${HOME}` is not something to fill in");
        assert_eq!(said[2], "`A:-b` is not the name of an environment variable");
        assert_eq!(said[3], "the file `rel` is not an absolute path");
        assert!(said[4].starts_with("the file `/no/such` cannot be read: "));
        assert_eq!(said[5], "the file `/` is not a regular file");
        assert_eq!(said[6], "`${` without its `}`");
        assert!(!format!("{faults:?}").contains("hunter2"));
    }
}
