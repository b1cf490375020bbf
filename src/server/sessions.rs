//! Called by `mux::listen`: the legacy callers that are subscribed to resources of a modern server, by resource and by
//! caller. They are told by the one stream to the server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::subscriptions::wholes;
use crate::key::CallerKey;

/// Who is subscribed to what.
#[derive(Default)]
pub struct Sessions {
    of_uri: BTreeMap<Rc<str>, BTreeSet<CallerKey>>,
    of_caller: HashMap<CallerKey, BTreeSet<Rc<str>>, RandomState>,
}

impl Sessions {
    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.of_uri.is_empty()
    }

    /// How many resources a caller is subscribed to.
    pub fn count(&self, caller: CallerKey) -> usize {
        self.of_caller.get(&caller).map_or(0, BTreeSet::len)
    }

    /// Every resource that somebody is subscribed to.
    pub fn uris(&self) -> impl Iterator<Item = &Rc<str>> {
        self.of_uri.keys()
    }

    /// Somebody who is subscribed.
    pub fn first(&self) -> Option<CallerKey> {
        self.of_uri.values().next()?.first().copied()
    }

    /// A caller subscribes; whether that is news.
    pub fn join(&mut self, caller: CallerKey, uri: &Rc<str>) -> bool {
        self.of_uri.entry(uri.clone()).or_default().insert(caller);
        self.of_caller.entry(caller).or_default().insert(uri.clone())
    }

    /// A caller ends a subscription; whether it had one.
    pub fn leave(&mut self, caller: CallerKey, uri: &str) -> bool {
        let Some(own) = self.of_caller.get_mut(&caller) else { return false };
        let was = own.remove(uri);
        if own.is_empty() {
            self.of_caller.remove(&caller);
        }
        self.not_told(caller, uri);
        was
    }

    /// A caller ends all that it has; whether that was something.
    pub fn leave_all(&mut self, caller: CallerKey) -> bool {
        let own = self.of_caller.remove(&caller).unwrap_or_default();
        own.iter().for_each(|uri| self.not_told(caller, uri));
        !own.is_empty()
    }

    fn not_told(&mut self, caller: CallerKey, uri: &str) {
        if let Some(all) = self.of_uri.get_mut(uri) {
            all.remove(&caller);
            if all.is_empty() {
                self.of_uri.remove(uri);
            }
        }
    }

    /// Whom an update of a resource is for: those who are subscribed to it, or to what it is a part of.
    pub fn told(&self, uri: &str) -> Vec<CallerKey> {
        let mut told: Vec<CallerKey> = wholes(&self.of_uri, uri).flatten().copied().collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    /// Takes everybody.
    pub fn take(&mut self) -> impl Iterator<Item = (Rc<str>, CallerKey)> + use<> {
        self.of_caller.clear();
        let all = std::mem::take(&mut self.of_uri).into_iter();
        all.flat_map(|(uri, callers)| callers.into_iter().map(move |caller| (uri.clone(), caller)))
    }
}
