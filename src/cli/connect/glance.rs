//! Called by the ledger with every line: the few members at its top that say what it is. The daemon reads a message properly;
//! what is carried past needs no more than this.

use memchr::{memchr, memchr2};

/// What a line is.
#[derive(Debug, Default, PartialEq)]
pub struct Glance<'a> {
    /// The raw text of the id; `null` is none.
    pub id: Option<&'a str>,
    /// The method, without its quotes.
    pub method: Option<&'a str>,
    /// It has a result or an error.
    pub answers: bool,
}

/// Looks at a line; `None` if it is no whole JSON object.
pub fn glance(line: &[u8]) -> Option<Glance<'_>> {
    let mut eye = Eye { line, at: 0 };
    let mut seen = Glance::default();
    eye.expect(b'{')?;
    if eye.peek()? == b'}' {
        eye.at += 1;
    } else {
        loop {
            let key = eye.string()?;
            eye.expect(b':')?;
            let value = eye.value()?;
            seen.take(key, value);
            match eye.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    line[eye.at..].trim_ascii().is_empty().then_some(seen)
}

impl<'a> Glance<'a> {
    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        let unescaped;
        let key = match memchr(b'\\', key) {
            None => key.get(1..key.len() - 1).unwrap_or_default(),
            Some(_) => {
                unescaped = serde_json::from_slice::<String>(key).unwrap_or_default();
                unescaped.as_bytes()
            }
        };
        if value == b"null" {
            return;
        }
        match key {
            // The daemon refuses a line with two, and answers the first.
            b"id" if self.id.is_some() => {}
            b"id" => self.id = std::str::from_utf8(value).ok(),
            // A method in escapes is none of those that matter here.
            b"method" => self.method = std::str::from_utf8(value).ok().map(|text| text.trim_matches('"')),
            b"result" | b"error" => self.answers = true,
            _ => {}
        }
    }
}

struct Eye<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Eye<'a> {
    /// The next byte that is no space, which stays.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.line.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at - 1;
        self.rest_of_string()?;
        self.line.get(start..self.at)
    }

    fn rest_of_string(&mut self) -> Option<()> {
        loop {
            self.at += memchr2(b'"', b'\\', self.line.get(self.at..)?)?;
            match self.line[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 2,
            }
        }
    }

    /// Any value; of one that has others in it only the brackets are counted.
    fn value(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => return self.string(),
            b'{' | b'[' => self.nested()?,
            _ => {
                while !matches!(self.line.get(self.at)?, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                    self.at += 1;
                }
            }
        }
        self.line.get(start..self.at)
    }

    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let byte = *self.line.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => self.rest_of_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Option<(Option<&str>, Option<&str>, bool)> {
        glance(line.as_bytes()).map(|Glance { id, method, answers }| (id, method, answers))
    }

    #[test]
    fn a_line_is_told_by_what_stands_at_its_top() {
        let call = r#" {"jsonrpc":"2.0","id":"a\"b","method":"tools/call","params":{"id":1,"error":[{"a":"}\\"}]}} "#;
        assert_eq!(seen(call), Some((Some(r#""a\"b""#), Some("tools/call"), false)));
        assert_eq!(seen(r#"{"result":{"method":"x"},"id" : -1.5 }"#), Some((Some("-1.5"), None, true)));
        assert_eq!(seen(r#"{"error":null,"id":null,"method":"x"}"#), Some((None, Some("x"), false)));
        assert_eq!(seen(r#"{"\u0069d":7,"result":0}"#), Some((Some("7"), None, true)));
        assert_eq!(seen(r#"{"id":1,"id":2,"\u0069d":3,"method":"x"}"#), Some((Some("1"), Some("x"), false)));
        assert_eq!(seen("{}"), Some((None, None, false)));
    }

    #[test]
    fn what_is_no_whole_object_is_nothing() {
        for line in ["", "DEBUG hello", "[1]", "{\"id\":1", "{\"id\":1,", "{\"id\":1}}", "{\"id\" 1}", "{\"a\":\"\\"] {
            assert_eq!(seen(line), None, "{line}");
        }
    }
}
