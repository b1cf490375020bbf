//! Called by whatever passes on what a server said itself: a line of its stderr, the reason of a refusal. It is cut,
//! without the server's secrets, and does nothing to a terminal.

use std::ffi::OsString;

use crate::config::{self, Secret};
use crate::text;

/// Characters of a text that are shown.
pub const SHOWN: usize = 1000;
/// Shorter ones are too likely to be part of something else.
const SECRET: usize = 6;

/// A line as it was written: its beginning, and how long it was.
#[derive(Default)]
pub struct Raw {
    pub kept: Vec<u8>,
    length: usize,
}

impl Raw {
    /// Becomes another one, in the room that it has.
    pub fn clone_from(&mut self, other: &Raw) {
        self.kept.clone_from(&other.kept);
        self.length = other.length;
    }

    /// Adds what came, as much of it as there is room for.
    pub fn add(&mut self, bytes: &[u8], room: usize) {
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room.saturating_sub(self.kept.len()))]);
        self.length += bytes.len();
    }

    /// For the next line.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.length = 0;
    }
}

/// What a server was given and must not be seen elsewhere: programs print their environment when they fail.
#[derive(Default)]
pub struct Secrets {
    /// The longest first, since one may be part of another.
    all: Vec<String>,
}

impl Secrets {
    /// Returns the secrets of a server: the values of its `env` and of what it inherits by name, and whatever else was
    /// filled in. `variable` looks up what it inherits.
    pub fn of(server: &config::Server, variable: &dyn Fn(&str) -> Option<OsString>) -> Secrets {
        let named = server.inherit_env.iter().filter(|name| !config::is_plain(name)).filter_map(|name| variable(name));
        let inherited: Vec<String> = named.map(|value| value.to_string_lossy().into_owned()).collect();
        let values = server.env.values().chain(&server.filled).map(Secret::expose);
        let lines = values.chain(inherited.iter().map(String::as_str)).flat_map(str::lines).map(str::trim);
        let mut all: Vec<String> = lines.filter(|line| line.len() >= SECRET).map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Secrets { all }
    }

    /// Returns what may be shown of a text that did not come as a line.
    pub fn quote(&self, said: &str) -> String {
        let mut raw = Raw::default();
        raw.add(said.as_bytes(), self.room());
        self.text(&raw, SHOWN)
    }

    /// Returns how many bytes of a line must be kept so that its shown part cannot be a secret that was cut.
    pub fn room(&self) -> usize {
        4 * SHOWN + self.all.first().map_or(0, String::len)
    }

    /// Returns what may be shown of a line: at most `shown` characters, which do nothing to a terminal.
    pub fn text(&self, line: &Raw, shown: usize) -> String {
        let mut text = String::from_utf8_lossy(&line.kept).into_owned();
        let cut = line.length > line.kept.len();
        if cut {
            // The beginning of a secret whose rest was not kept.
            let begun = self.all.iter().flat_map(|secret| secret.char_indices().map(|(at, _)| &secret[..at]));
            let begun = begun.filter(|begun| text.ends_with(begun)).map(str::len).max().unwrap_or(0);
            text.truncate(text.len() - begun);
        }
        for secret in &self.all {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        let text = text.trim_end();
        let end = text.char_indices().nth(shown).map(|(at, _)| at);
        let mut seen = text::line(&text[..end.unwrap_or(text.len())]).into_owned();
        if cut || end.is_some() {
            seen.push_str(&format!(" [cut: {} bytes]", line.length));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(secrets: &[&str], line: &str, room: usize, shown: usize) -> String {
        let secrets = Secrets { all: secrets.iter().map(|secret| (*secret).to_owned()).collect() };
        let mut raw = Raw::default();
        raw.add(line.as_bytes(), room);
        secrets.text(&raw, shown)
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        assert_eq!(text(&["hunter22", "hunter"], "hunter22 hunter hunt", 99, 99), "*** *** hunt");
        // Kept in part.
        assert_eq!(text(&["hunter22"], "key: hunter22 and more", 10, 99), "key: [cut: 22 bytes]");
    }

    #[test]
    fn every_line_of_a_secret_is_one() {
        let mut server = config::Server::new("x", "x");
        server.env.insert("KEY".into(), config::Secret::new("-----BEGIN\r\nabcdefgh\r\nend"));
        assert_eq!(Secrets::of(&server, &|_| None).all, ["-----BEGIN", "abcdefgh"]);
    }

    #[test]
    fn what_was_filled_in_and_what_is_inherited_by_name_are_secrets() {
        let mut server = config::Server::new("x", "x");
        server.inherit_env = ["KEY", "HOME", "SHORT"].map(str::to_owned).into();
        server.filled = vec![config::Secret::new("a-token")];
        let variable = |name: &str| match name {
            "KEY" => Some("inherited-key".into()),
            "HOME" => Some("/home/somebody".into()),
            _ => Some("short".into()),
        };
        assert_eq!(Secrets::of(&server, &variable).all, ["inherited-key", "a-token"]);
    }

    #[test]
    fn a_long_text_is_cut_without_a_secret_being_cut_in_two() {
        let secrets = Secrets { all: vec!["hunter22".into()] };
        let said = format!("{}hunter22{}", "x".repeat(SHOWN - 4), "y".repeat(10_000_000));
        let quoted = secrets.quote(&said);
        assert!(quoted.ends_with("x***y [cut: 10001004 bytes]"), "{quoted}");
        assert!(quoted.chars().count() < SHOWN + 50);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        assert_eq!(text(&[], &"é".repeat(20), 99, 5), "ééééé [cut: 40 bytes]");
        assert_eq!(text(&[], &"x".repeat(20), 7, 9), "xxxxxxx [cut: 20 bytes]");
    }

    #[test]
    fn a_line_does_nothing_to_a_terminal() {
        assert_eq!(text(&[], "a\u{1b}[2Jb\tc\u{202e}d\r", 99, 99), r"a\u{1b}[2Jb\tc\u{202e}d");
    }
}
