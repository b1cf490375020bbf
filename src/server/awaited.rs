//! Called by `mux::call` whenever a call begins or ceases to wait for what a server says of itself: who waits for that, by what
//! they wait for, so that nobody has to look through all calls when it comes. `mux::check` compares it with the calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::VariantKey;
use crate::catalogue::list::ListKind;
use crate::key::CallKey;

/// What a server may be waited for to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// How it introduces itself.
    Introduction,
    List(ListKind),
}

/// Who waits for the word of a server.
#[derive(Default)]
pub struct Awaited {
    introduction: BTreeSet<CallKey>,
    lists: [BTreeSet<CallKey>; ListKind::ALL.len()],
    /// The errands that have it introduce itself, and where each introduction is to be kept.
    errands: BTreeMap<CallKey, VariantKey>,
}

impl Awaited {
    /// A call waits from now on.
    pub fn begins(&mut self, word: Word, call: CallKey) {
        self.waiting_mut(word).insert(call);
    }

    /// A call does not wait any more.
    pub fn ends(&mut self, word: Word, call: CallKey) {
        self.waiting_mut(word).remove(&call);
    }

    /// The calls that wait for a word.
    pub fn waiting(&self, word: Word) -> &BTreeSet<CallKey> {
        match word {
            Word::Introduction => &self.introduction,
            Word::List(kind) => &self.lists[kind as usize],
        }
    }

    fn waiting_mut(&mut self, word: Word) -> &mut BTreeSet<CallKey> {
        match word {
            Word::Introduction => &mut self.introduction,
            Word::List(kind) => &mut self.lists[kind as usize],
        }
    }

    /// Whether somebody waits for a list.
    pub fn has_lists(&self) -> bool {
        self.lists.iter().any(|waiting| !waiting.is_empty())
    }

    /// An errand is on its way to have the server introduce itself.
    pub fn errand_begins(&mut self, errand: CallKey, of: VariantKey) {
        self.errands.insert(errand, of);
    }

    /// It is over.
    pub fn errand_ends(&mut self, errand: CallKey) {
        self.errands.remove(&errand);
    }

    /// The errands that have the server introduce itself, and where each introduction is to be kept.
    pub fn errands(&self) -> &BTreeMap<CallKey, VariantKey> {
        &self.errands
    }
}
