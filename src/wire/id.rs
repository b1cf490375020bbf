//! Used wherever a message is answered: ids have types. There is one for what a caller chose, one for what mcpool chose
//! towards a server, and one for what it chose towards a caller. A caller's id where a [`WireId`] belongs does not
//! compile.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use compact_str::CompactString;

/// The most bytes of an id or a token that a peer chooses: it is kept as long as what it is of.
pub const LONGEST: usize = 1024;

/// An id or a progress token that a peer chose: the JSON text of a string or a number, kept to the letter.
/// Two are equal if they mean the same string (`"a"` and `"\u0061"`) or are the same text of a number.
#[derive(Clone, Debug)]
pub struct RawId(CompactString);

impl RawId {
    /// Takes the JSON text of a string or a number; `None` for anything else.
    pub fn new(json: &str) -> Option<RawId> {
        matches!(json.as_bytes().first()?, b'"' | b'-' | b'0'..=b'9').then(|| RawId(CompactString::new(json)))
    }

    /// The JSON text as the peer wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn meaning(&self) -> Cow<'_, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(&self.0);
        }
        // A lone surrogate cannot be decoded; then the letters are the meaning, and no text that can be decoded means the same.
        match serde_json::from_str::<String>(&self.0) {
            Ok(text) => Cow::Owned(format!("\"{text}\"")),
            Err(_) => Cow::Owned(format!("undecoded {}", self.0)),
        }
    }
}

impl PartialEq for RawId {
    fn eq(&self, other: &RawId) -> bool {
        self.0 == other.0 || self.meaning() == other.meaning()
    }
}

impl Eq for RawId {}

impl Ord for RawId {
    fn cmp(&self, other: &RawId) -> Ordering {
        if self.0 == other.0 { Ordering::Equal } else { self.meaning().cmp(&other.meaning()) }
    }
}

impl PartialOrd for RawId {
    fn partial_cmp(&self, other: &RawId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for RawId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0.contains('\\') {
            true => self.meaning().hash(state),
            false => self.0.as_str().hash(state),
        }
    }
}

/// The id of a request that mcpool sent to an instance. It is the progress token of the same request too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireId(pub u64);

/// The id of an ask that mcpool sent to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// The number that a peer echoes: plain digits, or what peers make of them that keep ids as texts or as floating-point
/// numbers.
pub fn digits(json: &str) -> Option<u64> {
    if json.bytes().all(|byte| byte.is_ascii_digit()) { json.parse().ok() } else { retyped(json) }
}

/// A number of ours that a peer wrote as a text or with zeros behind a point.
#[cold]
fn retyped(json: &str) -> Option<u64> {
    let whole = match json.strip_prefix('"') {
        Some(text) => text.strip_suffix('"')?,
        None => {
            json.split_once('.').filter(|(_, zeros)| !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0'))?.0
        }
    };
    let plain = whole.bytes().all(|byte| byte.is_ascii_digit()) && (whole == "0" || !whole.starts_with('0'));
    plain.then(|| whole.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_to_the_letter_and_compared_by_meaning() {
        let plain = RawId::new("\"ab\"").unwrap();
        let escaped = RawId::new("\"\\u0061b\"").unwrap();
        assert_eq!(plain, escaped);
        assert_eq!(escaped.as_str(), "\"\\u0061b\"");
        assert_ne!(RawId::new("1"), RawId::new("1.0"));
        assert_ne!(RawId::new(r#""\ud800""#), RawId::new(r#""\\ud800""#));
        assert_ne!(RawId::new("1"), RawId::new("\"1\""));
        assert!(RawId::new("null").is_none() && RawId::new("{}").is_none() && RawId::new("").is_none());
    }

    #[test]
    fn a_number_of_ours_may_come_back_as_a_text_or_a_float() {
        for same in ["17", "\"17\"", "17.0", "17.000"] {
            assert_eq!(digits(same), Some(17), "{same}");
        }
        assert_eq!((digits("0"), digits("\"0\""), digits("0.0")), (Some(0), Some(0), Some(0)));
        for other in [
            "",
            "\"\"",
            "\"17",
            "\"017\"",
            "\" 17\"",
            "17.5",
            "17.",
            ".0",
            "-17",
            "-17.0",
            "\"17.0\"",
            "1e1",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(digits(other), None, "{other}");
        }
    }
}
