//! Called by the rest of `mux::bridge` for a modern caller's call in which its legacy server asks something. The caller
//! is answered with the questions, and the call stays where it is. A request that brings the answers and the sealed
//! state takes it over (`comeback`).

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Bridge;
use super::questions::Outcome;
use crate::caller::SILENT;
use crate::clock;
use crate::era::bridge::seal::Purpose;
use crate::error::{Bound, Error};
use crate::guard::inflight::Full;
use crate::key::{CallKey, CallerKey, InstanceRef};
use crate::mux::Mux;
use crate::mux::call::{Place, Source};
use crate::mux::gate::Trials;
use crate::wire::message::Message;

/// The calls whose modern callers are to come back.
#[derive(Default)]
pub struct Held {
    last: u64,
    calls: BTreeMap<u64, CallKey>,
    /// Calls whose questions are being gathered, and until when.
    pub(super) gathering: Vec<(Instant, CallKey)>,
}

impl Held {
    /// Forgets a call that is over, or for which its caller came back.
    pub fn remove(&mut self, serial: u64) {
        self.calls.remove(&serial);
    }

    /// Returns how many calls are held.
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// Returns the call behind a serial, if nobody has come back for it.
    pub(super) fn call(&self, serial: u64) -> Option<CallKey> {
        self.calls.get(&serial).copied()
    }

    /// Notes a call that is held, and returns the serial under which its caller comes back.
    fn keep(&mut self, key: CallKey) -> u64 {
        self.last += 1;
        self.calls.insert(self.last, key);
        self.last
    }

    /// Returns the calls that are held.
    pub fn calls(&self) -> impl Iterator<Item = CallKey> {
        self.calls.values().copied()
    }
}

impl Mux {
    /// Returns the call that a request state stands for, if its caller may still come back for it.
    pub(in crate::mux) fn held_behind(&self, state: &str) -> Option<CallKey> {
        self.held.call(self.tokens.open(Purpose::Held, state).ok()?.0.number)
    }

    /// Answers the caller of a call with the questions that are open, and keeps the call until it comes back.
    pub(in crate::mux) fn hold(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key).filter(|call| call.is_callers()) else { return };
        let (limits, caller, server) = (&self.config.limits, call.caller, call.server);
        if self.callers.get(caller).is_some_and(|caller| caller.silent) {
            if self.input_requests(key).is_none() {
                return;
            }
            let pages = matches!(&call.bridge, Some(Bridge::Modern(modern)) if modern.is_to_visit());
            let what = if pages { "elicitation/create" } else { "roots/list" };
            let error = Error::Unanswered { what: what.into(), why: SILENT.into() };
            return self.cannot_hold(key, SILENT, error);
        }
        let bytes = call.request.line().len();
        let Some(bound) = self.callers.get(caller).map(|caller| caller.bound.clone()) else { return };
        let kept = match bound.leave(self.shares.held(), limits.held, bytes) {
            Ok(kept) => kept,
            Err(full) => {
                let error = match full {
                    Full::Own(limit) => Error::CallerOverloaded { limit, bound: Bound::Held },
                    Full::All(limit) => Error::CallerOverloaded { limit, bound: Bound::HeldOfAll },
                    Full::Memory(bytes) => Error::MemoryFull { bytes },
                };
                return self.cannot_hold(key, &error.to_string(), error);
            }
        };
        let Some(requests) = self.input_requests(key) else { return };
        let now = clock::now();
        let until = now + self.server(server).config.timeout.ask;
        let info = self.own_info(&self.calls[key]);
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(request) = call.modern().map(|modern| modern.request) else { return };
        if !matches!(call.place, Place::On(..)) {
            call.place = Place::Held;
        }
        // Nobody knows when its caller comes back: another call may try meanwhile whether the server works.
        call.trials = Trials::default();
        call.deadline = until;
        self.alarm.at(until);
        let serial = self.held.keep(key);
        let state = self.tokens.give(Purpose::Held, serial, (caller, request), "", until);
        if let Source::Caller(reply, _permit) =
            std::mem::replace(&mut call.from, Source::Held { serial, since: now, kept })
        {
            if let Some(caller) = self.callers.get_mut(caller) {
                caller.in_flight.remove(reply.id());
            }
            reply.result(&format!(
                r#"{{"resultType":"input_required","inputRequests":{{{requests}}},"requestState":"{state}","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#
            ));
        }
    }

    /// Refuses to hold a call: its questions are refused, or it fails if it is not with its server yet.
    fn cannot_hold(&mut self, key: CallKey, why: &str, error: Error) {
        if self.calls.get(key).is_some_and(|call| matches!(call.place, Place::On(..))) {
            return self.refuse_questions(key, why);
        }
        self.todo.fail(key, error);
    }

    /// Ends a call of a caller that is away. The caller hears of it when it comes back, and answers then what another
    /// of its calls may have caused.
    pub(in crate::mux) fn answered_while_held(&mut self, at: InstanceRef, key: CallKey, answer: &Message) {
        self.end_while_held(key, Outcome::Answer(at, answer.clone()));
    }

    /// Fails a call of a caller that is away.
    pub(in crate::mux) fn failed_while_held(&mut self, key: CallKey, error: Error) {
        self.end_while_held(key, Outcome::Failed(error));
        self.refuse_questions(key, "the call was answered already");
    }

    fn end_while_held(&mut self, key: CallKey, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(key) {
            call.place = Place::Held;
            if let Some(modern) = call.modern() {
                modern.outcome = Some(outcome);
            }
        }
    }

    /// Returns the calls that are held for a caller.
    pub(in crate::mux) fn held_for(&self, caller: CallerKey) -> Vec<CallKey> {
        let of_caller = |key: &CallKey| self.calls.get(*key).is_some_and(|call| call.caller == caller);
        self.held.calls().filter(of_caller).collect()
    }
}
