//! Called by the pool: the calls that wait for an instance, a queue for each caller, served round robin, so that
//! a caller with a thousand calls waiting delays another by one.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::lease::Need;
use crate::key::{CallKey, CallerKey};

/// A call in the queue.
#[derive(Debug)]
pub struct Ticket {
    pub call: CallKey,
    pub caller: CallerKey,
    pub need: Need,
    /// Since when it waits.
    pub since: Instant,
    /// Nobody waits for it: it is worth no instance of its own.
    pub leisurely: bool,
    /// It found every instance busy, and takes a place in the queue.
    pub full: bool,
}

/// The queue of one pool.
#[derive(Default)]
pub struct Queue {
    turns: VecDeque<CallerKey>,
    waiting: BTreeMap<CallerKey, VecDeque<Ticket>>,
    len: usize,
    /// How many of them nobody waits for.
    leisurely: usize,
}

impl Queue {
    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many calls of a caller wait.
    pub fn of(&self, caller: CallerKey) -> usize {
        self.waiting.get(&caller).map_or(0, VecDeque::len)
    }

    /// How many calls wait for which `wanted` says so.
    pub fn count(&self, wanted: impl Fn(&Ticket) -> bool) -> usize {
        self.waiting.values().flatten().filter(|ticket| wanted(ticket)).count()
    }

    /// The calls that nobody waits for; costs nothing where there are none.
    pub fn leisurely(&self) -> impl Iterator<Item = &Ticket> {
        let waiting = (self.leisurely > 0).then(|| self.waiting.values().flatten());
        waiting.into_iter().flatten().filter(|ticket| ticket.leisurely)
    }

    fn counts(&mut self, removed: &Ticket) {
        self.len -= 1;
        self.leisurely -= usize::from(removed.leisurely);
    }

    /// Lets a call wait behind the calls of its own caller.
    pub fn push(&mut self, ticket: Ticket) {
        let caller = ticket.caller;
        let tickets = self.waiting.entry(caller).or_default();
        if tickets.is_empty() {
            self.turns.push_back(caller);
        }
        self.len += 1;
        self.leisurely += usize::from(ticket.leisurely);
        tickets.push_back(ticket);
    }

    /// The callers with calls waiting, the one whose turn it is first.
    pub fn turns(&self) -> Vec<CallerKey> {
        self.turns.iter().copied().collect()
    }

    /// The call of a caller that is next.
    pub fn head(&self, caller: CallerKey) -> Option<&Ticket> {
        self.waiting.get(&caller)?.front()
    }

    /// Takes the next call of a caller, whose turn is over with that.
    pub fn pop(&mut self, caller: CallerKey) -> Option<Ticket> {
        let ticket = self.waiting.get_mut(&caller)?.pop_front()?;
        self.counts(&ticket);
        self.turns.retain(|other| *other != caller);
        if self.waiting[&caller].is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        Some(ticket)
    }

    /// Makes room for a caller in a full queue: takes the newest place of the caller with the most, if that one has
    /// so many more that it still has no fewer afterwards.
    pub fn crowd_out(&mut self, newcomer: CallerKey) -> Option<Ticket> {
        let places = |tickets: &VecDeque<Ticket>| tickets.iter().filter(|ticket| ticket.full).count();
        let own = self.waiting.get(&newcomer).map_or(0, places);
        let (greedy, most) =
            self.waiting.iter().map(|(caller, tickets)| (*caller, places(tickets))).max_by_key(|(_, most)| *most)?;
        if most < own + 2 {
            return None;
        }
        let tickets = self.waiting.get_mut(&greedy)?;
        let newest = tickets.iter().rposition(|ticket| ticket.full)?;
        let out = tickets.remove(newest)?;
        self.counts(&out);
        Some(out)
    }

    /// Takes the calls for which `wanted` says so.
    pub fn remove_where(&mut self, mut wanted: impl FnMut(&Ticket) -> bool) -> Vec<Ticket> {
        let mut removed = Vec::new();
        for tickets in self.waiting.values_mut() {
            let (out, kept) = std::mem::take(tickets).into_iter().partition(&mut wanted);
            *tickets = kept;
            removed.extend::<VecDeque<Ticket>>(out);
        }
        self.waiting.retain(|_, tickets| !tickets.is_empty());
        self.turns.retain(|caller| self.waiting.contains_key(caller));
        removed.iter().for_each(|ticket| self.counts(ticket));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::profile::Profile;
    use crate::pool::lease::Lease;
    use slotmap::SlotMap;

    fn ticket(calls: &mut SlotMap<CallKey, ()>, caller: CallerKey) -> Ticket {
        let need = Need { profile: Profile::Modern, roots: None, lease: Lease::Shared, by_itself: false };
        Ticket { call: calls.insert(()), caller, need, since: Instant::now(), leisurely: false, full: true }
    }

    #[test]
    fn a_greedy_caller_delays_another_by_one_call() {
        let (mut calls, mut callers) = (SlotMap::with_key(), SlotMap::<CallerKey, ()>::with_key());
        let (greedy, modest) = (callers.insert(()), callers.insert(()));
        let mut queue = Queue::default();
        (0..1000).for_each(|_| queue.push(ticket(&mut calls, greedy)));
        queue.push(ticket(&mut calls, modest));
        let mut served = Vec::new();
        while served.len() < 3 {
            let next = queue.turns()[0];
            served.push(queue.pop(next).unwrap().caller);
        }
        assert_eq!(served, [greedy, modest, greedy]);
        assert_eq!(queue.len(), 998);
    }

    #[test]
    fn a_full_queue_makes_room_for_a_modest_caller_only() {
        let (mut calls, mut callers) = (SlotMap::with_key(), SlotMap::<CallerKey, ()>::with_key());
        let (greedy, modest) = (callers.insert(()), callers.insert(()));
        let mut queue = Queue::default();
        (0..3).for_each(|_| queue.push(ticket(&mut calls, greedy)));
        assert!(queue.crowd_out(greedy).is_none());
        assert_eq!(queue.crowd_out(modest).map(|out| out.caller), Some(greedy));
        queue.push(ticket(&mut calls, modest));
        assert!(queue.crowd_out(modest).is_none());
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn what_is_removed_is_gone_everywhere() {
        let (mut calls, mut callers) = (SlotMap::with_key(), SlotMap::<CallerKey, ()>::with_key());
        let (one, two) = (callers.insert(()), callers.insert(()));
        let mut queue = Queue::default();
        queue.push(ticket(&mut calls, one));
        queue.push(ticket(&mut calls, two));
        assert_eq!(queue.remove_where(|ticket| ticket.caller == one).len(), 1);
        assert_eq!((queue.turns(), queue.len()), (vec![two], 1));
    }
}
