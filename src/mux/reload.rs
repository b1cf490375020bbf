//! Called by the daemon with a config that was read again and has no mistakes: puts it in force without a gap. What did
//! not change stays as it is, with its instances. A server that is started in another way is replaced: a new one takes
//! its place, and the old one is retired (`mux::retire`). Callers that see something else now are told.

use std::fmt;
use std::rc::Rc;

use tokio::time::Instant;

use super::Mux;
use super::offer::restrained;
use crate::caller::Caller;
use crate::caller::endpoint::Endpoint;
use crate::caller::roots::{Roots, fixed};
use crate::clock;
use crate::config::{self, Access, Config};
use crate::era::profile::Profile;
use crate::key::{CallKey, CallerKey, ServerId};
use crate::metrics::Reload;

/// Which config is in force.
pub struct InForce {
    pub since: Instant,
    /// Tells the text of its file from others.
    pub digest: Option<String>,
    /// Keys in it that only a new daemon heeds, and that are others than this one was started with.
    pub restart: Vec<&'static str>,
    /// When another one was refused since then, and why.
    pub refused: Option<(Instant, String)>,
}

impl InForce {
    /// Returns the state of a config that has just been read.
    pub fn new(config: &Config) -> InForce {
        InForce { since: clock::now(), digest: config.digest.clone(), restart: Vec::new(), refused: None }
    }
}

/// What a reload changed, by the names of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    /// Started in another way, so that new instances take the place of the old ones.
    pub replaced: Vec<String>,
    /// Treated in another way; their instances stay.
    pub adjusted: Vec<String>,
    pub removed: Vec<String>,
    /// How many stayed as they were.
    pub unchanged: usize,
    /// Keys that differ and that only a new daemon heeds.
    pub restart: Vec<&'static str>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("added", &self.added),
            ("replaced", &self.replaced),
            ("adjusted", &self.adjusted),
            ("removed", &self.removed),
        ];
        for (what, names) in all.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{what}: {}; ", names.join(", "))?;
        }
        write!(f, "servers as before: {}", self.unchanged)?;
        if !self.restart.is_empty() {
            write!(f, "; a new daemon is needed for: {}", self.restart.join(", "))?;
        }
        Ok(())
    }
}

impl Mux {
    /// Puts a config in force, and returns what that changed. The sockets are up to the caller of this method.
    pub fn reload(&mut self, config: Config) -> Changes {
        self.metrics.reloaded(Reload::Applied);
        let mut changes = Changes::default();
        let until = clock::now() + config.life.drain;
        let (old, config) = (self.config.clone(), Rc::new(config));
        self.change_limits(&config.limits);
        self.in_force = InForce::new(&config);
        let retired = self.change_servers(&config, until, &mut changes);
        self.config = config;
        self.endpoints = self.config.endpoints.iter().map(|endpoint| self.endpoint(endpoint)).collect();
        let told = self.change_endpoints(&old, until);
        self.settle_retired(&retired);
        told.into_iter().for_each(|caller| self.announce_other_view(caller));
        self.prestart();
        self.server_ids().for_each(|server| self.todo.serve(server));
        self.alarm.at(clock::now());
        changes
    }

    /// Notes, for `status`, the changed keys that only a new daemon applies.
    pub fn needs_new_daemon(&mut self, keys: Vec<&'static str>) {
        self.in_force.restart = keys;
    }

    /// Notes that a config was not put in force, for `status`.
    pub fn refuse_config(&mut self, why: String) {
        self.metrics.reloaded(Reload::Refused);
        self.in_force.refused = Some((clock::now(), why));
    }

    /// Applies the limits that concern everybody, also to servers and callers that did not change.
    fn change_limits(&mut self, limits: &config::Limits) {
        (self.starter.message, self.starter.line, self.starter.backlog) = (limits.message, limits.line, limits.backlog);
        self.servers.iter_mut().for_each(|server| server.pool.start_with(self.starter.clone()));
        self.shares.allow(limits);
    }

    /// Adds, adjusts and retires servers. Returns those that were retired.
    fn change_servers(&mut self, config: &Config, until: Instant, changes: &mut Changes) -> Vec<ServerId> {
        let mut retired = Vec::new();
        for id in self.configured() {
            let name = self.server(id).config.name.clone();
            if config.server(&name).is_none() {
                self.retire(id, None, until);
                retired.push(id);
                changes.removed.push(name);
            }
        }
        for server in &config.servers {
            let (name, server) = (server.name.clone(), Rc::new(server.clone()));
            let Some(id) = self.configured_as(&name) else {
                self.admit_server(server);
                changes.added.push(name);
                continue;
            };
            if *self.server(id).config == *server {
                changes.unchanged += 1;
            } else if self.server(id).config.starts_like(&server) {
                self.adjust_server(id, server);
                changes.adjusted.push(name);
            } else {
                let started = self.server(id).pool.started;
                let new = self.admit_server(server);
                // Numbers of instances go on, since they name them.
                self.server_mut(new).pool.started = started;
                self.retire(id, Some(new), until);
                retired.push(id);
                changes.replaced.push(name);
            }
        }
        retired
    }

    /// Applies a changed config to a server whose processes stay.
    fn adjust_server(&mut self, id: ServerId, config: Rc<config::Server>) {
        let server = self.server_mut(id);
        let old = std::mem::replace(&mut server.config, config.clone());
        server.gate.adjust(&old, &config);
        if old.rate_limit != config.rate_limit {
            self.shares.forget_rates(id);
        }
        let (was, pin) = (old.pin, config.pin);
        self.server_mut(id).pool.adjust(config);
        if was != pin {
            self.pin_otherwise(id);
        }
    }

    /// Gives every caller its endpoint as it is now. Returns the callers that see something else than before.
    fn change_endpoints(&mut self, old: &Config, until: Instant) -> Vec<CallerKey> {
        let mut told = Vec::new();
        let callers: Vec<CallerKey> = self.callers.keys().collect();
        for key in callers {
            let Some(caller) = self.callers.get(key) else { continue };
            let Some(endpoint) = self.shown(&caller.endpoint.name).filter(|_| self.is_admitted(caller, old)) else {
                self.part_from(key, until);
                continue;
            };
            let (access, rule) = endpoint.access_of(&caller.identity);
            caller.bound.allow(self.most_in_flight(&endpoint, rule));
            if is_told_too_much(caller, &access) {
                // What servers were told about it cannot be taken back.
                self.part_from(key, until);
                continue;
            }
            if looks_other(&caller.endpoint, &endpoint) || access.named != caller.access.named {
                told.push(key);
            }
            self.change_session(key, |caller| {
                if caller.session.is_none() && access.roots != caller.access.roots {
                    caller.roots = Roots::of(&access);
                }
                (caller.endpoint, caller.access, caller.rule) = (endpoint, access, rule);
            });
        }
        told
    }

    /// Returns whether a caller's user may still use its endpoint.
    fn is_admitted(&self, caller: &Caller, old: &Config) -> bool {
        let allows = |config: &Config| {
            config.endpoint(&caller.endpoint.name).is_some_and(|endpoint| endpoint.users.contains(&caller.identity.uid))
        };
        allows(&self.config) || !allows(old)
    }

    /// Moves calls that wait at retired servers, and ends the instances of these.
    fn settle_retired(&mut self, retired: &[ServerId]) {
        let mut waiting: Vec<(CallKey, ServerId)> = Vec::new();
        for old in retired {
            let new = self.in_stead_of(*old);
            if let Some(new) = new {
                self.start_in_stead(*old, new);
            }
            waiting.extend(self.waiting_at(*old).into_iter().map(|key| (key, *old)));
            self.server_mut(*old).pool.queue.remove_needing(|_| true);
            self.move_subscriptions(*old);
        }
        let streams = self.move_listeners();
        for old in retired {
            self.todo.stream(*old);
            self.drain_retired(*old);
        }
        waiting.into_iter().for_each(|(key, old)| self.move_on(key, old));
        streams.into_iter().for_each(|call| self.todo.begin(call));
        for server in self.configured() {
            self.todo.stream(server);
        }
    }
}

/// Returns whether a caller has said that it has roots, or can be asked, and may not any more.
fn is_told_too_much(caller: &Caller, access: &Access) -> bool {
    let Some(Profile::Legacy(told)) = caller.session.as_ref().map(|session| &session.profile) else { return false };
    restrained(access, &told.capabilities).is_some() || fixed(access) != fixed(&caller.access)
}

/// Returns whether callers see something else.
fn looks_other(one: &Endpoint, other: &Endpoint) -> bool {
    (&one.servers, one.prefix) != (&other.servers, other.prefix)
}
