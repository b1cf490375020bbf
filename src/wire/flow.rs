//! Called by the outboxes of all callers, or of all instances: how many bytes were written to them, and how many wait.

use std::cell::Cell;

use super::tally::Tally;

/// The bytes on their way to all peers of one kind.
#[derive(Debug, Default)]
pub struct Flow {
    written: Tally,
    waiting: Cell<usize>,
}

impl Flow {
    /// Bytes written since the daemon started.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Bytes that wait in all outboxes together, or are put aside for them.
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// So many bytes were said.
    pub fn came(&self, bytes: usize) {
        self.waiting.set(self.waiting.get() + bytes);
    }

    /// So many bytes wait no more, since they were written.
    pub fn wrote(&self, bytes: usize) {
        self.written.add(bytes as u64);
        self.lost(bytes);
    }

    /// So many bytes wait no more, since nobody is there to read them.
    pub fn lost(&self, bytes: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(bytes));
    }
}
