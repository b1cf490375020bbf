//! Called by `mux` for every call: the instances of one server, the queue before them and their limits. The
//! pool knows calls by their key and what they need, not what they say.

pub mod handshake;
pub mod instance;
pub mod launch;
pub mod lease;
pub mod pending;
pub mod pick;
pub mod process;
pub mod queue;
pub mod stderr;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slotmap::SlotMap;
use tokio::time::Instant;

use crate::config;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::reply::{CallKey, CallerKey};
use instance::{Instance, InstanceKey, InstanceRef, ServerId, State};
use launch::Starter;
use lease::{Lease, Need};
use pick::{Pick, Situation, View};
use queue::{Queue, Ticket};

/// The shortest and the longest pause after a start that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How many profiles with failed starts are remembered.
const FAILURES: usize = 64;
/// How long a call waits before a busy instance of another profile is asked to give way.
pub const GIVE_WAY: Duration = Duration::from_secs(1);

/// The instances of one server.
pub struct Pool {
    pub id: ServerId,
    pub config: Rc<config::Server>,
    pub instances: SlotMap<InstanceKey, Instance>,
    pub queue: Queue,
    starter: Starter,
    /// Failed starts, by what the server was told: what one kind of client causes is not held against others.
    failures: HashMap<Profile, Failure>,
    /// Processes started since the daemon started.
    pub started: u64,
    stateful: Option<&'static str>,
}

/// Why the last start of an era failed, and until when no other is tried.
struct Failure {
    count: u32,
    until: Instant,
    detail: String,
}

impl Pool {
    /// A pool without instances.
    pub fn new(id: ServerId, config: Rc<config::Server>, starter: Starter) -> Pool {
        let stateful = lease::stateful_package(&config);
        let (instances, queue, failures) = (SlotMap::with_key(), Queue::default(), HashMap::new());
        Pool { id, config, instances, queue, starter, failures, started: 0, stateful }
    }

    /// The lease that callers of a profile get, and why. `has_asked` says that the server was seen to ask.
    pub fn lease(&self, profile: &Profile, has_asked: bool) -> (Lease, lease::Why) {
        lease::lease(self.config.lease, self.stateful, has_asked && profile.answers_asks())
    }

    /// The instance a call can go to at once, without waiting: the fast path.
    pub fn lease_now(&self, caller: CallerKey, need: &Need, last: Option<InstanceKey>) -> Option<InstanceKey> {
        if !self.queue.is_empty() {
            return None;
        }
        match pick::pick(self.views(caller, need, last), &self.situation(need, Duration::ZERO)) {
            Pick::Use(key) => Some(key),
            _ => None,
        }
    }

    /// Lets a call wait for an instance. If it takes the place of another call, that one is returned.
    ///
    /// # Errors
    /// `pool_exhausted` if the queue is full, `start_failed` while a failed start is being backed off from.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Option<CallKey>, Error> {
        let now = Instant::now();
        if let Some(failure) = self.failures.get(&ticket.need.profile).filter(|failure| now < failure.until)
            && !self.instances.values().any(|instance| instance.serves(&ticket.need) && instance.alive())
        {
            return Err(self.start_failed(failure, now));
        }
        let mut crowded_out = None;
        if self.queue.len() >= self.config.queue.size {
            // The place goes to whom it is owed: a greedy caller does not keep a modest one out.
            crowded_out = self.queue.crowd_out(ticket.caller).map(|out| out.call);
            if crowded_out.is_none() {
                return Err(Error::PoolExhausted { server: self.config.name.clone() });
            }
        }
        self.queue.push(ticket);
        Ok(crowded_out)
    }

    /// Places the next waiting call for which there is room, starting and stopping instances on the way.
    pub fn next(&mut self, last_of: impl Fn(CallerKey) -> Option<InstanceKey>) -> Option<(CallKey, InstanceKey)> {
        for caller in self.queue.turns() {
            let Some(ticket) = self.queue.head(caller) else { continue };
            let (need, call, waited) = (ticket.need.clone(), ticket.call, ticket.since.elapsed());
            let situation = self.situation(&need, waited);
            let picked = pick::pick(self.views(caller, &need, last_of(caller)), &situation);
            match picked {
                Pick::Use(key) => {
                    self.queue.pop(caller);
                    return Some((call, key));
                }
                Pick::Start | Pick::Replace(_) if self.backs_off(&need.profile) => {}
                Pick::Start => self.start(caller, &need),
                Pick::Replace(key) => self.stop(key, "gives way to another profile"),
                Pick::GiveWay(key) => self.drain(key, "gives way to another profile"),
                Pick::Wait => {}
            }
        }
        None
    }

    /// Starts an instance for a caller. What becomes of it is told through the starter's events.
    pub fn start(&mut self, caller: CallerKey, need: &Need) {
        self.started += 1;
        let (config, id, serial) = (self.config.clone(), self.id, self.started);
        let key =
            self.instances.insert_with_key(|key| Instance::new(InstanceRef { server: id, key }, serial, need, caller));
        let instance = &mut self.instances[key];
        instance.open();
        tracing::info!(server = config.name, instance = instance.serial, era = need.profile.era().as_str(), "starting");
        self.starter.start(config, instance);
    }

    /// Lets an instance finish what it has and then stops it.
    pub fn drain(&mut self, key: InstanceKey, why: &str) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.pending.callers() == 0 {
            self.stop(key, why);
        } else if instance.state != State::Stopping {
            tracing::info!(server = self.config.name, instance = instance.serial, why, "draining");
            instance.state = State::Draining;
        }
    }

    /// Stops an instance: its stdin is closed, the rest follows from that.
    pub fn stop(&mut self, key: InstanceKey, why: &str) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.state != State::Stopping {
            tracing::info!(server = self.config.name, instance = instance.serial, why, "stopping");
            instance.state = State::Stopping;
            instance.outbox.close();
        }
    }

    /// Notes that an instance became ready: starts of its profile are not backed off from any more.
    pub fn opened(&mut self, profile: &Profile) {
        self.failures.remove(profile);
    }

    /// Notes a failed start and refuses the calls that waited for it.
    pub fn failed(&mut self, profile: &Profile, detail: &str) -> Vec<(CallKey, Error)> {
        let now = Instant::now();
        let count = self.failures.get(profile).map_or(0, |failure| failure.count).saturating_add(1);
        let pause = BACKOFF.0.saturating_mul(1 << (count - 1).min(7)).min(BACKOFF.1);
        let until = now + pause.mul_f64(self.starter.jitter());
        tracing::warn!(server = self.config.name, detail, retry_in = ?until - now, "could not be started");
        let failure = Failure { count, until, detail: detail.to_owned() };
        let error = self.start_failed(&failure, now);
        self.failures.retain(|_, failure| now < failure.until + BACKOFF.1);
        if self.failures.len() < FAILURES {
            self.failures.insert(profile.clone(), failure);
        }
        // Another instance may serve them all the same.
        let served = |need: &Need| {
            self.instances.values().any(|instance| instance.state == State::Ready && instance.serves(need))
        };
        self.queue
            .remove_where(|ticket| ticket.need.profile == *profile && !served(&ticket.need))
            .into_iter()
            .map(|ticket| (ticket.call, error.clone()))
            .collect()
    }

    /// How many instances count against `instances.max`: those that are not on their way out.
    pub fn living(&self) -> usize {
        self.instances.values().filter(|instance| instance.alive()).count()
    }

    fn backs_off(&self, profile: &Profile) -> bool {
        self.failures.get(profile).is_some_and(|failure| Instant::now() < failure.until)
    }

    fn start_failed(&self, failure: &Failure, now: Instant) -> Error {
        let retry = Some(failure.until.saturating_duration_since(now));
        Error::StartFailed { server: self.config.name.clone(), detail: failure.detail.clone(), retry }
    }

    fn views<'a>(
        &'a self,
        caller: CallerKey,
        need: &'a Need,
        last: Option<InstanceKey>,
    ) -> impl Iterator<Item = View> + Clone + 'a {
        self.instances
            .iter()
            .map(move |(key, instance)| instance.view(key, caller, need, last == Some(key), &self.config))
    }

    fn situation(&self, need: &Need, waited: Duration) -> Situation {
        Situation {
            max: self.config.instances.max,
            living: self.living(),
            processes: self.instances.len(),
            concurrency: self.config.concurrency,
            alone: need.lease != Lease::Shared,
            waiting: self.queue.count(|ticket| ticket.need.is_like(need)),
            waited,
        }
    }
}
