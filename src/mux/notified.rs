//! Called with every notification, of callers and of servers: each goes to the one that it belongs to, or nowhere.

use std::collections::BTreeSet;

use super::Mux;
use super::backlog::{FEW, News, Work};
use super::call::Source;
use crate::caller::Asked;
use crate::caller::access::{Thing, allows};
use crate::catalogue::list::ListKind;
use crate::catalogue::{Scope, Variant, VariantKey};
use crate::clock;
use crate::era::is_ask;
use crate::era::profile::Profile;
use crate::key::{CallerKey, InstanceRef, ServerId};
use crate::pool::instance::State;
use crate::pool::pending::InFlightOf;
use crate::pool::ties::Subscriber;
use crate::wire::id::{AskId, RawId, WireId, digits};
use crate::wire::message::Message;
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;

/// Whether a method is one of those by which servers ask something of their clients, which clients answer.
fn wants_an_answer(method: &str) -> bool {
    is_ask(method) || method == "ping" || method.starts_with("tasks/")
}

impl Mux {
    /// A notification of a server.
    pub(crate) fn heard_notification(&mut self, at: InstanceRef, message: &Message) {
        let method = message.method();
        if wants_an_answer(&method) {
            // A client that looks at the method alone would do or show what is asked, past all that was decided about asking.
            return self.drop_from(at, "ambiguous", &method);
        }
        if message.span(Field::MetaSubscription).found() {
            return self.heard_on_stream(at, message);
        }
        match method.as_ref() {
            "notifications/progress" => self.progressed(at, message),
            "notifications/message" => self.logged(at, message),
            "notifications/cancelled" => self.server_cancelled(at, message),
            "notifications/resources/updated" => self.resource_updated(at, message),
            "notifications/elicitation/complete" => self.elicitation_complete(at, message),
            "notifications/tasks/status" | "notifications/tasks" => self.task_status(at, message),
            "notifications/tools/list_changed" => self.list_changed(at, &[ListKind::Tools]),
            "notifications/prompts/list_changed" => self.list_changed(at, &[ListKind::Prompts]),
            "notifications/resources/list_changed" => {
                self.list_changed(at, &[ListKind::Resources, ListKind::Templates])
            }
            _ => self.pass_to_owner(at, message),
        }
    }

    /// Passes a notification to the one caller that it can be about.
    fn pass_to_owner(&mut self, at: InstanceRef, message: &Message) {
        let owner = self.instance(at).map(|instance| instance.owner_of_line(clock::now()));
        match owner.map(|owner| (owner, self.callers_with(owner))) {
            Some((InFlightOf::One(caller), Some(outbox))) => {
                outbox.news(self.server(at.server).speaker(), Topic::None, &message.splice());
                self.touch_calls(at, caller);
            }
            _ => self.drop_from(at, "owner_unknown", &message.method()),
        }
    }

    /// Something was passed on to a caller: it may be about any of its calls on that instance.
    pub(crate) fn touch_calls(&mut self, at: InstanceRef, caller: CallerKey) {
        let Mux { servers, calls, .. } = self;
        let Some(instance) = servers[at.server.0].pool.instances.get(at.key) else { return };
        for entry in instance.pending.entries().filter(|entry| entry.caller == Some(caller)) {
            if let Some(Source::Caller(reply, _)) = calls.get_mut(entry.call).map(|call| &mut call.from) {
                reply.touch();
            }
        }
    }

    fn callers_with(&self, owner: InFlightOf) -> Option<crate::wire::outbox::Outbox> {
        match owner {
            InFlightOf::One(caller) => self.callers.get(caller).map(|caller| caller.outbox.clone()),
            InFlightOf::Nobody | InFlightOf::Several => None,
        }
    }

    fn progressed(&mut self, at: InstanceRef, message: &Message) {
        let id = message.raw(Field::ProgressToken).and_then(digits).map(WireId);
        let entry = id.and_then(|id| self.instance(at)?.pending.get(id));
        let timeout = self.server(at.server).config.timeout.call;
        let tries = entry.and_then(|entry| self.calls.get(entry.call)).filter(|call| call.trials.decide());
        if let Some(who) = tries.map(|call| call.met_by(&self.callers)) {
            // It may work for long, and nobody else is let through meanwhile.
            self.works(at.server, who);
        }
        if let Some(call) = entry.and_then(|entry| self.calls.get_mut(entry.call)) {
            if !call.is_held() {
                // A stream's is far away.
                call.deadline = call.deadline.max((clock::now() + timeout).min(call.limit));
            }
            if let Source::Caller(reply, _) = &mut call.from
                && reply.progress(message)
            {
                return;
            }
        } else if let Some((caller, token)) = id.and_then(|id| self.server(at.server).owned.progress_of(at.key, id)) {
            // A task goes on after the call that created it was answered, and so does its progress.
            if let Some(caller) = self.callers.get(caller) {
                let mut splice = message.splice();
                splice.put_if(message.span(Field::ProgressToken), token.as_str());
                return caller.hear(self.server(at.server).speaker(), Topic::Progress(token.as_str()), &splice);
            }
        }
        self.drop_from(at, "progress_unwanted", message.raw(Field::ProgressToken).unwrap_or_default());
    }

    fn server_cancelled(&mut self, at: InstanceRef, message: &Message) {
        let Some(id) = message.id(Field::RequestId) else {
            return self.drop_from(at, "malformed", "cancelled nothing");
        };
        if self.instance(at).is_some_and(|instance| instance.asks.get(&id).is_some()) {
            self.withdraw_ask(at, &id);
            return self.todo.serve(at.server);
        }
        match digits(id.as_str()).map(WireId) {
            Some(wire) if self.stream_cancelled(at, wire) => {}
            _ => self.drop_from(at, "cancel_of_nothing", id.as_str()),
        }
    }

    /// A server announced that lists changed. While it is starting that says nothing: they are fetched anyway.
    pub(crate) fn list_changed(&mut self, at: InstanceRef, kinds: &[ListKind]) {
        let Some(instance) = self.instance(at) else { return };
        let (profile, starting) = (instance.profile.clone(), instance.state == State::Starting);
        let just_begun = !instance.leased;
        let Some(scope) = self.scope_at(at) else { return };
        let own = VariantKey::of_introduction(&profile);
        let mut news = false;
        let catalogue = &mut self.server_mut(at.server).catalogue;
        if matches!(scope, Scope::Owner(_)) || !just_begun {
            // What is its own from now on was everybody's until now; and whoever asked for no list yet is told, too.
            catalogue.variant_mut(&own.within(scope));
        }
        let of_kind = |variant: &&mut Variant| {
            let modern = profile == Profile::Modern && variant.key.era == profile.era();
            modern || own.within(variant.key.scope) == variant.key
        };
        for variant in catalogue.variants_mut().filter(of_kind) {
            for kind in kinds {
                if variant.key.scope != scope {
                    variant.disturb(*kind);
                } else if starting || variant.is_quiet(*kind, just_begun) {
                    // Nobody is told, so the next change is news still.
                    variant.outdate(*kind);
                } else if variant.changed(*kind) {
                    variant.note_told(*kind);
                    news = true;
                }
            }
        }
        if news {
            self.announce_change((at.server, &profile), Some(scope), kinds[0], &BTreeSet::new());
        }
        if !starting && kinds.contains(&ListKind::Tools) && self.server(at.server).pins.is_on() {
            self.recheck_tools(at);
        }
    }

    /// A caller hears of changes from now on, or of those of other lists. Of what others were told it knows nothing.
    pub(in crate::mux) fn hears_from_now(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return };
        for server in caller.endpoint.servers.clone() {
            self.server_mut(server).catalogue.is_news_again();
        }
    }

    /// Tells the callers that share a list that it changed, but for those who were shown it as it is now.
    pub(crate) fn announce_change(
        &mut self,
        (server, profile): (ServerId, &Profile),
        scope: Option<Scope>,
        kind: ListKind,
        shown: &BTreeSet<CallerKey>,
    ) {
        let method = format!("notifications/{}/list_changed", kind.capability());
        let streams = self.server(server).upstream.streams_told(&method, kind.capability()).into_iter();
        let streams = streams.filter(|call| self.listeners.get(*call).is_some_and(|it| !shown.contains(&it.caller())));
        let sessions = self.server(server).audience().open().difference(shown).copied();
        let told = streams.map(Subscriber::Stream).chain(sessions.map(Subscriber::Session)).collect();
        self.tell_or_leave(News { server, profile: profile.clone(), scope, method }, told);
    }

    /// Tells a few at once. Where there are more, whether it is news to each is looked at in slices.
    pub(super) fn tell_or_leave(&mut self, news: News, told: Vec<Subscriber>) {
        if told.len() <= FEW && self.backlog.is_empty() {
            return self.tell_news(&news, &told);
        }
        self.backlog.add(Work::News(news, told.into()));
    }

    /// Tells those of a list to whom it is offered, and whose it is.
    pub(super) fn tell_news(&self, News { server, profile, scope, method }: &News, told: &[Subscriber]) {
        let shares = |key| scope.is_none_or(|scope| self.scope_heard_of(*server, profile, key) == scope);
        // Profiles are few, and a session's own says what it is offered.
        let mut offered: Vec<(&Profile, bool)> = Vec::new();
        for who in told {
            let (key, stream) = match who {
                Subscriber::Session(key) => (*key, None),
                Subscriber::Stream(call) => {
                    let Some(listener) = self.listeners.get(*call).filter(|it| it.is_open()) else { continue };
                    let offer = self.calls.get(*call).map(|call| self.offer_to(*server, call));
                    if offer.is_none_or(|offer| offer.profile != *profile) {
                        continue;
                    }
                    (listener.caller(), Some(listener.id()))
                }
            };
            let Some(caller) = self.callers.get(key) else { continue };
            if stream.is_none() {
                let Some(own) = caller.session.as_ref().map(|session| &session.profile) else { continue };
                let is = match offered.iter().find(|(known, _)| *known == own) {
                    Some((_, is)) => *is,
                    None => {
                        let is = self.offer(*server, own, "{}").profile == *profile;
                        offered.push((own, is));
                        is
                    }
                };
                if !is {
                    continue;
                }
            }
            if shares(key) {
                caller.hears_of_change(self.server(*server).speaker(), method, stream.map(RawId::as_str));
            }
        }
    }

    /// Tells the callers of endpoints of several servers, who may have been answered without this one.
    pub(crate) fn announce_arrival(&mut self, server: ServerId, profile: &Profile) {
        if self.server(server).awaited().has_lists() {
            return;
        }
        let late = self.server(server).audience().late().iter();
        let tell: Vec<CallerKey> = late
            .filter_map(|key| Some((*key, self.callers.get(*key)?)))
            .filter(|(_, caller)| caller.endpoint.prefix && caller.endpoint.servers.contains(&server))
            .filter(|(_, caller)| caller.session.is_none() || caller.is_initialized())
            .filter(|(_, caller)| {
                caller.session.is_none()
                    || self.offer_to_session(server, caller).is_some_and(|offer| offer.profile == *profile)
            })
            .map(|(key, _)| key)
            .collect();
        let speaker = self.server(server).speaker().clone();
        for key in tell {
            let Some(caller) = self.callers.get_mut(key) else { continue };
            let modern = caller.session.is_none();
            if modern && !self.tell_arrival_on_streams(key, server, profile) {
                continue;
            }
            let Some(caller) = self.callers.get_mut(key) else { continue };
            caller.misses_no_more(server);
            self.servers[server.0].audience_mut().is_late_for(key, false);
            if modern {
                continue;
            }
            for kind in ListKind::CAPABILITIES {
                caller.hears_of_change(&speaker, &format!("notifications/{kind}/list_changed"), None);
            }
        }
    }

    /// A notification of a caller.
    pub(crate) fn notified_by(&mut self, key: CallerKey, message: &Message) {
        let Some(caller) = self.callers.get(key) else { return };
        match message.method().as_ref() {
            "notifications/initialized" => {
                if caller.session.is_some() {
                    self.change_session(key, |caller| {
                        caller.session.iter_mut().for_each(|session| session.initialized = true);
                    });
                    self.hears_from_now(key);
                    self.may_fetch_roots(key);
                    self.follow_lists(key);
                }
            }
            "notifications/cancelled" => {
                let call = message.id(Field::RequestId).and_then(|id| caller.in_flight.get(&id).copied());
                let reason =
                    message.raw(Field::Params).and_then(|params| crate::wire::message::member(params, "reason"));
                if let Some(call) = call {
                    let reason = reason
                        .and_then(crate::wire::message::unquote)
                        .map(|reason| reason.chars().take(500).collect::<String>());
                    self.cancel(call, reason.as_deref());
                }
            }
            "notifications/roots/list_changed" => self.roots_changed(key),
            "notifications/progress" => self.ask_progressed(key, message),
            _ => self.pass_upstream(key, message),
        }
    }

    /// Progress of a caller on an ask, under the token that the server gave it.
    fn ask_progressed(&mut self, key: CallerKey, message: &Message) {
        let ours = message.raw(Field::ProgressToken).and_then(digits).map(AskId);
        let asked = self.callers.get(key).and_then(|caller| caller.asks.get(&ours?).cloned());
        let Some(Asked::For(at, id)) = asked else { return self.metrics.dropped("progress_unwanted") };
        let Some(instance) = self.instance(at) else { return };
        let token: Option<RawId> = instance.asks.get(&id).and_then(|ask| ask.message.id(Field::MetaProgressToken));
        match token.filter(|_| instance.reads()) {
            Some(token) => {
                let mut splice = message.splice();
                splice.put_if(message.span(Field::ProgressToken), token.as_str());
                instance.outbox.splice(&splice);
            }
            None => self.metrics.dropped("progress_unwanted"),
        }
    }

    /// A notification that mcpool does not know goes to the instance that its sender uses, if that is certain.
    fn pass_upstream(&mut self, key: CallerKey, message: &Message) {
        let Some(caller) = self.callers.get(key) else { return };
        let [server] = caller.endpoint.servers.as_slice() else { return self.metrics.dropped("no_server_named") };
        let server = *server;
        if !allows(&caller.access, Thing::Method(&message.method())) {
            return self.metrics.dropped("forbidden");
        }
        let at = caller.uses.last(server).map(|key| InstanceRef { server, key });
        if self.rate(key, server, message).is_err() {
            return self.metrics.dropped("rate_limited");
        }
        match at.and_then(|at| self.instance(at)).filter(|instance| instance.alive()) {
            Some(instance) if instance.keeps_up() => instance.outbox.splice(&message.splice()),
            Some(_) => self.metrics.dropped("not_read"),
            None => self.metrics.dropped("no_instance_used"),
        }
    }
}
