//! Called by the queue: who takes how many of its places, so that a full queue knows at once who has the most: which
//! user, and which process of that user.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::guard::principal::Principal;
use crate::key::CallKey;

/// The places of a queue that are taken.
#[derive(Default)]
pub struct Places {
    /// The calls of each process by when they came.
    calls: HashMap<Principal, BTreeMap<u64, CallKey>, RandomState>,
    users: Shares<u32>,
    processes: HashMap<u32, Shares<Principal>, RandomState>,
    taken: usize,
}

/// Who has how many.
struct Shares<K> {
    of: HashMap<K, usize, RandomState>,
    most: BTreeSet<(usize, K)>,
}

impl Places {
    /// Returns how many are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Notes that a call takes one.
    pub fn take(&mut self, principal: Principal, at: u64, call: CallKey) {
        self.taken += 1;
        self.calls.entry(principal).or_default().insert(at, call);
        self.users.change(principal.user(), |count| count + 1);
        self.processes.entry(principal.user()).or_default().change(principal, |count| count + 1);
    }

    /// Notes that a call gives its place back.
    pub fn give_back(&mut self, principal: Principal, at: u64) {
        let Some(own) = self.calls.get_mut(&principal) else { return };
        if own.remove(&at).is_none() {
            return;
        }
        if own.is_empty() {
            self.calls.remove(&principal);
        }
        self.taken -= 1;
        self.users.change(principal.user(), |count| count - 1);
        if let Some(processes) = self.processes.get_mut(&principal.user()) {
            processes.change(principal, |count| count - 1);
            if processes.of.is_empty() {
                self.processes.remove(&principal.user());
            }
        }
    }

    /// Returns the newest call of the party that has so many more places than a newcomer that it still has no fewer
    /// without it. That is another user with the most, or else another process of the same user.
    pub fn owed_to(&self, newcomer: Principal) -> Option<CallKey> {
        let other = self.users.owes(newcomer.user());
        let within = |user: u32| self.processes.get(&user);
        let greedy = match other {
            Some(user) => within(user)?.most.last().map(|(_, greedy)| *greedy),
            None => within(newcomer.user())?.owes(newcomer),
        };
        self.calls.get(&greedy?)?.last_key_value().map(|(_, call)| *call)
    }
}

impl<K: Copy + Eq + Ord + Hash> Shares<K> {
    fn change(&mut self, who: K, change: impl Fn(usize) -> usize) {
        let before = self.of.remove(&who).unwrap_or(0);
        self.most.remove(&(before, who));
        let after = change(before);
        if after > 0 {
            self.of.insert(who, after);
            self.most.insert((after, who));
        }
    }

    /// Returns the party with the most places, if it has no fewer than a newcomer once it gives one of them to it.
    fn owes(&self, newcomer: K) -> Option<K> {
        let (most, greedy) = self.most.last()?;
        let own = self.of.get(&newcomer).copied().unwrap_or(0);
        (*most >= own + 2).then_some(*greedy)
    }
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Shares { of: HashMap::default(), most: BTreeSet::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CallerKey;
    use slotmap::SlotMap;

    #[test]
    fn users_come_first_then_processes() {
        let mut calls = SlotMap::<CallKey, ()>::with_key();
        let process = |user, pid| Principal::of(user, Some(pid), CallerKey::default());
        let (owner, greedy, quiet) = (process(1, 1), process(1, 2), process(1, 3));
        let mut places = Places::default();
        let mut at = 0;
        let mut take = |places: &mut Places, who, many| {
            let taken = (0..many).map(|_| {
                at += 1;
                let call = calls.insert(());
                places.take(who, at, call);
                (at, call)
            });
            taken.last()
        };
        // Many processes of another user have one place each.
        (0..10).for_each(|pid| assert!(take(&mut places, process(2, 1 + pid), 1).is_some()));
        assert!(places.owed_to(owner).is_some() && places.owed_to(process(2, 99)).is_none());
        let newest = take(&mut places, greedy, 10);
        assert_eq!(places.owed_to(quiet), newest.map(|(_, call)| call));
        let (at, _) = newest.unwrap_or_default();
        places.give_back(greedy, at);
        places.give_back(greedy, at);
        assert_eq!(places.taken(), 19);
    }
}
