//! Called by the pool and by `mux`: what went wrong with starting a server lately, and until when no other start is
//! tried because of that.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::clock;
use crate::config::Backoff;
use crate::era::profile::Profile;

/// How many profiles with failed starts are remembered.
const FAILURES: usize = 64;

/// The setbacks of one server.
pub struct Setbacks {
    pub backoff: Backoff,
    /// Failed starts, by what the server was told: what one kind of client causes is not held against others.
    failures: HashMap<Profile, Failure>,
    /// Instances that ended by themselves since the server answered last, and until when no other is started.
    crashes: u32,
    rests_until: Option<Instant>,
}

/// Why the last start for a profile failed, and until when no other is tried.
#[derive(Clone, Debug)]
pub struct Failure {
    count: u32,
    pub until: Instant,
    pub detail: String,
}

impl Setbacks {
    /// None so far.
    pub fn new(backoff: Backoff) -> Setbacks {
        Setbacks { backoff, failures: HashMap::new(), crashes: 0, rests_until: None }
    }

    /// Notes that an instance became ready, so that starts for its profile need not wait any more.
    pub fn opened(&mut self, profile: &Profile) {
        self.failures.remove(profile);
    }

    /// Notes a failed start.
    pub fn failed(&mut self, profile: &Profile, detail: &str, jitter: f64) -> Failure {
        let now = clock::now();
        let count = self.failures.get(profile).map_or(0, |failure| failure.count).saturating_add(1);
        let failure = Failure { count, until: now + self.backoff.pause(count, jitter), detail: detail.to_owned() };
        let most = self.backoff.most;
        self.failures.retain(|_, failure| now < failure.until + most);
        if self.failures.contains_key(profile) || self.failures.len() < FAILURES {
            self.failures.insert(profile.clone(), failure.clone());
        }
        failure
    }

    /// Notes that an instance ended by itself. The first one is replaced at once. If others follow before any call was
    /// answered, starts pause and calls wait meanwhile.
    pub fn crashed(&mut self, jitter: f64) {
        self.rests_until = (self.crashes > 0).then(|| clock::now() + self.backoff.pause(self.crashes, jitter));
        self.crashes = self.crashes.saturating_add(1);
    }

    /// Notes that the server answered a call.
    pub fn answered(&mut self) {
        (self.crashes, self.rests_until) = (0, None);
    }

    /// Forgets all setbacks, because the operator wants that.
    pub fn forgive(&mut self) {
        self.failures.clear();
        self.answered();
    }

    /// Returns until when no instance is started, because the last ones ended by themselves.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until.filter(|until| clock::now() < *until)
    }

    /// Returns the failed start because of which none is tried for a profile now.
    pub fn of(&self, profile: &Profile) -> Option<&Failure> {
        self.failures.get(profile).filter(|failure| clock::now() < failure.until)
    }

    /// Returns whether starts for other profiles have failed lately.
    pub fn of_others(&self, profile: &Profile) -> bool {
        let (now, most) = (clock::now(), self.backoff.most);
        self.failures.iter().any(|(other, failure)| other != profile && now < failure.until + most)
    }

    /// Returns whether no instance for a profile is to be started now.
    pub fn back_off(&self, profile: &Profile) -> bool {
        self.rests_until().is_some() || self.of(profile).is_some()
    }

    /// Returns until when starts pause, for whatever reason.
    pub fn until(&self) -> Option<Instant> {
        let failures = self.failures.values().map(|failure| failure.until);
        failures.chain(self.rests_until).filter(|until| clock::now() < *until).max()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn profile(capabilities: &str) -> Profile {
        Profile::legacy("2025-06-18", capabilities).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_kind_of_client_causes_is_not_held_against_others() {
        let mut setbacks = Setbacks::new(Backoff::default());
        let (odd, plain) = (profile(r#"{"experimental":{}}"#), profile("{}"));
        assert_eq!(setbacks.failed(&odd, "no", 1.0).until, clock::now() + Duration::from_millis(250));
        assert!(setbacks.back_off(&odd) && !setbacks.back_off(&plain));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(!setbacks.back_off(&odd) && setbacks.until().is_none());
        assert_eq!(setbacks.failed(&odd, "no", 1.0).until, clock::now() + Duration::from_millis(500));
        setbacks.opened(&odd);
        assert_eq!(setbacks.failed(&odd, "no", 1.0).until, clock::now() + Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_ends_is_replaced_at_once_and_an_answer_forgives() {
        let mut setbacks = Setbacks::new(Backoff::default());
        let mut pauses = Vec::new();
        for _ in 0..4 {
            setbacks.crashed(1.0);
            pauses.push(setbacks.rests_until().map(|until| (until - clock::now()).as_millis()));
        }
        assert_eq!(pauses, [None, Some(250), Some(500), Some(1000)]);
        setbacks.answered();
        assert!(!setbacks.back_off(&profile("{}")));
        setbacks.crashed(1.0);
        assert_eq!(setbacks.until(), None);
    }

    #[test]
    fn so_many_profiles_are_remembered_and_no_more() {
        let mut setbacks = Setbacks::new(Backoff::default());
        for number in 0..2 * FAILURES {
            setbacks.failed(&profile(&format!(r#"{{"experimental":{{"x{number}":{{}}}}}}"#)), "no", 1.0);
        }
        assert_eq!(setbacks.failures.len(), FAILURES);
    }
}
