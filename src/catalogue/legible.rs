//! Called where the lists of several servers become one. Clients check a list as a whole: one item that a server wrote
//! against the specification would hide all tools of all servers. Decided once for each list, as it was fetched.

mod moment;
mod output;
mod pattern;
mod shape;

use std::borrow::Cow;

use super::kind::ListKind;
use crate::era::Era;
use crate::wire::json::Reader;

/// How deep an item may be nested: published parsers give up at 128 and 200 levels of the whole line.
const DEEPEST: usize = 120;
/// How many digits a number may have: Python's parsers refuse a line with a longer one.
const DIGITS: usize = 4300;
/// How much of the name of an item is told.
const LONGEST: usize = 200;

/// An item that is not shown among several servers as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Odd {
    place: usize,
    /// What is shown in its place, if anything is.
    shown: Option<Box<str>>,
    /// What is wrong, if it is more than that a member is `null`.
    why: Option<String>,
}

/// What is told of an odd item.
pub struct Told<'a> {
    /// What it is told apart by, or which it is.
    pub item: String,
    pub why: &'a str,
    /// Whether nothing of it is shown.
    pub left_out: bool,
}

impl Odd {
    /// Where the item stands in its list.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Whether anything is shown in its place.
    pub fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// What is shown in its place.
    pub fn shown(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// What is wrong with it, if it is more than that a member is `null`.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}

impl<'a> Told<'a> {
    /// What there is to tell of an odd item, which is told apart by `id`, if there is anything.
    pub fn of(odd: &'a Odd, id: Option<&str>) -> Option<Told<'a>> {
        let item = match id.filter(|id| !id.is_empty()) {
            Some(id) => id.chars().take(LONGEST).collect(),
            None => format!("number {}", odd.place + 1),
        };
        Some(Told { item, why: odd.why()?, left_out: !odd.is_shown() })
    }
}

/// What is to be done about the items of a list, in their order.
pub fn oddities<'a>(kind: ListKind, era: Era, items: impl Iterator<Item = &'a str>) -> Vec<Odd> {
    items.enumerate().filter_map(|(place, item)| odd(kind, era, place, item)).collect()
}

/// What is to be done about an item; nothing about nearly all.
fn odd(kind: ListKind, era: Era, place: usize, item: &str) -> Option<Odd> {
    let fitted = match breaks_lines(item) {
        Some(why) => Err(why.to_owned()),
        None => shape::fitted(kind, era, item),
    };
    match fitted {
        Ok((Cow::Borrowed(_), _)) => None,
        Ok((Cow::Owned(shown), left_out)) => Some(Odd { place, shown: Some(shown.into()), why: left_out }),
        Err(why) => Some(Odd { place, shown: None, why: Some(why) }),
    }
}

/// What would have a published client refuse the whole line, whatever it is a part of.
fn breaks_lines(item: &str) -> Option<&'static str> {
    if Reader::new(item.as_bytes(), DEEPEST).value().is_err() {
        return Some("is nested too deep");
    }
    if item.len() > DIGITS && item.as_bytes().split(|byte| !byte.is_ascii_digit()).any(|run| run.len() > DIGITS) {
        return Some("has a number that is too long");
    }
    let surrogate = item.contains(r"\ud") || item.contains(r"\uD");
    if surrogate && serde_json::from_str::<serde_json::Value>(item).is_err() {
        return Some("has half a character (a lone surrogate)");
    }
    None
}

#[cfg(test)]
mod tests;
