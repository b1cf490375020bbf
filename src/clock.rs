//! Called by whoever wants to know what time it is: while one message is dealt with, time stands still. All that is
//! decided in that turn is decided at one moment, and the clock is read once.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// For as long as this lives, it is now.
pub struct Turn(());

impl Turn {
    /// Begins a turn; there is one at a time.
    pub fn begin() -> Turn {
        let now = Some(Instant::now());
        TURN.set(now);
        LAST.set(now);
        Turn(())
    }
}

/// When the last turn began, for whoever wants to know roughly and often.
pub fn last() -> Instant {
    LAST.get().unwrap_or_else(Instant::now)
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

/// A time as people are told it in messages and in the log: no finer than they care for, so that what took 29.999999 s
/// took 30s. Up to a second in milliseconds, up to ten seconds in tenths, and in seconds from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded(Duration);

/// A time as people are told it.
pub fn rounded(time: Duration) -> Rounded {
    Rounded(time)
}

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = (self.0.as_micros() + 500) / 1000;
        let seconds = (millis + 500) / 1000;
        match (millis, seconds) {
            (0, _) if !self.0.is_zero() => write!(f, "1ms"),
            (0, _) => write!(f, "0s"),
            (1..1000, _) => write!(f, "{millis}ms"),
            (1000..9950, _) => {
                let tenths = (millis + 50) / 100;
                if tenths.is_multiple_of(10) {
                    write!(f, "{}s", tenths / 10)
                } else {
                    write!(f, "{}.{}s", tenths / 10, tenths % 10)
                }
            }
            (_, 0..60) => write!(f, "{seconds}s"),
            (_, 60..3600) => parts(f, (seconds / 60, "m"), (seconds % 60, "s")),
            (_, 3600..86_400) => parts(f, (seconds / 3600, "h"), (seconds % 3600 / 60, "m")),
            _ => parts(f, (seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
        }
    }
}

fn parts(f: &mut fmt::Formatter<'_>, large: (u128, &str), small: (u128, &str)) -> fmt::Result {
    write!(f, "{}{}", large.0, large.1)?;
    if small.0 > 0 { write!(f, "{}{}", small.0, small.1) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_would_say_them() {
        let told = |micros: u64| rounded(Duration::from_micros(micros)).to_string();
        assert_eq!([0, 1, 1_499, 1_500, 250_000, 999_400].map(told), ["0s", "1ms", "1ms", "2ms", "250ms", "999ms"]);
        assert_eq!([999_600, 1_000_001, 1_249_000, 2_500_000].map(told), ["1s", "1s", "1.2s", "2.5s"]);
        assert_eq!([9_949_000, 9_960_000, 29_999_999, 59_600_000].map(told), ["9.9s", "10s", "30s", "1m"]);
        assert_eq!([90_000_000, 300_000_001, 3_599_999_999].map(told), ["1m30s", "5m", "1h"]);
        assert_eq!([5_400_000_000, 90_000_000_000].map(told), ["1h30m", "1d1h"]);
    }

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
