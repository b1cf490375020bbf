//! Called by whoever sees something that an operator may want to know of: counters, shown by `status`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// What is counted since the daemon started. One thread counts, so no lock is needed.
#[derive(Default)]
pub struct Counters {
    /// Callers accepted.
    pub callers: Cell<u64>,
    /// Requests accepted from callers.
    pub calls: Cell<u64>,
    /// Messages that were not delivered, by reason.
    dropped: RefCell<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts one more.
    pub fn add(&self, counter: &Cell<u64>) {
        counter.set(counter.get() + 1);
    }

    /// Counts a message that was not delivered.
    pub fn dropped(&self, reason: &'static str) {
        *self.dropped.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Messages that were not delivered, by reason.
    pub fn all_dropped(&self) -> BTreeMap<&'static str, u64> {
        self.dropped.borrow().clone()
    }
}
