//! Called by `mux::request` for `initialize` and `server/discover`: answers them from the catalogue. If the catalogue
//! knows nothing yet, an instance is started, which introduces itself; other requests that need to know the server's
//! era wait for that too.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Mux;
use super::call::{Call, Place, Source};
use super::errand::{Errand, Order};
use super::offer::{Offer, declared, restrained};
use super::request::Accepted;
use crate::caller::{Caller, Session};
use crate::catalogue::VariantKey;
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::bridge::capabilities::client_info;
use crate::era::profile::Profile;
use crate::era::{Era, implementation, legacy, modern};
use crate::error::Error;
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::server::awaited::Word;
use crate::wire::scan::Field;

impl Mux {
    /// Handles `initialize` of a legacy caller.
    pub(crate) fn initialize(&mut self, accepted: Accepted) {
        let Some(caller) = self.callers.get_mut(accepted.caller) else { return };
        if caller.session.is_some() {
            return accepted.refuse(&Error::InvalidRequest("`initialize` was sent already".into()));
        }
        let request = &accepted.request;
        let revision = legacy::negotiate(&request.text(Field::ProtocolVersion).unwrap_or_default());
        // A set of none may be written as null.
        let none = request.span(Field::Capabilities).is_null();
        let given = if none { Some("{}") } else { request.raw(Field::Capabilities) };
        let fewer = given.and_then(|given| restrained(&caller.access, given));
        let Some(profile) = fewer.as_deref().or(given).and_then(|given| Profile::legacy(revision, given)) else {
            let what = "`initialize` needs `capabilities`, an object of objects, of at most 16 KiB";
            return accepted.refuse(&Error::InvalidParams(what.into()));
        };
        let info = client_info(request.raw(Field::ClientInfo));
        caller.introduces_itself(request.raw(Field::ClientInfo), revision);
        caller.session = Some(Session { profile: profile.clone(), info: info.into(), initialized: false, level: None });
        self.introduce(accepted, profile);
    }

    /// Handles a caller's question who its servers are.
    pub(crate) fn introduce(&mut self, accepted: Accepted, own: Profile) {
        let Some(endpoint) = self.callers.get(accepted.caller).map(|caller| caller.endpoint.clone()) else { return };
        let capabilities = declared(&accepted.request).to_owned();
        let unknown = |server: &ServerId| {
            let offer = self.offer(*server, &own, &capabilities);
            self.introduction(*server, &own, &offer).is_none()
        };
        let unknown: Vec<ServerId> = endpoint.servers.iter().copied().filter(unknown).collect();
        let Some(first) = unknown.first().or(endpoint.servers.first()).copied() else {
            return accepted.result(&united(&[], false, &own));
        };
        if unknown.is_empty() {
            let key = self.submit(accepted.call(first, own));
            return self.answer_introduction(key);
        }
        self.await_introductions(accepted, own, unknown);
    }

    /// Lets a request wait until servers have introduced themselves. Only then does mcpool know how to speak with them.
    pub(crate) fn await_introductions(&mut self, mut accepted: Accepted, own: Profile, unknown: Vec<ServerId>) {
        if let Err(error) = accepted.is_a_call() {
            if accepted.request.method() == "initialize" {
                self.change_session(accepted.caller, Caller::is_not_opened);
            }
            return accepted.refuse(&error);
        }
        let Some(endpoint) = self.callers.get(accepted.caller).map(|caller| caller.endpoint.clone()) else { return };
        let config = self.server(unknown[0]).config.clone();
        let late_may_join = endpoint.prefix && !names_one(&accepted.request.method());
        let wait = if late_may_join {
            endpoint.patience
        } else {
            (config.timeout.start + config.timeout.stop * 2) * 2 + config.queue.timeout
        };
        let key = self.submit(accepted.call(unknown[0], own));
        self.wait_at(key, Place::Introductions(unknown.clone()), clock::now() + wait);
        unknown.into_iter().for_each(|server| self.have_introduced(server, key));
    }

    /// Starts an instance for a call so that it introduces itself, unless one is on its way.
    fn have_introduced(&mut self, server: ServerId, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let (caller, offer) = (call.caller, self.offer_to(server, call));
        self.introduce_server(server, caller, offer);
    }

    /// Starts an instance so that it introduces itself, unless one is on its way.
    pub(crate) fn introduce_server(&mut self, server: ServerId, caller: CallerKey, offer: Offer) {
        let who = self.principal(caller);
        if self.server_mut(server).catalogue.variant_for(who, &offer.introduction()).begin_introduction() {
            let errand = Errand::Introduce(offer.introduction());
            let order = Order::new(server, caller, offer.profile, ("ping", "{}"));
            self.send_errand(order, errand);
        }
    }

    /// Handles the introduction of an instance.
    pub(crate) fn introduced(&mut self, at: InstanceRef, result: String) {
        let Some(profile) = self.instance(at).map(|instance| instance.profile.clone()) else { return };
        let key = VariantKey::of_introduction(&profile);
        if let Some(instance) = self.instance_mut(at) {
            instance.introduction = Some(result.as_str().into());
        }
        let catalogue = &mut self.server_mut(at.server).catalogue;
        catalogue.note_era(profile.era());
        if catalogue.variant_mut(&key).introduced(result) {
            catalogue.save();
        }
        // Whoever waited for an instance only to have this said needs none any more.
        let errands = self.server(at.server).awaited().errands().iter();
        let over: Vec<CallKey> = errands.filter(|(_, of)| **of == key).map(|(errand, _)| *errand).collect();
        let tried = over.iter().filter_map(|errand| self.calls.get(*errand)).any(|call| call.trials.decide());
        over.into_iter().for_each(|errand| self.cancel(errand, None));
        if tried {
            self.works(at.server, Principal::MCPOOL);
        }
        self.drop_vain_introductions(at.server, profile.era().other());
        self.introduction_settled(at.server, &profile, None);
        self.era_found(at.server);
    }

    /// Ends errands for introductions in an era that nobody waits for. The server was only slow in the other era.
    fn drop_vain_introductions(&mut self, server: ServerId, era: Era) {
        if self.has_strange_orphans(server) {
            return;
        }
        let errands = self.server(server).awaited().errands().iter().filter(|(_, of)| of.era == era);
        for (errand, of) in errands.map(|(errand, of)| (*errand, of.clone())).collect::<Vec<_>>() {
            let wants = |call: &Call| self.offer_to(server, call).introduction() == of;
            if self.waiting_for(server, Word::Introduction, wants).is_empty() {
                self.server_mut(server).catalogue.variant_mut(&of).end_introduction();
                self.cancel(errand, None);
            }
        }
    }

    /// Handles that no instance could be started to introduce itself, or none that speaks this era.
    pub(crate) fn not_introduced(&mut self, server: ServerId, key: &VariantKey, error: &Error) {
        self.server_mut(server).catalogue.variant_mut(key).end_introduction();
        let (era, choice) = (key.era, self.server(server).config.era);
        if self.server(server).catalogue.lacks(era, choice) {
            let waiting = self.waiting_for(server, Word::Introduction, |_| true);
            if waiting.is_empty() && !self.has_strange_orphans(server) {
                // Nobody is there any more to try the other one for.
                self.server_mut(server).catalogue.drop_suspicion();
            }
            return waiting.into_iter().for_each(|call| self.have_introduced(server, call));
        }
        if let Some(profile) = key.profile() {
            self.introduction_settled(server, &profile, Some(error));
        }
    }

    /// Goes on with the calls that waited for the introduction of a server, whether it came or could not be had. A server may
    /// speak both eras: who still has one of its own era to come waits for that, since the other one tells it nothing.
    fn introduction_settled(&mut self, server: ServerId, profile: &Profile, error: Option<&Error>) {
        let key = VariantKey::of_introduction(profile);
        let waits = |call: &Call| {
            let (it, own) = (self.server(server), self.offer_to(server, call).introduction());
            let known = error.is_none() && !opens(&call.request.method()) && self.knows_era(server, call.profile.era());
            let is_that = Offer::in_era(key.era, &call.profile, declared(&call.request)).introduction() == key;
            known || is_that && (own == key || !it.catalogue.is_being_introduced(&own))
        };
        let waiting = self.waiting_for(server, Word::Introduction, waits);
        for (key, alone) in self.done_waiting(server, waiting) {
            let names_one = self.calls.get(key).is_some_and(|call| names_one(&call.request.method()));
            match error {
                Some(error) if alone || names_one => self.refuse_introduction(key, error),
                Some(_) => {
                    self.leave_out(key, &[server]);
                    self.introductions_there(key);
                }
                None => self.introductions_there(key),
            }
        }
        if error.is_none() {
            self.todo.arrived(server, profile.clone());
        }
    }

    /// Goes on with a call that waited for introductions, with those that came.
    pub(crate) fn introductions_there(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        if opens(&call.request.method()) { self.answer_introduction(key) } else { self.todo.begin(key) }
    }

    /// Refuses a call that waited for introductions. If it is an opening, the caller may try again.
    pub(crate) fn refuse_introduction(&mut self, key: CallKey, error: &Error) {
        let Some(call) = self.calls.get(key) else { return };
        if call.request.method() == "initialize" {
            self.change_session(call.caller, Caller::is_not_opened);
        }
        self.todo.fail(key, error.clone());
    }

    /// Answers with what is known by now.
    fn answer_introduction(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(caller) = self.callers.get(call.caller) else { return };
        let known = |server: &ServerId| {
            let introduction = self.introduction(*server, &call.profile, &self.offer_to(*server, call))?;
            Some((self.server(*server).config.name.as_str(), introduction))
        };
        let parts: Vec<(&str, String)> = caller.endpoint.servers.iter().filter_map(known).collect();
        let result = match parts.as_slice() {
            [(_, introduction)] if !caller.endpoint.prefix => introduction.clone(),
            parts => united(parts, parts.len() < caller.endpoint.servers.len(), &call.profile),
        };
        let Some(call) = self.take_out(key) else { return };
        if let Source::Caller(reply, _permit) = call.from {
            reply.result(&result);
        }
    }
}

/// Returns whether a method opens a connection, so that the introductions are its answer.
fn opens(method: &str) -> bool {
    matches!(method, "initialize" | "server/discover")
}

/// Returns whether a request of this method is for one server, and cannot go on without it.
pub(super) fn names_one(method: &str) -> bool {
    !(opens(method) || ListKind::of_method(method).is_some() || method == "subscriptions/listen")
}

/// Returns one introduction for several servers: the union of what they can do, and the instructions of each under its
/// name. It always announces that lists change, since a server may join late. A `late` server may offer anything, so
/// everything is declared: hosts never ask again.
fn united(parts: &[(&str, String)], late: bool, profile: &Profile) -> String {
    let mut capabilities = Map::new();
    if late {
        capabilities.insert("logging".into(), json!({}));
        capabilities.insert("completions".into(), json!({}));
        capabilities.insert("resources".into(), json!({ "subscribe": true }));
    }
    let mut instructions = String::new();
    for (name, introduction) in parts {
        let Ok(Value::Object(said)) = serde_json::from_str::<Value>(introduction) else { continue };
        if let Some(Value::Object(offered)) = said.get("capabilities") {
            merge(&mut capabilities, offered);
        }
        if let Some(Value::String(text)) = said.get("instructions") {
            let _ = write!(instructions, "# {name}\n\n{}\n\n", without_headings(text));
        }
    }
    for kind in ListKind::CAPABILITIES {
        let entry = capabilities.entry(kind).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("listChanged".into(), json!(true));
        }
    }
    let mut result = json!({ "capabilities": capabilities });
    if !instructions.is_empty() {
        result["instructions"] = instructions.trim_end().into();
    }
    let implementation: Value = serde_json::from_str(&implementation()).unwrap_or_default();
    match profile {
        Profile::Legacy(legacy) => {
            result["protocolVersion"] = legacy.revision.into();
            result["serverInfo"] = implementation;
        }
        Profile::Modern => {
            result["resultType"] = "complete".into();
            result["supportedVersions"] = json!([modern::REVISION]);
            result["ttlMs"] = 0.into();
            result["cacheScope"] = "private".into();
            result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": implementation });
        }
    }
    result.to_string()
}

/// A server's instructions with its headings quoted, so that none passes for the name of another server.
fn without_headings(text: &str) -> String {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    let quoted = |line: &str| {
        let plain = line.trim();
        let underline = |mark| !plain.is_empty() && plain.chars().all(|letter| letter == mark);
        let tag =
            plain.as_bytes().first() == Some(&b'<') && plain.as_bytes().get(1).is_some_and(|it| b"hH".contains(it));
        if plain.starts_with('#') || underline('=') || underline('-') || tag { "> " } else { "" }
    };
    text.split_inclusive(ends).map(|line| format!("{}{line}", quoted(line))).collect()
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (Some(Value::Bool(known)), Value::Bool(more)) => *known |= more,
            (Some(_), _) => {}
            (None, _) => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_heading_of_a_server_passes_for_the_name_of_another() {
        let posing = "Be kind.\n# good\r  ## good\u{2028}good\n====\ngood\n---\n<H1>good</h1>\nC# - or = not";
        let told = without_headings(posing);
        assert_eq!(
            told,
            "Be kind.\n> # good\r>   ## good\u{2028}good\n> ====\ngood\n> ---\n> <H1>good</h1>\nC# - or = not"
        );
    }

    #[test]
    fn capabilities_are_united_and_instructions_stand_under_names() {
        let one = r#"{"capabilities":{"tools":{},"resources":{"subscribe":true}},"instructions":"Be kind."}"#;
        let two = r#"{"capabilities":{"resources":{"subscribe":false},"logging":{}},"instructions":"Be brief."}"#;
        let profile = Profile::legacy("2025-06-18", "{}").unwrap();
        let result: Value =
            serde_json::from_str(&united(&[("a", one.into()), ("b", two.into())], false, &profile)).unwrap();
        assert_eq!(result["capabilities"]["resources"], json!({"subscribe": true, "listChanged": true}));
        assert_eq!(result["capabilities"]["logging"], json!({}));
        assert_eq!(result["instructions"], "# a\n\nBe kind.\n\n# b\n\nBe brief.");
        assert_eq!(result["protocolVersion"], "2025-06-18");
        let result: Value = serde_json::from_str(&united(&[("a", one.into())], true, &profile)).unwrap();
        assert_eq!(result["capabilities"]["logging"], json!({}));
    }
}
