//! Kept in `server::listened`: who is told of resources of a modern server by the one stream to it, by resource and by
//! caller. These are subscribed legacy callers and streams of modern callers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::subscriptions::wholes;

/// Who is subscribed to what.
pub struct Sessions<K> {
    of_uri: BTreeMap<Rc<str>, BTreeSet<K>>,
    of_caller: HashMap<K, BTreeSet<Rc<str>>, RandomState>,
}

impl<K> Default for Sessions<K> {
    fn default() -> Sessions<K> {
        Sessions { of_uri: BTreeMap::new(), of_caller: HashMap::default() }
    }
}

impl<K: Copy + Ord + Hash> Sessions<K> {
    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.of_uri.is_empty()
    }

    /// How many resources a caller is subscribed to.
    pub fn count(&self, caller: K) -> usize {
        self.of_caller.get(&caller).map_or(0, BTreeSet::len)
    }

    /// Every resource that somebody is subscribed to.
    pub fn uris(&self) -> impl Iterator<Item = &Rc<str>> {
        self.of_uri.keys()
    }

    /// Whether somebody is subscribed to a resource.
    pub fn has(&self, uri: &str) -> bool {
        self.of_uri.contains_key(uri)
    }

    /// Those who are subscribed to something.
    pub fn all(&self) -> impl Iterator<Item = K> {
        self.of_caller.keys().copied()
    }

    /// Somebody who is subscribed.
    pub fn first(&self) -> Option<K> {
        self.of_uri.values().next()?.first().copied()
    }

    /// A caller subscribes; whether that is news.
    pub fn join(&mut self, caller: K, uri: &Rc<str>) -> bool {
        self.of_uri.entry(uri.clone()).or_default().insert(caller);
        self.of_caller.entry(caller).or_default().insert(uri.clone())
    }

    /// A caller ends a subscription; whether it had one.
    pub fn leave(&mut self, caller: K, uri: &str) -> bool {
        let Some(own) = self.of_caller.get_mut(&caller) else { return false };
        let was = own.remove(uri);
        if own.is_empty() {
            self.of_caller.remove(&caller);
        }
        self.not_told(caller, uri);
        was
    }

    /// A caller ends all that it has; whether that was something.
    pub fn leave_all(&mut self, caller: K) -> bool {
        let own = self.of_caller.remove(&caller).unwrap_or_default();
        own.iter().for_each(|uri| self.not_told(caller, uri));
        !own.is_empty()
    }

    fn not_told(&mut self, caller: K, uri: &str) {
        if let Some(all) = self.of_uri.get_mut(uri) {
            all.remove(&caller);
            if all.is_empty() {
                self.of_uri.remove(uri);
            }
        }
    }

    /// Whom an update of a resource is for: those who are subscribed to it, or to what it is a part of.
    pub fn told(&self, uri: &str) -> Vec<K> {
        let mut told: Vec<K> = wholes(&self.of_uri, uri).flatten().copied().collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    /// Takes everybody.
    pub fn take(&mut self) -> impl Iterator<Item = (Rc<str>, K)> + use<K> {
        self.of_caller.clear();
        let all = std::mem::take(&mut self.of_uri).into_iter();
        all.flat_map(|(uri, callers)| callers.into_iter().map(move |caller| (uri.clone(), caller)))
    }
}
