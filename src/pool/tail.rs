//! What an instance wrote at last, for messages that say why it did not work. `stderr` adds what comes there; `launch`
//! adds what comes on stdout while the instance opens and is no message: a question that nobody answers, an excuse.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::quote::{Raw, Secrets};

/// What stands before the last lines of stderr in an error message.
pub const ENDS: &str = "; its stderr ends with: ";
/// The same for stdout.
const STDOUT_ENDS: &str = "; its stdout ends with: ";
/// Lines of stderr that are kept, and of noise on stdout.
const LINES: [usize; 2] = [8, 3];
/// Characters of each that are quoted.
const LENGTH: usize = 300;
/// How a question ends whose answer is to be typed behind it: `Ok to proceed? (y)`, `Password:`, `[Y/n]`, `>>>`.
const ENDS_OF_QUESTIONS: [char; 5] = ['?', ':', ')', ']', '>'];

/// The last words of an instance.
#[derive(Clone, Default)]
pub struct Tail(Rc<RefCell<Last>>);

#[derive(Default)]
struct Last {
    stderr: Words,
    stdout: Words,
    secrets: Rc<Secrets>,
    /// Something was written since somebody asked.
    wrote: bool,
    /// The handshake is over.
    open: bool,
}

/// What came on one stream.
#[derive(Default)]
struct Words {
    lines: VecDeque<Raw>,
    /// What stands behind the last line end.
    begun: Unfinished,
}

/// A line that has not ended, as a terminal would show it: what stands behind the last carriage return.
#[derive(Default)]
struct Unfinished {
    raw: Raw,
    /// It ends with a carriage return: what comes next stands in its place, a line end apart.
    returned: bool,
}

impl Unfinished {
    fn add(&mut self, bytes: &[u8], room: usize) {
        let (bytes, returns) = match bytes.strip_suffix(b"\r") {
            Some(before) => (before, true),
            None => (bytes, false),
        };
        if bytes.is_empty() {
            self.returned |= returns;
            return;
        }
        let from = memchr::memrchr(b'\r', bytes).map(|at| at + 1);
        if from.is_some() || self.returned {
            self.raw.clear();
        }
        self.raw.add(&bytes[from.unwrap_or(0)..], room);
        self.returned = returns;
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.returned = false;
    }

    fn is_blank(&self) -> bool {
        self.raw.kept.trim_ascii().is_empty()
    }
}

impl Words {
    fn end_line(&mut self, most: usize) {
        if !self.begun.is_blank() {
            // Room is used again: a flood of lines costs copies and nothing else.
            let slot = if self.lines.len() == most { self.lines.pop_front() } else { None };
            let mut slot = slot.unwrap_or_default();
            slot.clone_from(&self.begun.raw);
            self.lines.push_back(slot);
        }
        self.begun.clear();
    }

    fn lines(&self, secrets: &Secrets) -> Vec<String> {
        let begun = Some(&self.begun.raw).filter(|_| !self.begun.is_blank());
        self.lines.iter().chain(begun).map(|line| secrets.text(line, LENGTH)).collect()
    }

    /// Returns whether it ends like a question.
    fn asks(&self) -> bool {
        let end = self.begun.raw.kept.trim_ascii_end().last();
        !self.begun.returned && end.is_some_and(|end| ENDS_OF_QUESTIONS.contains(&char::from(*end)))
    }
}

impl Tail {
    /// Of an instance of a server that has these secrets.
    pub fn keeping(secrets: Rc<Secrets>) -> Tail {
        Tail(Rc::new(RefCell::new(Last { secrets, ..Last::default() })))
    }

    /// Returns what a server said elsewhere, as it may be seen.
    pub fn shown(&self, said: &str) -> String {
        self.0.borrow().secrets.quote(said)
    }

    /// Returns a line as it may be seen.
    pub(super) fn text(&self, line: &Raw, shown: usize) -> String {
        self.0.borrow().secrets.text(line, shown)
    }

    /// Returns how many bytes of a line are kept.
    pub(super) fn room(&self) -> usize {
        self.0.borrow().secrets.room()
    }

    /// Bytes came on stderr; `ends` says that a line end came behind them.
    pub(super) fn add(&self, bytes: &[u8], room: usize, ends: bool) {
        let mut last = self.0.borrow_mut();
        last.wrote = true;
        last.stderr.begun.add(bytes, room);
        if ends {
            last.stderr.end_line(LINES[0]);
        }
    }

    /// A line came on stdout while the instance opens.
    pub(super) fn hear(&self, line: &[u8]) {
        let room = self.room();
        let last = &mut *self.0.borrow_mut();
        last.stdout.begun.clear();
        if !last.open && !line.trim_ascii_start().starts_with(b"{") {
            last.stdout.begun.add(line, room);
            last.stdout.end_line(LINES[1]);
        }
    }

    /// Something came on stdout.
    pub(super) fn note(&self) {
        self.0.borrow_mut().wrote = true;
    }

    /// So much has come on stdout of a line that has not ended, while the instance opens.
    pub(super) fn begin(&self, begun: &[u8]) {
        let room = self.room();
        let last = &mut *self.0.borrow_mut();
        last.stdout.begun.clear();
        // What begins like a message is one, or will be.
        if !begun.trim_ascii_start().starts_with(b"{") {
            // It is looked at each time something comes, so not all of it. It is not cut but where it may be: else the
            // rest of a secret would not be known for one.
            let end = &begun[begun.len().saturating_sub(room)..];
            let shown = if end.contains(&b'\r') { end } else { &begun[..begun.len().min(room)] };
            last.stdout.begun.add(shown, room);
        }
    }

    /// Returns whether the handshake is under way, so that stdout is looked at.
    pub(super) fn is_opening(&self) -> bool {
        !self.0.borrow().open
    }

    /// The handshake is over.
    pub(super) fn opened(&self) {
        let mut last = self.0.borrow_mut();
        (last.open, last.stdout) = (true, Words::default());
    }

    /// Returns whether anything was written since this was asked last.
    pub fn takes_note(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().wrote)
    }

    /// Returns whether what was written last looks like a question, which nobody can answer.
    pub fn asks(&self) -> bool {
        let last = self.0.borrow();
        last.stderr.asks() || last.stdout.asks()
    }

    /// Returns the last lines of stderr, one that has not ended among them.
    pub fn lines(&self) -> Vec<String> {
        let last = self.0.borrow();
        last.stderr.lines(&last.secrets)
    }

    /// Returns what was written last, for an error message; empty if there is nothing.
    pub fn quote(&self) -> String {
        let last = self.0.borrow();
        let quoted = |ends: &str, lines: Vec<String>| match lines.as_slice() {
            [] => String::new(),
            lines => format!("{ends}{}", lines.join(" | ")),
        };
        quoted(ENDS, last.stderr.lines(&last.secrets)) + &quoted(STDOUT_ENDS, last.stdout.lines(&last.secrets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(pieces: &[(&str, bool)]) -> String {
        let tail = Tail::default();
        pieces.iter().for_each(|(text, ends)| tail.add(text.as_bytes(), 1000, *ends));
        tail.quote()
    }

    #[test]
    fn a_line_that_has_not_ended_is_quoted() {
        assert_eq!(
            quoted(&[("a", true), ("Ok to ", false), ("proceed? ", false)]),
            "; its stderr ends with: a | Ok to proceed?"
        );
        assert_eq!(quoted(&[("  ", false)]), "");
    }

    #[test]
    fn of_a_progress_bar_its_last_state_is_quoted() {
        assert_eq!(quoted(&[(" 1%\r 2%\r", false), (" 3%\r", false)]), "; its stderr ends with:  3%");
        assert_eq!(quoted(&[("\r 1%", false), ("\r", false), ("\r 2%", false)]), "; its stderr ends with:  2%");
        assert_eq!(quoted(&[("one\r", true), ("two", false), ("\r", true)]), "; its stderr ends with: one | two");
    }

    #[test]
    fn what_ends_like_a_question_is_one_as_long_as_its_line_does_not_end() {
        let asks = |text: &str, ends| {
            let tail = Tail::default();
            tail.add(text.as_bytes(), 1000, ends);
            tail.asks()
        };
        for question in ["Ok to proceed? (y) ", "Password: ", "Continue [Y/n]", ">>> ", "sure?"] {
            assert!(asks(question, false) && !asks(question, true), "{question}");
        }
        assert!(!asks("Downloading...", false) && !asks("\r 10 % (eta 5:00)\r", false));
    }

    #[test]
    fn of_stdout_only_what_is_no_message_is_kept_and_only_while_it_opens() {
        let tail = Tail::default();
        tail.note();
        tail.begin(b"Proceed");
        tail.begin(b"Proceed (y/N)?");
        assert!(tail.asks() && tail.takes_note() && !tail.takes_note());
        assert_eq!(tail.quote(), "; its stdout ends with: Proceed (y/N)?");
        tail.hear(b"Proceed (y/N)? no");
        tail.hear(br#"{"jsonrpc":"2.0"}"#);
        assert_eq!(tail.quote(), "; its stdout ends with: Proceed (y/N)? no");
        tail.opened();
        tail.hear(b"noise");
        assert_eq!(tail.quote(), "");
    }
}
