//! The story of a call: callers above, pools below, and in between everything that has to know both. `caller`
//! brings requests in, instances bring answers back; both end in a method of [`Mux`], which runs to its end
//! without waiting. Whatever must wait stands somewhere as data, with a deadline: see [`call::Place`].

pub mod alarm;
pub mod ask;
pub mod bridge;
pub mod call;
pub mod callers;
pub mod catalogue;
pub mod complete;
pub mod errand;
pub mod flight;
pub mod gate;
pub mod heard;
pub mod instances;
pub mod introduce;
pub mod listen;
pub mod lists;
pub mod log;
pub mod names;
pub mod notified;
pub mod offer;
pub mod owned;
pub mod probe;
pub mod recycle;
pub mod repeat;
pub mod request;
pub mod roots;
pub mod route;
pub mod status;
pub mod subscribe;
pub mod sweep;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use slotmap::{SecondaryMap, SlotMap};

use crate::config::{self, Config};
use crate::guard::inflight::InFlight;
use crate::metrics::Counters;
use crate::pool::Pool;
use crate::pool::instance::{Instance, InstanceRef, ServerId};
use crate::pool::launch::{Events, Launcher, Starter};
use crate::reply::{CallKey, CallerKey};
use crate::wire::frame::{Line, Scratch};
use alarm::Alarm;
use bridge::Held;
use call::Call;
use callers::Caller;
use catalogue::Catalogue;
use gate::Gate;
use listen::{Listener, Upstream};
use owned::Owned;
use subscribe::Orphan;

/// Everything that is connected, running and on its way.
pub struct Mux {
    pub config: Rc<Config>,
    pub counters: Rc<Counters>,
    pub scratch: Scratch,
    callers: SlotMap<CallerKey, Caller>,
    calls: SlotMap<CallKey, Call>,
    /// Open `subscriptions/listen` of callers, by their call.
    listeners: SecondaryMap<CallKey, Listener>,
    servers: Vec<Server>,
    /// Calls whose modern callers are to come back.
    held: Held,
    alarm: Rc<Alarm>,
    random: Rc<RefCell<fastrand::Rng>>,
    /// Tells request states of this daemon from those of an earlier one.
    epoch: String,
    draining: bool,
    /// Bounds the calls of all callers.
    in_flight: InFlight,
    /// Notified when the last process is gone.
    pub quiet: Rc<tokio::sync::Notify>,
}

/// One configured server with all that is known of it.
pub struct Server {
    pub config: Rc<config::Server>,
    pub gate: Gate,
    pub pool: Pool,
    pub catalogue: Catalogue,
    /// The merged `subscriptions/listen`.
    pub upstream: Upstream,
    /// Tasks and elicitations that belong to one caller.
    pub owned: Owned,
    /// Subscriptions whose instance is gone.
    orphans: Vec<Orphan>,
    /// When subscriptions were taken over last.
    taken_over: Option<tokio::time::Instant>,
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
    /// Seals the request states of held calls. Nobody else may know it.
    pub key: [u8; 32],
}

impl Handle {
    /// A multiplexer without callers and without processes.
    pub fn new(parts: Parts) -> Handle {
        let random = Rc::new(RefCell::new(fastrand::Rng::with_seed(parts.seed)));
        let mux = Rc::new_cyclic(|me: &Weak<RefCell<Mux>>| {
            let starter = Starter {
                launcher: parts.launcher,
                events: Rc::new(Ears(me.clone())),
                scratch: Scratch::default(),
                message: parts.config.limits.message,
                random: random.clone(),
            };
            let alarm = Rc::<Alarm>::default();
            let server = |(index, config): (usize, &config::Server)| {
                let config = Rc::new(config.clone());
                Server {
                    gate: Gate::new(&config),
                    pool: Pool::new(ServerId(index), config.clone(), starter.clone()),
                    catalogue: Catalogue::load(parts.catalogue.as_deref(), &config, alarm.clone()),
                    upstream: Upstream::default(),
                    owned: Owned::default(),
                    orphans: Vec::new(),
                    taken_over: None,
                    config,
                }
            };
            let in_flight = parts.config.limits.in_flight_total;
            let epoch = format!("{:08x}", random.borrow_mut().u32(..));
            RefCell::new(Mux {
                servers: parts.config.servers.iter().enumerate().map(server).collect(),
                config: parts.config,
                counters: Rc::default(),
                scratch: starter.scratch.clone(),
                callers: SlotMap::with_key(),
                calls: SlotMap::with_key(),
                listeners: SecondaryMap::new(),
                held: Held::new(parts.key),
                alarm,
                random,
                epoch,
                draining: false,
                in_flight: InFlight::new(in_flight),
                quiet: Rc::default(),
            })
        });
        let handle = Handle(mux);
        alarm::keep(&handle);
        handle
    }

    /// Runs `work` with the multiplexer. Nothing inside may call back into the handle.
    pub fn with<T>(&self, work: impl FnOnce(&mut Mux) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

/// What instances call when they have something to say.
struct Ears(Weak<RefCell<Mux>>);

impl Ears {
    fn with(&self, work: impl FnOnce(&mut Mux)) {
        if let Some(mux) = self.0.upgrade() {
            work(&mut mux.borrow_mut());
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

    fn gone(&self, at: InstanceRef, how: String) {
        self.with(|mux| mux.instance_gone(at, &how));
    }

    fn buried(&self, at: InstanceRef) {
        self.with(|mux| mux.instance_buried(at));
    }
}

impl Mux {
    pub(crate) fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.0]
    }

    pub(crate) fn server_mut(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[id.0]
    }

    pub(crate) fn instance(&self, at: InstanceRef) -> Option<&Instance> {
        self.server(at.server).pool.instances.get(at.key)
    }

    pub(crate) fn instance_mut(&mut self, at: InstanceRef) -> Option<&mut Instance> {
        self.server_mut(at.server).pool.instances.get_mut(at.key)
    }

    /// The ids of all servers, in the order of the configuration.
    pub(crate) fn server_ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.servers.len()).map(ServerId)
    }
}
