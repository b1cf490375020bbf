//! Called by `wire::scan` and by whoever walks a raw JSON value: a reader that proves JSON's grammar
//! (RFC 8259) without building anything. It never recurses into a payload, so depth costs no stack.

/// What keeps a text from being JSON that mcpool passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON at this byte.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
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

/// The deepest nesting that can be configured: one bit a level is kept on the stack.
pub const DEEPEST: usize = 1024;

/// A key as it stands, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub raw: &'a [u8],
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
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips white space.
    pub fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Demands that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.wrong() }
    }

    /// Reads an object: `member` gets each key and must read the value behind it.
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
    pub fn value(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'{' | b'[' | b' ')) {
            return self.scalar();
        }
        let outside = self.level;
        // One bit a level: whether it is an object.
        let mut objects = [0u64; DEEPEST / 64 + 1];
        loop {
            self.space();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.open()?;
                    let (word, bit) = (self.level / 64, 1u64 << (self.level % 64));
                    if open == b'{' {
                        objects[word] |= bit;
                        if !self.closes(b'}') {
                            self.key()?;
                            continue;
                        }
                    } else {
                        objects[word] &= !bit;
                        if !self.closes(b']') {
                            continue;
                        }
                    }
                    self.level -= 1;
                }
                _ => self.scalar()?,
            }
            // A value is complete: close what ends here, then go on behind the comma.
            loop {
                if self.level == outside {
                    return Ok(());
                }
                let in_object = objects[self.level / 64] & (1u64 << (self.level % 64)) != 0;
                if self.comma_or(if in_object { b'}' } else { b']' })? {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                self.level -= 1;
            }
        }
    }

    fn open(&mut self) -> Result<(), Fault> {
        if self.level == self.depth {
            return Err(Fault::TooDeep(self.depth));
        }
        self.level += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether the container that was just opened is empty; if so, its end is read.
    fn closes(&mut self, end: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        closes
    }

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
    fn key(&mut self) -> Result<Key<'a>, Fault> {
        self.space();
        let start = self.at + 1;
        let escaped = self.string()?;
        let key = Key { raw: &self.text[start..self.at - 1], escaped };
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
    fn string(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'"') {
            return self.wrong();
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => self.escape()?,
                _ => return self.wrong(),
            }
            escaped = true;
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

    fn wrong<T>(&self) -> Result<T, Fault> {
        Err(Fault::Syntax(self.at))
    }
}

/// How many bytes at the front of `text` are neither a quote, a backslash nor a control character. Most strings
/// are short, so the first bytes are looked at eight at a time; for the rest of a long one two passes at memory
/// speed are cheaper: where it ends, and whether a control character stands before that.
fn plain_prefix(text: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..8 {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            let rest = &text[at..];
            return at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len());
        };
        match special_bytes(u64::from_le_bytes(*word)) {
            0 => at += 8,
            found => return at + found.trailing_zeros() as usize / 8,
        }
    }
    let rest = &text[at..];
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    if rest[..end].iter().fold(u8::MAX, |least, &byte| least.min(byte)) >= 0x20 {
        return at + end;
    }
    at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(end)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The top bit of each special byte of a word; above the lowest one bits may be set in vain.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    (below_space | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64))) & TOPS
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
    fn the_end_of_the_plain_part_is_found_at_every_place() {
        for length in 0..200 {
            for special in [b'"', b'\\', 0x1f, 0, b'\t'] {
                let mut text = vec![b'\x7f'; length];
                text.push(special);
                text.extend([0xff, b'"', b'a', 0x80].repeat(10));
                assert_eq!(plain_prefix(&text), length);
            }
            assert_eq!(plain_prefix(&vec![0xe9; length]), length);
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
