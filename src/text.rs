//! Called by whatever shows text that somebody else chose: a server, a client, a file, another program. On a terminal
//! and in a log such a text moves nothing, hides nothing, turns nothing around and ends no line. There is no second
//! function for this.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// A text within a line: whatever is no visible letter is written as an escape, ends of lines too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, false)
}

/// A text of several lines: their ends and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, true)
}

fn escaped(text: &str, lines: bool) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') || lines && matches!(byte, b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let mut shown = Shown { out: String::with_capacity(text.len() + 16), before: ' ', lines };
    // A `String` takes everything.
    let _ = if lines { shown.write_str(&text.replace("\r\n", "\n")) } else { shown.write_str(text) };
    Cow::Owned(shown.out)
}

/// Passes on what may be shown, and escapes of the rest.
pub struct Shown<W> {
    out: W,
    /// The letter before the next one; an escape ends like any plain text.
    before: char,
    lines: bool,
}

impl<W: Write> Shown<W> {
    /// Writes a text within a line.
    pub fn within_a_line(out: W) -> Shown<W> {
        Shown { out, before: ' ', lines: false }
    }
}

impl<W: Write> Write for Shown<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let stays = self.lines && matches!(letter, '\n' | '\t');
            if stays || is_shown(letter) || joins(self.before, letter) {
                self.out.write_char(letter)?;
                self.before = letter;
            } else {
                write!(self.out, "{}", letter.escape_default())?;
                self.before = ' ';
            }
        }
        Ok(())
    }
}

/// Whether a letter can be seen where it stands, and does nothing else: it moves no cursor, ends no line, does not turn
/// the order of what stands around it, and is not invisible.
pub fn is_shown(letter: char) -> bool {
    !letter.is_control() && !is_unseen(letter)
}

/// Emoji and several scripts need an invisible letter between two, or one behind a letter. More of them could hide a text.
fn joins(before: char, letter: char) -> bool {
    let drawn = !before.is_ascii() && is_shown(before);
    match letter {
        '\u{fe0e}' | '\u{fe0f}' => drawn,
        '\u{200c}' | '\u{200d}' => drawn || before == '\u{fe0f}',
        _ => false,
    }
}

/// The separators of lines and paragraphs, and all that Unicode calls "default ignorable" or a sign of formatting: marks of
/// direction, tags, selectors, letters without width, fillers.
fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in
            ["", "plain \\ text", "é ü ß", "日本語", "ok ✓ ⚠\u{fe0f} 👩\u{200d}🚀 ❤\u{fe0f}\u{200d}🔥", "e\u{301}"]
        {
            assert_eq!(line(text), text);
            assert_eq!(lines(text), text);
        }
    }

    #[test]
    fn nothing_moves_a_cursor_ends_a_line_turns_it_or_hides_in_it() {
        let cases = [
            ("a\nb\r\tc\0", r"a\nb\r\tc\u{0}"),
            ("\u{1b}[2J\u{1b}]52;c;x\u{7}", r"\u{1b}[2J\u{1b}]52;c;x\u{7}"),
            ("\u{9b}2J\u{85}\u{7f}", r"\u{9b}2J\u{85}\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{61c}", r"a\u{202e}b\u{2066}c\u{200f}d\u{61c}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{feff}\u{200b}\u{ad}\u{2060}\u{3164}", r"\u{feff}\u{200b}\u{ad}\u{2060}\u{3164}"),
            ("\u{e0041}x\u{fe0f}\u{200d}", r"\u{e0041}x\u{fe0f}\u{200d}"),
            ("é\u{fe0f}\u{fe0f}", "é\u{fe0f}\\u{fe0f}"),
        ];
        for (text, shown) in cases {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn the_lines_of_a_text_stay_lines_and_nothing_else_does() {
        assert_eq!(lines("a\r\nb\n\tc\rd\u{1b}"), "a\nb\n\tc\\rd\\u{1b}");
        assert_eq!(lines("a\u{2028}b"), r"a\u{2028}b");
    }
}
