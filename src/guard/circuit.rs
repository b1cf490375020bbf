//! Called by `guard::breaker` for each party whose calls it may refuse: closed, open for a while, or half open while
//! one call tries. The breaker decides how much evidence opens it.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Backoff};
use crate::guard::principal::Principal;

/// How long those are told to wait who come while one call tries.
const TRYING: Duration = Duration::from_secs(1);

/// What refuses calls for a while.
pub struct Circuit {
    pauses: Backoff,
    phase: Phase,
    /// How often it opened since it was last closed.
    opened: u32,
    /// Whose call failed as the last trial, and until when somebody else has the next one.
    loser: Option<(Principal, Instant)>,
    cause: String,
}

enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { trial: Weak<()>, by: Principal },
}

/// What a circuit looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Calls pass.
    Closed,
    /// One call may try.
    HalfOpen,
    /// Calls are refused.
    Open,
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

/// The right to be the one call that tries. Dropped without a verdict, another call may.
#[derive(Debug)]
pub struct Token(Rc<()>);

impl Circuit {
    /// A closed one.
    pub fn new(config: &config::Breaker) -> Circuit {
        let pauses = Backoff { least: config.open, most: config.open_max };
        Circuit { pauses, phase: Phase::Closed, opened: 0, loser: None, cause: String::new() }
    }

    /// Whether a call of somebody may pass: freely, or as the one that tries. One that `tries` already is let through again,
    /// as long as it is still the one.
    ///
    /// # Errors
    /// Not now; when it may be worth another try.
    pub fn admit(&mut self, who: Principal, tries: Option<Token>, now: Instant) -> Result<Option<Token>, Duration> {
        if let Some(token) = tries.filter(|token| self.is_tried_with(token)) {
            return Ok(Some(token));
        }
        if let Some(wait) = self.refuses(who, now) {
            return Err(wait);
        }
        if let Phase::Closed = self.phase {
            return Ok(None);
        }
        let trial = Rc::new(());
        self.phase = Phase::HalfOpen { trial: Rc::downgrade(&trial), by: who };
        Ok(Some(Token(trial)))
    }

    /// For how long a call of somebody is refused at least, if it is. Who lost the last trial leaves the next one to others
    /// for as long again as it was open: nobody alone keeps it open.
    pub fn refuses(&self, who: Principal, now: Instant) -> Option<Duration> {
        let lost = self.loser.is_some_and(|(loser, until)| loser == who && now < until);
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } if now < *until => Some(*until - now),
            Phase::HalfOpen { trial, .. } if trial.strong_count() > 0 => Some(TRYING),
            Phase::Open { .. } | Phase::HalfOpen { .. } => lost.then_some(TRYING),
        }
    }

    /// Opens it for longer than the last time. `met` are those whose calls failed.
    pub fn open(&mut self, met: &[Principal], now: Instant, jitter: f64, cause: &str) {
        self.opened = self.opened.saturating_add(1);
        let pause = self.pauses.pause(self.opened, jitter);
        self.loser = match self.phase {
            Phase::HalfOpen { by, .. } if met.contains(&by) => Some((by, now + pause * 2)),
            _ => None,
        };
        self.phase = Phase::Open { until: now + pause };
        self.blame(cause);
    }

    /// Notes what failed last.
    pub fn blame(&mut self, cause: &str) {
        self.cause.clear();
        self.cause.push_str(cause);
    }

    /// Closes it; whether it was not.
    pub fn close(&mut self) -> bool {
        let closes = !matches!(self.phase, Phase::Closed);
        (self.phase, self.opened, self.loser) = (Phase::Closed, 0, None);
        closes
    }

    /// What it looks like from outside.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether one call tries, or did without a verdict.
    pub fn is_tried(&self) -> bool {
        matches!(self.phase, Phase::HalfOpen { .. })
    }

    /// Whether this is the right of the call that tries now: not if it opened again since the right was given.
    pub fn is_tried_with(&self, token: &Token) -> bool {
        matches!(&self.phase, Phase::HalfOpen { trial, .. } if trial.as_ptr() == Rc::as_ptr(&token.0))
    }

    /// Whether it is open, or was when the last call that it let through was sent.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether nothing is refused.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
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
}
