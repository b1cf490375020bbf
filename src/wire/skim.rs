//! Called by `wire::frame` for lines that are too long to keep and by `wire::message` for lines that cannot
//! be read otherwise (broken UTF-8, nested too deep): finds the top-level `id` all the same, byte by byte and
//! in bounded memory, so that an error can be addressed to the request or the call that the line belongs to.

use super::id::RawId;
use super::json::Reader;
use super::scan::{is_read_as, plain};

/// The longest id that is kept.
const LONGEST: usize = 256;

/// How many messages are looked for in one line.
pub const MESSAGES: usize = 64;
/// How far each but the first is looked for, in bytes.
const FAR: usize = 64 * 1024;

/// What a message that cannot be read would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It has a method, and somebody may wait for an answer to it.
    Request,
    /// It has a method, and nobody waits for an answer.
    Notification,
    /// It has a result or an error, and no method.
    Answer,
    /// It says that it is JSON-RPC and has an id, and nothing else.
    Empty,
    /// It has none of them.
    Nothing,
}

impl Shape {
    /// Whether who asked under its id waits for it.
    pub fn answers(self) -> bool {
        matches!(self, Shape::Answer | Shape::Empty)
    }
}

/// The members of a message that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    Id,
    Method,
    Outcome,
    Version,
    #[default]
    Other,
}

/// Walks over a JSON object, the first of its text, and remembers its top-level `id` and what it would have been.
#[derive(Debug, Default)]
pub struct Skim {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// Whether the object has ended.
    over: bool,
    /// Whether the next top-level token is a member's value, and of which.
    value: bool,
    key: Key,
    /// Whether the key is spelt as it should be.
    exact: bool,
    token: Vec<u8>,
    id: Option<RawId>,
    /// Whether the id is that of a key that is spelt as it should be.
    sure: bool,
    /// Whether there is an id at all, usable or not.
    has_id: bool,
    version: bool,
    method: bool,
    /// Whether the method is one that wants no answer.
    notifies: bool,
    outcome: bool,
    /// Whether there is one that is not null.
    has_outcome: bool,
}

/// The messages that a line seems to hold which is not one: with text around them, glued together, or cut short.
pub fn messages(line: &[u8]) -> Vec<Skim> {
    let mut found = Vec::new();
    let (mut at, mut tries) = (0, 0);
    while let Some(open) = memchr::memchr(b'{', &line[at..]) {
        let start = at + open;
        at = start + 1;
        if line[at..].trim_ascii_start().first() != Some(&b'"') {
            continue;
        }
        let end = if tries == 0 { line.len() } else { line.len().min(start + FAR) };
        let mut skim = Skim::default();
        let length = skim.walk(&line[start..end]);
        tries += 1;
        if skim.shape() != Shape::Nothing || skim.id.is_some() {
            at = start + length;
            found.push(skim);
        }
        if tries == MESSAGES {
            break;
        }
    }
    found
}

impl Skim {
    /// Skims a whole line.
    pub fn over(line: &[u8]) -> Skim {
        let mut skim = Skim::default();
        skim.feed(line);
        skim
    }

    /// Goes on with the next bytes of the line.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.walk(bytes);
    }

    /// The id of the message, if it has a usable one.
    pub fn id(&self) -> Option<&RawId> {
        self.id.as_ref()
    }

    /// Whether the message would have answered what its id says.
    pub fn is_answer(&self) -> bool {
        self.id.is_some() && self.shape() == Shape::Answer
    }

    /// Whether the message has a result or an error beside its method, as no message has: the request was sent back with
    /// its answer in it.
    pub fn is_echo(&self) -> bool {
        self.id.is_some() && self.method && self.has_outcome
    }

    /// What the message would have been.
    pub fn shape(&self) -> Shape {
        match (self.method, self.outcome) {
            // Where the object has not ended, there may be an id that is not seen.
            (true, _) if self.id.is_none() && (self.notifies || self.over && !self.has_id) => Shape::Notification,
            (true, _) => Shape::Request,
            (false, true) => Shape::Answer,
            (false, false) if self.version && self.id.is_some() => Shape::Empty,
            (false, false) => Shape::Nothing,
        }
    }

    /// Goes on until the object ends; how many bytes that took.
    fn walk(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.over {
                return at;
            }
            self.step(byte);
        }
        bytes.len()
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.token.clear();
            }
            b'}' | b']' => {
                self.finish_value();
                self.depth = self.depth.saturating_sub(1);
                self.over |= self.depth == 0;
            }
            b':' if self.depth == 1 => self.finish_key(),
            b',' if self.depth == 1 => {
                self.finish_value();
                self.value = false;
            }
            // What stands apart is not one token.
            b' ' | b'\t' | b'\r' | b'\n' if matches!(self.token.last(), None | Some(b' ')) => {}
            b'\t' | b'\r' | b'\n' => self.keep(b' '),
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() <= LONGEST {
            self.token.push(byte);
        }
    }

    fn finish_key(&mut self) {
        let key = self.token.trim_ascii_end();
        let key = key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or_default();
        let named = |known: &str| is_read_as(key, known.as_bytes());
        self.exact = *plain(key) == *b"id";
        self.key = match () {
            () if named("id") => Key::Id,
            () if named("method") => Key::Method,
            () if named("result") || named("error") => Key::Outcome,
            () if named("jsonrpc") => Key::Version,
            () => Key::Other,
        };
        self.method |= self.key == Key::Method;
        self.outcome |= self.key == Key::Outcome;
        self.version |= self.key == Key::Version;
        self.value = true;
        self.token.clear();
    }

    fn finish_value(&mut self) {
        if self.depth == 1 && self.value {
            let token = self.token.trim_ascii_end();
            match self.key {
                Key::Id => {
                    self.has_id = true;
                    // The first that is spelt so counts. The line may be no JSON; an id that is none would make the error
                    // that it is put into none either.
                    if !self.sure && (self.exact || self.id.is_none()) {
                        let sound = token.len() <= LONGEST && is_json(token);
                        self.id = if sound { std::str::from_utf8(token).ok().and_then(RawId::new) } else { None };
                        self.sure = self.exact;
                    }
                }
                // A method that is null is none.
                Key::Method => {
                    self.method &= token != b"null";
                    self.notifies = token.starts_with(b"\"notifications/");
                }
                Key::Outcome => self.has_outcome |= token != b"null",
                Key::Version | Key::Other => {}
            }
        }
        if self.depth == 1 {
            self.token.clear();
        }
    }
}

fn is_json(text: &[u8]) -> bool {
    let mut reader = Reader::new(text, 0);
    reader.value().and_then(|()| reader.end()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> (Option<String>, Shape) {
        let skim = Skim::over(line.as_bytes());
        (skim.id().map(|id| id.as_str().to_owned()), skim.shape())
    }

    #[test]
    fn the_id_is_found_at_either_end() {
        for line in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"id":1,"a":["}",{"id":2}]}}"#,
            r#"{"result":{"x":"\"id\":3"},"jsonrpc":"2.0","id":7}"#,
            r#"{"id":7,"id":8,"Id":9,"error":1} {"id":10,"method":"x"}"#,
            r#"{"ID":8,"\u0069d":7,"Result":1}"#,
        ] {
            let mut skim = Skim::default();
            line.as_bytes().chunks(3).for_each(|chunk| skim.feed(chunk));
            assert_eq!((skim.id().map(RawId::as_str), skim.shape()), (Some("7"), Shape::Answer), "{line}");
        }
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        for line in [r#"{"id":{"a":1},"method":"x"}"#, r#"{"id":null}"#, r#"[{"id":1}]"#] {
            assert_eq!(seen(line).0, None, "{line}");
        }
    }

    #[test]
    fn it_is_told_what_the_message_would_have_been() {
        for (line, shape) in [
            (r#"{"id":1,"method":"x","result":1}"#, Shape::Request),
            (r#"{"id":{},"method":"x"}"#, Shape::Request),
            (r#"{"id":null,"method":"x"}"#, Shape::Request),
            (r#"{"method":"x","params":["#, Shape::Request),
            (r#"{"method":"x","params":[]}"#, Shape::Notification),
            (r#"{"id":null,"method":"notifications/x"}"#, Shape::Notification),
            (r#"{"method":"notifications/x","params":["#, Shape::Notification),
            (r#"{"id":null,"error":{}}"#, Shape::Answer),
            (r#"{"id":1,"method":null,"result":{"#, Shape::Answer),
            (r#"{"jsonrpc":"2.0","id":1}"#, Shape::Empty),
            (r#"{"level":"info","id":1}"#, Shape::Nothing),
            ("hello", Shape::Nothing),
        ] {
            assert_eq!(seen(line).1, shape, "{line}");
        }
    }

    #[test]
    fn a_request_with_an_answer_in_it_is_told_from_one_without() {
        for (line, echo) in [
            (r#"{"id":1,"method":"x","result":{"a":null}}"#, true),
            (r#"{"error": "x", "method":"x","params":{},"id":1}"#, true),
            (r#"{"id":1,"method":"x","params":{"result":1}}"#, false),
            (r#"{"id":1,"method":"x","result":null}"#, false),
            (r#"{"id":1,"method":null,"result":1}"#, false),
            (r#"{"method":"x","result":1}"#, false),
        ] {
            assert_eq!(Skim::over(line.as_bytes()).is_echo(), echo, "{line}");
        }
    }

    #[test]
    fn messages_are_found_with_text_around_them() {
        let ids = |line: &str| -> Vec<String> {
            messages(line.as_bytes()).iter().filter_map(Skim::id).map(|id| id.as_str().to_owned()).collect()
        };
        for line in [
            r#"{"jsonrpc":"2.0","id":7,"result":{}}INFO done"#,
            r#"INFO done{"jsonrpc":"2.0","id":7,"result":{}}"#,
            "\u{1b}[32mINFO\u{1b}[0m {odd \"quote {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}} }",
            r#"{"level":"info","msg":"x"}{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[INFO done"#,
        ] {
            assert_eq!(ids(line), ["7"], "{line}");
        }
        assert_eq!(ids(r#"[{"id":1,"result":{}},{"id":2,"result":{"x":{"id":9}}}"#), ["1", "2"]);
        assert_eq!(ids("{} {\"a\":1} text"), [""; 0]);
        // What it costs does not grow with how often it could begin.
        messages("{\"".repeat(5 << 20).as_bytes());
    }

    #[test]
    fn of_a_line_that_is_no_json_no_id_is_taken_that_is_none() {
        for id in ["0(\"a\"", "1abc", "01", "-", "1 2", "\"a\"b", "\"\\x\"", "\"\u{1}\""] {
            assert!(Skim::over(format!("{{\"id\":{id},\"method\":x}}").as_bytes()).id().is_none(), "{id}");
        }
        let long = format!("{{\"id\" : \"{}\"\t  ,\"method\":x}}", "i".repeat(254));
        assert_eq!(Skim::over(long.as_bytes()).id().map(|id| id.as_str().len()), Some(256));
    }
}
