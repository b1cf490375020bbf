//! How a server's pool meets trouble, as used. Made by `file/resilience.rs`; handed out in parts to `guard` and
//! `pool`. The values of `Default` are the defaults of the file.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// What happens to a call that finds every instance busy and no room for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits in the queue.
    #[default]
    Wait,
    /// It gets a temporary instance beyond `instances.max`, as long as there are fewer than `instances.overflow`; else
    /// it waits.
    Overflow,
    /// It is refused.
    Reject,
}

/// When an instance is stopped or replaced though nothing is wrong. `None` means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycle {
    /// After this long without a call; `min` instances stay.
    pub idle: Duration,
    /// At this age, give or take a quarter.
    pub age: Option<Duration>,
    /// After so many calls.
    pub calls: Option<u64>,
    /// With so many bytes of resident memory, its whole process tree counted.
    pub memory: Option<usize>,
}

/// How instances that say nothing are asked whether they still answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// After this long without a word; `None`: never.
    pub every: Option<Duration>,
    /// For the answer to a probe.
    pub timeout: Duration,
    /// Missed in a row, probes or calls, after which an instance is replaced.
    pub failures: u32,
}

/// A pause that doubles with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first.
    pub least: Duration,
    /// At most.
    pub most: Duration,
}

/// When a server's calls are refused at once, because it is sick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it; `None`: it never opens.
    pub failures: Option<NonZeroU32>,
    /// How long it stays open the first time.
    pub open: Duration,
    /// How long it stays open at most: each trial that fails doubles the time.
    pub open_max: Duration,
    /// Whether each tool has a breaker of its own too.
    pub per_tool: bool,
}

/// So many in some time, and as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU32,
    pub per: Duration,
}

/// How many calls are let through to a server. `None` means any number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Of one caller.
    pub per_caller: Option<Rate>,
    /// Of all callers.
    pub total: Option<Rate>,
    /// To one tool, by the server's own name for it.
    pub tools: BTreeMap<String, Rate>,
    /// Of one process: kinds of clients that the server never met before, since each needs an instance of its own.
    pub kinds: Option<Rate>,
}

/// Which calls are sent again when their instance ends. A call that may do harm twice never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often one call is sent again.
    pub attempts: u8,
    /// At most so many of a hundred calls.
    pub budget: u8,
    /// How often calls of these tools are: above 0, they are safe to carry out twice, whatever they say themselves.
    pub tools: BTreeMap<String, u8>,
}

impl WhenFull {
    /// The word for it in configuration and status.
    pub fn as_str(self) -> &'static str {
        match self {
            WhenFull::Wait => "wait",
            WhenFull::Overflow => "overflow",
            WhenFull::Reject => "reject",
        }
    }
}

impl Rate {
    /// So many a second.
    pub const fn per_second(count: NonZeroU32) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }
}

impl Default for Recycle {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(5 * 60),
            age: Some(Duration::from_secs(12 * 3600)),
            calls: Some(100_000),
            memory: Some(2 << 30),
        }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self { every: Some(Duration::from_secs(30)), timeout: Duration::from_secs(5), failures: 3 }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { least: Duration::from_millis(250), most: Duration::from_secs(30) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: NonZeroU32::new(5),
            open: Duration::from_secs(10),
            open_max: Duration::from_secs(120),
            per_tool: false,
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        let per_second = |count| NonZeroU32::new(count).map(Rate::per_second);
        let kinds = NonZeroU32::new(12).map(|count| Rate { count, per: Duration::from_secs(60) });
        Self { per_caller: per_second(10_000), total: per_second(50_000), tools: BTreeMap::new(), kinds }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, budget: 10, tools: BTreeMap::new() }
    }
}
