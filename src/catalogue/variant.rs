//! What a server offers to clients of one kind, as far as that is known.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::catalogue::list::{List, ListKind};
use crate::era::profile::{Profile, canonical};
use crate::era::{Era, legacy};

/// What a server offers to clients of one kind: servers tell clients of different capabilities different things.
#[derive(Serialize, Deserialize)]
pub struct Variant {
    pub key: VariantKey,
    /// The raw `InitializeResult` or `DiscoverResult`.
    pub introduction: Option<Box<RawValue>>,
    pub lists: Vec<(ListKind, List)>,
    /// An errand is on its way to have it introduced.
    #[serde(skip)]
    pub introducing: bool,
    /// Lists that are being fetched.
    #[serde(skip)]
    pub fetching: Vec<ListKind>,
    /// Lists whose change was announced and that nobody has asked for since.
    #[serde(skip)]
    announced: Vec<ListKind>,
    /// Counts announced changes of each list, so that what was fetched before one is known to be old.
    #[serde(skip)]
    pub generation: u64,
}

/// What a server was told about its client, as far as what it offers depends on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantKey {
    pub era: Era,
    pub revision: String,
    pub capabilities: String,
}

impl VariantKey {
    /// The variant of a legacy profile, or of modern requests with these capabilities.
    pub fn new(profile: &Profile, capabilities: &str) -> VariantKey {
        let capabilities = match profile {
            Profile::Legacy(legacy) => legacy.capabilities.clone(),
            Profile::Modern => canonical(capabilities),
        };
        VariantKey { era: profile.era(), revision: profile.revision().to_owned(), capabilities }
    }

    /// The profile of clients to whom this variant is offered.
    pub fn profile(&self) -> Option<Profile> {
        match self.era {
            Era::Modern => Some(Profile::Modern),
            Era::Legacy => Profile::legacy(legacy::negotiate(&self.revision), &self.capabilities),
        }
    }

    /// The variant under which a server's introduction is kept: a modern one is the same for all.
    pub fn of_introduction(profile: &Profile) -> VariantKey {
        VariantKey::new(profile, "{}")
    }
}

impl Variant {
    pub(crate) fn new(key: VariantKey) -> Variant {
        Variant {
            key,
            introduction: None,
            lists: Vec::new(),
            introducing: false,
            fetching: Vec::new(),
            announced: Vec::new(),
            generation: 0,
        }
    }

    /// The raw introduction.
    pub fn introduction(&self) -> Option<&str> {
        self.introduction.as_deref().map(RawValue::get)
    }

    /// A list, if it was ever fetched.
    pub fn list(&self, kind: ListKind) -> Option<&List> {
        self.lists.iter().find(|(known, _)| *known == kind).map(|(_, list)| list)
    }

    /// Puts a list in place of what was known; whether that is news: the two differ, and nobody said they would.
    pub fn put(&mut self, kind: ListKind, list: List) -> bool {
        match self.lists.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => {
                let differ = !known.stale && !known.same_items(&list);
                *known = list;
                differ
            }
            None => {
                self.lists.push((kind, list));
                false
            }
        }
    }

    /// Notes that a list has changed; whether that is news, as it is once until somebody asks for the list again.
    pub fn changed(&mut self, kind: ListKind) -> bool {
        self.generation += 1;
        if let Some((_, list)) = self.lists.iter_mut().find(|(known, _)| *known == kind) {
            list.stale = true;
        }
        let news = !self.announced.contains(&kind);
        if news {
            self.announced.push(kind);
        }
        news
    }

    /// Notes that a list is being fetched, unless it is already; whether it was not.
    pub fn begin_fetch(&mut self, kind: ListKind) -> bool {
        let begins = !self.fetching.contains(&kind);
        if begins {
            self.fetching.push(kind);
            self.announced.retain(|other| *other != kind);
        }
        begins
    }

    /// Whether a list can be answered from what is known. `warm` says that asking would start nothing; a cold
    /// server is believed to offer what it offered last.
    pub fn believes(&self, kind: ListKind, warm: bool, uid: u32, max_age: Duration, now: Instant) -> bool {
        let Some(list) = self.list(kind) else { return false };
        if !list.is_for(uid) {
            return false;
        }
        if !warm {
            return true;
        }
        let within = |age: Duration| list.fetched.is_some_and(|fetched| now < fetched + age);
        let announced = self.introduction().is_some_and(|said| legacy::announces(said, kind.capability()));
        match list.ttl {
            _ if list.stale => false,
            Some(ttl) => within(Duration::from_millis(ttl)),
            None => announced && list.fetched.is_some() || within(max_age),
        }
    }
}
