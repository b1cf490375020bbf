//! Called by `mux` for every call to a server and for what becomes of it: refuses calls at once while the server is
//! sick. Time and jitter are arguments, so that the same happenings lead to the same decisions.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Backoff};

/// How long those are told to wait who come while one call tries.
const TRYING: Duration = Duration::from_secs(1);

/// One breaker.
pub struct Breaker {
    config: config::Breaker,
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// How often it opened since it was last closed.
    opened: u32,
    cause: String,
    trips: u64,
}

enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { trial: Weak<()> },
}

/// What a breaker looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// One call may try.
    HalfOpen,
    /// Calls are refused.
    Open,
}

/// The right to be the one call that tries. Dropped without a verdict, another call may.
#[derive(Debug)]
pub struct Trial(#[expect(dead_code, reason = "its count is what says that somebody tries")] Rc<()>);

/// What becomes of a call.
#[derive(Debug)]
pub enum Admission {
    Pass,
    /// It passes, and what becomes of it decides.
    Try(Trial),
    /// Not now; when it may be worth another try.
    Refused(Duration),
}

impl State {
    /// The word for it in status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: config::Breaker) -> Breaker {
        Breaker { config, phase: Phase::Closed, failures: 0, opened: 0, cause: String::new(), trips: 0 }
    }

    /// Whether a call may pass.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match &self.phase {
            Phase::Closed => return Admission::Pass,
            Phase::Open { until } if now < *until => return Admission::Refused(*until - now),
            Phase::HalfOpen { trial } if trial.strong_count() > 0 => return Admission::Refused(TRYING),
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
        let trial = Rc::new(());
        self.phase = Phase::HalfOpen { trial: Rc::downgrade(&trial) };
        Admission::Try(Trial(trial))
    }

    /// Notes a failure that tells of a sick server; whether it opened the breaker.
    pub fn failed(&mut self, now: Instant, jitter: f64, cause: &str) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.phase {
            Phase::Closed => self.config.failures.is_some_and(|limit| self.failures >= limit.get()),
            Phase::HalfOpen { .. } => true,
            // What was sent before it opened says nothing new.
            Phase::Open { .. } => false,
        };
        if opens {
            self.opened = self.opened.saturating_add(1);
            self.trips += 1;
            let backoff = Backoff { least: self.config.open, most: self.config.open_max };
            self.phase = Phase::Open { until: now + backoff.pause(self.opened, jitter) };
        }
        if opens || matches!(self.phase, Phase::Closed) {
            self.cause.clear();
            self.cause.push_str(cause);
        }
        opens
    }

    /// Notes that the server answered; whether that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        if let Phase::Open { .. } = self.phase {
            // What was sent before it opened says nothing new.
            return false;
        }
        let closes = matches!(self.phase, Phase::HalfOpen { .. });
        self.failures = 0;
        self.opened = 0;
        self.phase = Phase::Closed;
        closes
    }

    /// Closes it, whatever was: the operator knows better.
    pub fn reset(&mut self) {
        (self.phase, self.failures, self.opened) = (Phase::Closed, 0, 0);
    }

    /// What it looks like from outside.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How long it stays open.
    pub fn opens_for(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => until.checked_duration_since(now),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// The last failure, in words.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// How often it opened.
    pub fn trips(&self) -> u64 {
        self.trips
    }

    /// Whether nothing is held against what it stands for.
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && matches!(self.phase, Phase::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(failures: u32) -> Breaker {
        let failures = NonZeroU32::new(failures);
        Breaker::new(config::Breaker { failures, open: SECOND * 10, open_max: SECOND * 30, per_tool: false })
    }

    fn passes(admission: &Admission) -> bool {
        matches!(admission, Admission::Pass)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let (mut breaker, now) = (breaker(2), Instant::now());
        assert!(!breaker.failed(now, 1.0, "a"));
        breaker.succeeded();
        assert!(!breaker.failed(now, 1.0, "b") && breaker.failed(now, 1.0, "c"));
        assert!(matches!(breaker.admit(now), Admission::Refused(left) if left == SECOND * 10));
        assert_eq!((breaker.cause(), breaker.trips(), breaker.state(now)), ("c", 1, State::Open));
        assert!(!breaker.succeeded() && !breaker.failed(now, 1.0, "late"));
        assert_eq!((breaker.cause(), breaker.trips(), breaker.state(now)), ("c", 1, State::Open));
    }

    #[test]
    fn one_call_tries_at_a_time_and_another_if_that_one_ends_without_a_verdict() {
        let (mut breaker, now) = (breaker(1), Instant::now());
        breaker.failed(now, 1.0, "a");
        let later = now + SECOND * 10;
        let Admission::Try(trial) = breaker.admit(later) else { panic!("nobody may try") };
        assert!(matches!(breaker.admit(later), Admission::Refused(TRYING)));
        drop(trial);
        let Admission::Try(_trial) = breaker.admit(later) else { panic!("nobody may try again") };
        assert!(breaker.succeeded());
        assert!(passes(&breaker.admit(later)) && breaker.is_clean());
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_the_most() {
        let (mut breaker, mut now) = (breaker(1), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert!(breaker.failed(now, 1.0, "a"));
            let Admission::Refused(left) = breaker.admit(now) else { panic!("passes while open") };
            pauses.push(left.as_secs());
            now += left;
            assert!(matches!(breaker.admit(now), Admission::Try(_)));
        }
        assert_eq!(pauses, [10, 20, 30, 30]);
        assert_eq!(breaker.trips(), 4);
    }

    #[test]
    fn without_a_limit_it_stays_closed() {
        let (mut breaker, now) = (breaker(0), Instant::now());
        assert!((0..1000).all(|_| !breaker.failed(now, 1.0, "a")));
        assert!(passes(&breaker.admit(now)));
    }
}
