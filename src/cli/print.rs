//! Called by the commands for people: how what they say gets to a terminal. Servers, clients and files choose their
//! words, so all of it passes `crate::text` here once more; what stands within a line was escaped where it was put
//! there.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use crate::text;

/// Prints a page on stdout. Whoever closes the other side has read enough.
///
/// # Errors
/// In words for people: it could not be written, so what was to be printed is lost.
pub fn page(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    is_read(writeln!(out, "{}", text::lines(text.trim_end())).and_then(|()| out.flush())).map(drop)
}

/// Whether somebody reads on, by what became of a write to stdout.
///
/// # Errors
/// In words for people, as [`page`].
pub fn is_read(written: io::Result<()>) -> Result<bool, String> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("cannot write to stdout: {error}")),
    }
}

/// A value on one line, for programs; what a terminal would not show as it is has the escapes of JSON.
pub fn json(value: &Value) -> String {
    let mut out = String::new();
    for letter in value.to_string().chars() {
        if text::is_shown(letter) {
            out.push(letter);
        } else {
            let units =
                letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            out.push_str(&units);
        }
    }
    out
}

/// Says on stderr what went wrong, or how far something is.
pub fn complain(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", text::lines(&what.to_string()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_stays_json_and_shows_everything() {
        let value = json!({ "client": "a\u{1b}[2J\u{202e}b\u{e0041}é" });
        let shown = json(&value);
        assert_eq!(shown, r#"{"client":"a\u001b[2J\u202eb\udb40\udc41é"}"#);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
