//! Kept in each share, and asked before each call: what one principal has had of the rates of servers.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{Bound, Limiter, Limits};
use super::total::Part;
use crate::clock;
use crate::config::Rate;
use crate::key::ServerId;

/// What mcpool answers itself costs its server nothing, so each caller may have so much of it at least.
const ANSWERS: Rate = Rate { count: NonZeroU32::MIN.saturating_add(99), per: Duration::from_secs(10) };

/// Returns how much of what mcpool answers itself a caller may have whose calls are limited to `calls`.
pub fn of_answers(calls: Rate) -> Rate {
    let each = |rate: Rate| rate.per / rate.count.get();
    let per = each(calls).min(each(ANSWERS));
    let count = calls.count.max(ANSWERS.count);
    Rate { count, per: per * count.get() }
}

/// What one principal has had of the rates of servers. They are few, so that they are searched one by one.
#[derive(Default)]
pub struct Rates(Vec<Had>);

struct Had {
    /// None: what is no single server's.
    server: Option<ServerId>,
    calls: Option<Box<Limiter>>,
    answers: Option<Box<Limiter>>,
    /// When it had a call last, and an answer.
    last: Option<Instant>,
    answered: Option<Instant>,
    /// How long it takes until its limits are as good as new.
    recovers: Duration,
}

impl Rates {
    /// Lets a call to a server through, to this tool if it is one. `of_user` tells when its user had something last.
    ///
    /// # Errors
    /// Not now: which limit keeps it, and how long.
    pub fn pass(
        &mut self,
        server: ServerId,
        limits: &Limits,
        tool: Option<&str>,
        of_user: impl FnOnce() -> Option<Instant>,
    ) -> Result<Part, (Bound, Duration)> {
        let had = self.of(Some(server));
        let last = had.last;
        let own = limits.per_caller.map(|rate| had.calls(rate));
        let part = limits.check(own, tool, || (last, of_user()))?;
        had.last = Some(clock::now());
        Ok(part)
    }

    /// Lets something through that mcpool itself answers about a server whose calls are limited to `calls`.
    ///
    /// # Errors
    /// Not now: how long.
    pub fn answer(&mut self, server: Option<ServerId>, calls: Rate) -> Result<(), Duration> {
        let Had { answers, recovers, answered, .. } = self.of(server);
        answers.get_or_insert_with(|| limiter(of_answers(calls), recovers)).check()?;
        *answered = Some(clock::now());
        Ok(())
    }

    /// When it had a call to a server last.
    pub fn last(&self, server: ServerId) -> Option<Instant> {
        self.0.iter().find(|had| had.server == Some(server))?.last
    }

    /// Notes that it has a call to a server.
    pub fn note(&mut self, server: ServerId) {
        self.of(Some(server)).last = Some(clock::now());
    }

    /// When all of it is as good as new.
    pub fn full_at(&self) -> Option<Instant> {
        self.0.iter().filter_map(|had| Some(had.last.max(had.answered)? + had.recovers)).max()
    }

    /// Begins anew with a server, and with what is no single server's.
    pub fn forget(&mut self, server: ServerId) {
        self.0.retain(|had| had.server.is_some_and(|other| other != server));
    }

    fn of(&mut self, server: Option<ServerId>) -> &mut Had {
        let place = self.0.iter().position(|had| had.server == server).unwrap_or_else(|| {
            let (calls, answers, last, answered) = (None, None, None, None);
            self.0.push(Had { server, calls, answers, last, answered, recovers: Duration::ZERO });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

impl Had {
    /// The limit of its calls.
    fn calls(&mut self, rate: Rate) -> &Limiter {
        self.calls.get_or_insert_with(|| limiter(rate, &mut self.recovers))
    }
}

/// A limit of which nothing is used, and how long it may take until it is so again.
fn limiter(rate: Rate, recovers: &mut Duration) -> Box<Limiter> {
    *recovers = rate.per.max(*recovers);
    Box::new(Limiter::new(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RateLimit;

    fn rate(count: u32, secs: u64) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_tenth_of_a_total_is_for_those_who_had_none_for_a_while() {
        let limits = Limits::new(&RateLimit { total: Some(rate(100, 100)), ..RateLimit::default() });
        let (mut greedy, mut modest) = (Rates::default(), Rates::default());
        let pass = |rates: &mut Rates| {
            let passes = limits.check(None, None, || (rates.last(ServerId(0)), None)).is_ok();
            passes.then(|| rates.note(ServerId(0))).is_some()
        };
        assert_eq!((0..200).filter(|_| pass(&mut greedy)).count(), 90);
        assert!(pass(&mut modest) && !pass(&mut modest));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((0..200).filter(|_| pass(&mut greedy)).count(), 9);
        assert!(pass(&mut modest));
    }

    #[test]
    fn what_mcpool_answers_itself_is_limited_as_calls_are_but_never_below_what_hosts_need() {
        assert_eq!(of_answers(rate(10_000, 1)), rate(10_000, 1));
        assert_eq!(of_answers(rate(2, 60)), rate(100, 10));
        assert_eq!(of_answers(rate(20, 1)), rate(100, 5));
    }
}
