//! Called by `endpoint::connection` when a caller comes, closes its input or leaves: takes callers in, and lets go of
//! what was kept for them.

use std::rc::Rc;

use crate::audit::Who;
use crate::caller::endpoint::Endpoint;
use crate::caller::{Asked, Caller, SILENT};
use crate::config::{self};
use crate::guard::inflight::InFlight;
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef};
use crate::pool::lease::Lease;
use crate::pool::reason::StopReason;
use crate::pool::ties::{Subscriber, Users};
use crate::wire::id::AskId;
use crate::wire::outbox::Outbox;

use super::Mux;
use super::call::Place;
use crate::caller::identity::Identity;
use crate::caller::roots::Roots;

impl Mux {
    /// The endpoint as callers see it.
    pub fn endpoint(&self, endpoint: &config::Endpoint) -> Rc<Endpoint> {
        let shown = Endpoint {
            name: endpoint.name.clone(),
            servers: endpoint.servers.iter().filter_map(|name| self.configured_as(name)).collect(),
            disabled: endpoint.disabled.first().filter(|_| endpoint.servers.is_empty()).cloned(),
            prefix: endpoint.prefix,
            access: Rc::new(endpoint.access()),
            rules: endpoint.callers.iter().map(|rule| (rule.clone(), Rc::new(rule.grants.access(true)))).collect(),
            patience: endpoint.patience,
        };
        // The same one for all, so that they can be counted.
        self.shown(&endpoint.name).filter(|known| **known == shown).unwrap_or_else(|| Rc::new(shown))
    }

    /// What is connected to under a name.
    pub fn shown(&self, endpoint: &str) -> Option<Rc<Endpoint>> {
        self.endpoints.iter().find(|known| known.name == endpoint).cloned()
    }

    /// Takes a caller in; `None` if the endpoint has as many as it may.
    pub fn connect(&mut self, endpoint: Rc<Endpoint>, outbox: Outbox, who: impl Into<Identity>) -> Option<CallerKey> {
        let identity = who.into();
        // A reload may have come since the caller was let in.
        let endpoint = self.shown(&endpoint.name)?;
        let (access, rule) = endpoint.access_of(&identity);
        let alike = |caller: &&Caller| Rc::ptr_eq(&caller.endpoint, &endpoint) && caller.rule == rule;
        let most = endpoint.rule(rule).and_then(|rule| rule.callers);
        let crowded = most.is_some_and(|most| self.callers.values().filter(alike).count() >= most);
        if crowded || self.is_draining() {
            self.metrics.callers_refused.one();
            return None;
        }
        let counted = endpoint.servers.len();
        let who = self.metrics.audit.get().map(|_| {
            let Identity { uid, pid, program, .. } = &identity;
            Rc::new(Who {
                uid: *uid,
                pid: *pid,
                program: program.clone(),
                endpoint: endpoint.name.clone(),
                ..Who::default()
            })
        });
        // Ask ids start anywhere: an answer to an ask of an earlier daemon then never fits one of this.
        let next_ask = self.random.borrow_mut().u64(..1 << 48);
        let (most, in_flight) = (self.config.limits.callers, self.most_in_flight(&endpoint, rule));
        let shares = &self.shares;
        let taken_in = self.callers.try_insert_with_key(|key| {
            let principal = Principal::of(identity.uid, identity.pid, key);
            let place = shares.place(&endpoint.name, most, principal).ok_or(())?;
            let share = shares.of(principal);
            outbox.weighs_on(share.bytes());
            let bound = InFlight::within(share, place, in_flight);
            let mut caller = Caller::new(endpoint, (identity, principal), (access, rule), (outbox, bound), next_ask);
            caller.who = who;
            Ok::<_, ()>(caller)
        });
        match &taken_in {
            Ok(_) => {
                self.metrics.callers.one();
                self.metrics.sharing.came(counted);
            }
            Err(()) => self.metrics.callers_refused.one(),
        }
        taken_in.ok()
    }

    /// Who a caller is, for shares, turns and evidence; mcpool itself if it is nobody, or has left.
    pub fn principal(&self, caller: CallerKey) -> Principal {
        self.callers.get(caller).map_or(Principal::MCPOOL, |caller| caller.principal)
    }

    /// How many calls a caller may have in flight to whom this rule of an endpoint applies, or none.
    pub(super) fn most_in_flight(&self, endpoint: &Endpoint, rule: Option<usize>) -> usize {
        endpoint.rule(rule).and_then(|rule| rule.in_flight).unwrap_or(self.config.limits.in_flight)
    }

    /// A caller is gone: its calls are cancelled, and what was kept for it is let go.
    pub fn hang_up(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return };
        let had_level = caller.session.as_ref().is_some_and(|session| session.level.is_some());
        let mut calls: Vec<CallKey> = caller.in_flight.values().copied().collect();
        calls.extend(self.held_for(key));
        // In an order that does not depend on a map.
        calls.sort();
        calls.into_iter().for_each(|call| self.cancel(call, Some("the client disconnected")));
        self.change_session(key, Caller::is_not_opened);
        let Some(caller) = self.callers.remove(key) else { return };
        self.metrics.sharing.left(caller.counted());
        self.shares.left(caller.bound.share().clone());
        caller.missed().iter().for_each(|server| self.server_mut(*server).audience_mut().is_late_for(key, false));
        // Errands on its behalf may serve others too: they go on, for nobody in particular.
        for errand in caller.errands().iter().copied() {
            let Some(call) = self.calls.get(errand) else { continue };
            if !matches!(call.place, Place::Queue | Place::Roots | Place::Behind) {
                continue;
            }
            if call.is_in_lane() {
                self.ask_anew(errand);
            } else {
                self.abandon(errand, None);
                self.todo.place(errand);
            }
        }
        // Also what it was asked only now, since its calls ended.
        for asked in caller.asks.into_values() {
            if let Asked::For(at, id) = asked {
                self.refuse_ask(at, &id, "the client disconnected");
            }
        }
        for server in self.server_ids() {
            self.forget_subscriptions(server, Subscriber::Session(key));
            self.leave_stream(server, key);
            self.todo.stream(server);
            self.forget_owned(server, key);
            self.server_mut(server).forget_owner(key);
            if had_level {
                self.adjust_level(server);
            }
            let instances: Vec<InstanceKey> = self.server(server).pool.instances.keys().collect();
            for instance in instances {
                self.let_go(InstanceRef { server, key: instance }, key);
            }
            self.todo.serve(server);
        }
    }

    /// A caller's input has ended: what it was asked is not answered any more, and nobody comes back for its held calls.
    pub fn input_ended(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        caller.silent = true;
        let asked: Vec<AskId> = caller.asks.keys().copied().collect();
        let untold = caller.never_tells_roots();
        if untold {
            caller.roots = Roots::Unknown;
        }
        asked.into_iter().for_each(|ask| self.ask_unanswered(key, ask));
        if untold {
            self.roots_settled(key);
        }
        self.held_for(key).into_iter().for_each(|call| self.cancel(call, Some(SILENT)));
        // Nor is it waited for which of its calls a question is for.
        self.reconsider_asks_of(key);
    }

    /// Changes what a legacy caller has said, or which servers it sees. These know of it.
    pub(super) fn change_session(&mut self, key: CallerKey, change: impl FnOnce(&mut Caller)) {
        let Mux { callers, servers, .. } = self;
        let Some(caller) = callers.get_mut(key) else { return };
        for server in &caller.endpoint.servers {
            let audience = servers[server.0].audience_mut();
            audience.leaves(key);
            caller.level().into_iter().for_each(|(profile, level)| audience.wants_no_more(profile, level));
        }
        change(caller);
        for server in &caller.endpoint.servers {
            let audience = servers[server.0].audience_mut();
            if caller.is_initialized() {
                audience.opens(key);
            }
            caller.level().into_iter().for_each(|(profile, level)| audience.wants(profile, level));
        }
    }

    /// Whether a caller speaks the one revision with JSON-RPC batches.
    pub fn speaks_batches(&self, caller: CallerKey) -> bool {
        let session = self.callers.get(caller).and_then(|caller| caller.session.as_ref());
        session.is_some_and(|session| session.profile.revision() == crate::era::legacy::WITH_BATCHES)
    }

    /// Whether a caller waits for nothing but notifications.
    pub fn is_served(&self, caller: CallerKey) -> bool {
        let calls = self.callers.get(caller).into_iter().flat_map(|caller| caller.in_flight.values());
        calls.filter_map(|call| self.calls.get(*call)).all(|call| call.place == Place::Listening)
    }

    /// Ends what binds an instance to a caller that is gone.
    fn let_go(&mut self, at: InstanceRef, caller: CallerKey) {
        let Some(instance) = self.instance_mut(at) else { return };
        match instance.bound {
            // It goes on for whoever comes next: a start that was too slow for one host must not begin anew with each.
            Some((owner, _)) if owner == caller && instance.is_blank() => {
                (instance.bound, instance.users) = (None, Users::Nobody);
            }
            // What the caller left in it is nobody else's business.
            Some((owner, Lease::Session)) if owner == caller => {
                self.drain(at, StopReason::CallerLeft);
            }
            Some((owner, Lease::Call)) if owner == caller && !instance.pending.has(caller) => instance.bound = None,
            _ => {}
        }
    }

    /// The callers that see a server.
    #[cfg(debug_assertions)]
    pub(crate) fn callers_of(&self, server: crate::key::ServerId) -> impl Iterator<Item = (CallerKey, &Caller)> {
        self.callers.iter().filter(move |(_, caller)| caller.endpoint.servers.contains(&server))
    }
}
