//! Called by `mux::complete` and `mux::request` for the `requestState` that a modern server hands out through a modern
//! caller. It must come back to the instance that issued it, since servers seal it with a key of the process. mcpool
//! hides the server's state in one of its own, so that nobody can use it elsewhere, or have a call sent to an instance
//! that did not ask for it.

use sha2::{Digest, Sha256};

use super::Mux;
use super::bridge::fingerprint;
use super::call::{Call, Pin};
use super::own_roots::sealed;
use crate::clock;
use crate::era::bridge::ask;
use crate::era::bridge::seal::{OURS, Purpose};
use crate::era::legacy::URL_ELICITATION_REQUIRED;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallerKey, InstanceRef, ServerId};
use crate::wire::message::{Kind, Message};
use crate::wire::scan::{Field, Span};
use crate::wire::splice::Splice;

impl Mux {
    /// Seals the state with which a server's question ends a call.
    pub(super) fn wrap_state(&self, at: InstanceRef, call: &Call, answer: &Message, splice: &mut Splice) {
        if call.profile != Profile::Modern || !is_question(answer) {
            return;
        }
        self.sign_questions(at, call, answer, splice);
        let Some(instance) = self.instance(at) else { return };
        let state = answer.raw(Field::ResultState).filter(|state| state.starts_with('"'));
        let until = clock::now() + self.server(at.server).config.timeout.ask;
        let request = call.rooted.as_ref().map_or_else(|| fingerprint(&call.request), |rooted| rooted.request);
        let whose = (call.caller, self.belongs(at.server, request));
        if let Some(owed) = call.rooted.as_ref().map(|rooted| &rooted.owed).filter(|owed| !owed.is_empty()) {
            let token = self.tokens.give(Purpose::Owing, instance.serial, whose, &sealed(owed, state), until);
            return put_state(answer, &token, splice);
        }
        let Some(inner) = state.and_then(|state| state.strip_prefix('"')?.strip_suffix('"')) else { return };
        let token = self.tokens.give(Purpose::Asked, instance.serial, whose, inner, until);
        put_state(answer, &token, splice);
    }

    /// Keeps an instance for a caller that was asked. No other process can read the state with which the caller comes
    /// back.
    pub(super) fn expect_back(&mut self, at: InstanceRef) {
        let until = clock::now() + self.server(at.server).config.timeout.hold;
        if let Some(instance) = self.instance_mut(at) {
            instance.asks.expects_back(until);
            self.alarm.at(until);
        }
    }

    /// Adds the server's name to its questions, on an endpoint of several servers.
    fn sign_questions(&self, at: InstanceRef, call: &Call, answer: &Message, splice: &mut Splice) {
        let among = self.callers.get(call.caller).is_some_and(|caller| caller.endpoint.prefix);
        let Some(requests) = answer.raw(Field::ResultInputs).filter(|_| among) else { return };
        let span = answer.span(Field::ResultInputs);
        splice.put(span, ask::all_fronted(requests, &self.server(at.server).config.name));
    }

    /// Takes our seal off a state, and finds the instance that issued it. A state that mcpool never sealed passes as it
    /// is: no server gave it to this caller.
    ///
    /// # Errors
    /// It is sealed, and not for this caller and request.
    pub(super) fn unwrap_state(
        &self,
        server: ServerId,
        caller: CallerKey,
        request: &Message,
        modern: bool,
        splice: &mut Splice,
    ) -> Result<Option<Pin>, Error> {
        let ours = request.text(Field::RequestState).filter(|text| modern && text.starts_with(OURS));
        let Some(text) = ours else { return Ok(None) };
        let (pin, inner) = self.unsealed(Purpose::Asked, server, caller, (request, &text))?;
        splice.put(request.span(Field::RequestState), format!("\"{inner}\""));
        Ok(pin)
    }

    /// Returns what is hidden in a state that a caller brings back, and the instance that issued it.
    ///
    /// # Errors
    /// It is not for this caller and request.
    pub(super) fn unsealed(
        &self,
        purpose: Purpose,
        server: ServerId,
        caller: CallerKey,
        (request, text): (&Message, &str),
    ) -> Result<(Option<Pin>, String), Error> {
        let wrong = |why: &str| Error::InvalidParams(format!("requestState {why}; send the request anew without it"));
        let whose = (caller, self.belongs(server, fingerprint(request)));
        let (serial, inner) = self.tokens.take(purpose, text, whose).map_err(wrong)?;
        let mut instances = self.server(server).pool.instances.values();
        // If it is gone, another one has its own words for a state that it did not issue.
        let issuer = instances.find(|instance| instance.serial == serial);
        Ok((issuer.map(|instance| Pin { to: instance.at.key, or_any: true }), inner))
    }

    /// Returns whether a server answers with questions to a caller that may not be asked. A modern server does so in
    /// its result, a legacy one in an error that wants a web page to be visited.
    pub(super) fn asks_in_vain(&self, call: &Call, answer: &Message) -> bool {
        let asks = match (&call.profile, answer.kind()) {
            (Profile::Modern, Kind::Result) => is_question(answer),
            (Profile::Legacy(_), Kind::Error) => answer.raw(Field::ErrorCode) == Some(URL_ELICITATION_REQUIRED),
            _ => false,
        };
        asks && self.callers.get(call.caller).is_some_and(|caller| !caller.access.asks)
    }

    /// Returns a digest of what a state belongs to.
    fn belongs(&self, server: ServerId, request: [u8; 32]) -> [u8; 32] {
        let name = self.server(server).config.name.as_bytes();
        Sha256::new().chain_update(name).chain_update([0]).chain_update(request).finalize().into()
    }
}

/// Returns whether a modern server ends a call with questions, however it writes the word.
pub(super) fn is_question(answer: &Message) -> bool {
    answer.text(Field::ResultType).is_some_and(|kind| kind == "input_required")
}

/// Puts a token in place of a server's state, or beside its questions if it wrote none.
fn put_state(answer: &Message, token: &str, splice: &mut Splice) {
    let inputs = answer.span(Field::ResultInputs);
    // One that is null is none, and stands there.
    match answer.span(Field::ResultState).place() {
        Some(place) => splice.put(place, format!("\"{token}\"")),
        None => splice.put(Span { start: inputs.end, end: inputs.end }, format!(r#","requestState":"{token}""#)),
    }
}
