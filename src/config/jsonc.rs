//! JSON as hosts write it, with comments and commas too many, as the same tree that `yaml.rs` makes. Called by
//! `file.rs`.

use std::collections::HashMap;

use super::yaml::{Entry, Node, Place, Value};

/// How deep values may be nested: hosts keep more than servers in their files.
const DEEPEST: usize = 64;

/// Why a text is no JSON, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// Who is told of a key that stands twice, and on which line it stood first.
type Double<'d> = &'d mut dyn FnMut(Place, &str, usize);

/// Whether a text may be JSON: the first thing in it that is no comment opens an object.
pub(super) fn looks_like(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.blank().is_ok() && reader.rest().starts_with('{')
}

/// Reads a text; keys that stand twice are told to `double`, with the line of the first.
pub(super) fn read(text: &str, double: Double<'_>) -> Result<Node, Fault> {
    let mut reader = Reader { double: Some(double), ..Reader::new(text) };
    reader.blank()?;
    let node = reader.value(0)?;
    reader.blank()?;
    match reader.rest().is_empty() {
        true => Ok(node),
        false => Err(reader.fault("something follows the end of the JSON", "one file holds one object")),
    }
}

struct Reader<'t, 'd> {
    text: &'t str,
    /// Where it stands: a byte, and the line and column of that.
    at: usize,
    line: usize,
    column: usize,
    double: Option<Double<'d>>,
}

impl<'t> Reader<'t, '_> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, column: 1, double: None }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fault(&self, message: &str, help: &'static str) -> Fault {
        Fault { place: Place::new(self.line, self.column, 1), message: message.to_owned(), help }
    }

    /// Goes on by so many bytes, which end between two characters.
    fn skip(&mut self, bytes: usize) {
        for letter in self.text[self.at..self.at + bytes].chars() {
            (self.line, self.column) = if letter == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at += bytes;
    }

    fn takes(&mut self, letter: char) -> bool {
        let there = self.rest().starts_with(letter);
        if there {
            self.skip(letter.len_utf8());
        }
        there
    }

    /// Skips blanks and comments.
    fn blank(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let bytes = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let end = comment.find("*/");
                end.ok_or_else(|| self.fault("a comment is not closed", "close it with `*/`"))? + 4
            } else {
                rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']).len()
            };
            if bytes == 0 {
                return Ok(());
            }
            self.skip(bytes);
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > DEEPEST {
            return Err(self.fault("nested too deeply", ""));
        }
        let (line, column) = (self.line, self.column);
        let begin = self.at;
        let value = match self.rest().chars().next() {
            Some('{') => Value::Map(self.map(depth)?),
            Some('[') => Value::List(self.list(depth)?),
            Some('"') => Value::Scalar { text: self.text()?, plain: false },
            _ => Value::Scalar { text: self.word()?, plain: true },
        };
        let width = if self.line == line { self.text[begin..self.at].chars().count() } else { usize::MAX };
        Ok(Node { place: Place { line, column, width, last: (self.line, self.column) }, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        self.skip(1);
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.takes(']') {
                return Ok(items);
            }
            items.push(self.value(depth + 1)?);
            self.blank()?;
            if !self.takes(',') && !self.rest().starts_with(']') {
                return Err(self.fault("a list goes on without a comma", "write `[one, two]`"));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        self.skip(1);
        let mut entries = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            self.blank()?;
            if self.takes('}') {
                return Ok(entries);
            }
            if !self.rest().starts_with('"') {
                return Err(self.fault("a key in quotes is expected", "write `\"key\": value`"));
            }
            let Node { place, value } = self.value(depth + 1)?;
            let Value::Scalar { text: key, .. } = value else { continue };
            self.blank()?;
            if !self.takes(':') {
                return Err(self.fault("a key without `:`", "write `\"key\": value`"));
            }
            self.blank()?;
            let node = self.value(depth + 1)?;
            self.blank()?;
            if !self.takes(',') && !self.rest().starts_with('}') {
                return Err(self.fault("a map goes on without a comma", "put a comma between two keys"));
            }
            let first = seen.insert(key.clone(), place.line);
            if let (Some(line), Some(double)) = (first, &mut self.double) {
                double(place, &key, line);
            }
            entries.push(Entry { key, place, node, repeated: first.is_some() });
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find_map(|(at, letter)| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            (ends || letter == '\n').then_some(at)
        });
        let end = end.filter(|end| rest[*end..].starts_with('"'));
        let end = end.ok_or_else(|| self.fault("a quote is not closed on its line", "close it with `\"`"))?;
        let read = serde_json::from_str(&rest[..=end]);
        let read = read.map_err(|_| self.fault("a text with a wrong escape in it", "a `\\` is written `\\\\`"))?;
        self.skip(end + 1);
        Ok(read)
    }

    /// A number or a truth value as it is written, or `null`.
    fn word(&mut self) -> Result<String, Fault> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
        if serde_json::from_str::<serde::de::IgnoredAny>(&rest[..end]).is_err() {
            return Err(self.fault("a value is expected", "texts stand in double quotes"));
        }
        let word = rest[..end].to_owned();
        self.skip(end);
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, usize, String) {
        let fault = read(text, &mut |_, _, _| {}).unwrap_err();
        (fault.place.line, fault.place.column, fault.message)
    }

    #[test]
    fn comments_and_commas_too_many_are_read_over() {
        let text =
            "\u{feff}// mine\n{ /* a\n */ \"k\": [1, -2.5e3, true, null, \"\\u00e9\\/\",], // x\n\"m\": {},\n}\n";
        assert!(looks_like(text) && !looks_like("servers: {}") && !looks_like("[]"));
        let mut doubles = Vec::new();
        let Value::Map(entries) = read(text, &mut |_, key, line| doubles.push((key.to_owned(), line))).unwrap().value
        else {
            panic!("no map")
        };
        let Value::List(items) = &entries[0].node.value else { panic!("no list") };
        let texts: Vec<_> = items.iter().map(|item| item.text().unwrap_or("-")).collect();
        assert_eq!(texts, ["1", "-2.5e3", "true", "-", "é/"]);
        assert_eq!((entries[0].place, entries[1].place), (Place::new(3, 5, 3), Place::new(4, 1, 3)));
        assert!(doubles.is_empty());
        drop(read("{\"a\": 1,\n\"a\": 2}", &mut |_, key, line| doubles.push((key.to_owned(), line))));
        assert_eq!(doubles, [("a".to_owned(), 1)]);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        assert_eq!(fault("{\"a\": 1 \"b\": 2}"), (1, 9, "a map goes on without a comma".to_owned()));
        assert_eq!(fault("{\n  a: 1}"), (2, 3, "a key in quotes is expected".to_owned()));
        assert_eq!(fault("{\"a\": tru}").2, "a value is expected");
        assert_eq!(fault("{\"a\": \"x\ny\"}").2, "a quote is not closed on its line");
        assert_eq!(fault("{} {}").2, "something follows the end of the JSON");
        assert_eq!(fault("{\"a\": ").2, "a value is expected");
        assert_eq!(fault("/* {}").2, "a comment is not closed");
        assert_eq!(fault(&"{\"a\":".repeat(100)).2, "nested too deeply");
    }
}
