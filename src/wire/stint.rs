//! Called by `wire::frame`: how much the reader of one peer may do before all others have their turn. It is bounded in
//! bytes, in lines and in time, since none of them alone shows how much work a peer sends.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// How much is read.
const BYTES: usize = 64 * 1024;
/// How many lines are dealt with.
const LINES: usize = 256;
/// How long may be spent on them.
const TIME: Duration = Duration::from_millis(2);

/// What a reader has done since others had their turn.
#[derive(Debug, Default)]
pub struct Stint {
    bytes: usize,
    lines: usize,
    /// When its first line was dealt with.
    began: Option<Instant>,
}

impl Stint {
    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// A line was taken to be dealt with.
    pub fn line(&mut self) {
        self.lines += 1;
    }

    /// Whether it is over. The clock is not read for that: when the last line was begun is known.
    pub fn is_over(&mut self) -> bool {
        if self.lines == 0 {
            return self.bytes >= BYTES;
        }
        let last = clock::last();
        let began = *self.began.get_or_insert(last);
        self.bytes >= BYTES || self.lines >= LINES || last.saturating_duration_since(began) >= TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stint_ends_after_so_many_bytes_or_lines_or_so_much_time() {
        let mut stint = Stint::default();
        stint.read(BYTES - 1);
        assert!(!stint.is_over());
        stint.read(1);
        assert!(stint.is_over());

        let mut stint = Stint::default();
        for _ in 1..LINES {
            stint.line();
            assert!(!stint.is_over());
        }
        stint.line();
        assert!(stint.is_over());

        let mut stint = Stint::default();
        for last in [false, false, true] {
            drop(clock::Turn::begin());
            stint.line();
            assert_eq!(stint.is_over(), last);
            tokio::time::advance(TIME / 2).await;
        }
    }
}
