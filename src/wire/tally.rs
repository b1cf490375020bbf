//! Called by whoever counts something: a count that only goes up. It is here because bytes are counted where they
//! are read and written; what the counts mean is in `metrics`.

use std::cell::Cell;

/// A count since the daemon started. One thread counts, so no lock is needed.
#[derive(Debug, Default)]
pub struct Tally(Cell<u64>);

impl Tally {
    /// Counts one more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts so many more.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}
