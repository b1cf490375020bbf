//! The life of an instance as callers feel it: ready, failed to start, gone.

use super::Mux;
use crate::error::Error;
use crate::pool::handshake::Failure;
use crate::pool::instance::{InstanceRef, State};
use crate::pool::lease::{Lease, Need};
use crate::reply::{CallKey, CallerKey};
use crate::wire::id::RawId;

impl Mux {
    /// Lets an instance take calls if its handshake is over.
    pub(crate) fn try_ready(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.state != State::Starting || !instance.settle() {
            return;
        }
        let (profile, serial) = (instance.profile.clone(), instance.serial);
        let era = profile.era();
        let server = self.server_mut(at.server);
        server.pool.opened(&profile);
        tracing::info!(server = server.config.name, instance = serial, era = era.as_str(), "ready");
        let idle = server.config.recycle.idle;
        self.alarm.at(tokio::time::Instant::now() + idle);
        self.adjust_level(at.server);
        self.recheck_lists(at);
        self.dispatch(at.server);
    }

    /// An instance did not become ready: whoever waited for it is told why.
    pub(crate) fn start_failed(&mut self, at: InstanceRef, failure: Failure) {
        let Some(instance) = self.instance(at) else { return };
        let profile = instance.profile.clone();
        let lacks = matches!(failure, Failure::Lacks(..));
        let refused: Vec<(CallKey, Error)> = match failure {
            Failure::Lacks(era, said) | Failure::Silent(era, said) => {
                let server = self.server_mut(at.server);
                tracing::info!(server = server.config.name, era = era.as_str(), said, "the server lacks this era");
                if lacks {
                    server.catalogue.note_lack(era);
                }
                let tickets = server.pool.queue.remove_where(|ticket| ticket.need.profile.era() == era);
                let method = |call: CallKey| self.calls.get(call).map(|call| call.request.method().into_owned());
                let error = |call| self.lacks_error(at.server, era, &method(call).unwrap_or_default());
                tickets.into_iter().map(|ticket| (ticket.call, error(ticket.call))).collect()
            }
            Failure::Broken(detail) => self.server_mut(at.server).pool.failed(&profile, &detail),
        };
        self.server_mut(at.server).pool.stop(at.key, "it did not become ready");
        refused.into_iter().for_each(|(call, error)| self.fail(call, error));
        self.dispatch(at.server);
    }

    /// An instance can not be trusted any more: its calls fail and it is stopped.
    pub(crate) fn distrust(&mut self, at: InstanceRef, why: &str) {
        let server = self.server(at.server).config.name.clone();
        tracing::warn!(server, why, "stops being used");
        if self.instance(at).is_some_and(|instance| instance.state == State::Starting) {
            return self.start_failed(at, Failure::Broken(why.to_owned()));
        }
        self.server_mut(at.server).pool.stop(at.key, why);
        self.lose(at, &Error::ServerMisbehaved { server, detail: why.to_owned() });
        self.dispatch(at.server);
    }

    /// Nothing will come from an instance any more.
    pub(crate) fn instance_gone(&mut self, at: InstanceRef, how: &str) {
        let Some(instance) = self.instance(at) else { return };
        let (state, serial) = (instance.state, instance.serial);
        let detail = format!("{how}{}", instance.stderr.quote());
        let server = self.server(at.server).config.name.clone();
        if state == State::Starting {
            self.start_failed(at, Failure::Broken(detail.clone()));
        } else if state != State::Stopping {
            tracing::warn!(server, instance = serial, how, "ended by itself");
        }
        self.server_mut(at.server).pool.stop(at.key, how);
        self.lose(at, &Error::ServerDied { server, detail });
        self.dispatch(at.server);
    }

    /// The process of an instance is gone: there is room for another.
    pub(crate) fn instance_buried(&mut self, at: InstanceRef) {
        self.server_mut(at.server).pool.instances.remove(at.key);
        if self.servers.iter().all(|server| server.pool.instances.is_empty()) {
            self.quiet.notify_one();
        }
        self.dispatch(at.server);
    }

    /// Fails the calls of an instance that was stopped, and withdraws its asks.
    fn lose(&mut self, at: InstanceRef, error: &Error) {
        let Some(instance) = self.instance_mut(at) else { return };
        let calls = instance.pending.take_all();
        let asks: Vec<RawId> = instance.asks.keys().cloned().collect();
        let orphans = std::mem::take(&mut instance.subscribers);
        asks.iter().for_each(|id| self.withdraw_ask(at, id));
        calls.into_iter().for_each(|entry| self.fail(entry.call, error.clone()));
        self.server_mut(at.server).owned.forget_instance(at.key);
        self.orphan_subscriptions(at.server, orphans);
    }

    /// Starts what is configured to be there at all times, for the kind of client that came last.
    pub fn prestart(&mut self) {
        for id in self.server_ids() {
            let server = self.server(id);
            let Some(profile) = server.catalogue.variants().next().and_then(|variant| variant.key.profile()) else {
                continue;
            };
            let (lease, _) = server.pool.lease(&profile, server.catalogue.known.has_asked);
            if lease == Lease::Shared && !(profile.has_roots() && server.catalogue.known.asks_roots) {
                let need = Need { profile, roots: None, lease };
                let pool = &mut self.server_mut(id).pool;
                (0..pool.config.instances.min).for_each(|_| pool.start(CallerKey::default(), &need));
            }
            self.dispatch(id);
        }
    }

    /// Ends everything: no new callers, waiting calls refused, instances stopped.
    pub fn shut_down(&mut self) {
        self.draining = true;
        let calls: Vec<CallKey> = self.calls.keys().collect();
        self.end_listens();
        calls.into_iter().for_each(|call| self.give_up(call, Error::Draining));
        self.callers.values().for_each(|caller| caller.outbox.close());
        for server in self.server_ids() {
            self.server_mut(server).catalogue.save();
            let instances: Vec<_> = self.server(server).pool.instances.keys().collect();
            instances.into_iter().for_each(|key| self.server_mut(server).pool.stop(key, "mcpool ends"));
        }
        if self.servers.iter().all(|server| server.pool.instances.is_empty()) {
            self.quiet.notify_one();
        }
    }
}
