//! Called by `mux::request` for the four lists: answers them from the catalogue. An old list is fetched first, with all
//! its pages, and once however many callers ask.

mod fetch;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Mux;
use super::call::{Call, Place, Source};
use super::offer::{Offer, declared};
use super::request::Accepted;
use crate::caller::Caller;
use crate::caller::names;
use crate::catalogue::VariantKey;
use crate::catalogue::index::Joined;
use crate::catalogue::list::ListKind;
use crate::catalogue::rendered::{Freshness, Rendered};
use crate::clock;
use crate::era::bridge::answer::to_legacy;
use crate::era::bridge::items::fit_item;
use crate::era::bridge::seal::Purpose;
use crate::era::implementation;
use crate::era::legacy::announces;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, ServerId};
use crate::pool::instance::Instance;
use crate::server::awaited::Word;
use crate::wire::message::{Message, member};
use crate::wire::scan::Field;
pub use fetch::Request;

/// How long a caller may take from one page of a list to the next.
const PAGED: Duration = Duration::from_secs(3600);

impl Mux {
    /// A caller wants a list.
    pub(crate) fn list(&mut self, mut accepted: Accepted, own: Profile, kind: ListKind) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let endpoint = caller.endpoint.clone();
        let (strange, missed): (Vec<ServerId>, Vec<ServerId>) = endpoint
            .servers
            .iter()
            .copied()
            .filter(|server| !self.knows_era(*server, own.era()))
            .partition(|server| !endpoint.prefix || !caller.missed().contains(server));
        if !strange.is_empty() {
            return self.await_introductions(accepted, own, strange);
        }
        if let (false, Some(only)) = (endpoint.prefix, endpoint.servers.first())
            && self.waits_for_roots(*only, &own, accepted.caller)
        {
            return self.await_roots(accepted, own, *only);
        }
        let capabilities = declared(&accepted.request).to_owned();
        let offers = endpoint.servers.iter().filter(|server| !missed.contains(server));
        let missing: Vec<(ServerId, Offer)> = offers
            .map(|server| (*server, self.list_offer(*server, &own, &capabilities, accepted.caller)))
            .filter(|(server, offer)| !self.believes(*server, offer, kind, caller.identity.uid))
            .collect();
        let Some(first) = missing.first().map(|(server, _)| server).or(endpoint.servers.first()).copied() else {
            let modern = own == Profile::Modern;
            let rest = if modern { of_era(&implementation()) } else { String::new() };
            return accepted.result(&Rendered::from(0, self.config.limits.message).finish(
                kind,
                |_| String::new(),
                modern.then_some(0),
                &rest,
            ));
        };
        let config = self.server(first).config.clone();
        let caller = accepted.caller;
        if endpoint.prefix && kind == ListKind::Resources {
            self.learn_templates(caller, &endpoint.servers, &own, &capabilities);
        }
        if !missing.is_empty()
            && let Err(error) = accepted.is_a_call()
        {
            return accepted.refuse(&error);
        }
        let key = self.submit(accepted.call(first, own));
        if missing.is_empty() {
            return self.answer_list(key, kind);
        }
        let wait = if endpoint.prefix {
            endpoint.patience
        } else {
            config.timeout.start + config.queue.timeout + config.timeout.call
        };
        let awaited = missing.iter().map(|(server, _)| *server).collect();
        self.wait_at(key, Place::Lists(kind, awaited), clock::now() + wait);
        for (server, offer) in missing {
            self.fetch_list(server, caller, offer.profile, offer.variant, kind);
        }
    }

    /// Whether a caller's roots are to be asked for before it is known which lists it is shown.
    fn waits_for_roots(&self, server: ServerId, own: &Profile, caller: CallerKey) -> bool {
        let offer = self.list_offer(server, own, "{}", caller);
        let asks = self.server(server).catalogue.decides_by_roots(&offer.profile);
        let may_ask = |caller: &Caller| self.tells_roots(caller, &offer.profile) && !caller.never_tells_roots();
        asks && self.callers.get(caller).is_some_and(|caller| may_ask(caller) && caller.roots.known().is_none())
    }

    /// Lets a request for a list wait until its caller has told its roots.
    fn await_roots(&mut self, mut accepted: Accepted, own: Profile, server: ServerId) {
        if let Err(error) = accepted.is_a_call() {
            return accepted.refuse(&error);
        }
        let (caller, config) = (accepted.caller, self.server(server).config.clone());
        let key = self.submit(accepted.call(server, own));
        let wait = config.timeout.start + config.queue.timeout + config.timeout.call;
        self.wait_at(key, Place::Roots, clock::now() + wait);
        self.fetch_roots(caller);
    }

    /// Fetches the templates of servers that have resources: they tell which resources those behind them may not claim. One
    /// that refused them has none, and is not asked with each list of resources.
    fn learn_templates(&mut self, caller: CallerKey, servers: &[ServerId], own: &Profile, capabilities: &str) {
        for server in servers.iter().copied() {
            let offer = self.list_offer(server, own, capabilities, caller);
            let known = self.server(server).catalogue.variant(&offer.variant);
            let kind = ListKind::Templates;
            let unknown = known.is_none_or(|variant| variant.list(kind).is_none() && !variant.refuses(kind));
            let said = self.server(server).catalogue.said(&offer.introduction());
            let has = said.and_then(|said| member(member(said, "capabilities")?, "resources")).is_some();
            if unknown && has {
                self.fetch_list(server, caller, offer.profile, offer.variant, kind);
            }
        }
    }

    /// Whether a list can be answered from what is known.
    pub(super) fn believes(&self, server: ServerId, offer: &Offer, kind: ListKind, uid: u32) -> bool {
        let server = self.server(server);
        let instances = &server.pool.instances;
        let fits = |it: &Instance| it.alive() && it.profile == offer.profile;
        let warm = instances.values().any(|it| fits(it) && self.scope_at(it.at) == Some(offer.variant.scope));
        let (now, max_age) = (clock::now(), self.config.catalogue.max_age);
        let variant = server.catalogue.variant(&offer.variant);
        variant.is_some_and(|variant| variant.believes(kind, warm, uid, max_age, now))
    }

    /// Goes on with the callers that waited for a list of a server, which was fetched on behalf of one of them; those who are
    /// shown it.
    fn list_settled(
        &mut self,
        (server, variant): (ServerId, &VariantKey),
        kind: ListKind,
        (fetched_for, asked): (CallerKey, &VariantKey),
        failure: Option<Result<Error, &Message>>,
    ) -> BTreeSet<CallerKey> {
        let failed = failure.is_some();
        // It was asked for on behalf of this call, which is shown another's by now: the server has asked for roots since.
        let moved = |call: &Call| {
            let now = self.list_offer_to(server, call).variant;
            call.caller == fetched_for && now != *asked && now.within(asked.scope) == *asked
        };
        let waits = |call: &Call| {
            let strange = failed && !self.knows_era(server, call.profile.era());
            !failed || strange || moved(call) || self.list_offer_to(server, call).variant == *variant
        };
        let sees = |key: &CallKey| {
            let call = self.calls.get(*key);
            call.is_some_and(|call| {
                (failed || self.list_offer_to(server, call).variant == *variant) && self.may_see(server, call, kind)
            })
        };
        let (served, left): (Vec<CallKey>, Vec<CallKey>) =
            self.waiting_for(server, Word::List(kind), waits).into_iter().partition(sees);
        let moved: Vec<CallKey> =
            left.iter().copied().filter(|key| self.calls.get(*key).is_some_and(|call| moved(call))).collect();
        // Who goes on with an older list has its beginning still.
        let whole = |call: &Call| call.request.raw(Field::Cursor).is_none();
        let shown = served.iter().filter(|key| self.waits_for_its_answer(**key));
        let shown =
            shown.filter_map(|key| self.calls.get(*key)).filter(|call| whole(call)).map(|call| call.caller).collect();
        for (key, _) in self.done_waiting(server, served) {
            self.lists_there(key, kind);
        }
        if let Some(failure) = failure {
            self.list_refused(server, left, kind, &failure);
            return shown;
        }
        // It came for one user, or one whose roots or instance are others, and is for that one alone.
        for key in left {
            let Some(call) = self.calls.get(key).filter(|call| call.caller != fetched_for || moved.contains(&key))
            else {
                continue;
            };
            let (caller, offer) = (call.caller, self.list_offer_to(server, call));
            self.fetch_list(server, caller, offer.profile, offer.variant, kind);
        }
        shown
    }

    /// Tells those who waited for a list that cannot be had.
    fn list_refused(
        &mut self,
        server: ServerId,
        waiting: Vec<CallKey>,
        kind: ListKind,
        failure: &Result<Error, &Message>,
    ) {
        for (key, alone) in self.done_waiting(server, waiting) {
            if self.refuse_unlisted(key, failure) {
                continue;
            }
            match failure {
                _ if !alone => self.lists_there(key, kind),
                Ok(error) => self.todo.fail(key, error.clone()),
                Err(answer) => {
                    if let Some(Source::Caller(reply, _permit)) = self.take_out(key).map(|call| call.from) {
                        reply.answer(answer, answer.splice());
                    }
                }
            }
        }
    }

    /// Whether a list of a server is known that may be shown to whoever makes a call.
    fn may_see(&self, server: ServerId, call: &Call, kind: ListKind) -> bool {
        let variant = self.server(server).catalogue.variant(&self.list_offer_to(server, call).variant);
        variant.and_then(|variant| variant.list(kind)).is_some_and(|list| list.is_for(self.uid_of(call.caller)))
    }

    /// The user of a caller; mcpool's own for errands.
    fn uid_of(&self, caller: CallerKey) -> u32 {
        self.callers.get(caller).map_or(rustix::process::getuid().as_raw(), |caller| caller.identity.uid)
    }

    /// Answers with what is known by now.
    pub(crate) fn answer_list(&mut self, key: CallKey, kind: ListKind) {
        let Some(call) = self.calls.get(key) else { return };
        let cursor = match call.request.raw(Field::Cursor) {
            // Servers take an empty one for none.
            None | Some(r#""""#) => 0,
            Some(_) => {
                let text = call.request.text(Field::Cursor).unwrap_or_default();
                match self.tokens.take(Purpose::Page, &text, (call.caller, digest_of(kind))) {
                    Ok((index, _)) => index as usize,
                    Err(why) => {
                        let what = format!("this cursor {why}; list anew without one");
                        return self.todo.fail(key, Error::InvalidParams(what));
                    }
                }
            }
        };
        let result = self.render_list(call, kind, cursor);
        let translated = call.profile == Profile::Modern && self.is_across_alone(call);
        let Some(call) = self.take_out(key) else { return };
        if translated {
            return self.say_in_modern(call, &result);
        }
        if let Source::Caller(reply, _permit) = call.from {
            reply.result(&result);
        }
    }

    fn render_list(&self, call: &Call, kind: ListKind, from: usize) -> String {
        let Some(caller) = self.callers.get(call.caller) else { return "{}".into() };
        let (endpoint, revision) = (&caller.endpoint, call.profile.revision());
        let mut page = Rendered::from(from, self.config.limits.message);
        if let Source::Caller(reply, _) = &call.from {
            page.leave_room(reply.id().as_str().len());
        }
        let (mut shown, mut rest) = (HashSet::new(), String::new());
        let mut templates: Vec<&Joined> = Vec::new();
        let mut fresh = Freshness::default();
        for id in &endpoint.servers {
            let (server, offer) = (self.server(*id), self.list_offer_to(*id, call));
            let modern = call.profile == Profile::Modern;
            let known = server.catalogue.variant(&offer.variant);
            let known = known.and_then(|variant| Some((variant, variant.list(kind)?)));
            let Some((variant, list)) = known.filter(|(_, list)| list.is_for(caller.identity.uid)) else {
                if endpoint.prefix && self.may_come(*id, &offer, kind) {
                    fresh.add(Some(0));
                }
                continue;
            };
            variant.note_answered(caller.principal, kind, list.contents());
            if modern || !offer.bridged && !endpoint.prefix {
                // A legacy server does not say how long; it is as long as mcpool itself would believe it.
                fresh.add(list.fresh_for().or_else(|| offer.bridged.then(|| self.believed_for(*id, &offer, kind))));
            }
            rest = if offer.bridged { without_era(list.rest()) } else { list.rest().to_owned() };
            if modern && offer.bridged {
                rest.push_str(r#","cacheScope":"private""#);
                page.leave_room(self.server_info(*id, &offer.introduction()).len());
            }
            page.leave_room(rest.len());
            let (name, contents) = (&server.config.name, list.contents());
            let items: Box<dyn Iterator<Item = &str>> =
                if endpoint.prefix { Box::new(contents.legible(name)) } else { Box::new(list.items()) };
            if endpoint.prefix && contents.is_untold() {
                self.collisions.tell_odd(name, kind, contents.odd());
            }
            for item in items {
                if page.is_full() {
                    break;
                }
                if kind == ListKind::Tools && server.pins.hides(item) {
                    continue;
                }
                if endpoint.prefix && names::is_taken(kind, item, &shown, &templates) {
                    self.collisions.tell(&server.config.name, kind, item);
                    continue;
                }
                if let Some(item) =
                    names::shown(&caller.access, endpoint.prefix, &server.config.name, kind, item, &mut shown)
                {
                    fit_item(kind.member(), &item, revision, offer.bridged)
                        .into_iter()
                        .for_each(|item| page.add(&item));
                }
            }
            if endpoint.prefix && kind == ListKind::Resources {
                templates.extend(variant.list(ListKind::Templates).map(|list| list.contents().joined(name)));
            }
        }
        if endpoint.prefix {
            let modern = call.profile == Profile::Modern;
            rest = if modern { of_era(&implementation()) } else { String::new() };
            fresh.least = modern.then_some(fresh.least.unwrap_or(0));
        }
        let until = clock::now() + PAGED;
        let cursor = |next| self.tokens.give(Purpose::Page, next as u64, (call.caller, digest_of(kind)), "", until);
        page.finish(kind, cursor, fresh.least, &rest)
    }

    /// Whether a list that is not known may come: nothing says yet that the server has none.
    fn may_come(&self, server: ServerId, offer: &Offer, kind: ListKind) -> bool {
        let said = self.server(server).catalogue.said(&offer.introduction());
        said.is_none_or(|said| member(said, "capabilities").and_then(|it| member(it, kind.capability())).is_some())
    }

    /// For how many milliseconds mcpool believes a list whose server does not say.
    fn believed_for(&self, server: ServerId, offer: &Offer, kind: ListKind) -> u64 {
        let said = self.server(server).catalogue.said(&offer.introduction());
        let announced = said.is_some_and(|said| announces(said, kind.capability()));
        if announced { self.config.catalogue.max_age.as_millis() as u64 } else { 0 }
    }

    /// Whether a caller sees one server alone, which is used in the other era.
    fn is_across_alone(&self, call: &Call) -> bool {
        let endpoint = self.callers.get(call.caller).map(|caller| &caller.endpoint);
        endpoint.is_some_and(|endpoint| !endpoint.prefix && self.offer_to(call.server, call).bridged)
    }
}

/// What a cursor belongs to: the list that it goes on with.
fn digest_of(kind: ListKind) -> [u8; 32] {
    Sha256::digest(kind.method()).into()
}

/// The members that every modern result of this kind has, besides how long it is fresh.
fn of_era(info: &str) -> String {
    format!(
        r#","resultType":"complete","cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}"#
    )
}

/// What a server said beside a list, but for what belongs to its era.
fn without_era(rest: &str) -> String {
    let rest = to_legacy(&format!("{{{}}}", rest.trim_start_matches(',')));
    match rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(members) if !members.is_empty() => format!(",{members}"),
        _ => String::new(),
    }
}
