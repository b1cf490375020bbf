//! Told of a deadline by whatever waits, in `mux` and in the catalogue; read by `mux::alarm`: when the earliest of all
//! deadlines may be over. A deadline that is met in time costs nothing but a comparison.

use std::cell::Cell;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// When to look at the deadlines again.
#[derive(Default)]
pub struct Alarm {
    next: Cell<Option<Instant>>,
    earlier: Notify,
}

impl Alarm {
    /// Something waits until `when` at the latest.
    pub fn at(&self, when: Instant) {
        if self.next.get().is_none_or(|next| when < next) {
            self.next.set(Some(when));
            self.earlier.notify_one();
        }
    }

    /// Waits until the earliest deadline. Returns it; it is not looked for any more then.
    pub async fn due(&self) -> Instant {
        loop {
            let Some(next) = self.next.get() else {
                self.earlier.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = self.earlier.notified() => {}
                () = sleep_until(next) => return next,
            }
        }
    }

    /// The earliest deadline.
    #[cfg(debug_assertions)]
    pub fn next(&self) -> Option<Instant> {
        self.next.get()
    }

    /// Forgets all deadlines: whoever looks at them tells which are left.
    pub fn clear(&self) {
        self.next.set(None);
    }
}
