//! Servers that misbehave in one way each, as real processes (`examples/bad_server`) before a real daemon: what the caller
//! gets, that nobody else gets anything of it, that the server is used again when it is well, and that nothing is left.

mod caller;
mod crowd;
mod death;
mod fault;
mod leftovers;
mod place;
mod silence;
mod speech;
mod start;

use std::time::Duration;

use tokio::time::{Instant, interval};

/// For what must happen, on a machine that may be busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until there is something.
async fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    seen(PATIENCE, look).await.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Whether something happens in time.
async fn within(time: Duration, look: impl FnMut() -> Option<()>) -> bool {
    seen(time, look).await.is_some()
}

async fn seen<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Instant::now();
    let mut pace = interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        let found = look();
        if found.is_some() || clock.elapsed() > time {
            return found;
        }
    }
}
