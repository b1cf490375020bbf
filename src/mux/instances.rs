//! Called with what happens to an instance: it is ready, failed to start, does not read, or is gone. It settles what
//! that means for the calls that it has and for those that wait.

use std::time::Duration;

use super::Mux;
use super::offer::Offer;
use crate::caller::met;
use crate::catalogue::VariantKey;
use crate::clock;
use crate::era::Era;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::guard::breaker::Ailment;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::pool::handshake::{Failure, Stage};
use crate::pool::instance::State;
use crate::pool::launch::End;
use crate::pool::lease::Lease;
use crate::pool::mishap::Mishap;
use crate::pool::queue::Ticket;
use crate::pool::reason::StopReason;
use crate::server::awaited::Word;
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
        server.pool.opened(at.key);
        tracing::info!(server = server.config.name, instance = serial, era = era.as_str(), "ready");
        let soonest = server.config.probe.every.unwrap_or(Duration::MAX).min(server.config.recycle.idle);
        self.alarm.at(clock::now() + soonest);
        self.succeeded_by(at.server, at.key, true);
        self.adjust_level(at.server);
        self.recheck_lists(at);
        self.todo.stream(at.server);
        self.todo.serve(at.server);
        self.todo.dismiss(at);
    }

    /// Handles a start that failed: callers that waited for the instance are told why.
    pub(crate) fn start_failed(&mut self, at: InstanceRef, failure: Failure) {
        let Some(instance) = self.instance(at) else { return };
        let died_of_both = instance.asked_before.is_some() && matches!(failure, Failure::Silent(..));
        if died_of_both || instance.reopened {
            // It may be bound to the era that it was asked for first: who waits gets a fresh one.
            self.server_mut(at.server).pool.stop(at.key, StopReason::LacksEra);
            return self.todo.serve(at.server);
        }
        let profile = instance.profile.clone();
        let succeeds = self.succeeded_by(at.server, at.key, false);
        let answered = matches!(failure, Failure::Lacks(..));
        // That is the client's trouble where other clients are welcome.
        let of_client = self.is_of_one_kind(at.server, &profile);
        let choice = self.server(at.server).config.era;
        let server = self.server_mut(at.server);
        let (era, said, helps) = match failure {
            Failure::Lacks(era, said) => {
                let neither = server.catalogue.is_known_to_lack(era.other());
                let helps = server.catalogue.note_lack(era, choice);
                (era, lacking(era, neither, &said), helps)
            }
            Failure::Silent(era, said) => (era, said, server.catalogue.suspect_lack(&profile, choice)),
            Failure::Refused(said) | Failure::Broken(said) | Failure::Late(said) => (profile.era(), said, false),
        };
        if helps {
            tracing::info!(server = server.config.name, era = era.as_str(), said, "lacks this era; tries the other");
            let waited = server.pool.queue.remove_needing(|told| told.profile.era() == era);
            if waited.is_empty() {
                // Whatever it was started for is not to start it over and over again.
                drop(server.pool.failed(&profile, &said));
            }
            let next = if answered { self.next_offer(at.server, &waited) } else { None };
            match (next, self.instance_mut(at)) {
                (Some((caller, offer)), Some(instance)) => instance.reopen(caller, offer.profile),
                _ => self.server_mut(at.server).pool.stop(at.key, StopReason::LacksEra),
            }
            waited.into_iter().for_each(|ticket| self.try_other_era(ticket.call));
            self.era_found(at.server);
        } else {
            if let Some(instance) = server.pool.instances.get(at.key) {
                server.pool.mishap = Some(Mishap::now("start", &said, instance.stderr.lines()));
            }
            server.pool.stop(at.key, StopReason::NotReady);
            let mut refused = server.pool.failed(&profile, &said);
            if let Some(other) = server.catalogue.drop_suspicion() {
                // Neither era could be had: who needs the other one need not try again at once.
                refused.extend(server.pool.failed(&other, &said));
            }
            refused.into_iter().for_each(|(call, error)| self.todo.fail(call, error));
            if !succeeds && !of_client {
                // Else the old one goes on, and nobody has to do without.
                self.ailed(at.server, Ailment::of(&[], &said));
            }
        }
        self.todo.serve(at.server);
    }

    /// Returns whether only one kind of client has trouble with a start that failed. Then an instance for another kind
    /// takes calls, or the server is known to open for others and no start for another kind has failed lately.
    fn is_of_one_kind(&self, server: ServerId, profile: &Profile) -> bool {
        let server = self.server(server);
        if server.pool.has_ready_for_others(profile) {
            return true;
        }
        if server.pool.setbacks.of_others(profile) {
            return false;
        }
        let own = VariantKey::of_introduction(profile);
        let others = server.catalogue.variants().filter(|variant| variant.key != own);
        others.filter(|variant| variant.key.era == own.era).any(|variant| variant.introduction().is_some())
    }

    /// Returns what an instance is told after it turned out not to speak the era it was started for: what the call
    /// needs that has waited longest.
    pub(super) fn next_offer(&self, server: ServerId, waited: &[Ticket]) -> Option<(CallerKey, Offer)> {
        let parked = self.waiting_for(server, Word::Introduction, |_| true);
        let mut calls = parked.into_iter().chain(waited.iter().map(|ticket| ticket.call));
        let call = calls.find_map(|key| self.calls.get(key).filter(|call| call.is_callers()))?;
        Some((call.caller, self.offer_to(server, call)))
    }

    /// Handles a call that waited for an instance of an era that its server lacks.
    pub(super) fn try_other_era(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        if call.is_callers() && call.bridge.is_none() {
            return self.todo.begin(key);
        }
        let server = self.server(call.server).config.name.clone();
        self.todo
            .fail(key, Error::StartFailed { server, detail: "it lacks the era that was tried".into(), retry: None });
    }

    /// Stops an instance that cannot be trusted any more, and fails its calls.
    pub(crate) fn distrust(&mut self, at: InstanceRef, why: &str) {
        let server = self.server(at.server).config.name.clone();
        tracing::warn!(server, why, "stops being used");
        if self.instance(at).is_some_and(|instance| instance.state == State::Starting) {
            return self.start_failed(at, Failure::Broken(why.to_owned()));
        }
        self.note_mishap(at, "misbehaved", why);
        self.server_mut(at.server).pool.stop(at.key, StopReason::Misbehaved);
        self.server_mut(at.server).pool.crashed();
        let met = met::at_the_end_of(self.instance(at), &self.callers);
        self.lose(at, &Error::ServerMisbehaved { server, detail: why.to_owned() });
        self.ailed(at.server, Ailment::of(&met, why));
        self.todo.serve(at.server);
    }

    /// Remembers the last failure of a server.
    pub(super) fn note_mishap(&mut self, at: InstanceRef, what: &'static str, cause: &str) {
        let Some(instance) = self.instance(at) else { return };
        let mishap = Mishap::now(what, cause, instance.stderr.lines());
        self.server_mut(at.server).pool.mishap = Some(mishap);
    }

    /// Handles an instance that does not read, or not fast enough: it gets nothing new. It may still answer what it was
    /// sent, until it is given up like one that ended by itself.
    pub(crate) fn instance_deaf(&mut self, at: InstanceRef) {
        if !self.instance(at).is_some_and(|instance| matches!(instance.state, State::Ready | State::Draining)) {
            return;
        }
        let pool = &mut self.server_mut(at.server).pool;
        pool.mark_draining(at.key, StopReason::Deaf);
        pool.crashed();
        if let Some(instance) = self.instance_mut(at) {
            // Also if it was drained already: it is not taken back.
            instance.leaves = Some(StopReason::Deaf);
        }
        self.todo.serve(at.server);
    }

    /// Handles the end of an instance's process while another process has its pipes. The instance may still answer what
    /// it was sent; nothing else is expected of it.
    pub(crate) fn instance_ended(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.ended = true;
        if matches!(instance.state, State::Ready | State::Draining) {
            self.server_mut(at.server).pool.mark_draining(at.key, StopReason::Ended);
        }
    }

    /// Handles the end of an instance: nothing will come from it any more.
    pub(crate) fn instance_gone(&mut self, at: InstanceRef, End { how, may_be_told }: &End) {
        if let Some((owner, Lease::Session)) = self.instance(at).and_then(|instance| instance.bound) {
            // What it offered was its own.
            self.server_mut(at.server).forget_owner(owner);
        }
        let Some(instance) = self.instance(at) else { return };
        let (state, serial) = (instance.state, instance.serial);
        let deaf = instance.leaves == Some(StopReason::Deaf);
        let detail = format!("{how}{}", instance.stderr.quote());
        let server = self.server(at.server).config.name.clone();
        if state == State::Starting {
            let unanswered = instance.launched && *may_be_told && matches!(instance.stage, Stage::Opening(_));
            let said = if instance.launched { format!("it ended before it opened: {detail}") } else { detail.clone() };
            let failure = match unanswered {
                true => Failure::Silent(instance.profile.era(), said),
                false => Failure::Broken(said),
            };
            self.start_failed(at, failure);
        } else if state != State::Stopping {
            tracing::warn!(server, instance = serial, how, "ended by itself");
            self.note_mishap(at, if deaf { "deaf" } else { "ended" }, how);
            if !deaf {
                self.server_mut(at.server).pool.crashed();
            }
        }
        self.server_mut(at.server).pool.stop(at.key, StopReason::Ended);
        let met = met::at_the_end_of(self.instance(at), &self.callers);
        self.lose(at, &Error::ServerDied { server, detail });
        // One that read no more has failed, though it may have finished what it had.
        if deaf || matches!(state, State::Ready | State::Draining) {
            let cause = format!("an instance ended by itself: {how}");
            self.ailed(at.server, Ailment::of(&met, &cause));
        }
        self.todo.serve(at.server);
    }

    /// Forgets an instance whose process is gone, so that there is room for another.
    pub(crate) fn instance_buried(&mut self, at: InstanceRef) {
        self.server_mut(at.server).pool.buried(at.key);
        self.vacate(at.server);
        if self.servers.iter().all(|server| server.pool.instances.is_empty()) {
            self.quiet.notify_one();
        }
        self.succeeded_by(at.server, at.key, false);
        // Who waits comes first: what is only to be there might be of no use to it.
        self.todo.serve(at.server);
        self.todo.keep_min(at.server);
    }

    /// Ends the calls of an instance that was stopped, or sends them elsewhere, and withdraws its asks.
    fn lose(&mut self, at: InstanceRef, error: &Error) {
        let Some(instance) = self.instance_mut(at) else { return };
        let calls = instance.pending.take_all();
        let outbox = instance.outbox.clone();
        // What was not taken to be written goes elsewhere, and nowhere else.
        let kept_back: Vec<bool> = calls.iter().map(|entry| outbox.kept_back(entry.after)).collect();
        outbox.take_back();
        let asks: Vec<RawId> = instance.asks.iter().map(|(id, _)| id.clone()).collect();
        asks.iter().for_each(|id| self.withdraw_ask(at, id));
        self.server_mut(at.server).owned.forget_instance(at.key);
        calls.into_iter().zip(kept_back).for_each(|(entry, kept_back)| self.lost(entry, kept_back, error));
        self.orphan_subscriptions(at);
    }

    /// Starts `instances.min` instances of each server.
    pub fn prestart(&mut self) {
        self.configured().into_iter().for_each(|id| self.todo.keep_min(id));
    }
}

/// Returns what callers are told about a server that speaks not this era, or neither.
fn lacking(era: Era, neither: bool, said: &str) -> String {
    if neither {
        return format!(
            "it knows neither `initialize` nor `server/discover`, so it is no MCP server, or of a revision that mcpool does not speak: {said}"
        );
    }
    format!("it does not speak the {} era: {said}", era.as_str())
}
