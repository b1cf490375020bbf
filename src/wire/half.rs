//! Called by the readers of callers and of instances: a line that has begun, and how long it may take. A line that
//! keeps coming gets as much time again, at a rate that brings it to an end.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// How many bytes of a line must come in a second for it to take longer than one limit.
const RATE: f64 = 16.0 * 1024.0;

/// A line that has begun.
#[derive(Debug)]
pub struct Half {
    limit: Duration,
    until: Instant,
    /// What came of it since it was given that time.
    bytes: usize,
}

impl Half {
    /// A line that begins now and may take that long.
    pub fn begins(limit: Duration) -> Half {
        Half { limit, until: clock::now() + limit, bytes: 0 }
    }

    /// Until when it may take.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// So many bytes of it came.
    pub fn came(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// It was not read for that long, so that it could not come.
    pub fn was_held_up(&mut self, time: Duration) {
        self.until += time;
    }

    /// It has had its time: whether it gets as much again.
    pub fn goes_on(&mut self) -> bool {
        let goes_on = self.bytes as f64 >= RATE * self.limit.as_secs_f64();
        (self.until, self.bytes) = (self.until + self.limit, 0);
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_that_keeps_coming_gets_as_much_time_again_and_another_does_not() {
        let limit = Duration::from_secs(2);
        let mut half = Half::begins(limit);
        let began = clock::now();
        half.came(32 * 1024);
        assert!(half.goes_on());
        assert_eq!(half.until(), began + limit * 2);
        half.came(32 * 1024 - 1);
        assert!(!half.goes_on());
    }
}
