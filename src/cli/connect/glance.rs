//! Called by the ledger with every line: the few members at its top that say what it is. The daemon reads a message
//! properly; what is carried past needs no more than this.

use memchr::{memchr, memchr2, memrchr};

/// What a line is.
#[derive(Debug, Default, PartialEq)]
pub struct Glance<'a> {
    /// The raw text of the id; `null` is none.
    pub id: Option<&'a str>,
    /// The method, without its quotes.
    pub method: Option<&'a [u8]>,
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
            let (key, plain) = eye.string()?;
            eye.expect(b':')?;
            let value = eye.value()?;
            seen.take(key, plain, value);
            match eye.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    line[eye.at..].trim_ascii_start().is_empty().then_some(seen)
}

impl<'a> Glance<'a> {
    fn take(&mut self, key: &[u8], plain: bool, value: &'a [u8]) {
        let unescaped;
        let key = if plain {
            key.get(1..key.len() - 1).unwrap_or_default()
        } else {
            unescaped = serde_json::from_slice::<String>(key).unwrap_or_default();
            unescaped.as_bytes()
        };
        match key {
            b"id" | b"method" | b"result" | b"error" if value == b"null" => {}
            // The daemon refuses a line with two, and answers the first.
            b"id" if self.id.is_some() => {}
            b"id" => self.id = std::str::from_utf8(value).ok(),
            // A method in escapes is none of those that matter here.
            b"method" => {
                self.method = Some(value.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(value))
            }
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

    /// A string with its quotes, and whether it has no escapes.
    fn string(&mut self) -> Option<(&'a [u8], bool)> {
        self.expect(b'"')?;
        let start = self.at - 1;
        let plain = self.rest_of_string()?;
        Some((self.line.get(start..self.at)?, plain))
    }

    fn rest_of_string(&mut self) -> Option<bool> {
        let mut plain = true;
        loop {
            self.at += memchr2(b'"', b'\\', self.line.get(self.at..)?)?;
            if self.line[self.at] == b'"' {
                self.at += 1;
                return Some(plain);
            }
            self.at += 2;
            plain = false;
        }
    }

    /// Any value; of one that has others in it only the brackets are counted.
    fn value(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => return self.string().map(|(text, _)| text),
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
                b'"' => {
                    self.rest_of_string()?;
                }
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

/// The id of a successful answer that is written as most are: with the id before the result, or at the end. Only for lines of
/// the daemon, who has proven them: nothing behind `"result":{` or before the last members can make them anything else.
pub fn answered(line: &[u8]) -> Option<&str> {
    let id = match line.strip_prefix(br#"{"jsonrpc":"2.0","id":"#) {
        Some(rest) => {
            let (id, rest) = rest.split_at_checked(memchr(b',', rest)?)?;
            rest.starts_with(br#","result":{"#).then_some(id)?
        }
        None if line.starts_with(br#"{"result":{"#) => {
            let members = line.trim_ascii_end().strip_suffix(b"}")?;
            let (before, id) = members.split_at_checked(memrchr(b',', members)?)?;
            before.ends_with(br#","jsonrpc":"2.0""#).then_some(id.strip_prefix(br#","id":"#)?)?
        }
        None => return None,
    };
    let text = |id: &[u8]| id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let plain = match id {
        [b'"', id @ .., b'"'] => text(id),
        id => !id.is_empty() && id.iter().all(u8::is_ascii_digit),
    };
    if plain { std::str::from_utf8(id).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Option<(Option<&str>, Option<&str>, bool)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        glance(line.as_bytes()).map(|Glance { id, method, answers }| (id, method.map(text), answers))
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
    fn an_answer_as_most_are_is_known_at_once_and_nothing_else() {
        let known = |line: &str| {
            let known = answered(line.as_bytes()).map(str::to_owned);
            let seen = glance(line.as_bytes()).expect("an object");
            assert!(known.is_none() || seen.answers && seen.method.is_none() && seen.id == known.as_deref(), "{line}");
            known
        };
        assert_eq!(known("{\"jsonrpc\":\"2.0\",\"id\":17,\"result\":{\"id\":3}}\n").as_deref(), Some("17"));
        assert_eq!(known(r#"{"jsonrpc":"2.0","id":"a-1","result":{}}"#).as_deref(), Some("\"a-1\""));
        let last = r#"{"result":{"text":",\"jsonrpc\":\"2.0\",\"id\":1}"},"jsonrpc":"2.0","id":17}"#;
        assert_eq!(known(last).as_deref(), Some("17"));
        for line in [
            r#"{"jsonrpc":"2.0","id":17,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":17,"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":"a\"b","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"result":{"a":1,"jsonrpc":"2.0","id":1}}"#,
            r#"{"result":{},"id":1,"jsonrpc":"2.0"}"#,
            r#"{"method":"x","jsonrpc":"2.0","id":1}"#,
            r#"{"result":{},"jsonrpc":"2.0","id":"a,b"}"#,
        ] {
            assert_eq!(known(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_whole_object_is_nothing() {
        for line in ["", "DEBUG hello", "[1]", "{\"id\":1", "{\"id\":1,", "{\"id\":1}}", "{\"id\" 1}", "{\"a\":\"\\"] {
            assert_eq!(seen(line), None, "{line}");
        }
    }
}
