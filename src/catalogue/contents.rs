//! Made for each list that is fetched or read from disk: its items, and what was found out about them. Lists with the
//! same items share it, since most servers offer the same to all clients.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use super::index::{Index, Joined};
use super::items::Items;
use super::kind::ListKind;
use super::legible::Told;
use crate::era::Era;
use crate::wire::message::{member, unquote};

/// The items of a list, and what is looked up in them.
pub struct Contents {
    kind: ListKind,
    era: Era,
    items: Items,
    index: OnceCell<Index>,
    joined: OnceCell<Joined>,
    /// Whether the log has what is odd in them.
    told: Cell<bool>,
}

impl Contents {
    /// What a server told clients of one era.
    pub fn new(kind: ListKind, era: Era, items: Items) -> Contents {
        Contents { kind, era, items, index: OnceCell::new(), joined: OnceCell::new(), told: Cell::new(false) }
    }

    /// Whether another list of the same kind and era holds the same.
    pub fn is_like(&self, other: &Contents) -> bool {
        (self.kind, self.era) == (other.kind, other.era) && self.items == other.items
    }

    /// The items as the server wrote them.
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// The names or addresses of the items.
    pub fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.kind, self.items.iter()))
    }

    /// How the items are shown on endpoints of several servers, by the server of this name.
    pub fn joined(&self, server: &str) -> &Joined {
        self.joined.get_or_init(|| Joined::of((server, self.kind, self.era), self.index(), self.items.iter()))
    }

    /// What is told of the items that are not shown there as they were written, if that was decided already.
    pub fn odd(&self) -> impl Iterator<Item = Told<'_>> {
        self.joined.get().into_iter().flat_map(Joined::odd).filter_map(|odd| {
            let id = self.items.get(odd.place()).and_then(|item| unquote(member(item, self.kind.id())?));
            Told::of(odd, id.as_deref())
        })
    }

    /// The items as they are shown on endpoints of several servers.
    pub fn legible(&self, server: &str) -> impl Iterator<Item = &str> {
        let mut odd = self.joined(server).odd().iter().peekable();
        self.items.iter().enumerate().filter_map(move |(place, item)| match odd.next_if(|odd| odd.place() == place) {
            None => Some(item),
            Some(odd) => odd.shown(),
        })
    }

    /// The server's own name of what stands there as `SERVER__` and this, or the address itself.
    pub fn real(&self, server: &str, shown: &str) -> Option<Cow<'_, str>> {
        let place = self.joined(server).place(server, self.kind, self.index(), shown)?;
        unquote(member(self.items.get(place)?, self.kind.id())?)
    }

    /// Whether this is the first time that somebody tells what is odd in it.
    pub fn is_untold(&self) -> bool {
        !self.told.replace(true)
    }
}
