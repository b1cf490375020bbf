//! Called by the queue: calls that wait for the same, and in which order they are served.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::Ticket;
use super::turns::{Turn, Turns};
use crate::guard::principal::Principal;
use crate::key::CallerKey;

/// Calls that wait for the same, those of each caller in the order in which they came.
#[derive(Default)]
pub struct Line {
    turns: Turns,
    /// By when they came.
    waiting: HashMap<CallerKey, BTreeMap<u64, Ticket>, RandomState>,
    len: usize,
    /// How many take no place in the queue.
    placeless: usize,
}

impl Line {
    /// Returns how many calls wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many calls wait that take no place in the queue.
    pub fn placeless(&self) -> usize {
        self.placeless
    }

    /// Returns how many calls of a caller wait.
    pub fn of(&self, caller: CallerKey) -> usize {
        self.waiting.get(&caller).map_or(0, BTreeMap::len)
    }

    /// Lets a call wait behind the calls of its own caller.
    pub fn push(&mut self, at: u64, ticket: Ticket) {
        let own = self.waiting.entry(ticket.caller).or_default();
        if own.is_empty() {
            self.turns.join(ticket.principal, ticket.caller);
        }
        self.placeless += usize::from(!ticket.full);
        own.insert(at, ticket);
        self.len += 1;
    }

    /// Returns the next call of the caller whose turn comes after `turn`, with that turn.
    pub fn after(&self, turn: Turn) -> Option<(Turn, &Ticket)> {
        let (turn, caller) = self.turns.after(turn)?;
        Some((turn, self.head(caller)?))
    }

    /// Returns the next call of a caller.
    pub fn head(&self, caller: CallerKey) -> Option<&Ticket> {
        self.waiting.get(&caller)?.first_key_value().map(|(_, ticket)| ticket)
    }

    /// Returns the call of a caller that came then.
    pub fn get(&self, caller: CallerKey, at: u64) -> Option<&Ticket> {
        self.waiting.get(&caller)?.get(&at)
    }

    /// Notes that a caller had its turn: the others come first now.
    pub fn had_turn(&mut self, principal: Principal, caller: CallerKey) {
        self.turns.had(principal, caller);
    }

    /// Takes a call out.
    pub fn remove(&mut self, caller: CallerKey, at: u64) -> Option<Ticket> {
        let own = self.waiting.get_mut(&caller)?;
        let ticket = own.remove(&at)?;
        self.len -= 1;
        self.placeless -= usize::from(!ticket.full);
        if own.is_empty() {
            self.waiting.remove(&caller);
            self.turns.leave(ticket.principal, caller);
        }
        Some(ticket)
    }

    /// Returns the calls that wait, of one caller or of all, in no order.
    pub fn tickets(&self, of: Option<CallerKey>) -> impl Iterator<Item = &Ticket> {
        let one = of.and_then(|caller| self.waiting.get(&caller)).into_iter();
        let all = of.is_none().then(|| self.waiting.values()).into_iter().flatten();
        one.chain(all).flat_map(BTreeMap::values)
    }
}
