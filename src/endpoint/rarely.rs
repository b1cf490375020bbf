//! Used where something may go wrong a thousand times a second by somebody else's doing: it is logged once a minute,
//! with how often it happened in between.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(60);

/// What is said at most once a minute.
#[derive(Default)]
pub struct Rarely {
    last: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Rarely {
    /// It happened: how often since it was last said, if it is to be said now.
    pub fn say(&self) -> Option<u64> {
        let (now, times) = (Instant::now(), self.unsaid.get() + 1);
        if self.last.get().is_some_and(|last| now - last < PAUSE) {
            self.unsaid.set(times);
            return None;
        }
        self.last.set(Some(now));
        self.unsaid.set(0);
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use crate::endpoint::rarely::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_a_minute_with_how_often_it_was() {
        let rarely = Rarely::default();
        assert_eq!([rarely.say(), rarely.say(), rarely.say()], [Some(1), None, None]);
        tokio::time::advance(PAUSE).await;
        assert_eq!([rarely.say(), rarely.say()], [Some(3), None]);
    }
}
