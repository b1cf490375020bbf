//! Called by `mux::reload` for servers and endpoints that a changed config took away. Calls that run there may end,
//! until `drain` is over. Calls that only wait go to the server that took its place, or are refused. Nothing new goes
//! there.

use tokio::time::Instant;

use super::Mux;
use super::call::{Place, Source};
use super::errand::Errand;
use super::gate::Trials;
use super::introduce::names_one;
use super::servers::Standing;
use crate::caller::Caller;
use crate::clock;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::pool::instance::State;
use crate::pool::lease::Lease;
use crate::pool::need::{Need, Told};
use crate::pool::reason::{StartReason, StopReason};

impl Mux {
    /// Retires a server. Calls that wait there still have to be moved; calls that run there may end until then.
    pub(super) fn retire(&mut self, id: ServerId, by: Option<ServerId>, until: Instant) {
        for server in &mut self.servers {
            if let Standing::Retired { successor, .. } = &mut server.standing
                && *successor == Some(id)
            {
                *successor = by;
            }
        }
        let server = self.server_mut(id);
        server.standing = Standing::Retired { until, successor: by };
        server.pins.retire();
        // Nothing is kept running there for its own sake.
        let mut config = (*server.config).clone();
        config.instances.min = 0;
        server.config = config.into();
        server.pool.config = server.config.clone();
        self.alarm.at(until);
    }

    /// Returns why the instances of a retired server end.
    fn why_retired(&self, id: ServerId) -> StopReason {
        if self.in_stead_of(id).is_some() { StopReason::Changed } else { StopReason::Removed }
    }

    /// Ends the instances of a retired server. Those with work end after it.
    pub(super) fn drain_retired(&mut self, id: ServerId) {
        let why = self.why_retired(id);
        let instances: Vec<InstanceRef> = self.server(id).pool.instances.values().map(|instance| instance.at).collect();
        for at in instances {
            let kept = self.is_kept(at);
            let pool = &mut self.server_mut(id).pool;
            match pool.instances.get(at.key) {
                Some(instance) if kept && matches!(instance.state, State::Ready | State::Draining) => {
                    pool.mark_draining(at.key, why);
                }
                _ => pool.drain(at.key, why),
            }
        }
        self.vacate(id);
    }

    /// Starts instances of the new server for the clients of the old one's instances, before the old ones end.
    pub(super) fn start_in_stead(&mut self, old: ServerId, new: ServerId) {
        let (seen, asks_roots) = {
            let known = &self.server(new).catalogue.known;
            (known.seen, known.asks_roots)
        };
        let mut needs: Vec<(CallerKey, Need)> = Vec::new();
        for instance in self.server(old).pool.instances.values().filter(|instance| instance.alive()) {
            let (lease, _) = self.server(new).pool.lease(&instance.profile, seen);
            let roots = instance.roots.clone().filter(|_| asks_roots);
            let need = Need::of_nobody(Told { profile: instance.profile.clone(), roots });
            let alone = lease == Lease::Session || instance.bound.is_some();
            if !alone && !needs.iter().any(|(_, other)| *other == need) {
                needs.push((instance.users.only().unwrap_or_default(), need));
            }
        }
        let pool = &mut self.server_mut(new).pool;
        for (caller, need) in needs.into_iter().take(pool.config.instances.total) {
            pool.start(caller, &need, StartReason::Successor);
        }
    }

    /// Returns the calls that wait for a server, those that have waited longest first.
    pub(super) fn waiting_at(&self, id: ServerId) -> Vec<CallKey> {
        let mut waiting: Vec<(Instant, CallKey)> = Vec::new();
        for (key, call) in &self.calls {
            let waits = match &call.place {
                place @ (Place::Introductions(_) | Place::Lists(..)) => call.server == id || place.awaits(id).is_some(),
                Place::Nowhere | Place::Roots | Place::Queue | Place::Behind => call.server == id,
                Place::On(..) | Place::Held | Place::Asking | Place::Listening => false,
            };
            if waits {
                waiting.push((call.since, key));
            }
        }
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, key)| key).collect()
    }

    /// Moves a call that waits for a retired server to the server that took its place.
    pub(super) fn move_on(&mut self, key: CallKey, from: ServerId) {
        let Some(call) = self.calls.get(key) else { return };
        let caller = call.caller;
        let removed = self.in_stead_of(from).is_none();
        let for_one = match &call.place {
            Place::Introductions(_) => names_one(&call.request.method()),
            place => matches!(place, Place::Roots | Place::Queue | Place::Behind),
        };
        match &call.from {
            Source::Held { .. } => {}
            Source::Mcpool(_) => {
                self.resubscribe_elsewhere(key);
            }
            Source::Caller(..) => match self.is_leaving(caller) {
                Some(error) => self.refuse_introduction(key, &error),
                None if removed && for_one => self.todo.fail(key, self.removed(from)),
                // It was translated already.
                None if call.is_worded() => self.todo.place(key),
                None => {
                    if call.request.method() == "initialize" {
                        self.change_session(caller, Caller::is_not_opened);
                    }
                    self.todo.begin(key);
                }
            },
        }
    }

    /// Returns the server that a call is for now. If there is none any more, the call fails.
    pub(super) fn redirect(&mut self, key: CallKey) -> Option<ServerId> {
        let from = self.calls.get(key)?.server;
        let to = self.in_stead_of(from);
        match to {
            Some(to) if to == from => {}
            Some(to) => {
                let call = &mut self.calls[key];
                (call.server, call.trials, call.queue_until) = (to, Trials::default(), None);
                if let Source::Mcpool(Errand::Introduce(of)) = &call.from {
                    self.servers[from.0].awaited_mut().errand_ends(key);
                    self.servers[to.0].awaited_mut().errand_begins(key, of.clone());
                }
            }
            None => self.todo.fail(key, self.removed(from)),
        }
        to
    }

    fn removed(&self, id: ServerId) -> Error {
        Error::Reconfigured(format!("server `{}` was removed from the configuration", self.server(id).config.name))
    }

    /// Ends what is over at a retired server. Returns when the rest must be over.
    pub(super) fn sweep_retired(&mut self, id: ServerId, now: Instant) -> Option<Instant> {
        let Standing::Retired { until, .. } = self.server(id).standing else { return None };
        let (over, drain) = (until <= now, self.config.life.drain);
        let why = self.why_retired(id);
        let instances: Vec<InstanceRef> = self.server(id).pool.instances.values().map(|instance| instance.at).collect();
        for at in instances {
            let on = |place: &Place| matches!(place, Place::On(key, _) if *key == at.key);
            let late = self.calls.iter().filter(|(_, call)| over && call.server == id && on(&call.place));
            let late: Vec<CallKey> = late.map(|(key, _)| key).collect();
            for key in late {
                let name = &self.server(id).config.name;
                let error = format!(
                    "server `{name}` was changed or removed in the configuration, and the call did not end within {} (see `drain`); it may have been carried out in part",
                    clock::rounded(drain)
                );
                self.give_up(key, Error::Reconfigured(error));
            }
            let working = self.instance(at).is_some_and(|instance| instance.pending.callers() > 0);
            if over || !(working || self.is_kept(at)) {
                self.server_mut(id).pool.stop(at.key, why);
            }
        }
        self.vacate(id);
        (!over).then_some(until)
    }

    /// Begins to part from a caller that may not go on as it is connected. Its calls may end until then; then it is
    /// disconnected.
    pub(super) fn part_from(&mut self, key: CallerKey, until: Instant) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        caller.leaves = Some(caller.leaves.map_or(until, |before| before.min(until)));
        self.end_listens_of(key);
        // It could not come back for them.
        for call in self.held_for(key) {
            self.cancel(call, Some("the endpoint was removed from the configuration"));
        }
        self.alarm.at(clock::now());
    }

    /// Returns why a caller may begin nothing any more, if that is so.
    pub(super) fn is_leaving(&self, key: CallerKey) -> Option<Error> {
        let caller = self.callers.get(key)?;
        if let Some(server) = &caller.endpoint.disabled {
            return Some(Error::Disabled { server: server.clone() });
        }
        caller.leaves?;
        let name = &caller.endpoint.name;
        Some(Error::Reconfigured(format!(
            "endpoint `{name}` was taken away from this client by a change of the configuration"
        )))
    }

    /// Disconnects leaving callers whose last call is over or has run out of time. Returns when the next one has.
    pub(super) fn sweep_leaving(&mut self, now: Instant) -> Option<Instant> {
        let leaving = self.callers.iter().filter_map(|(key, caller)| Some((key, caller.leaves?)));
        let leaving: Vec<(CallerKey, Instant)> = leaving.collect();
        let mut next = None;
        for (key, until) in leaving {
            let calls: Vec<CallKey> = self.callers[key].in_flight.values().copied().collect();
            if let Some(error) = self.is_leaving(key).filter(|_| until <= now) {
                calls.into_iter().for_each(|call| self.give_up(call, error.clone()));
            }
            match self.callers.get(key) {
                Some(caller) if caller.in_flight.is_empty() => caller.outbox.close(),
                Some(_) => next = next.min(Some(until)).or(Some(until)),
                None => {}
            }
        }
        next
    }
}
