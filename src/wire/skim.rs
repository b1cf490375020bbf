//! Called by `wire::frame` for lines that are too long to keep and by `wire::message` for lines that cannot
//! be read otherwise (broken UTF-8, nested too deep): finds the top-level `id` all the same, byte by byte and
//! in bounded memory, so that an error can be addressed to the request or the call that the line belongs to.

use super::id::RawId;

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
                self.key_is_id = self.token == b"\"id\"";
                self.method |= self.token == b"\"method\"";
                self.outcome |= self.token == b"\"result\"" || self.token == b"\"error\"";
                self.value = true;
                self.token.clear();
            }
            b',' if self.depth == 1 => {
                self.finish_value();
                self.value = false;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() <= LONGEST {
            self.token.push(byte);
        }
    }

    fn finish_value(&mut self) {
        if self.depth == 1 && self.value && self.key_is_id && self.token.len() <= LONGEST {
            self.id = std::str::from_utf8(&self.token).ok().and_then(RawId::new);
        }
        if self.depth == 1 {
            self.token.clear();
        }
    }
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
}
