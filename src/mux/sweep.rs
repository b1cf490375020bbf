//! Called by the alarm: does everything that is due, and tells when to look again. Deadlines of calls, questions,
//! handshakes and roots end here, and idle instances are found.

use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Place, Source};
use super::errand::Errand;
use super::listen::Listener;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef, ServerId};
use crate::pool::handshake::{SETTLE, Stage};
use crate::pool::instance::State;
use crate::wire::gauge::{SHED, SMALL};

/// The earliest of what is to come.
#[derive(Default)]
struct Next(Option<Instant>);

impl Next {
    fn at(&mut self, when: impl IntoIterator<Item = Instant>) {
        for when in when {
            self.0 = Some(self.0.map_or(when, |next| next.min(when)));
        }
    }
}

/// Returns the largest call of whoever keeps most, if more is kept than ever should be.
fn too_heavy(mux: &Mux) -> Option<(CallKey, Error)> {
    if !mux.shares.memory().is_pressed() {
        return None;
    }
    let (principal, bytes) = mux.shares.heaviest().filter(|(_, bytes)| *bytes > SMALL)?;
    let callers = mux.callers.values().filter(|caller| caller.principal == principal);
    let calls = callers.flat_map(|caller| caller.in_flight.values().copied());
    let weighed = calls.filter_map(|key| Some((mux.calls.get(key)?.request.line().len(), key)));
    let (_, largest) = weighed.max()?;
    tracing::warn!(
        bytes,
        uid = principal.user(),
        pid = principal.process(),
        "memory runs out: the largest call of the client that keeps most is ended (see `limits.memory`)"
    );
    Some((largest, Error::MemoryFull { bytes }))
}

impl Mux {
    /// Does what is due, and returns when to look again.
    pub(crate) fn sweep(&mut self, now: Instant) -> Option<Instant> {
        let mut next = Next::default();
        if let Some((key, error)) = too_heavy(self) {
            self.give_up(key, error);
            // One each time: the others are let in meanwhile.
            next.at(Some(now + SHED));
        }
        next.at(self.sweep_roots(now));
        next.at(self.sweep_gathering(now));
        next.at(self.sweep_leaving(now));
        for server in self.server_ids() {
            next.at(self.sweep_tasks(server, now));
            next.at(self.sweep_orphans(server, now));
            next.at(self.sweep_stream(server, now));
            next.at(self.server(server).catalogue.save_late(now));
            next.at(self.sweep_retired(server, now));
            let instances: Vec<InstanceRef> =
                self.server(server).pool.instances.values().map(|instance| instance.at).collect();
            for at in instances {
                next.at(self.sweep_asks(at, now));
                next.at(self.sweep_instance(at, now));
            }
            self.todo.serve(server);
            self.todo.keep_min(server);
        }
        let due: Vec<CallKey> =
            self.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(key, _)| key).collect();
        due.into_iter().for_each(|key| self.todo.overdue(key));
        // What is due now ends in this turn.
        next.at(self.calls.values().map(|call| call.deadline).filter(|deadline| *deadline > now).min());
        next.0
    }

    fn sweep_instance(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let instance = self.instance(at)?;
        match (instance.state, instance.stage) {
            (State::Starting, Stage::Settling(_, since)) => {
                let due = since + SETTLE;
                if due > now {
                    return Some(due);
                }
                self.try_ready(at);
                self.sweep_handshake(at, now)
            }
            (State::Starting, _) => self.sweep_handshake(at, now),
            (State::Ready, _) => {
                // What it still had to do may have ended by itself, as tasks do.
                self.dismiss(at);
                let returns = self.instance(at).and_then(|instance| instance.asks.back_until(now));
                [self.sweep_wear(at, now), self.sweep_probe(at, now), returns].into_iter().flatten().min()
            }
            (State::Draining, _) => self.sweep_draining(at, now),
            (State::Stopping, _) => None,
        }
    }

    /// Handles a call whose deadline is over, unless something has moved it on. What that means depends on where the
    /// call is.
    pub(super) fn overdue(&mut self, key: CallKey, now: Instant) {
        let Some(call) = self.calls.get(key).filter(|call| call.deadline <= now) else { return };
        let (server, caller, since, limit) = (call.server, call.caller, call.since, call.limit);
        let config = self.server(server).config.clone();
        match call.place.clone() {
            _ if call.is_held() => {
                tracing::debug!(server = config.name, "a held call is given up: its client did not come back");
                self.cancel(key, Some("the client did not come back with what was asked"));
            }
            Place::Asking => self.give_up(key, Error::AskTimeout { what: "what the server asks".into() }),
            Place::Queue
                if self.is_starting_for(key, server)
                    && (now < call.latest_start(&config) || call.goes_with_a_start()) =>
            {
                let call = &mut self.calls[key];
                let soon = now + Duration::from_millis(200);
                call.deadline =
                    if now < call.latest_start(&config) { soon.min(call.latest_start(&config)) } else { soon };
            }
            Place::Queue => {
                let limits = if self.is_starting_for(key, server) { "`timeout.start`" } else { "`queue.timeout`" };
                self.give_up(key, Error::QueueTimeout { server: config.name.clone(), after: now - since, limits });
            }
            Place::On(instance, _) if now < limit && self.is_asking(InstanceRef { server, key: instance }, caller) => {
                // A person is answering: the ask has a deadline of its own.
                self.calls[key].deadline = (now + config.timeout.call).min(limit);
            }
            Place::On(instance, _) => {
                let (limit, value) = if now >= limit {
                    ("timeout.max", config.timeout.max)
                } else {
                    ("timeout.call", config.timeout.call)
                };
                let timeout = Error::CallTimeout { server: config.name.clone(), after: now - since, limit, value };
                let is_callers = call.is_callers();
                if !matches!(call.from, Source::Mcpool(Errand::Probe(..))) {
                    self.call_failed(key, "a call ran out of time");
                }
                if is_callers {
                    // Before its place is given to a call that waits.
                    self.ran_out_of_time(InstanceRef { server, key: instance }, caller);
                }
                self.give_up(key, timeout);
            }
            // What is asked in another call was not told: it asks itself.
            Place::Roots if call.bridge.is_some() => self.ask_for_roots(key),
            Place::Roots => self.give_up(key, Error::AskTimeout { what: "roots/list".into() }),
            Place::Introductions(missing) => {
                if self.leave_out(key, &missing) {
                    self.introductions_there(key);
                } else {
                    let limits = "`timeout.start` and `queue.timeout`";
                    let error = Error::QueueTimeout { server: config.name.clone(), after: now - since, limits };
                    self.refuse_introduction(key, &error);
                }
            }
            Place::Lists(kind, missing) => {
                if self.waits_for_its_answer(key) && self.leave_out(key, &missing) {
                    self.answer_list(key, kind);
                } else {
                    let limits = "`timeout.start`, `queue.timeout` and `timeout.call`";
                    self.give_up(key, Error::QueueTimeout { server: config.name.clone(), after: now - since, limits });
                }
            }
            Place::Listening if self.callers.get(caller).is_some_and(|caller| caller.endpoint.prefix) => {
                self.listeners.get_mut(key).into_iter().for_each(Listener::waits_no_longer);
                self.acknowledge(key);
            }
            Place::Listening | Place::Behind => {
                let (limit, value) = ("timeout.call", config.timeout.call);
                self.give_up(key, Error::CallTimeout { server: config.name.clone(), after: now - since, limit, value });
            }
            Place::Nowhere | Place::Held => {
                tracing::error!("a call waited for nothing; this is a bug of mcpool");
                self.give_up(key, Error::Internal("the call was not placed".into()));
            }
        }
    }

    /// Goes on without the servers that are late, on an endpoint of several servers. Returns whether that may be.
    pub(crate) fn leave_out(&mut self, key: CallKey, missing: &[ServerId]) -> bool {
        let Some(call) = self.calls.get(key) else { return false };
        let key = call.caller;
        let Some(caller) = self.callers.get_mut(key).filter(|caller| caller.endpoint.prefix) else { return false };
        for server in missing {
            caller.misses(*server);
            self.servers[server.0].audience_mut().is_late_for(key, true);
        }
        true
    }

    /// Returns whether an instance that would serve a waiting call is starting.
    fn is_starting_for(&self, key: CallKey, server: ServerId) -> bool {
        let Some(need) = self.calls.get(key).and_then(|call| self.need(call)) else { return false };
        self.server(server)
            .pool
            .instances
            .values()
            .any(|instance| instance.state == State::Starting && instance.serves(need.told()))
    }
}
