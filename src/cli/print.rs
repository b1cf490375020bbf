//! Called by the commands for people: what may be shown on a terminal, and how it gets there.

use std::io::{self, Write};

/// Prints a page on stdout. Whoever closes the other side has read enough.
pub fn page(text: &str) {
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
}

/// Servers and clients choose their words: nothing in them may move the cursor or pretend to be another line.
pub fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}
