//! Called by `mux` for every call: the instances of one server, the queue before them and their limits. The
//! pool knows calls by their key and what they need, not what they say.

pub mod ending;
pub mod handshake;
pub mod instance;
pub mod launch;
pub mod lease;
pub mod mishap;
pub mod pending;
pub mod pick;
pub mod process;
pub mod queue;
pub mod quote;
pub mod reason;
pub mod recycle;
pub mod say;
pub mod setbacks;
pub mod stderr;
pub mod tail;
pub mod ties;
pub mod view;

use std::rc::Rc;
use std::time::Duration;

use slotmap::SlotMap;

use crate::clock;
use crate::config::{self, WhenFull};
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::metrics::ServerMetrics;
use instance::{Instance, State};
use launch::Starter;
use lease::{Evidence, Lease, Need};
use mishap::Mishap;
use pick::{Pick, Situation};
use queue::{Queue, Ticket};
use quote::Secrets;
use reason::{StartReason, StopReason};
use setbacks::{Failure, Setbacks};
use tail::Tail;
use view::View;

/// How long a call waits before a busy instance of another profile is asked to give way.
pub const GIVE_WAY: Duration = Duration::from_secs(1);

/// The instances of one server.
pub struct Pool {
    pub id: ServerId,
    pub config: Rc<config::Server>,
    pub instances: SlotMap<InstanceKey, Instance>,
    pub queue: Queue,
    pub metrics: Rc<ServerMetrics>,
    starter: Starter,
    pub setbacks: Setbacks,
    /// Processes started since the daemon started.
    pub started: u64,
    /// What happened to it last.
    pub mishap: Option<Mishap>,
    /// What the table of published servers says of it.
    known: Option<config::Known>,
    /// What must not be seen of what the server says.
    secrets: Rc<Secrets>,
}

impl Pool {
    /// A pool without instances.
    pub fn new(id: ServerId, config: Rc<config::Server>, starter: Starter) -> Pool {
        let known = config.known();
        let secrets = secrets(&config);
        let (instances, queue, setbacks) = (SlotMap::with_key(), Queue::default(), Setbacks::new(config.backoff));
        let metrics = starter.metrics.server(&config.name);
        Pool { id, config, instances, queue, metrics, starter, setbacks, started: 0, mishap: None, known, secrets }
    }

    /// Starts its instances in another way from now on.
    pub fn start_with(&mut self, starter: Starter) {
        self.starter = starter;
    }

    /// Is treated in another way from now on; instances that are more than may be are drained.
    pub fn adjust(&mut self, config: Rc<config::Server>) {
        self.secrets = secrets(&config);
        self.setbacks.backoff = config.backoff;
        self.config = config;
        let mut alive: Vec<(usize, InstanceKey)> = Vec::new();
        alive.extend(
            self.instances
                .iter()
                .filter(|(_, one)| one.alive() && !one.temporary)
                .map(|(key, one)| (one.pending.len(), key)),
        );
        alive.sort_unstable();
        let surplus = alive.len().saturating_sub(self.config.instances.max);
        alive.into_iter().take(surplus).for_each(|(_, key)| self.drain(key, StopReason::Surplus));
    }

    /// The lease that callers of a profile get, and why. `has_asked` says that the server was seen to ask.
    pub fn lease(&self, profile: &Profile, has_asked: bool) -> (Lease, lease::Why) {
        lease::lease(self.config.lease, Evidence { known: self.known, has_asked }, profile.answers_asks())
    }

    /// What can be done at once for a call that just came: the fast path. Nobody overtakes those who wait.
    pub fn pick_now(&self, caller: CallerKey, need: &Need, last: Option<InstanceKey>) -> Pick {
        let situation = self.situation(need, 1, Duration::ZERO);
        match pick::pick(self.views(caller, need, last), &situation) {
            Pick::Use(_) if !self.queue.is_empty() => Pick::Wait,
            pick => pick,
        }
    }

    /// Whether what a call waits for is that others are done. What waits for a start has its place in the instance that is
    /// started, and takes none in the queue.
    pub fn is_full_for(&self, picked: Pick, caller: CallerKey, need: &Need) -> bool {
        match picked {
            Pick::Full => true,
            Pick::Start | Pick::Overflow | Pick::Replace(_) if self.setbacks.back_off(&need.profile) => true,
            // One that serves a caller alone takes so many of its calls.
            _ if need.lease != Lease::Shared && self.queue.of(caller) >= self.config.concurrency => true,
            // More would not find a place there, whatever has to end first.
            _ => self.queue.count(|ticket| !ticket.full) >= self.config.most_calls(),
        }
    }

    /// Lets a call wait for an instance. If it takes the place of another call, that one is returned.
    ///
    /// # Errors
    /// `pool_exhausted` if the queue is full, `start_failed` while a failed start is being backed off from.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Option<CallKey>, Error> {
        if let Some(failure) = self.setbacks.of(&ticket.need.profile).filter(|_| !self.has_alive(&ticket.need)) {
            return Err(self.start_failed(failure));
        }
        let mut crowded_out = None;
        if ticket.full && self.queue.count(|ticket| ticket.full) >= self.config.queue.size {
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
            let leisurely = ticket.leisurely;
            let situation = self.situation(&need, 0, waited);
            let picked = pick::pick(self.views(caller, &need, last_of(caller)), &situation);
            match picked {
                Pick::Use(key) => {
                    self.queue.pop(caller);
                    return Some((call, key));
                }
                Pick::Start | Pick::Overflow | Pick::Replace(_) if self.setbacks.back_off(&need.profile) => {}
                Pick::Start | Pick::Overflow | Pick::Replace(_) | Pick::GiveWay(_)
                    if leisurely && self.has_alive(&need) => {}
                Pick::Start => drop(self.start(caller, &need, StartReason::Call)),
                Pick::Overflow => {
                    let key = self.start(caller, &need, StartReason::Overflow);
                    self.instances[key].temporary = true;
                    self.metrics.overflowed();
                }
                Pick::Replace(key) => self.stop(key, StopReason::GivesWay),
                Pick::GiveWay(key) => self.drain(key, StopReason::GivesWay),
                Pick::Wait | Pick::Full => {}
            }
        }
        None
    }

    /// Starts an instance for a caller. What becomes of it is told through the starter's events.
    pub fn start(&mut self, caller: CallerKey, need: &Need, why: StartReason) -> InstanceKey {
        self.started += 1;
        self.metrics.started(why.word());
        self.starter.metrics.sharing.started();
        let (config, id, serial) = (self.config.clone(), self.id, self.started);
        let written = self.starter.metrics.bytes.to_servers.clone();
        let new = |key| Instance::new(InstanceRef { server: id, key }, serial, need, caller, written);
        let key = self.instances.insert_with_key(new);
        let jitter = self.starter.jitter();
        let instance = &mut self.instances[key];
        instance.lifespan = jitter;
        instance.stderr = Tail::keeping(self.secrets.clone());
        instance.open();
        tracing::info!(
            server = config.name,
            instance = instance.serial,
            era = need.profile.era().as_str(),
            why = why.text(),
            "starting"
        );
        self.starter.start(config, instance);
        key
    }

    /// Notes a failed start and refuses the calls that waited for it.
    pub fn failed(&mut self, profile: &Profile, detail: &str) -> Vec<(CallKey, Error)> {
        let failure = self.setbacks.failed(profile, detail, self.starter.jitter());
        let retry_in = failure.until.saturating_duration_since(clock::now());
        tracing::warn!(server = self.config.name, detail, retry_in = %clock::rounded(retry_in), "could not be started");
        self.metrics.start_failed();
        let error = self.start_failed(&failure);
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

    /// Notes that an instance ended by itself.
    pub fn crashed(&mut self) {
        self.setbacks.crashed(self.starter.jitter());
    }

    /// How many instances count against `instances.max`: those that are not on their way out.
    pub fn living(&self) -> usize {
        self.instances.values().filter(|instance| instance.alive() && !instance.temporary).count()
    }

    /// Whether an instance that was opened with a profile takes calls.
    pub fn has_ready(&self, profile: &Profile) -> bool {
        self.instances.values().any(|instance| instance.state == State::Ready && instance.profile == *profile)
    }

    /// Whether an instance serves a need, now or soon.
    pub fn has_alive(&self, need: &Need) -> bool {
        self.instances.values().any(|instance| instance.serves(need) && instance.alive())
    }

    fn start_failed(&self, failure: &Failure) -> Error {
        let retry = Some(failure.until.saturating_duration_since(clock::now()));
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

    /// How the pool is for a call. `newcomers`: how many of those who need the like are not in the queue yet.
    fn situation(&self, need: &Need, newcomers: usize, waited: Duration) -> Situation {
        let temporary = self.instances.values().filter(|instance| instance.temporary).count();
        let overflow = if self.config.when_full == WhenFull::Overflow { self.config.instances.overflow } else { 0 };
        Situation {
            max: self.config.instances.max,
            living: self.living(),
            processes: self.instances.len() - temporary,
            concurrency: self.config.concurrency,
            alone: need.lease != Lease::Shared,
            waiting: self.queue.count(|ticket| ticket.need.is_like(need)) + newcomers,
            waited,
            spare: overflow.saturating_sub(temporary),
        }
    }
}

fn secrets(config: &config::Server) -> Rc<Secrets> {
    Rc::new(Secrets::of(config, &|name| config.surroundings.variable(name)))
}
