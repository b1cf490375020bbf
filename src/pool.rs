//! Kept for each server, and called by `mux` for every call: the instances of one server, the queue before them and
//! their limits. The pool knows a call by its key and its need, not by what it says.

pub mod asks;
pub mod elicitations;
pub mod ending;
pub mod handshake;
pub mod health;
pub mod instance;
mod lately;
pub mod launch;
pub mod lease;
pub mod mishap;
pub mod need;
pub mod newcomers;
pub mod pending;
pub mod pick;
pub mod placing;
pub mod process;
pub mod queue;
pub mod quote;
pub mod reason;
pub mod recycle;
pub mod say;
pub mod setbacks;
pub mod sizes;
pub mod stderr;
pub mod tail;
pub mod ties;
pub mod view;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slotmap::SlotMap;

use crate::catalogue::seen::Seen;
use crate::clock;
use crate::config::{self, LeaseChoice};
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::metrics::ServerMetrics;
use instance::{Instance, State};
use launch::Starter;
use lease::{Evidence, Lease};
use mishap::Mishap;
use need::{Need, Told};
use newcomers::Newcomers;
use queue::Queue;
use quote::Secrets;
use reason::{StartReason, StopReason};
use setbacks::{Failure, Setbacks};
use tail::Tail;

/// How long a call waits before a busy instance of another profile is asked to give way.
pub const GIVE_WAY: Duration = Duration::from_secs(1);

/// So much of the machine's memory is left alone, in bytes, when an instance of another kind could give way instead.
const MEMORY_RESERVE: u64 = 256 << 20;

/// The instances of one server.
pub struct Pool {
    pub id: ServerId,
    pub config: Rc<config::Server>,
    pub instances: SlotMap<InstanceKey, Instance>,
    pub queue: Queue,
    pub metrics: Rc<ServerMetrics>,
    starter: Starter,
    pub setbacks: Setbacks,
    /// Which kinds of clients were met before.
    newcomers: Newcomers,
    /// The machine has no memory for another instance.
    memory_is_short: bool,
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
        let newcomers = Newcomers::new(config.rate_limit.kinds);
        Pool {
            id,
            config,
            instances,
            queue,
            metrics,
            starter,
            setbacks,
            newcomers,
            memory_is_short: false,
            started: 0,
            mishap: None,
            known,
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
        self.setbacks.backoff = config.backoff;
        self.config = config;
        self.newcomers.allow(self.config.rate_limit.kinds);
        let living = self.instances.iter().filter(|(_, one)| one.alive() && !one.temporary);
        let mut living: Vec<(usize, InstanceKey)> = living.map(|(key, one)| (one.pending.len(), key)).collect();
        // The busiest stay.
        living.sort_unstable_by_key(|(busy, key)| (std::cmp::Reverse(*busy), *key));
        let limits = self.config.instances;
        let most = limits.most(self.config.lease != LeaseChoice::Shared);
        let (mut kept, mut total) = (HashMap::<Told, usize>::new(), 0);
        for (_, key) in living {
            let of_kind = kept.entry(self.instances[key].told()).or_default();
            if *of_kind >= most || total >= limits.total {
                self.drain(key, StopReason::Surplus);
            } else {
                (*of_kind, total) = (*of_kind + 1, total + 1);
            }
        }
    }

    /// Notes that an instance opened: its kind of client is known from now on, and starts for it go well.
    pub fn opened(&mut self, key: InstanceKey) {
        if let Some(instance) = self.instances.get(key) {
            self.setbacks.opened(&instance.profile);
            self.newcomers.met(&instance.told());
        }
    }

    /// Notes how much memory the machine has left: whether another instance like those that run fits in.
    pub fn memory_left(&mut self, left: Option<u64>) {
        let largest = self.instances.values().map(|instance| instance.memory).max().unwrap_or(0);
        self.memory_is_short = left.is_some_and(|left| left < largest.saturating_add(MEMORY_RESERVE));
    }

    /// Returns the lease that callers of a profile get, and why. `seen` says what was seen of the server.
    pub fn lease(&self, profile: &Profile, seen: Seen) -> (Lease, lease::Why) {
        lease::lease(self.config.lease, Evidence { known: self.known, seen }, profile.answers_asks())
    }

    /// Starts an instance for a caller. What becomes of it is told through the starter's events.
    pub fn start(&mut self, caller: CallerKey, need: &Need, why: StartReason) -> InstanceKey {
        self.started += 1;
        self.metrics.started(why.word());
        self.starter.metrics.sharing.started();
        let (config, id, serial) = (self.config.clone(), self.id, self.started);
        let outbox = self.starter.outbox();
        let speaker = self.metrics.unheard.clone();
        let new = |key| Instance::new(InstanceRef { server: id, key }, serial, need, caller, (outbox, speaker));
        let key = self.instances.insert_with_key(new);
        let jitter = self.starter.jitter();
        let instance = &mut self.instances[key];
        instance.lifespan = jitter;
        instance.stderr = Tail::keeping(self.secrets.clone());
        instance.open();
        tracing::info!(
            server = config.name,
            instance = instance.serial,
            era = need.profile().era().as_str(),
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
        let Pool { instances, queue, .. } = self;
        let served =
            |told: &Told| instances.values().any(|instance| instance.state == State::Ready && instance.serves(told));
        queue
            .remove_needing(|told| told.profile == *profile && !served(told))
            .into_iter()
            .map(|ticket| (ticket.call, error.clone()))
            .collect()
    }

    /// Notes that an instance ended by itself.
    pub fn crashed(&mut self) {
        self.setbacks.crashed(self.starter.jitter());
    }

    /// Returns how many instances are not on their way out, temporary ones not counted.
    pub fn living(&self) -> usize {
        self.instances.values().filter(|instance| instance.alive() && !instance.temporary).count()
    }

    /// Returns whether an instance that was opened with a profile takes calls.
    pub fn has_ready(&self, profile: &Profile) -> bool {
        self.instances.values().any(|instance| instance.state == State::Ready && instance.profile == *profile)
    }

    /// Returns whether an instance that was opened with another profile takes calls.
    pub fn has_ready_for_others(&self, profile: &Profile) -> bool {
        self.instances.values().any(|instance| instance.state == State::Ready && instance.profile != *profile)
    }

    /// Returns whether there is an instance that was told this, or will be soon.
    pub fn has_alive(&self, told: &Told) -> bool {
        self.instances.values().any(|instance| instance.serves(told) && instance.alive())
    }

    fn start_failed(&self, failure: &Failure) -> Error {
        let retry = Some(failure.until.saturating_duration_since(clock::now()));
        Error::StartFailed { server: self.config.name.clone(), detail: failure.detail.clone(), retry }
    }
}

fn secrets(config: &config::Server) -> Rc<Secrets> {
    Rc::new(Secrets::of(config, &|name| config.surroundings.variable(name)))
}
