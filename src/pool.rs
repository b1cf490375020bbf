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
pub mod quote;
pub mod reason;
pub mod recycle;
pub mod say;
pub mod stderr;
pub mod ties;
pub mod view;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slotmap::SlotMap;
use tokio::time::Instant;

use crate::config::{self, WhenFull};
use crate::era::profile::Profile;
use crate::error::Error;
use crate::guard::backoff::Backoff;
use crate::metrics::ServerMetrics;
use crate::reply::{CallKey, CallerKey};
use instance::{Instance, InstanceKey, InstanceRef, ServerId, State};
use launch::Starter;
use lease::{Lease, Need};
use pick::{Pick, Situation};
use queue::{Queue, Ticket};
use quote::Secrets;
use reason::{StartReason, StopReason};
use stderr::Tail;
use view::View;

/// The pause after a start that failed, or after instances that ended by themselves.
const BACKOFF: Backoff = Backoff { least: Duration::from_millis(250), most: Duration::from_secs(30) };
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
    pub metrics: Rc<ServerMetrics>,
    starter: Starter,
    /// Failed starts, by what the server was told: what one kind of client causes is not held against others.
    failures: HashMap<Profile, Failure>,
    /// Instances that ended by themselves since the server answered last, and until when no other is started.
    crashes: u32,
    rests_until: Option<Instant>,
    /// Processes started since the daemon started.
    pub started: u64,
    stateful: Option<&'static str>,
    /// What must not be seen of what the server says.
    secrets: Rc<Secrets>,
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
        let secrets = secrets(&config);
        let (instances, queue, failures) = (SlotMap::with_key(), Queue::default(), HashMap::new());
        let metrics = starter.metrics.server(&config.name);
        let (crashes, rests_until) = (0, None);
        Pool {
            id,
            config,
            instances,
            queue,
            metrics,
            starter,
            failures,
            crashes,
            rests_until,
            started: 0,
            stateful,
            secrets,
        }
    }

    /// Starts its instances in another way from now on.
    pub fn start_with(&mut self, starter: Starter) {
        self.starter = starter;
    }

    /// Is treated in another way from now on; instances that are more than may be are drained.
    pub fn adjust(&mut self, config: Rc<config::Server>) {
        self.secrets = secrets(&config);
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
        lease::lease(self.config.lease, self.stateful, has_asked && profile.answers_asks())
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
            Pick::Start | Pick::Overflow | Pick::Replace(_) if self.backs_off(&need.profile) => true,
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
        let now = Instant::now();
        if let Some(failure) = self.failures.get(&ticket.need.profile).filter(|failure| now < failure.until)
            && !self.has_alive(&ticket.need)
        {
            return Err(self.start_failed(failure, now));
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
                Pick::Start | Pick::Overflow | Pick::Replace(_) if self.backs_off(&need.profile) => {}
                Pick::Start | Pick::Overflow if leisurely && self.has_alive(&need) => {}
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

    /// Lets an instance finish what it has, the tasks that live in it among that, and then stops it.
    pub fn drain(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.pending.callers() == 0 && !instance.is_irreplaceable() {
            self.stop(key, why);
        } else {
            self.mark_draining(key, why);
        }
    }

    /// Lets an instance take nothing new.
    pub fn mark_draining(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if !matches!(instance.state, State::Draining | State::Stopping) {
            tracing::info!(server = self.config.name, instance = instance.serial, why = why.text(), "draining");
            instance.state = State::Draining;
            instance.leaves = Some(why);
            instance.drained_since = Some(Instant::now());
        }
    }

    /// Lets an instance take calls again that was to end for others' sake, if what it still does takes long and calls wait
    /// meanwhile that nobody else serves; when to look again.
    pub fn take_back(&mut self, key: InstanceKey, now: Instant) -> Option<Instant> {
        let instance = self.instances.get(key).filter(|instance| instance.state == State::Draining)?;
        let since = instance.drained_since.filter(|_| instance.leaves.is_some_and(StopReason::is_for_others))?;
        // Whoever waits for it is not to run out of time.
        let patience = self.config.queue.timeout / 2;
        if now < since + patience {
            return Some(since + patience);
        }
        let waits = |ticket: &Ticket| instance.serves(&ticket.need) && !self.has_alive(&ticket.need);
        if self.queue.count(waits) == 0 {
            return Some(now + GIVE_WAY);
        }
        tracing::info!(server = self.config.name, instance = instance.serial, "goes on: what it does takes long");
        let instance = &mut self.instances[key];
        (instance.state, instance.leaves, instance.drained_since) = (State::Ready, None, None);
        (instance.stays_until, instance.worn_since) = (Some(now + patience), None);
        None
    }

    /// Stops an instance that was drained and has finished what it had.
    pub fn stop_drained(&mut self, key: InstanceKey) {
        if let Some(why) = self.instances.get(key).and_then(|instance| instance.leaves) {
            self.stop(key, why);
        }
    }

    /// Stops an instance: its stdin is closed, the rest follows from that.
    pub fn stop(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.state != State::Stopping {
            tracing::info!(server = self.config.name, instance = instance.serial, why = why.text(), "stopping");
            self.metrics.stopped(why.word());
            instance.state = State::Stopping;
            instance.leaves = Some(why);
            instance.outbox.close();
        }
    }

    /// Forgets an instance whose process is gone.
    pub fn buried(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.remove(key) else { return };
        tracing::info!(
            server = self.config.name,
            instance = instance.serial,
            why = instance.leaves.map(StopReason::text),
            calls = instance.served,
            age = ?instance.born.elapsed(),
            "stopped"
        );
    }

    /// Notes that an instance became ready: starts of its profile are not backed off from any more.
    pub fn opened(&mut self, profile: &Profile) {
        self.failures.remove(profile);
    }

    /// Notes a failed start and refuses the calls that waited for it.
    pub fn failed(&mut self, profile: &Profile, detail: &str) -> Vec<(CallKey, Error)> {
        let now = Instant::now();
        let count = self.failures.get(profile).map_or(0, |failure| failure.count).saturating_add(1);
        let until = now + BACKOFF.pause(count, self.starter.jitter());
        tracing::warn!(server = self.config.name, detail, retry_in = ?until - now, "could not be started");
        self.metrics.start_failed();
        let failure = Failure { count, until, detail: detail.to_owned() };
        let error = self.start_failed(&failure, now);
        self.failures.retain(|_, failure| now < failure.until + BACKOFF.most);
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

    /// Notes that an instance ended by itself. The first one is replaced at once; if others follow before anything was
    /// answered, they are backed off from, and calls wait meanwhile.
    pub fn crashed(&mut self) {
        self.rests_until =
            (self.crashes > 0).then(|| Instant::now() + BACKOFF.pause(self.crashes, self.starter.jitter()));
        self.crashes = self.crashes.saturating_add(1);
    }

    /// Notes that the server answered a call.
    pub fn answered(&mut self) {
        (self.crashes, self.rests_until) = (0, None);
    }

    /// Until when no instance is started, because the last ones ended by themselves.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Forgets why starts are backed off from: the operator knows better.
    pub fn forgive(&mut self) {
        self.failures.clear();
        self.answered();
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
    fn has_alive(&self, need: &Need) -> bool {
        self.instances.values().any(|instance| instance.serves(need) && instance.alive())
    }

    /// Whether no instance for a profile is to be started now.
    pub fn backs_off(&self, profile: &Profile) -> bool {
        let now = Instant::now();
        self.rests_until.is_some_and(|until| now < until)
            || self.failures.get(profile).is_some_and(|failure| now < failure.until)
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
    Rc::new(Secrets::of(config, &|name| std::env::var_os(name)))
}
