//! Called by the pool before it starts an instance for a kind of client that its server never met: such kinds cost a
//! process each, and whoever connects can make up as many as it likes.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::need::Told;
use crate::clock;
use crate::config::Rate;
use crate::era::digest::Digest;
use crate::guard::principal::Principal;
use crate::guard::rate::Limiter;

/// How many kinds are remembered, and how many processes that brought new ones.
const MOST: usize = 256;

/// What tells a kind of client from others.
type Kind = (Option<Digest>, Option<Digest>);

/// Which kinds of clients a server has met, and who may bring how many new ones.
pub struct Newcomers {
    rate: Option<Rate>,
    met: HashMap<Kind, Instant, RandomState>,
    limits: HashMap<Principal, (Limiter, Instant), RandomState>,
}

impl Newcomers {
    /// Nobody was met; each process may bring new kinds at this rate.
    pub fn new(rate: Option<Rate>) -> Newcomers {
        Newcomers { rate, met: HashMap::default(), limits: HashMap::default() }
    }

    /// Lets new kinds come at another rate from now on.
    pub fn allow(&mut self, rate: Option<Rate>) {
        if self.rate != rate {
            (self.rate, self.limits) = (rate, HashMap::default());
        }
    }

    /// Notes that an instance opened for a kind.
    pub fn met(&mut self, told: &Told) {
        remember(&mut self.met, kind(told), clock::now(), |at| *at);
    }

    /// Returns whether an instance may be started for a process's kind of client now.
    pub fn admit(&mut self, told: &Told, principal: Principal) -> bool {
        let Some(rate) = self.rate.filter(|_| principal != Principal::MCPOOL) else { return true };
        if self.met.contains_key(&kind(told)) {
            return true;
        }
        let now = clock::now();
        let limiter = match self.limits.remove(&principal) {
            Some((limiter, _)) => limiter,
            None => Limiter::new(rate),
        };
        let admitted = limiter.check().is_ok();
        if admitted {
            // What helps it to an instance may take several steps, and starts that fail have pauses of their own.
            self.met(told);
        }
        remember(&mut self.limits, principal, (limiter, now), |(_, at)| *at);
        admitted
    }
}

fn kind(told: &Told) -> Kind {
    (told.profile.digest(), told.roots.as_ref().map(|roots| roots.digest()))
}

/// Puts something where at most so many are kept, and the oldest makes room.
fn remember<K: Copy + Eq + std::hash::Hash, V>(
    all: &mut HashMap<K, V, RandomState>,
    key: K,
    value: V,
    at: impl Fn(&V) -> Instant,
) {
    if all.len() >= MOST
        && !all.contains_key(&key)
        && let Some(oldest) = all.iter().min_by_key(|(_, value)| at(value)).map(|(key, _)| *key)
    {
        all.remove(&oldest);
    }
    all.insert(key, value);
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::era::profile::Profile;
    use crate::key::CallerKey;

    fn told(number: usize) -> Told {
        let capabilities = format!(r#"{{"experimental":{{"x{number}":{{}}}}}}"#);
        Told { profile: Profile::legacy("2025-06-18", &capabilities).unwrap(), roots: None }
    }

    #[tokio::test(start_paused = true)]
    async fn who_makes_up_kinds_waits_and_nobody_else_does() {
        let rate = Rate { count: NonZeroU32::new(3).unwrap(), per: Duration::from_secs(30) };
        let mut newcomers = Newcomers::new(Some(rate));
        let process = |pid| Principal::of(0, Some(pid), CallerKey::default());
        let started = (0..10).filter(|number| newcomers.admit(&told(*number), process(1))).count();
        assert_eq!(started, 3);
        assert!(newcomers.admit(&told(2), process(1)) && !newcomers.admit(&told(7), process(1)));
        assert!(newcomers.admit(&told(7), process(2)));
        assert!(newcomers.admit(&told(7), process(1)) && !newcomers.admit(&told(8), process(1)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(newcomers.admit(&told(8), process(1)) && !newcomers.admit(&told(9), process(1)));
        for number in 0..2 * MOST {
            newcomers.met(&told(number));
            newcomers.admit(&told(10_000 + number), process(number as i32 + 1));
        }
        assert_eq!((newcomers.met.len(), newcomers.limits.len()), (MOST, MOST));
    }
}
