//! Called by `mux::complete` where a modern server ends a modern caller's call with questions, on an endpoint that
//! fixes its callers' roots. The server gets those roots, and the caller is asked only the other questions.

use serde::{Deserialize, Serialize};

use super::Mux;
use super::bridge::fingerprint;
use super::call::{Call, Pin, Place, Source, Then};
use super::request::Accepted;
use super::route::Route;
use crate::caller::roots::fixed;
use crate::era::bridge::seal::Purpose;
use crate::era::bridge::{ask, request};
use crate::era::may_ask_in;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::InstanceRef;
use crate::plural::plural;
use crate::wire::message::{Message, member, members};
use crate::wire::scan::Field;

/// What is kept of a call that was answered roots.
pub struct Rooted {
    /// How often.
    rounds: usize,
    /// Tells the caller's request from others: what is sent instead of it names other things.
    pub(super) request: [u8; 32],
    /// The keys under which the server still has to be told them, when the caller comes back.
    pub(super) owed: Vec<String>,
}

/// What is sealed for a caller that is asked what else there is.
#[derive(Serialize, Deserialize)]
struct Owed {
    keys: Vec<String>,
    /// The server's own state, as it wrote it.
    state: Option<String>,
}

/// Returns what is sealed where mcpool owes a server roots under these keys.
pub(super) fn sealed(keys: &[String], state: Option<&str>) -> String {
    serde_json::json!(Owed { keys: keys.to_vec(), state: state.map(str::to_owned) }).to_string()
}

/// Returns whether a caller comes back for a server to which mcpool owes roots.
pub(super) fn is_owed(request: &Message) -> bool {
    request.text(Field::RequestState).is_some_and(|state| state.starts_with(Purpose::Owing.prefix()))
}

impl Mux {
    /// Answers a server's question for roots. Returns the call and what is left to tell its caller, unless the call
    /// went to the server again.
    pub(super) fn tell_own_roots(
        &mut self,
        at: InstanceRef,
        mut call: Box<Call>,
        answer: &Message,
    ) -> Option<(Box<Call>, Option<Message>)> {
        let access = self.callers.get(call.caller).map(|caller| &caller.access);
        let asked = may_ask_in(&call.request.method());
        let Some(roots) = access.filter(|_| asked).and_then(|access| fixed(access)) else { return Some((call, None)) };
        let requests = members(answer.raw(Field::ResultInputs).unwrap_or("{}"));
        let (own, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|(_, request)| ask::is_for_roots(request));
        if own.is_empty() {
            return Some((call, None));
        }
        let original = call.rooted.as_ref().map_or_else(|| fingerprint(&call.request), |rooted| rooted.request);
        let rounds = call.rooted.as_ref().map_or(0, |rooted| rooted.rounds) + 1;
        let keys: Vec<String> = own.iter().map(|(key, _)| (*key).to_owned()).collect();
        if !others.is_empty() {
            call.rooted = Some(Box::new(Rooted { rounds, request: original, owed: keys }));
            let others: Vec<String> = others.iter().map(|(key, request)| format!(r#""{key}":{request}"#)).collect();
            let mut splice = answer.splice();
            splice.put(answer.span(Field::ResultInputs), format!("{{{}}}", others.join(",")));
            let left = self.read_own(splice.to_bytes()).ok();
            return Some((call, left));
        }
        let state = answer.raw(Field::ResultState).filter(|state| state.starts_with('"'));
        let most = self.config.limits.rounds;
        let again = if rounds > most {
            let detail = format!("it asked {} in one call (see `limits.rounds`)", plural(most + 1, "time"));
            Err(Error::ServerMisbehaved { server: self.server(at.server).config.name.clone(), detail })
        } else {
            let sent = self.as_sent(&call);
            sent.and_then(|sent| self.read_own(with_roots(&sent, &[], &keys, &roots, state).into()))
        };
        match again {
            Ok(request) => {
                call.rooted = Some(Box::new(Rooted { rounds, request: original, owed: Vec::new() }));
                (call.splice, call.request) = (request.splice(), request);
                call.pin = Some(Pin { to: at.key, or_any: true });
                call.place = Place::Nowhere;
                let key = self.submit(call);
                self.todo.place(key);
            }
            Err(error) => {
                let Source::Caller(reply, _permit) = call.from else { return None };
                reply.refuse(&error);
            }
        }
        None
    }

    /// Returns a call's request as its server got it. The line itself went out with the call.
    fn as_sent(&self, call: &Call) -> Result<Message, Error> {
        let Some(caller) = self.callers.get(call.caller).filter(|_| !call.is_worded()) else {
            return Ok(call.request.clone());
        };
        let mut route = self.route(caller, &call.request, true)?;
        self.unwrap_state(call.server, call.caller, &call.request, true, &mut route.splice)?;
        self.read_own(route.splice.to_bytes())
    }

    /// Sends a request on with the roots that mcpool owes its server, and with its caller's answers to the rest.
    pub(super) fn forward_owed(&mut self, accepted: Accepted, route: &Route, then: Then) {
        let (pin, request) = match self.with_owed_roots(&accepted, route) {
            Ok(worded) => worded,
            Err(error) => return accepted.refuse(&error),
        };
        let rooted = Rooted { rounds: 0, request: fingerprint(&accepted.request), owed: Vec::new() };
        let call = accepted.call(route.server, Profile::Modern);
        let (splice, rooted) = (request.splice(), Some(Box::new(rooted)));
        let key = self.submit(Call { request, splice, pin, then, rooted, ..call });
        self.todo.place(key);
    }

    fn with_owed_roots(&self, accepted: &Accepted, route: &Route) -> Result<(Option<Pin>, Message), Error> {
        let text = accepted.request.text(Field::RequestState).unwrap_or_default();
        let (pin, sealed) = self.unsealed(Purpose::Owing, route.server, accepted.caller, (&accepted.request, &text))?;
        let owed: Owed = serde_json::from_str(&sealed).map_err(|error| Error::Internal(error.to_string()))?;
        let roots = self.callers.get(accepted.caller).and_then(|caller| fixed(&caller.access));
        let anew = || Error::InvalidParams("requestState is of other roots; send the request anew without it".into());
        let roots = roots.ok_or_else(anew)?;
        let named = self.read_own(route.splice.to_bytes())?;
        let told = members(named.raw(Field::InputResponses).unwrap_or("{}"));
        let line = with_roots(&named, &told, &owed.keys, &roots, owed.state.as_deref());
        Ok((pin, self.read_own(line.into())?))
    }
}

/// Returns a request with roots under these keys, besides what its caller tells.
fn with_roots(request: &Message, told: &[(&str, &str)], keys: &[String], roots: &str, state: Option<&str>) -> String {
    let roots = member(&format!("{{{roots}}}"), "result").unwrap_or("{}").to_owned();
    let told = told.iter().filter(|(key, _)| !keys.iter().any(|own| own == key));
    let told = told.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let responses: Vec<_> = told.chain(keys.iter().map(|key| (key.clone(), roots.clone()))).collect();
    request::retry(request, &responses, state)
}
