//! YAML as a tree in which every key and value knows its place. Called by `file.rs`, which gives it a meaning.
//!
//! Only what configs need: one document, no anchors, aliases and tags. JSON is a subset.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::diagnostic::{Notes, quoted};

/// How deep values may be nested; the config itself needs five.
const DEEPEST: usize = 32;

/// Where something stands in the file: lines and columns from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// How much of the first line to underline.
    pub(super) width: usize,
    /// The line on which it ends, and the column after its last character.
    pub(super) last: (usize, usize),
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `plain`: without quotes. Only then do `null` and `~` mean nothing at all.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
    /// The key stood in this map before, which has been noted as a mistake.
    pub(super) repeated: bool,
}

/// Reads the text of a file. None: it could not be read, and why has been noted.
/// An empty file is nothing (`null`).
pub(super) fn read(text: &str, notes: &Notes<'_>) -> Option<Node> {
    let mut reader = Reader { parser: Parser::new_from_str(text), text, notes };
    let mut root = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (_, span) if root.is_some() => {
                notes.mistake(
                    Place::from(span),
                    "a second YAML document",
                    "one file holds one document: remove the `---` and join the two",
                );
                return None;
            }
            (event, span) => root = Some(reader.node(event, span, 0)?),
        }
    }
    Some(root.unwrap_or_else(|| Node {
        place: Place::new(1, 1, 1),
        value: Value::Scalar { text: String::new(), plain: true },
    }))
}

struct Reader<'t, 'n> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    notes: &'n Notes<'n>,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        match self.parser.next_event() {
            None => Some((Event::StreamEnd, Span::default())),
            Some(Ok(event)) => Some(event),
            Some(Err(error)) => {
                self.syntax(&error);
                None
            }
        }
    }

    /// Builds the value that begins with `event`.
    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Option<Node> {
        let place = Place::from(span);
        if depth > DEEPEST {
            self.notes.mistake(place, "nested too deeply", "");
            return None;
        }
        let (value, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (Value::List(self.list(depth)?), anchor, tag),
            Event::MappingStart(anchor, tag) => (Value::Map(self.map(depth)?), anchor, tag),
            // The one other event that stands for a value is an alias.
            _ => (Value::List(Vec::new()), usize::MAX, None),
        };
        if anchor != 0 || tag.is_some() {
            let message = "YAML anchors (`&`), aliases (`*`) and tags (`!`) are not supported";
            self.notes.mistake(
                place,
                message,
                "write the value out; quote it if it begins with one of these characters",
            );
        }
        Some(Node { place, value })
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Some(entries);
            }
            let Node { place, value } = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            let Value::Scalar { text: key, .. } = value else {
                self.notes.mistake(place, "a key has to be text", "quote it if `{` or `[` is meant literally");
                continue;
            };
            let first = seen.insert(key.clone(), place.line);
            if let Some(line) = first {
                let help = format!("it stands on line {line} already: keep one of the two");
                self.notes.mistake(place, format!("the key {} is here twice", quoted(&key)), help);
            }
            entries.push(Entry { key, place, node, repeated: first.is_some() });
        }
    }

    fn syntax(&self, error: &ScanError) {
        let at = error.marker();
        let begins = self.text.lines().nth(at.line().saturating_sub(1)).and_then(|line| line.chars().nth(at.col()));
        let help = match begins {
            Some(c @ ('@' | '`' | '*' | '&' | '!' | '%' | '|' | '>')) => {
                format!("a text that begins with `{c}` has to be quoted")
            }
            _ if error.info().contains("tab") => "indent with spaces".to_owned(),
            _ => String::new(),
        };
        // What the parser says may quote the text.
        let info = error.info().split('`').next().unwrap_or_default().trim();
        self.notes.unreadable(Place::new(at.line().max(1), at.col() + 1, 1), format!("not valid YAML: {info}"), help);
    }
}

impl Place {
    pub(super) fn new(line: usize, column: usize, width: usize) -> Self {
        Self { line, column, width, last: (line, column + width) }
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        let (start, end) = (span.start, span.end);
        // A block's first line: the carets are cut off at its end when they are drawn.
        let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
        Self { line: start.line().max(1), column: start.col() + 1, width, last: (end.line().max(1), end.col() + 1) }
    }
}

impl Node {
    /// Nothing was written: `key:`, `key: ~`, `key: null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar as it was written, without its quotes; also of a number or a truth value.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// What this is, for "expected ..., got ...".
    pub(super) fn described(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => quoted(text),
        }
    }
}
