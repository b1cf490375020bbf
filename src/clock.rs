//! Called by whoever wants to know what time it is: while one message is dealt with, time stands still. All that is
//! decided in that turn is decided at one moment, and the clock is read once.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// For as long as this lives, it is now.
pub struct Turn(());

impl Turn {
    /// Begins a turn; there is one at a time.
    pub fn begin() -> Turn {
        TURN.set(Some(Instant::now()));
        Turn(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.set(None);
    }
}

/// The time of this turn, or else what the clock says.
pub fn now() -> Instant {
    TURN.get().unwrap_or_else(Instant::now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_stands_still_in_a_turn_and_only_there() {
        let turn = Turn::begin();
        let then = now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(now(), then);
        drop(turn);
        assert_eq!(now(), then + Duration::from_secs(1));
    }
}
