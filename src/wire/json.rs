//! Called by `wire::scan` and by whoever walks a raw JSON value: a reader that proves JSON's grammar
//! (RFC 8259) without building anything. It never recurses into a payload, so depth costs no stack.

mod levels;
mod plain;

use levels::Levels;
use plain::plain_prefix;

/// What keeps a text from being JSON that mcpool passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON at this byte.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// A carriage return that ends no line.
    #[error("a bare CR at byte {0}, which ends a line for many readers; write a line as LF or CRLF ends it")]
    BareCr(usize),
    /// JSON, but not an object where one must stand.
    #[error("not a JSON object")]
    NotAnObject,
    /// Nested deeper than what peers can parse.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// An array of more elements than may be.
    #[error("more than {0} messages in one batch")]
    TooMany(usize),
}

impl Fault {
    /// The code by which JSON-RPC calls it: -32700 for what is not JSON, -32600 for what is not a message.
    pub fn code(self) -> i64 {
        match self {
            Fault::Syntax(_) | Fault::BareCr(_) => -32700,
            Fault::NotAnObject | Fault::TooDeep(_) | Fault::TooMany(_) => -32600,
        }
    }
}

/// The deepest nesting that can be configured.
pub const DEEPEST: usize = 1024;

/// A key as it stands, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub raw: &'a [u8],
    /// Where it stands in the text, behind its quote.
    pub start: usize,
    /// Whether it holds escapes, so that it means something else than it looks like.
    pub escaped: bool,
}

/// Reads one JSON text from front to back.
pub struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    level: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `text` that refuses what is nested deeper than `depth` (at most [`DEEPEST`]).
    pub fn new(text: &'a [u8], depth: usize) -> Reader<'a> {
        Reader { text, at: 0, level: 0, depth: depth.min(DEEPEST) }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips white space. CR is none here, though JSON has it so: Python, Java, .NET and Node end a line at it, and what
    /// stands behind it would be a message of its own to them (design, promise 10).
    #[inline]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Demands that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.wrong() }
    }

    /// Reads an object: `member` gets each key and must read the value behind it.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Key<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.peek() != Some(b'{') {
            return if self.peek().is_some() && self.value().is_ok() { Err(Fault::NotAnObject) } else { self.wrong() };
        }
        self.open()?;
        if !self.closes(b'}') {
            loop {
                let key = self.key()?;
                member(self, key)?;
                if !self.comma_or(b'}')? {
                    break;
                }
            }
        }
        self.level -= 1;
        Ok(())
    }

    /// Reads an array: `element` must read each value.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.peek() != Some(b'[') {
            return self.wrong();
        }
        self.open()?;
        if !self.closes(b']') {
            loop {
                self.space();
                element(self)?;
                if !self.comma_or(b']')? {
                    break;
                }
            }
        }
        self.level -= 1;
        Ok(())
    }

    /// Reads one value of any kind.
    #[inline]
    pub fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[' | b' ') => self.container(),
            _ => self.scalar(),
        }
    }

    fn container(&mut self) -> Result<(), Fault> {
        let mut levels = Levels::default();
        loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.open()?;
                    if !self.closes(b'}') {
                        levels.push(true);
                        self.key()?;
                        continue;
                    }
                    self.level -= 1;
                }
                Some(b'[') => {
                    self.open()?;
                    if !self.closes(b']') {
                        levels.push(false);
                        continue;
                    }
                    self.level -= 1;
                }
                _ => self.scalar()?,
            }
            // A value is complete: close what ends here, then go on behind the comma.
            loop {
                let Some(in_object) = levels.innermost() else { return Ok(()) };
                if self.comma_or(if in_object { b'}' } else { b']' })? {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                levels.pop();
                self.level -= 1;
            }
        }
    }

    #[inline]
    fn open(&mut self) -> Result<(), Fault> {
        if self.level == self.depth {
            return Err(Fault::TooDeep(self.depth));
        }
        self.level += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether the container that was just opened is empty; if so, its end is read.
    #[inline]
    fn closes(&mut self, end: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        closes
    }

    #[inline]
    fn comma_or(&mut self, end: u8) -> Result<bool, Fault> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ => self.wrong(),
        }
    }

    /// Reads a key and its colon and stands before the value.
    #[inline(always)]
    fn key(&mut self) -> Result<Key<'a>, Fault> {
        self.space();
        let start = self.at + 1;
        let escaped = self.string()?;
        let key = Key { raw: &self.text[start..self.at - 1], start, escaped };
        self.space();
        if self.peek() != Some(b':') {
            return self.wrong();
        }
        self.at += 1;
        self.space();
        Ok(key)
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.number(),
        }
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong();
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.wrong() } else { Ok(()) }
    }

    /// Reads a string; whether it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'"') {
            return self.wrong();
        }
        self.at += 1;
        self.at += plain_prefix(&self.text[self.at..]);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string().map(|()| true)
    }

    /// Reads a string from its first escape on.
    fn rest_of_string(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return self.wrong(),
            }
            self.at += plain_prefix(&self.text[self.at..]);
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let hex = self.text.get(self.at + 1..self.at + 5);
                if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return self.wrong();
                }
                self.at += 5;
            }
            _ => return self.wrong(),
        }
        Ok(())
    }

    #[cold]
    fn wrong<T>(&self) -> Result<T, Fault> {
        Err(if self.peek() == Some(b'\r') { Fault::BareCr(self.at) } else { Fault::Syntax(self.at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), Fault> {
        let mut reader = Reader::new(text.as_bytes(), 8);
        reader.value()?;
        reader.end()
    }

    #[test]
    fn what_is_json_passes() {
        for text in [
            "0",
            "-0.5e+7",
            "1e400",
            "\"\\ud800 \\\"\"",
            "[]",
            "{}",
            "[[],{},[1,{\"a\":[null]}]]",
            " { \"a\" : [ true , false ] } ",
            "123456789012345678901234567890",
            "{\"a\":1,\"a\":2}",
            "\"0123456789012345678901234567890123456789\\n\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "01",
            "1.",
            "-",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "tru",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a",
            "[1",
            "{\"a\":1",
            "1 2",
            "[}",
            "\"\t\"",
            "{1:2}",
        ] {
            assert!(matches!(check(text), Err(Fault::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn a_carriage_return_is_no_white_space() {
        for text in [
            "\r1",
            "1\r",
            "[\r]",
            "[1\r,2]",
            "[1,\r2]",
            "{\r}",
            "{\"a\"\r:1}",
            "{\"a\":\r1}",
            "{\"a\":1\r}",
            "\"a\rb\"",
        ] {
            let at = text.find('\r').unwrap();
            assert_eq!(check(text), Err(Fault::BareCr(at)), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(check("[[[[[[[[]]]]]]]]"), Ok(()));
        assert_eq!(check("[[[[[[[[[]]]]]]]]]"), Err(Fault::TooDeep(8)));
    }

    #[test]
    fn the_judgement_is_that_of_serde_json_on_random_texts() {
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet = [
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "1", "-", ".5", "e3", "true", "null", " ", "\\", "\\u00e9",
            "0",
        ];
        for _ in 0..200_000 {
            let text: String = (0..random.usize(1..9)).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            let judged = check(&text).is_ok();
            assert_eq!(judged, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{text}");
        }
    }
}
