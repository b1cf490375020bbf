//! Called by `mux` before a call is queued: how many calls are let through to a server in some time. The counting is
//! governor's (GCRA), on tokio's clock, so that it holds under the paused clock of the simulation too.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::total::Part;
use crate::clock;
use crate::config::{Rate, RateLimit};

/// Time since something began.
#[derive(Clone, Copy)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        (clock::now() - self.0).into()
    }
}

/// Lets so many through in some time.
pub struct Limiter {
    clock: Since,
    inner: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Nanos>>,
}

impl Limiter {
    /// As many at once as in the whole time; then one for each part of it.
    pub fn new(rate: Rate) -> Limiter {
        let clock = Since(clock::now());
        let quota = Quota::with_period(rate.per / rate.count.get())
            .map_or(Quota::per_second(rate.count), |quota| quota.allow_burst(rate.count));
        Limiter { clock, inner: RateLimiter::direct_with_clock(quota, clock) }
    }

    /// Lets one more through.
    ///
    /// # Errors
    /// Not now: how long until one may pass.
    pub fn check(&self) -> Result<(), Duration> {
        self.inner.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// Whose calls came too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Caller,
    Server,
    Tool,
}

/// The limits of one server.
pub struct Limits {
    /// What each principal has for itself.
    pub per_caller: Option<Rate>,
    total: Option<Parted>,
    tools: BTreeMap<String, Limiter>,
}

/// When a process had a call last, and when its user had one of the last tenth, if that is another user than the owner.
type Last = (Option<Instant>, Option<Instant>);

/// A rate of all callers, of which the last tenth is for those who have had none for a while.
struct Parted {
    common: Limiter,
    last_tenth: Option<Limiter>,
    /// How long somebody must have had none.
    pause: Duration,
}

impl Parted {
    fn new(rate: Rate) -> Parted {
        let part = |count| NonZeroU32::new(count).map(|count| Rate { count, ..rate });
        let tenth = part(rate.count.get() / 10);
        let common = part(rate.count.get() - tenth.map_or(0, |tenth| tenth.count.get())).unwrap_or(rate);
        let pause = tenth.map_or(Duration::MAX, |tenth| tenth.per / tenth.count.get());
        Parted { common: Limiter::new(common), last_tenth: tenth.map(Limiter::new), pause }
    }

    fn check(&self, last: impl FnOnce() -> Last) -> Result<Part, Duration> {
        let Err(wait) = self.common.check() else { return Ok(Part::Common) };
        let Some(last_tenth) = &self.last_tenth else { return Err(wait) };
        let now = clock::now();
        let rests = |last: Option<Instant>, pause| last.is_none_or(|last| now.duration_since(last) >= pause);
        let (process, user) = last();
        // Another user has half of the last tenth at most, with all processes.
        let rested = rests(process, self.pause) && rests(user, self.pause * 2);
        if rested && last_tenth.check().is_ok() { Ok(Part::LastTenth) } else { Err(wait) }
    }
}

impl Limits {
    pub fn new(config: &RateLimit) -> Limits {
        let tools = config.tools.iter().map(|(tool, rate)| (tool.clone(), Limiter::new(*rate))).collect();
        Limits { per_caller: config.per_caller, total: config.total.map(Parted::new), tools }
    }

    /// Whether some tools have limits of their own, so that it matters which one is called.
    pub fn tell_tools_apart(&self) -> bool {
        !self.tools.is_empty()
    }

    /// Returns whether calls are not limited at all.
    pub fn are_none(&self) -> bool {
        self.per_caller.is_none() && self.total.is_none() && self.tools.is_empty()
    }

    /// Lets one call through, to this tool if it is one. A greedy caller uses up what is its own first. `last` tells when
    /// the caller had something last.
    ///
    /// # Errors
    /// Not now: which limit keeps it, and how long.
    pub fn check(
        &self,
        own: Option<&Limiter>,
        tool: Option<&str>,
        last: impl FnOnce() -> Last,
    ) -> Result<Part, (Bound, Duration)> {
        let tool = tool.and_then(|tool| self.tools.get(tool));
        for (bound, limiter) in [(Bound::Caller, own), (Bound::Tool, tool)] {
            if let Some(limiter) = limiter {
                limiter.check().map_err(|wait| (bound, wait))?;
            }
        }
        let total = self.total.as_ref();
        total.map_or(Ok(Part::Common), |total| total.check(last)).map_err(|wait| (Bound::Server, wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, secs: u64) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_then_one_by_one() {
        let limiter = Limiter::new(rate(2, 60));
        assert!(limiter.check().is_ok() && limiter.check().is_ok());
        let wait = limiter.check().unwrap_err();
        assert_eq!(wait, Duration::from_secs(30));
        tokio::time::advance(wait).await;
        assert!(limiter.check().is_ok() && limiter.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_callers_limit_leaves_the_servers_to_others() {
        let tools = [("slow".to_owned(), rate(1, 1))].into();
        let limits =
            Limits::new(&RateLimit { per_caller: Some(rate(2, 1)), total: Some(rate(3, 1)), tools, kinds: None });
        let (greedy, modest) = (limits.per_caller.map(Limiter::new), limits.per_caller.map(Limiter::new));
        let refused = |result: Result<Part, (Bound, Duration)>| result.err().map(|(bound, _)| bound);
        let outcomes: Vec<_> = (0..4).map(|_| refused(limits.check(greedy.as_ref(), None, || (None, None)))).collect();
        assert_eq!(outcomes, [None, None, Some(Bound::Caller), Some(Bound::Caller)]);
        assert_eq!(refused(limits.check(modest.as_ref(), Some("slow"), || (None, None))), None);
        assert_eq!(refused(limits.check(modest.as_ref(), Some("slow"), || (None, None))), Some(Bound::Tool));
        assert_eq!(refused(limits.check(None, Some("fast"), || (None, None))), Some(Bound::Server));
    }
}
