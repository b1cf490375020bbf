//! Called by `endpoint` with what callers say and by instances with what they answer: the story of a call, with callers
//! above, pools below, and in between everything that has to know both. Both end in a method of [`Mux`], which runs to
//! its end without waiting. What one part wants of a call that another part has in hand is posted (`todo`) and done
//! before the turn ends. A call that must wait stands somewhere as data, with a deadline: see [`call::Place`].

pub mod alarm;
pub mod asks;
pub mod backlog;
pub mod bridge;
pub mod call;
pub mod callers;
#[cfg(debug_assertions)]
pub mod check;
pub mod complete;
pub mod drain;
pub mod errand;
pub mod flight;
pub mod gate;
pub mod heard;
pub mod instances;
pub mod introduce;
mod listed;
pub mod listen;
pub mod lists;
pub mod log;
pub mod measure;
pub mod notified;
pub mod offer;
mod own_roots;
pub mod owned;
pub mod pins;
pub mod probe;
mod readable;
pub mod recycle;
pub mod reload;
pub mod repeat;
pub mod request;
pub mod restart;
pub mod retire;
pub mod route;
pub mod servers;
pub mod starting;
pub mod states;
pub mod status;
pub mod subscriptions;
pub mod sweep;
pub mod todo;
pub mod tokens;
mod turn;
mod verdict;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use slotmap::{SecondaryMap, SlotMap};

use crate::alarm::Alarm;
use crate::caller::Caller;
use crate::caller::endpoint::Endpoint;
use crate::catalogue::collisions::Collisions;
use crate::clock::Turn;
use crate::config::Config;
use crate::guard::principal::Principal;
use crate::guard::share::{Share, Shares};
use crate::guard::total::Total;
use crate::key::{CallKey, CallerKey, InstanceRef};
use crate::metrics::Metrics;
use crate::pool::instance::Instance;
use crate::pool::launch::{End, Events, Launcher, Starter};
use crate::wire::frame::{Line, Scratch};
use crate::wire::outbox::Outbox;
use backlog::Backlog;
use bridge::Held;
use call::Call;
use listen::Listener;
use reload::InForce;
use servers::Server;
use todo::Todos;
use tokens::Tokens;

/// Everything that is connected, running and on its way.
pub struct Mux {
    pub config: Rc<Config>,
    pub metrics: Rc<Metrics>,
    pub scratch: Scratch,
    callers: SlotMap<CallerKey, Caller>,
    /// Behind pointers, since a call is handed on more often than it is looked into.
    calls: SlotMap<CallKey, Box<Call>>,
    /// Open `subscriptions/listen` of callers, by their call.
    listeners: SecondaryMap<CallKey, Listener>,
    /// By `ServerId`: those that are configured, and those that a reload took away and that have something left to do.
    servers: Vec<Server>,
    /// What callers can connect to.
    endpoints: Vec<Rc<Endpoint>>,
    /// What the pools of new servers need.
    starter: Starter,
    /// Where the catalogue is kept.
    catalogue: Option<PathBuf>,
    in_force: InForce,
    /// Calls whose modern callers are to come back.
    held: Held,
    /// What later servers have and earlier ones show.
    collisions: Collisions,
    /// What is done in slices.
    backlog: Backlog,
    alarm: Rc<Alarm>,
    /// What the turn still owes.
    todo: Todos,
    random: Rc<RefCell<fastrand::Rng>>,
    /// Seals what callers are given to come back with.
    tokens: Tokens,
    /// Nothing new is begun; what runs may end, and is so much.
    draining: Option<usize>,
    /// What callers share: calls in flight, memory, rates.
    shares: Shares,
    /// Nothing goes on either.
    ending: bool,
    /// Notified while draining when the last call is over.
    pub drained: Rc<tokio::sync::Notify>,
    /// Notified when the last process is gone.
    pub quiet: Rc<tokio::sync::Notify>,
}

/// The multiplexer, shared by the tasks that bring lines in. Each borrows it for one message.
#[derive(Clone)]
pub struct Handle(Rc<RefCell<Mux>>);

/// What a multiplexer is made of.
pub struct Parts {
    pub config: Rc<Config>,
    pub launcher: Rc<dyn Launcher>,
    /// Where the catalogue is kept; nowhere if `None`.
    pub catalogue: Option<PathBuf>,
    /// Seeds jitter and names; the same seed gives the same run.
    pub seed: u64,
    /// Seals what callers are given to come back with. Nobody else may know it.
    pub key: [u8; 32],
}

impl Handle {
    /// A multiplexer without callers and without processes.
    pub fn new(parts: Parts) -> Handle {
        let random = Rc::new(RefCell::new(fastrand::Rng::with_seed(parts.seed)));
        let metrics = Rc::new(Metrics::default());
        let mux = Rc::new_cyclic(|me: &Weak<RefCell<Mux>>| {
            let starter = Starter {
                line: parts.config.limits.line,
                backlog: parts.config.limits.backlog,
                launcher: parts.launcher,
                events: Rc::new(Ears(me.clone())),
                scratch: Scratch::default(),
                message: parts.config.limits.message,
                random: random.clone(),
                metrics: metrics.clone(),
            };
            let shares = Shares::new(crate::caller::own_user(), &parts.config.limits);
            let alarm = Rc::<Alarm>::default();
            let mut mux = Mux {
                servers: Vec::new(),
                endpoints: Vec::new(),
                in_force: InForce::new(&parts.config),
                config: parts.config.clone(),
                metrics,
                scratch: starter.scratch.clone(),
                starter,
                catalogue: parts.catalogue,
                callers: SlotMap::with_key(),
                calls: SlotMap::with_key(),
                listeners: SecondaryMap::new(),
                held: Held::default(),
                collisions: Collisions::default(),
                tokens: Tokens::new(parts.key),
                backlog: Backlog::default(),
                alarm,
                todo: Todos::default(),
                random,
                draining: None,
                shares,
                ending: false,
                drained: Rc::default(),
                quiet: Rc::default(),
            };
            for server in &parts.config.servers {
                mux.admit_server(Rc::new(server.clone()));
            }
            mux.endpoints = parts.config.endpoints.iter().map(|endpoint| mux.endpoint(endpoint)).collect();
            RefCell::new(mux)
        });
        let handle = Handle(mux);
        alarm::keep(&handle);
        backlog::keep(&handle);
        handle
    }

    /// Runs `work` with the multiplexer. Nothing inside may call back into the handle.
    pub fn with<T>(&self, work: impl FnOnce(&mut Mux) -> T) -> T {
        let _turn = Turn::begin();
        self.0.borrow_mut().turn(work)
    }

    /// Returns what somebody has of all that callers share.
    pub fn share_of(&self, principal: Principal) -> Share {
        self.0.borrow().shares.of(principal)
    }

    /// Returns another total that callers share.
    pub fn total(&self, limit: usize) -> Total {
        self.0.borrow().shares.total(limit)
    }
}

/// What instances call when they have something to say.
struct Ears(Weak<RefCell<Mux>>);

impl Ears {
    fn with(&self, work: impl FnOnce(&mut Mux)) {
        if let Some(mux) = self.0.upgrade() {
            let _turn = Turn::begin();
            mux.borrow_mut().turn(work);
        }
    }
}

impl Events for Ears {
    fn started(&self, at: InstanceRef, pid: Option<u32>) {
        self.with(|mux| {
            if let Some(instance) = mux.instance_mut(at) {
                instance.pid = pid;
                instance.launched = true;
            }
        });
    }

    fn line(&self, at: InstanceRef, line: Line) {
        self.with(|mux| mux.heard(at, line));
    }

    fn waits_for(&self, at: InstanceRef) -> Option<Outbox> {
        let mux = self.0.upgrade()?;
        let mux = mux.borrow();
        // What it answers would gather here, where in a pipe it would have waited.
        let outbox = &mux.callers.get(mux.instance(at)?.pending.only()?)?.outbox;
        outbox.is_behind().then(|| outbox.clone())
    }

    fn deaf(&self, at: InstanceRef) {
        self.with(|mux| mux.instance_deaf(at));
    }

    fn ended(&self, at: InstanceRef) {
        self.with(|mux| mux.instance_ended(at));
    }

    fn gone(&self, at: InstanceRef, how: End) {
        self.with(|mux| mux.instance_gone(at, &how));
    }

    fn buried(&self, at: InstanceRef) {
        self.with(|mux| mux.instance_buried(at));
    }
}

impl Mux {
    pub(crate) fn instance(&self, at: InstanceRef) -> Option<&Instance> {
        self.server(at.server).pool.instances.get(at.key)
    }

    pub(crate) fn instance_mut(&mut self, at: InstanceRef) -> Option<&mut Instance> {
        self.server_mut(at.server).pool.instances.get_mut(at.key)
    }
}
