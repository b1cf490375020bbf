//! Called by `mux::request`, and whenever a call that waited can go on: the way of a call to an instance. It is placed,
//! queued if necessary, leased and sent.

use tokio::time::Instant;

use super::Mux;
use super::bridge::Bridge;
use super::call::{Call, Pin, Place, Source};
use super::errand::Errand;
use super::gate::Trials;
use crate::caller::roots::NO_ROOTS;
use crate::caller::{Caller, SILENT};
use crate::clock;
use crate::config::WhenFull;
use crate::era::may_ask_in;
use crate::era::roots::RootList;
use crate::error::Error;
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::pool::handshake::SETTLE;
use crate::pool::instance::{Instance, State};
use crate::pool::lease::Lease;
use crate::pool::need::{Need, Told};
use crate::pool::pending::{Entry, Load};
use crate::pool::pick::Pick;
use crate::pool::queue::Ticket;
use crate::pool::view::Seeker;
use crate::server::awaited::Word;

impl Mux {
    /// Accepts a caller's call and sends it on its way.
    pub(crate) fn submit(&mut self, call: impl Into<Box<Call>>) -> CallKey {
        let call = call.into();
        let (caller, id) = match &call.from {
            Source::Caller(reply, _) => (call.caller, Some(reply.id().clone())),
            Source::Held { .. } | Source::Mcpool(_) => (call.caller, None),
        };
        self.note_begin(&call);
        let key = self.calls.insert(call);
        if let (Some(caller), Some(id)) = (self.callers.get_mut(caller), id) {
            caller.in_flight.insert(id, key);
        }
        key
    }

    /// Gives a call to an instance, or lets it wait for what it needs.
    pub(crate) fn place(&mut self, key: CallKey) {
        self.count_placed(key);
        let Some(call) = self.calls.get(key) else { return };
        if call.pin.is_none() && self.redirect(key).is_none() {
            return;
        }
        if let Err(error) = self.pass_breaker(key) {
            return self.todo.fail(key, error);
        }
        let Some(call) = self.calls.get(key) else { return };
        let (caller, server) = (call.caller, call.server);
        if let Some(pin) = call.pin {
            return self.place_pinned(key, server, pin);
        }
        let Mux { calls, callers, config, .. } = self;
        if let Some(modern) = calls.get_mut(key).and_then(|call| call.modern()) {
            // What was told not long ago, so that it need not be asked for again.
            modern.has_roots(|| callers.get(caller)?.fresh_roots(clock::now(), config.limits.roots_for));
        }
        let Some(call) = self.calls.get(key) else { return };
        let Some(need) = self.need(call) else {
            let until = match call.bridge {
                Some(Bridge::Modern(_)) => self.want_roots(key),
                _ => Some(clock::now() + crate::caller::roots::PATIENCE),
            };
            let Some(until) = until else { return };
            if self.callers.get(caller).is_some_and(Caller::never_tells_roots) {
                // As if it had none, it would not be the same call.
                return self.todo.fail(key, Error::Unanswered { what: "roots/list".into(), why: SILENT.into() });
            }
            // A client may never tell them: others may try meanwhile whether the server works.
            self.calls[key].trials = Trials::default();
            self.wait_at(key, Place::Roots, until);
            return self.fetch_roots(caller);
        };
        // What belongs to one caller serves nobody else.
        let in_lane = call.is_in_lane();
        let leisurely = need.lease() == Lease::Shared && (in_lane || self.is_leisurely(call));
        let apart = call.listens(self.callers.get(caller));
        let introduces = matches!(call.from, Source::Mcpool(Errand::Introduce(_)));
        // Else it would keep the caller's own calls behind it waiting.
        let caller = if leisurely { CallerKey::default() } else { caller };
        let last = self.callers.get(caller).and_then(|caller| caller.uses.last(server));
        let pool = &mut self.servers[server.0].pool;
        let picked = pool.pick_now(&Seeker { caller, need: &need, apart, introduces, last });
        if picked == Pick::Full {
            pool.metrics.exhausted();
        }
        match picked {
            Pick::Use(instance) => return self.send(key, instance),
            Pick::Full if pool.config.when_full == WhenFull::Reject && !(leisurely || in_lane || introduces) => {
                let error = Error::PoolExhausted { server: pool.config.name.clone() };
                return self.todo.fail(key, error);
            }
            _ => {}
        }
        let since = clock::now();
        let principal = self.callers.get(caller).map_or(Principal::MCPOOL, |caller| caller.principal);
        let pool = &mut self.servers[server.0].pool;
        let timeout = pool.config.queue.timeout;
        let full = !(in_lane || introduces) && pool.is_full_for(picked, caller, &need);
        match pool.wait(Ticket { call: key, caller, principal, need, apart, introduces, since, leisurely, full }) {
            Ok(crowded_out) => {
                let call = &mut self.calls[key];
                let mut deadline = *call.queue_until.get_or_insert(since + timeout);
                if call.keeps_limit() {
                    deadline = deadline.min(call.limit);
                }
                self.wait_at(key, Place::Queue, deadline);
                if let Some(other) = crowded_out {
                    let name = self.server(server).config.name.clone();
                    self.todo.fail(other, Error::PoolExhausted { server: name });
                }
                self.todo.serve(server);
            }
            Err(error) => self.todo.fail(key, error),
        }
    }

    /// Returns whether nobody waits for the call, because it only looks at a list again.
    pub(super) fn is_leisurely(&self, call: &Call) -> bool {
        let Source::Mcpool(Errand::List { kind, .. }) = &call.from else { return false };
        self.server(call.server).awaited().waiting(Word::List(*kind)).is_empty()
    }

    fn place_pinned(&mut self, key: CallKey, server: ServerId, pin: Pin) {
        let at = InstanceRef { server, key: pin.to };
        let open = |state| matches!(state, State::Ready | State::Draining);
        let call = &self.calls[key];
        // Whatever it was pinned by, what was told to others or is another caller's session is never reached. A `call`
        // lease goes from caller to caller meanwhile, and what was begun in the instance can go on nowhere else.
        let own = |instance: &Instance| {
            let of_session = instance.bound.filter(|(_, lease)| *lease == Lease::Session);
            instance.profile == call.profile && of_session.is_none_or(|(owner, _)| owner == call.caller)
        };
        if self.instance(at).is_some_and(|to| open(to.state) && (!call.is_callers() || own(to))) {
            return self.send(key, pin.to);
        }
        if pin.or_any {
            self.calls[key].pin = None;
            return self.todo.place(key);
        }
        let detail = "the instance that this belongs to has ended".to_owned();
        self.todo.fail(key, Error::ServerDied { server: self.server(server).config.name.clone(), detail });
    }

    /// Drops looks at lists for which an instance would have to be started although no caller is there. The next
    /// instance that starts has its lists looked at anyway. Without this, kinds of clients that take each other's place
    /// would start instances for ever.
    fn look_no_more(&mut self, server: ServerId) {
        let pool = &self.server(server).pool;
        let futile = |ticket: &&Ticket| {
            let call = self.calls.get(ticket.call);
            !pool.has_alive(ticket.need.told())
                && call.is_some_and(|call| !self.callers.contains_key(call.caller) && self.is_leisurely(call))
        };
        let futile: Vec<CallKey> = pool.queue.leisurely().filter(futile).map(|ticket| ticket.call).collect();
        if futile.is_empty() {
            return;
        }
        let pool = &mut self.server_mut(server).pool;
        futile.iter().for_each(|call| drop(pool.queue.remove(*call)));
        let server = pool.config.name.clone();
        for key in futile {
            let detail = "the instance whose lists were looked at has ended".to_owned();
            self.todo.fail(key, Error::ServerDied { server: server.clone(), detail });
        }
    }

    /// Gives instances that have room to the calls that wait.
    pub(crate) fn serve(&mut self, server: ServerId) {
        self.look_no_more(server);
        loop {
            let Mux { servers, callers, .. } = self;
            let pool = &mut servers[server.0].pool;
            if pool.queue.is_empty() || self.ending {
                break;
            }
            let last = |caller| callers.get(caller)?.uses.last(server);
            let Some((call, instance)) = pool.next(last) else { break };
            self.send(call, instance);
        }
        // An instance that is starting is given up in time, and a busy one gives way in time.
        let pool = &self.server(server).pool;
        let now = clock::now();
        if pool.instances.values().any(|instance| instance.state == State::Starting) {
            self.alarm.at(now + pool.config.timeout.silence().min(SETTLE));
        }
        if !pool.queue.is_empty() {
            self.alarm.at(now + crate::pool::GIVE_WAY);
            pool.setbacks.rests_until().into_iter().for_each(|until| self.alarm.at(until));
        }
    }

    /// Returns what a call needs of an instance; `None` while the roots of its caller are not known.
    pub(crate) fn need(&self, call: &Call) -> Option<Need> {
        let server = self.server(call.server);
        let profile = call.profile.clone();
        // What mcpool wants to know for a caller that tells no roots, others may want to know too.
        let is_list = matches!(call.from, Source::Mcpool(Errand::List { .. }));
        let for_nobody =
            |caller: &&Caller| matches!(call.from, Source::Mcpool(_)) && !is_list && caller.never_tells_roots();
        let Some(caller) = self.callers.get(call.caller).filter(|caller| !for_nobody(caller)) else {
            // For nobody in particular, so nothing is kept for it either.
            let roots = if server.catalogue.decides_by_roots(&profile) { self.roots_for_nobody(call) } else { None };
            return Some(Need::of_nobody(Told { profile, roots }));
        };
        let (lease, _) = server.pool.lease(&profile, server.catalogue.known.seen);
        if !server.catalogue.decides_by_roots(&profile) {
            return Some(Need::new(profile, None, lease, call.caller));
        }
        let roots = match &call.bridge {
            Some(Bridge::Modern(modern)) if may_ask_in(&call.request.method()) => Some(modern.roots.clone()?),
            Some(Bridge::Modern(_)) => Some(caller.roots.known().unwrap_or_else(|| NO_ROOTS.into())),
            // An introduction is the same whatever the roots, and a caller can be asked for them only after it.
            _ if matches!(call.from, Source::Mcpool(Errand::Introduce(_))) => caller.roots.known(),
            // What it told in its last call: lists and subscriptions go where its calls go.
            _ if !self.tells_roots(caller, &profile) || is_list && caller.never_tells_roots() => {
                Some(caller.roots.known().unwrap_or_else(|| NO_ROOTS.into()))
            }
            _ => Some(caller.roots.known()?),
        };
        Some(Need::new(profile, roots, lease, call.caller))
    }

    /// Returns the roots that an instance must have been told to serve nobody in particular: none. But a list that is
    /// looked at again takes an instance that is there, whatever it was told, before another is started.
    fn roots_for_nobody(&self, call: &Call) -> Option<RootList> {
        let none = Some(NO_ROOTS.into());
        if !matches!(call.from, Source::Mcpool(Errand::List { .. })) {
            return none;
        }
        let instances = || {
            let all = self.server(call.server).pool.instances.values();
            all.filter(|instance| instance.alive() && instance.profile == call.profile && instance.bound.is_none())
        };
        if instances().any(|instance| instance.roots == none) {
            return none;
        }
        instances().find(|instance| instance.state == State::Ready).map_or(none, |instance| instance.roots.clone())
    }

    /// Sends a call to an instance, unless what it asks for is there already or on its way.
    fn send(&mut self, key: CallKey, to: InstanceKey) {
        match self.calls.get(key) {
            Some(call) if call.subscribes() => {
                let at = InstanceRef { server: call.server, key: to };
                self.come_to(key, at);
            }
            _ => self.send_now(key, to),
        }
    }

    /// Sends a call to an instance, under a lease.
    pub(super) fn send_now(&mut self, key: CallKey, to: InstanceKey) {
        let Some(call) = self.calls.get(key) else { return };
        if let Source::Mcpool(Errand::Introduce(_)) = call.from {
            let at = InstanceRef { server: call.server, key: to };
            self.take_out(key);
            let said = self.instance(at).and_then(|instance| instance.introduction.as_deref().map(str::to_owned));
            if let Some(said) = said {
                self.introduced(at, said);
            }
            return self.released(at);
        }
        if call.bridge.is_some() {
            let (at, level) = (InstanceRef { server: call.server, key: to }, call.level);
            self.raise_level(at, level);
        }
        self.transmit(key, to);
    }

    /// Writes a call to an instance.
    pub(super) fn transmit(&mut self, key: CallKey, to: InstanceKey) {
        let Some(call) = self.calls.get(key) else { return };
        let listens = call.listens(self.callers.get(call.caller));
        let lease = self.server(call.server).pool.lease(&call.profile, self.server(call.server).catalogue.known.seen).0;
        let Mux { calls, servers, callers, .. } = self;
        let call = &mut calls[key];
        let server = &mut servers[call.server.0];
        let Some(instance) = server.pool.instances.get_mut(to) else { return };
        let id = instance.pending.open(Entry {
            call: key,
            caller: call.owner(),
            level: call.level,
            listens,
            load: match call.from {
                Source::Mcpool(Errand::Listen) => Load::Listening,
                Source::Mcpool(Errand::Probe(..)) => Load::Probe,
                Source::Mcpool(
                    Errand::Level(..) | Errand::Resubscribe { .. } | Errand::Unsubscribe(_) | Errand::Tasks { .. },
                ) => Load::Order,
                _ => Load::Work,
            },
            after: instance.outbox.said(),
        });
        if let Some(caller) = callers.get_mut(call.caller).filter(|_| matches!(call.from, Source::Caller(..))) {
            let principal = caller.principal;
            server.pool.metrics.leased(instance.lease(call.caller, principal, lease));
            caller.uses.note(call.server, to);
        }
        instance.send(&call.request, std::mem::take(&mut call.splice), id);
        let now = clock::now();
        call.place = Place::On(to, id);
        call.since = now;
        if call.account().is_some_and(|account| account.sent(now)) {
            server.gate.budget.earn();
        }
        match call.from {
            Source::Mcpool(Errand::Listen) => {}
            Source::Mcpool(Errand::Probe(..)) => call.deadline = now + server.config.probe.timeout,
            _ => {
                instance.health.given_work(now);
                call.sent(now, &server.config.timeout);
            }
        }
        self.alarm.at(self.calls[key].deadline);
    }

    /// Notes where a call waits, and until when.
    pub(crate) fn wait_at(&mut self, key: CallKey, place: Place, deadline: Instant) {
        if let Some(call) = self.calls.get_mut(key) {
            call.place.note(&mut self.servers, key, false);
            place.note(&mut self.servers, key, true);
            call.place = place;
            call.since = clock::now();
            if !matches!(call.from, Source::Mcpool(Errand::Listen)) {
                call.deadline = deadline;
            }
            self.alarm.at(call.deadline);
        }
    }
}
