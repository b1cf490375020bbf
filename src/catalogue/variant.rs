//! Kept by the catalogue for each kind of client (`catalogue::key`): how a server introduced itself to it, and its
//! lists.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::contents::Contents;
use super::key::VariantKey;
use super::list::{List, ListKind};
use super::record::{Raw, VariantRecord};
use super::room::Behalf;
use crate::era::legacy;
use crate::principal::Principal;

/// What a server offers to clients of one kind: servers tell clients of different capabilities different things.
pub struct Variant {
    pub key: VariantKey,
    /// The raw `InitializeResult` or `DiscoverResult`.
    introduction: Option<Raw>,
    lists: Vec<(ListKind, List)>,
    /// An errand is on its way to have it introduced.
    introducing: bool,
    /// Lists that are being fetched.
    fetching: Vec<ListKind>,
    /// Lists that the server refused when they were asked for last.
    refused: Vec<ListKind>,
    /// Lists whose change was announced and that nobody has asked for since.
    announced: Vec<ListKind>,
    /// Counts announced changes of each list, so that what was fetched before one is known to be old.
    generation: u64,
    /// The lists that callers were answered with last, and whether they were told since that those have changed.
    answered: RefCell<Vec<(ListKind, Rc<Contents>, bool)>>,
    /// For whom it is remembered.
    behalf: Cell<Behalf>,
}

impl Variant {
    pub(crate) fn new(key: VariantKey) -> Variant {
        Variant {
            key,
            introduction: None,
            lists: Vec::new(),
            introducing: false,
            fetching: Vec::new(),
            refused: Vec::new(),
            announced: Vec::new(),
            generation: 0,
            answered: RefCell::default(),
            behalf: Cell::default(),
        }
    }

    /// A variant that was kept.
    pub(super) fn kept(record: VariantRecord) -> Variant {
        let VariantRecord { key, introduction, lists } = record;
        let lists = lists.into_iter().map(|(kind, list)| (kind, List::kept(kind, key.era, list))).collect();
        Variant { introduction, lists, ..Variant::new(key) }
    }

    /// What is to be kept of it.
    pub(super) fn record(&self) -> VariantRecord {
        let lists = self.lists.iter().map(|(kind, list)| (*kind, list.record())).collect();
        VariantRecord { key: self.key.clone(), introduction: self.introduction.clone(), lists }
    }

    /// The raw introduction.
    pub fn introduction(&self) -> Option<&str> {
        self.introduction.as_ref().map(Raw::as_str)
    }

    /// Notes how the server introduced itself; whether that is another introduction than before.
    pub fn introduced(&mut self, said: String) -> bool {
        self.introducing = false;
        let new = self.introduction() != Some(said.as_str());
        if new {
            self.introduction = Some(Raw::of(said));
        }
        new
    }

    /// Notes that the lists are not everybody's: none is answered from here any more. Names are still looked up in them.
    pub(super) fn outdate_lists(&mut self) {
        self.generation += 1;
        self.lists.iter_mut().for_each(|(_, list)| list.outdate());
        self.answered.get_mut().clear();
    }

    /// For whom it is remembered.
    pub(super) fn behalf(&self) -> Behalf {
        self.behalf.get()
    }

    /// Notes that somebody needs what is known of it.
    pub(super) fn is_needed_by(&self, who: Principal) {
        self.behalf.set(self.behalf.get().and(who));
    }

    /// Notes which list a caller was answered with.
    pub fn note_answered(&self, who: Principal, kind: ListKind, contents: &Rc<Contents>) {
        self.is_needed_by(who);
        let mut answered = self.answered.borrow_mut();
        answered.retain(|(known, ..)| *known != kind);
        answered.push((kind, contents.clone(), false));
    }

    /// Notes that callers were told that a list has changed.
    pub fn note_told(&mut self, kind: ListKind) {
        self.answered.get_mut().iter_mut().filter(|(known, ..)| *known == kind).for_each(|(.., told)| *told = true);
    }

    /// Whether an announced change of a list need not be told yet: it is being fetched, and compared with what callers
    /// have; or no caller has it, and the instance has `just_begun`.
    pub fn is_quiet(&self, kind: ListKind, just_begun: bool) -> bool {
        let had = self.answered.borrow().iter().any(|(known, ..)| *known == kind);
        if had { self.fetching.contains(&kind) } else { just_begun }
    }

    /// Notes that a list changed in another scope while it is being fetched: what comes may be of that.
    pub fn disturb(&mut self, kind: ListKind) {
        self.generation += u64::from(self.fetching.contains(&kind));
    }

    /// Forgets how the server introduced itself.
    pub(super) fn forget_introduction(&mut self) {
        self.introduction = None;
    }

    /// Notes that an errand is sent to have it introduced, unless one is on its way; whether none was.
    pub fn begin_introduction(&mut self) -> bool {
        !std::mem::replace(&mut self.introducing, true)
    }

    /// Returns whether an errand is on its way to have it introduced.
    pub(super) fn is_being_introduced(&self) -> bool {
        self.introducing
    }

    /// No errand is on its way any more to have it introduced.
    pub fn end_introduction(&mut self) {
        self.introducing = false;
    }

    /// A list, if it was ever fetched.
    pub fn list(&self, kind: ListKind) -> Option<&List> {
        self.lists().find(|(known, _)| *known == kind).map(|(_, list)| list)
    }

    /// The lists that were fetched.
    pub fn lists(&self) -> impl Iterator<Item = (ListKind, &List)> {
        self.lists.iter().map(|(kind, list)| (*kind, list))
    }

    pub(super) fn list_mut(&mut self, kind: ListKind) -> Option<&mut List> {
        self.lists.iter_mut().find(|(known, _)| *known == kind).map(|(_, list)| list)
    }

    /// Puts a list in place of what was known; whether that is news: it is not what callers were answered last, and they
    /// were not told of a change since. Where none was answered, it is not what was known.
    pub(super) fn put(&mut self, kind: ListKind, list: List) -> bool {
        self.end_fetch(kind);
        self.may_be_had(kind);
        let differs = self
            .answered
            .get_mut()
            .iter()
            .find(|(known, ..)| *known == kind)
            .map(|(_, contents, told)| !told && !contents.is_like(list.contents()));
        match self.list_mut(kind) {
            Some(known) => {
                let differ = !known.is_stale() && !known.same_items(&list);
                *known = list;
                differs.unwrap_or(differ)
            }
            None => {
                self.lists.push((kind, list));
                differs.unwrap_or(false)
            }
        }
    }

    /// Notes that a list has changed, of which nobody is told for now.
    pub fn outdate(&mut self, kind: ListKind) {
        self.generation += 1;
        self.may_be_had(kind);
        self.list_mut(kind).into_iter().for_each(List::outdate);
    }

    /// Notes that a list has changed; whether that is news, as it is once until somebody asks for the list again.
    pub fn changed(&mut self, kind: ListKind) -> bool {
        self.outdate(kind);
        let news = !self.announced.contains(&kind);
        if news {
            self.announced.push(kind);
        }
        news
    }

    /// Notes that somebody came who was told of no change yet: the next one is news.
    pub(super) fn is_news_again(&mut self) {
        self.announced.clear();
    }

    /// Notes that a list is being fetched, unless it is already; if it was not, how often it was announced to change.
    pub fn begin_fetch(&mut self, kind: ListKind) -> Option<u64> {
        if self.fetching.contains(&kind) {
            return None;
        }
        self.fetching.push(kind);
        self.announced.retain(|other| *other != kind);
        Some(self.generation)
    }

    /// A list is not being fetched any more.
    pub fn end_fetch(&mut self, kind: ListKind) {
        self.fetching.retain(|other| *other != kind);
    }

    /// Notes that the server refused a list.
    pub fn refused(&mut self, kind: ListKind) {
        self.may_be_had(kind);
        self.refused.push(kind);
    }

    /// Whether the server refused a list when it was asked for it last, and nothing has changed since.
    pub fn refuses(&self, kind: ListKind) -> bool {
        self.refused.contains(&kind)
    }

    /// Notes that what the server refused before may be had of the instance that was just started.
    pub fn is_served_anew(&mut self) {
        self.refused.clear();
    }

    fn may_be_had(&mut self, kind: ListKind) {
        self.refused.retain(|other| *other != kind);
    }

    /// Whether a change was announced since there were so many.
    pub fn has_changed_since(&self, generation: u64) -> bool {
        self.generation != generation
    }

    /// Whether a list can be answered from what is known. `warm` says that asking would start nothing; a cold
    /// server is believed to offer what it offered last, unless it said that this has changed.
    pub fn believes(&self, kind: ListKind, warm: bool, uid: u32, max_age: Duration, now: Instant) -> bool {
        let Some(list) = self.list(kind) else { return false };
        if !list.is_for(uid) || list.is_stale() {
            return false;
        }
        if !warm {
            return true;
        }
        let within = |age: Duration| list.since().is_some_and(|fetched| now < fetched + age);
        let announced = self.introduction().is_some_and(|said| legacy::announces(said, kind.capability()));
        match list.ttl() {
            Some(ttl) => within(Duration::from_millis(ttl)),
            None => announced && list.since().is_some() || within(max_age),
        }
    }
}
