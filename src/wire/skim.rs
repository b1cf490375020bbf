//! Called by `wire::frame` for lines that are too long to keep and by `wire::message` for lines that cannot
//! be read otherwise (broken UTF-8, nested too deep): finds the top-level `id` all the same, byte by byte and
//! in bounded memory, so that an error can be addressed to the request or the call that the line belongs to.

use super::id::RawId;
use super::json::Reader;

/// The longest id that is kept.
const LONGEST: usize = 256;

/// Walks over a JSON object and remembers its top-level `id` and whether it has a `method`.
#[derive(Debug, Default)]
pub struct Skim {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// Whether the next top-level token is a member's value.
    value: bool,
    key_is_id: bool,
    token: Vec<u8>,
    id: Option<RawId>,
    method: bool,
    outcome: bool,
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
        for &byte in bytes {
            self.step(byte);
        }
    }

    /// The id of the message, if it has a usable one.
    pub fn id(&self) -> Option<&RawId> {
        self.id.as_ref()
    }

    /// Whether the message is an answer: it has a result or an error, and no method.
    pub fn is_answer(&self) -> bool {
        self.outcome && !self.method && self.id.is_some()
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
            }
            b':' if self.depth == 1 => {
                let key = self.token.trim_ascii_end();
                self.key_is_id = key == b"\"id\"";
                self.method |= key == b"\"method\"";
                self.outcome |= key == b"\"result\"" || key == b"\"error\"";
                self.value = true;
                self.token.clear();
            }
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

    fn finish_value(&mut self) {
        if self.depth == 1 && self.value && self.key_is_id {
            let token = self.token.trim_ascii_end();
            // The line may be no JSON; an id that is none would make the error that it is put into none either.
            let sound = token.len() <= LONGEST && is_json(token);
            self.id = if sound { std::str::from_utf8(token).ok().and_then(RawId::new) } else { None };
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

    #[test]
    fn the_id_is_found_at_either_end() {
        for line in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"id":1,"a":["}",{"id":2}]}}"#,
            r#"{"result":{"x":"\"id\":3"},"jsonrpc":"2.0","id":7}"#,
        ] {
            let mut skim = Skim::default();
            line.as_bytes().chunks(3).for_each(|chunk| skim.feed(chunk));
            assert_eq!(skim.id().map(RawId::as_str), Some("7"));
            assert!(skim.is_answer());
        }
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        assert!(Skim::over(br#"{"id":{"a":1},"method":"x"}"#).id().is_none());
        assert!(Skim::over(br#"{"id":null}"#).id().is_none());
        assert!(Skim::over(br#"[{"id":1}]"#).id().is_none());
        assert!(!Skim::over(br#"{"id":1,"method":"x","result":1}"#).is_answer());
        assert!(!Skim::over(br#"{"id":1}"#).is_answer());
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
