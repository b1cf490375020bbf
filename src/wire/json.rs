//! Called by `wire::scan` and by whoever walks a raw JSON value: a reader that proves JSON's grammar
//! (RFC 8259) without building anything. It never recurses into a payload, so depth costs no stack.

mod fault;
mod levels;
mod plain;

pub use fault::Fault;
use levels::Levels;
use plain::plain_prefix;

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

    /// Skips white space. A CR does not count, although JSON takes it for white space: Python, Java, .NET and Node end
    /// a line at it, so the text behind it would be a message of its own to them, and a line must mean the same to
    /// every reader.
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
mod tests;
