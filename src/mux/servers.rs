//! Used by all of `mux`: the servers as it keeps them. A `ServerId` is a place in the list. A reload adds servers
//! behind the others, and retires those that changed or are gone. When nothing refers to a retired server any more, the
//! next new one takes its place, so that reloading for years needs no more places than the most servers there ever were
//! at once.

use std::path::Path;
use std::rc::Rc;

use tokio::time::Instant;

use super::Mux;
use super::call::Call;
use super::gate::Gate;
use super::listen::Upstream;
use super::owned::Owned;
use super::pins::Pins;
use crate::catalogue::Catalogue;
use crate::config;
use crate::key::{CallerKey, ServerId};
use crate::pool::Pool;
use crate::server::audience::Audience;
use crate::server::awaited::Awaited;
use crate::server::subscriptions::Subscriptions;
use crate::wire::outbox::Speaker;

/// One server with all that is known of it.
pub struct Server {
    pub config: Rc<config::Server>,
    pub gate: Gate,
    pub pool: Pool,
    pub catalogue: Catalogue,
    /// What its tools were when they were approved.
    pub pins: Pins,
    /// The merged `subscriptions/listen`.
    pub upstream: Upstream,
    /// Tasks and elicitations that belong to one caller.
    pub owned: Owned,
    /// Who hears of which resource of it, where it is a legacy server.
    pub(super) subscriptions: Subscriptions,
    pub(super) standing: Standing,
    /// Who waits for what it says of itself.
    awaited: Awaited,
    /// Whom something of it matters to.
    audience: Audience,
}

impl Server {
    /// Forgets what was offered to one caller alone, and what of it was not approved.
    pub fn forget_owner(&mut self, owner: CallerKey) {
        let Server { catalogue, pins, .. } = self;
        catalogue.forget_owner(owner).iter().for_each(|variant| pins.forget(variant));
    }

    /// Who waits for what it says of itself.
    pub(super) fn awaited(&self) -> &Awaited {
        &self.awaited
    }

    /// The same, when somebody begins or ceases to wait.
    pub(super) fn awaited_mut(&mut self) -> &mut Awaited {
        &mut self.awaited
    }

    /// Whom something of it matters to.
    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }

    /// The same, when one of them changes.
    pub(super) fn audience_mut(&mut self) -> &mut Audience {
        &mut self.audience
    }

    /// Who it is where it says what may be lost.
    pub fn speaker(&self) -> &Speaker {
        &self.pool.metrics.unheard
    }
}

/// Whether a server is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Configured,
    /// A reload took it away: what runs there may end until then. The other one has its place, unless it was removed.
    Retired {
        until: Instant,
        successor: Option<ServerId>,
    },
    /// Nothing refers to it any more.
    Vacant,
}

impl Mux {
    pub(crate) fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.0]
    }

    pub(crate) fn server_mut(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[id.0]
    }

    /// The ids of all servers: those that are configured, and those that were and have something left to do.
    pub(crate) fn server_ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        let there =
            |(index, server): (usize, &Server)| (server.standing != Standing::Vacant).then_some(ServerId(index));
        self.servers.iter().enumerate().filter_map(there).collect::<Vec<_>>().into_iter()
    }

    /// The ids of the servers that are configured, in the order of the configuration.
    pub(crate) fn configured(&self) -> Vec<ServerId> {
        self.config.servers.iter().filter_map(|server| self.configured_as(&server.name)).collect()
    }

    /// The ids of the servers that were retired and have something left to do.
    pub(crate) fn retired(&self) -> Vec<ServerId> {
        self.server_ids().filter(|id| matches!(self.server(*id).standing, Standing::Retired { .. })).collect()
    }

    /// How many servers are kept, those among them that are to be forgotten: bounded, however often is reloaded.
    pub fn places(&self) -> usize {
        self.servers.len()
    }

    /// The server that is configured under a name.
    pub(crate) fn configured_as(&self, name: &str) -> Option<ServerId> {
        let is = |server: &Server| server.standing == Standing::Configured && server.config.name == name;
        self.servers.iter().position(is).map(ServerId)
    }

    /// The server that is used in a server's stead: itself while it is configured, nothing if it was removed.
    pub(crate) fn in_stead_of(&self, id: ServerId) -> Option<ServerId> {
        match self.server(id).standing {
            Standing::Configured => Some(id),
            Standing::Retired { successor, .. } => successor,
            Standing::Vacant => None,
        }
    }

    /// Takes a server in, without instances.
    pub(crate) fn admit_server(&mut self, config: Rc<config::Server>) -> ServerId {
        let vacant = self.servers.iter().position(|server| server.standing == Standing::Vacant);
        let id = ServerId(vacant.unwrap_or(self.servers.len()));
        let home = self.config.file.as_deref().and_then(Path::parent);
        // It may take the place of one that is kept in the same file.
        self.servers.iter().for_each(|server| server.catalogue.settle());
        let mut server = Server {
            gate: Gate::new(&config),
            pool: Pool::new(id, config.clone(), self.starter.clone()),
            catalogue: Catalogue::load(self.catalogue.as_deref(), &config, home, self.alarm.clone()),
            pins: Pins::load(self.catalogue.as_deref(), self.config.file.as_deref(), &config),
            upstream: Upstream::default(),
            owned: Owned::default(),
            subscriptions: Subscriptions::default(),
            standing: Standing::Configured,
            awaited: Awaited::default(),
            audience: Audience::default(),
            config,
        };
        match self.servers.get_mut(id.0) {
            Some(old) => {
                // Its keys go on, so that none ever stands for two instances.
                server.pool.instances = std::mem::take(&mut old.pool.instances);
                *old = server;
            }
            None => self.servers.push(server),
        }
        self.look_at_all_tools(id);
        id
    }

    /// Gives the place of a retired server up if nothing is left that refers to it.
    pub(super) fn vacate(&mut self, id: ServerId) {
        if matches!(self.server(id).standing, Standing::Retired { .. }) {
            while !self.lead_lost_away(id) {}
        }
        let refers = |call: &Call| call.server == id || call.place.awaits(id).is_some();
        let retired = matches!(self.server(id).standing, Standing::Retired { .. });
        if !retired
            || !self.server(id).pool.instances.is_empty()
            || self.calls.values().any(|call| refers(call))
            || self.callers.values().any(|caller| caller.endpoint.servers.contains(&id))
            || self.listeners.values().any(|listener| listener.wants_of(id))
        {
            return;
        }
        for caller in self.callers.values_mut() {
            caller.uses.forget(id);
            caller.misses_no_more(id);
        }
        self.shares.forget_rates(id);
        let server = self.server_mut(id);
        server.standing = Standing::Vacant;
        server.catalogue.forget();
        server.pins = Pins::default();
        server.upstream = Upstream::default();
        server.audience = Audience::default();
        server.owned = Owned::default();
        server.subscriptions = Subscriptions::default();
    }
}
