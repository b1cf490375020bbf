//! Called where the lists of several servers become one. Clients check a list as a whole: one item that a server wrote
//! against the specification would hide all tools of all servers. Decided once for each list, as it was fetched.

mod moment;
mod output;
mod pattern;
mod shape;

use std::borrow::Cow;

use crate::catalogue::list::{List, ListKind};
use crate::era::Era;
use crate::wire::json::Reader;
use crate::wire::message::{member, unquote};

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

impl List {
    /// The items that are not shown among several servers as they were written, in their order.
    pub fn odd(&self, kind: ListKind, era: Era) -> &[Odd] {
        self.odd.get_or_init(|| {
            let looked_at = self.items.iter().enumerate();
            looked_at.filter_map(|(place, item)| odd(kind, era, place, item.get())).collect()
        })
    }

    /// The items as they are shown among several servers.
    pub fn legible(&self, kind: ListKind, era: Era) -> impl Iterator<Item = &str> {
        self.but_for(self.odd(kind, era))
    }

    /// The items as they are shown: among several servers, or as the server wrote them.
    pub(crate) fn shown(&self, kind: ListKind, joined: Option<Era>) -> impl Iterator<Item = &str> {
        self.but_for(joined.map_or(&[], |era| self.odd(kind, era)))
    }

    fn but_for<'a>(&'a self, odd: &'a [Odd]) -> impl Iterator<Item = &'a str> {
        let mut odd = odd.iter().peekable();
        let items = self.items.iter().enumerate();
        items.filter_map(move |(place, item)| match odd.next_if(|odd| odd.place == place) {
            None => Some(item.get()),
            Some(odd) => odd.shown.as_deref(),
        })
    }

    /// Why an item of a name or an address that fits is not shown, if it is for what is wrong with it.
    pub fn why_left_out(&self, kind: ListKind, era: Era, fits: impl Fn(&str) -> bool) -> Option<&str> {
        let named = |odd: &&Odd| self.id(kind, odd.place).is_some_and(|id| fits(&id));
        let mut left_out = self.odd(kind, era).iter().filter(|odd| odd.shown.is_none());
        left_out.find(named)?.why.as_deref()
    }

    /// The odd items, where that was decided already, and there is something to tell.
    pub fn odd_told(&self, kind: ListKind) -> impl Iterator<Item = Told<'_>> {
        self.odd.get().into_iter().flatten().filter_map(move |odd| self.told_of(kind, odd))
    }

    /// What there is to tell of an odd item.
    pub(crate) fn told_of<'a>(&self, kind: ListKind, odd: &'a Odd) -> Option<Told<'a>> {
        let item = match self.id(kind, odd.place).filter(|id| !id.is_empty()) {
            Some(id) => id.chars().take(LONGEST).collect(),
            None => format!("number {}", odd.place + 1),
        };
        Some(Told { item, why: odd.why.as_deref()?, left_out: odd.shown.is_none() })
    }

    /// What an item is told apart by.
    fn id(&self, kind: ListKind, place: usize) -> Option<Cow<'_, str>> {
        unquote(member(self.items.get(place)?.get(), kind.id())?)
    }
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
