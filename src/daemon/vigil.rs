//! Called by the daemon every second: whether its sockets are there still. Cleaners of `/tmp` and `/run` take them
//! away, and so does whoever removes the directory; nobody would find the daemon any more, and the next `connect` start
//! a second one.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::clock::rounded;
use crate::endpoint::listener::Taken;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long is tried to have a socket again: another daemon that comes up meanwhile may find that it cannot have all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches over the sockets.
pub struct Vigil {
    ticks: Interval,
    /// Since when there is one that cannot be had.
    lost: Option<Instant>,
}

impl Vigil {
    /// Begins to watch.
    pub fn begin() -> Vigil {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Vigil { ticks, lost: None }
    }

    /// Waits until it is time to look. It may be dropped and called again.
    pub async fn time(&mut self) {
        self.ticks.tick().await;
    }

    /// What became of opening the sockets anew that were lost; whether the daemon goes on.
    pub fn goes_on(&mut self, renewed: Result<usize, Taken>) -> bool {
        match renewed {
            Ok(count) => {
                if count > 0 {
                    tracing::warn!(count, "sockets were gone, and are bound anew");
                }
                self.lost = None;
                true
            }
            Err(why) => {
                let since = *self.lost.get_or_insert_with(Instant::now);
                let goes_on = since.elapsed() < PATIENCE;
                if goes_on {
                    tracing::debug!(%why, "a socket is gone and cannot be bound anew; it is tried again");
                } else {
                    let tried = since.elapsed();
                    tracing::error!(%why, tried = %rounded(tried), "a socket is gone and cannot be bound anew: this daemon cannot be found, and ends");
                }
                goes_on
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_had_is_tried_for_a_while_and_then_it_ends() {
        let mut vigil = Vigil::begin();
        let lost = || Err(Taken::Daemon { path: "/x".into(), pid: "1".into() });
        let mut seconds = 0;
        vigil.time().await;
        assert!(vigil.goes_on(lost()) && vigil.goes_on(Ok(1)), "it was had again");
        while vigil.goes_on(lost()) {
            vigil.time().await;
            seconds += 1;
        }
        assert_eq!(seconds, 5);
    }
}
