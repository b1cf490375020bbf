//! Two small MCP servers that are part of the mcpool binary: one speaks the legacy revisions, one the modern one.
//!
//! `mcpool demo-server legacy|modern` runs them over stdio: `mcpool demo` shows a newcomer what mcpool does with
//! them, the black-box tests start them as real processes, and the simulation runs them in memory. So they see
//! nothing of the outside: bytes come and go through the two streams that [`legacy::serve`] and [`modern::serve`]
//! are given, time is tokio's, chance comes from a seed. And they use nothing of the rest of mcpool, or its mistakes
//! would be theirs as well.
//!
//! What the tools do is written once, in `act`; the two eras differ in how a call progresses, logs and asks.

mod act;
mod ask;
mod content;
mod line;
mod seal;
mod tasks;
mod tools;

pub mod legacy;
pub mod modern;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// What can be set about a demo server.
#[derive(Debug, Clone)]
pub struct Options {
    /// What this one process calls itself in `whoami` and in the ids that it makes up.
    pub name: String,
    /// Items on a page of a list; 0 puts all of them on one.
    pub page: usize,
    /// Legacy: ask for the caller's roots right after `notifications/initialized` and whenever they change, as the
    /// filesystem reference server does.
    pub ask_roots: bool,
    /// Modern: how long lists and `server/discover` may be kept, in whole milliseconds.
    pub ttl: Duration,
    /// Everything random comes from it: ids of tasks and elicitations and the key that seals `requestState`.
    pub seed: u64,
    /// The date when the server starts, for the dates of tasks; from then on tokio's clock counts.
    pub epoch: SystemTime,
}

impl Options {
    /// A server of that name with everything on one page, a seed that nobody can guess and today's date.
    pub fn new(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            page: 0,
            ask_roots: false,
            ttl: Duration::from_secs(300),
            seed: fastrand::u64(..),
            epoch: SystemTime::now(),
        }
    }
}

/// What a demo server knows and remembers, in either era.
struct World {
    options: Options,
    started: Instant,
    chance: RefCell<fastrand::Rng>,
    /// How often `initialize` has been asked, accepted or not: a second time on one process is somebody's mistake.
    initializes: Cell<u64>,
    /// Whether the lists show their extra items.
    extra: Cell<bool>,
    /// How often each resource has been touched.
    touches: RefCell<BTreeMap<String, u64>>,
    tasks: tasks::Tasks,
}

impl World {
    fn new(options: Options) -> World {
        World {
            started: Instant::now(),
            chance: RefCell::new(fastrand::Rng::with_seed(options.seed)),
            initializes: Cell::new(0),
            extra: Cell::new(false),
            touches: RefCell::default(),
            tasks: tasks::Tasks::default(),
            options,
        }
    }

    /// The date by tokio's clock.
    fn now(&self) -> SystemTime {
        self.options.epoch + self.started.elapsed()
    }

    /// An id that no other process makes up.
    fn fresh_id(&self) -> String {
        format!("{}-{:016x}", self.options.name, self.chance.borrow_mut().u64(..))
    }

    fn touch(&self, uri: &str) {
        *self.touches.borrow_mut().entry(uri.to_owned()).or_default() += 1;
    }
}
