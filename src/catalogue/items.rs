//! Kept by the contents of a list: the items as their server wrote them, once, and where each stands.

use bytestring::ByteString;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::wire::json::{DEEPEST, Reader};
use crate::wire::scan::Span;

/// The items of a list, each an object.
#[derive(Clone, Default)]
pub struct Items {
    /// All of them, with commas between.
    text: ByteString,
    spans: Box<[Span]>,
}

impl Items {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All of them, with commas between.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// The item at a place.
    pub fn get(&self, place: usize) -> Option<&str> {
        self.text.get(self.spans.get(place)?.range())
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.spans.iter().filter_map(|span| self.text.get(span.range()))
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Items) -> bool {
        self.text == other.text
    }
}

impl Serialize for Items {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(format!("[{}]", self.text)).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        let kept = Box::<RawValue>::deserialize(deserializer)?;
        let mut gathered = Gathered::default();
        gathered.add(kept.get(), usize::MAX, usize::MAX);
        if gathered.dropped > 0 {
            return Err(D::Error::custom("items that are no objects"));
        }
        Ok(gathered.finish())
    }
}

/// Items that are being gathered, page by page.
#[derive(Default)]
pub struct Gathered {
    text: String,
    spans: Vec<Span>,
    /// How many were no objects.
    dropped: usize,
    /// How many there was no room for.
    left_out: usize,
}

impl Gathered {
    /// Adds the elements of a JSON array that are objects, as long as there are at most so many in so many bytes; what it
    /// added.
    pub fn add(&mut self, array: &str, most: usize, bytes: usize) -> &str {
        let before = self.text.len();
        let mut reader = Reader::new(array.as_bytes(), DEEPEST);
        // What is no array has no elements.
        let _ = reader.array(|reader| {
            let (start, object) = (reader.position(), reader.peek() == Some(b'{'));
            reader.value()?;
            let item = array.get(start..reader.position()).unwrap_or_default();
            if !object {
                self.dropped += 1;
            } else if self.left_out > 0 || self.spans.len() >= most || self.text.len() + 1 + item.len() > bytes {
                self.left_out += 1;
            } else {
                self.push(item);
            }
            Ok(())
        });
        &self.text[before..]
    }

    fn push(&mut self, item: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        let start = self.text.len() as u32;
        self.text.push_str(item);
        self.spans.push(Span { start, end: start + item.len() as u32 });
    }

    /// How many items there are.
    pub fn kept(&self) -> usize {
        self.spans.len()
    }

    /// How many items there was no room for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The items.
    pub fn finish(self) -> Items {
        Items { text: self.text.into(), spans: self.spans.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(array: &str, most: usize, bytes: usize) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(array, most, bytes);
        gathered
    }

    #[test]
    fn items_stand_as_they_were_written_and_what_is_no_object_is_dropped() {
        let mut pages = gathered(r#"[ {"name":"a", "x":1.0} , 1,[],null,"{}" , {"b":[{}]}]"#, 10, 100);
        assert_eq!(pages.add(r#"[{"c":2}]"#, 10, 100), r#",{"c":2}"#);
        assert_eq!((pages.dropped, pages.left_out()), (4, 0));
        let items = pages.finish();
        assert_eq!(items.iter().collect::<Vec<_>>(), [r#"{"name":"a", "x":1.0}"#, r#"{"b":[{}]}"#, r#"{"c":2}"#]);
        assert_eq!((items.get(1), items.get(3)), (Some(r#"{"b":[{}]}"#), None));
        assert!(gathered("{}", 10, 100).finish().is_empty());
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let three = r#"[{"a":1},{"b":2},{"c":3}]"#;
        assert_eq!(gathered(three, 2, 100).left_out(), 1);
        let cut = gathered(three, 10, 14);
        assert_eq!((cut.left_out(), cut.finish().len()), (2, 1));
        // Behind one that was left out comes none.
        assert_eq!(gathered(r#"[{"a":1},{"long":"123456789"},{"c":3}]"#, 10, 20).finish().len(), 1);
    }

    #[test]
    fn they_are_kept_and_read_again() {
        let items = gathered(r#"[{"a":1.00},{"b":"\u0061"}]"#, 10, 100).finish();
        let kept = serde_json::to_string(&items).unwrap();
        assert_eq!(kept, r#"[{"a":1.00},{"b":"\u0061"}]"#);
        assert!(serde_json::from_str::<Items>(&kept).unwrap() == items);
        assert!(serde_json::from_str::<Items>("[1]").is_err());
    }
}
