//! Called by the sweep for every instance that is starting: how long that may take, and what happens to callers that
//! wait for one that takes longer. A start that writes goes on without them, and serves the next caller.

use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Place};
use super::introduce::names_one;
use crate::catalogue::VariantKey;
use crate::clock::rounded;
use crate::config::Timeouts;
use crate::era::Era;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef};
use crate::pool::handshake::{Failure, SETTLE, Stage};
use crate::pool::instance::{Instance, State};
use crate::server::awaited::Word;

/// When whoever was told that a start goes on may try again. Who comes before it is there waits for it.
const AGAIN: Duration = Duration::from_secs(5);

impl Mux {
    /// Gives up an instance whose handshake takes too long. Returns when to look again.
    pub(super) fn sweep_handshake(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let timeout = self.server(at.server).config.timeout;
        let instance = self.instance(at).filter(|instance| instance.state == State::Starting)?;
        let (opened_at, looked_at) = (instance.opened_at, instance.looked_at);
        let first = opened_at + timeout.start;
        if let Some((_, since)) = instance.discovered {
            let due = since + SETTLE;
            if now < due {
                return Some(due.min(first));
            }
            // It does not even refuse to `initialize`.
            let result = self.instance_mut(at)?.adopt_modern()?;
            self.introduced(at, result);
            self.try_ready(at);
            return None;
        }
        if self.is_probing(at) {
            let due = opened_at + timeout.silence();
            if now < due {
                return Some(due);
            }
            let instance = self.instance(at)?;
            if instance.reopened {
                // It answered in the other era, and may be bound to that.
                let why = too_late(instance, &timeout, now);
                self.start_failed(at, Failure::Late(why));
                return None;
            }
            if self.ask_otherwise(at) {
                return Some(first.max(now));
            }
        }
        let last = first.max(opened_at + timeout.start_max);
        let look = |looked: Option<Instant>| looked.map_or(first, |looked| (looked + timeout.start).min(last));
        if now >= look(looked_at) {
            let instance = self.instance(at)?;
            let writes = instance.stderr.takes_note() && !instance.stderr.asks();
            if !writes || now >= last {
                let why = too_late(instance, &timeout, now);
                self.start_failed(at, Failure::Late(why));
                return None;
            }
            if looked_at.is_none() {
                let server = &self.server(at.server).config.name;
                tracing::warn!(
                    server,
                    longest = %rounded(timeout.start_max),
                    "takes longer than `timeout.start` to open, and writes still: it goes on"
                );
            }
            self.instance_mut(at)?.looked_at = Some(now);
        }
        let looked_at = self.instance(at)?.looked_at;
        let impatient = if looked_at.is_some() { self.refuse_impatient(at, now) } else { None };
        impatient.into_iter().chain([look(looked_at)]).min()
    }

    /// Returns whether an instance is asked for the modern era and may be silent because it does not know it.
    fn is_probing(&self, at: InstanceRef) -> bool {
        let server = self.server(at.server);
        let unanswered = |instance: &&Instance| {
            matches!(instance.stage, Stage::Opening(_))
                && instance.profile.era() == Era::Modern
                && instance.asked_before.is_none()
                && instance.discovered.is_none()
        };
        self.instance(at).filter(unanswered).is_some() && server.catalogue.probes(server.config.era)
    }

    /// Asks an instance for the other era too, because it has not answered for the modern one. Returns whether that
    /// serves anybody. The process lives, so it need not be started again (revision 2026-07-28, page "stdio": silence
    /// means legacy).
    fn ask_otherwise(&mut self, at: InstanceRef) -> bool {
        let choice = self.server(at.server).config.era;
        let Some(profile) = self.instance(at).map(|instance| instance.profile.clone()) else { return false };
        let modern = |call: &Call| call.is_callers() && call.profile.era() == Era::Modern;
        let parked = self.waiting_for(at.server, Word::Introduction, modern);
        let queued =
            self.calls.values().any(|call| call.server == at.server && call.place == Place::Queue && modern(call));
        if parked.is_empty() && !queued || !self.server_mut(at.server).catalogue.suspect_lack(&profile, choice) {
            return false;
        }
        let server = self.server_mut(at.server);
        tracing::info!(server = server.config.name, "says nothing to `server/discover`; is asked to `initialize`, too");
        let waited = server.pool.queue.remove_needing(|told| told.profile.era() == Era::Modern);
        let next = self.next_offer(at.server, &waited);
        if let (Some((caller, offer)), Some(instance)) = (next, self.instance_mut(at)) {
            instance.ask_otherwise(caller, offer.profile);
        } else {
            // It may answer still.
            self.server_mut(at.server).catalogue.drop_suspicion();
        }
        waited.into_iter().for_each(|ticket| self.try_other_era(ticket.call));
        self.era_found(at.server);
        true
    }

    /// Tells callers that have waited as long as a start may take that it goes on. Returns when the next caller will
    /// have waited so long.
    fn refuse_impatient(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let timeout = self.server(at.server).config.timeout;
        let instance = self.instance(at)?;
        let left = (instance.opened_at + timeout.start_max).saturating_duration_since(now);
        let error = Error::StillStarting {
            server: self.server(at.server).config.name.clone(),
            after: timeout.start,
            longest: timeout.start_max,
            retry: AGAIN.min(left),
            said: instance.stderr.quote(),
        };
        let mut next: Option<Instant> = None;
        for key in self.waiting_for_start(at) {
            let Some(call) = self.calls.get(key) else { continue };
            let due = call.since + timeout.start;
            if now < due {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            match call.place {
                Place::Introductions(_) => self.refuse_introduction(key, &error),
                // It may have a place in the queue.
                _ => self.give_up(key, error.clone()),
            }
        }
        next
    }

    /// Returns the requests of callers that only a starting instance will serve.
    fn waiting_for_start(&self, at: InstanceRef) -> Vec<CallKey> {
        let server = self.server(at.server);
        let Some(profile) = self.instance(at).map(|instance| &instance.profile) else { return Vec::new() };
        if server.pool.has_ready(profile) {
            return Vec::new();
        }
        let introduction = VariantKey::of_introduction(profile);
        let waits = |call: &Call| match &call.place {
            Place::Queue => call.server == at.server && call.profile == *profile,
            place => match place.awaits(at.server) {
                Some(Word::Introduction) => self.offer_to(at.server, call).introduction() == introduction,
                Some(Word::List(_)) => self.offer_to(at.server, call).profile == *profile,
                None => false,
            },
        };
        // Under a roof of several it joins later, and `patience` bounds the wait.
        let joins = |call: &Call| {
            let prefix = self.callers.get(call.caller).is_some_and(|caller| caller.endpoint.prefix);
            prefix && !names_one(&call.request.method())
        };
        let calls = self.calls.iter().filter(|(_, call)| call.is_callers() && waits(call) && !joins(call));
        calls.map(|(key, _)| key).collect()
    }
}

/// Returns why a start is given up, and which limit that is.
fn too_late(instance: &Instance, timeout: &Timeouts, now: Instant) -> String {
    let (quote, after) = (instance.stderr.quote(), rounded(now.saturating_duration_since(instance.opened_at)));
    if instance.stderr.asks() {
        return format!(
            "it did not open within {after} (`timeout.start`), and seems to wait for an answer that nobody can give it here; have it not ask{quote}"
        );
    }
    match instance.looked_at {
        None => format!("it did not open within {after} (`timeout.start`); raise that if it needs longer{quote}"),
        Some(_) if now >= instance.opened_at + timeout.start_max => {
            format!("it did not open within {after} (`timeout.start_max`); raise that if it needs longer{quote}")
        }
        Some(looked) => {
            let silent = rounded(now.saturating_duration_since(looked));
            format!("it did not open within {after}, and wrote nothing in the last {silent} (`timeout.start`){quote}")
        }
    }
}
