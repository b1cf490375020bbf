//! A value that must not be read over anyone's shoulder: the variables of a server's environment.
//! Made by `file/server.rs`, exposed by the pool when it starts a process, and nowhere else.

use std::fmt;

/// Variables that programs tell each other all the time. Their values are no secrets, and hiding them would make most
/// messages unreadable.
const PLAIN: [&str; 11] =
    ["HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];

/// Whether the value of an environment variable of that name is known to be no secret.
pub fn is_plain(name: &str) -> bool {
    PLAIN.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

/// Text that neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text into hiding.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every use of this is a place to look at when a secret leaks.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }
}
