//! Called by `mux::request` for `resources/subscribe` and `resources/unsubscribe` of callers to legacy servers. The
//! request takes the way of a call. When it has come to an instance, `server::subscriptions` says what is done with it:
//! the instance is subscribed once for all callers, and unsubscribed when the last one leaves.

mod takeover;

use std::rc::Rc;

use super::Mux;
use super::backlog::{FEW, Notice, Work};
use super::call::{Call, Place, Source, Then};
use super::errand::Errand;
use super::request::Accepted;
use crate::caller::access::{Thing, allows};
use crate::clock;
use crate::era::profile::Profile;
use crate::error::{Bound, Error};
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::pool::instance::{Instance, State};
use crate::pool::lease::Lease;
use crate::pool::ties::Subscriber;
use crate::server::subscriptions::{Errand as Task, Next, Request, What};
use crate::wire::message::{Kind, Message};
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;
use crate::wire::splice::Splice;

/// How many requests are dealt with in one go.
const SLICE: usize = 128;
impl Call {
    /// Returns whether the call is about a subscription to a legacy server.
    pub(super) fn subscribes(&self) -> bool {
        matches!(self.then, Then::Subscribes(_) | Then::Unsubscribes(_))
            || matches!(self.from, Source::Mcpool(Errand::Resubscribe { .. } | Errand::Unsubscribe(_)))
    }

    /// Returns the resource that the call is about, and what it says of the resource for whom.
    fn said_of_resource(&self, key: CallKey) -> Option<(Rc<str>, Request)> {
        let who = Subscriber::Session(self.caller);
        let (uri, what, who, own) = match (&self.then, &self.from) {
            (Then::Subscribes(uri), _) => (uri, What::Subscribe, vec![who], false),
            (Then::Unsubscribes(uri), _) => (uri, What::Unsubscribe, vec![who], false),
            (_, Source::Mcpool(Errand::Resubscribe { uri, all, .. })) => (uri, What::Subscribe, all.clone(), true),
            (_, Source::Mcpool(Errand::Unsubscribe(uri))) => (uri, What::Unsubscribe, Vec::new(), true),
            _ => return None,
        };
        Some((uri.clone(), Request { call: key, what, who, own }))
    }
}

impl Mux {
    /// Handles `resources/subscribe` of a caller.
    pub(crate) fn subscribe(&mut self, mut accepted: Accepted, profile: Profile) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let uri = accepted.request.text(Field::Uri).unwrap_or_default().into_owned();
        let route = match self.route(caller, &accepted.request, false) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        let limit = self.config.limits.subscriptions;
        if self.subscriptions_of(accepted.caller) >= limit {
            return accepted.refuse(&Error::CallerOverloaded { limit, bound: Bound::Subscriptions });
        }
        if !self.knows_era(route.server, profile.era()) {
            return self.await_introductions(accepted, profile, vec![route.server]);
        }
        if let Err(error) = self.pass_rate(&mut accepted, route.server) {
            return accepted.refuse(&error);
        }
        let offer = self.offer(route.server, &profile, "{}");
        if offer.bridged {
            return self.subscribe_across(accepted, route.server, &offer, uri);
        }
        let then = Then::Subscribes(uri.as_str().into());
        let key = self.submit(Call { splice: route.splice, then, ..accepted.call(route.server, profile) });
        let host = self.calls.get(key).and_then(|call| self.host(call, &uri));
        match host {
            Some(host) => self.come_to(key, InstanceRef { server: route.server, key: host }),
            None => self.todo.place(key),
        }
    }

    /// Returns how many subscriptions a legacy caller has.
    fn subscriptions_of(&self, key: CallerKey) -> usize {
        let servers = self.callers.get(key).map(|caller| caller.endpoint.clone());
        let servers = servers.iter().flat_map(|endpoint| &endpoint.servers).map(|id| self.server(*id));
        let who = Subscriber::Session(key);
        servers.map(|server| server.subscriptions.count(who) + server.upstream.count(key)).sum()
    }

    /// Returns the instance that has a resource already for callers with the need of this call.
    fn host(&self, call: &Call, uri: &str) -> Option<InstanceKey> {
        let need = self.need(call)?;
        let server = self.server(call.server);
        let serves = |key: &InstanceKey| {
            let instance =
                server.pool.instances.get(*key).filter(|instance| instance.alive() && instance.serves(need.told()));
            let of_session = |instance: &&Instance| match instance.bound {
                Some((owner, Lease::Session)) => owner == call.caller,
                _ => need.lease() != Lease::Session,
            };
            instance.filter(of_session).is_some()
        };
        if need.lease() == Lease::Session {
            let last = self.callers.get(call.caller).and_then(|caller| caller.uses.last(call.server));
            return last.filter(serves);
        }
        server.subscriptions.hosts(uri).find(serves)
    }

    /// Handles a request that has come to an instance, or to the instance that has its resource already.
    pub(super) fn come_to(&mut self, key: CallKey, at: InstanceRef) {
        let Some(call) = self.calls.get(key) else { return };
        let Some((uri, request)) = call.said_of_resource(key) else { return };
        // Another may have been subscribed for the like while it waited. What is said of one instance stays there.
        let host = if call.pin.is_none() && request.what == What::Subscribe { self.host(call, &uri) } else { None };
        let at = host.map_or(at, |key| InstanceRef { server: at.server, key });
        let deadline = clock::now() + self.server(at.server).config.timeout.call;
        self.wait_at(key, Place::Behind, deadline);
        let subscriptions = &mut self.server_mut(at.server).subscriptions;
        subscriptions.arrives(at.key, &uri, request);
        let behind = subscriptions.take_behind(key);
        behind.into_iter().for_each(|other| self.todo.leave(other));
        self.settle(at, &uri);
    }

    /// Does what is owed for a resource at an instance, and returns how much that was.
    pub(super) fn settle(&mut self, at: InstanceRef, uri: &Rc<str>) -> usize {
        for done in 1..=SLICE {
            let open = |state| matches!(state, State::Ready | State::Draining);
            if !self.instance(at).is_some_and(|instance| open(instance.state)) {
                // All that it has is about to be led away.
                return done;
            }
            match self.server_mut(at.server).subscriptions.next(at.key, uri) {
                Next::Wait | Next::Over => return done,
                Next::Send(call) => {
                    self.send_now(call, at.key);
                    return done;
                }
                Next::Accept(call) => self.accept_subscription(call),
                Next::Refuse(call, answer, lost) => self.refuse_subscription(call, at.server, &answer, lost),
                Next::Leave => self.ask_of(at.server, Task::Leave(at.key, uri.clone())),
                Next::Renew => self.ask_of(at.server, Task::Renew(at.key, uri.clone())),
            }
        }
        self.backlog.add(Work::Resource(at, uri.clone()));
        SLICE
    }

    fn ask_of(&mut self, server: ServerId, errand: Task) {
        self.server_mut(server).subscriptions.strays().tell(errand);
        self.backlog.add(Work::Strays(server));
    }

    /// Answers a request whose subscription is there already.
    fn accept_subscription(&mut self, key: CallKey) {
        let Some(call) = self.take_out(key) else { return };
        match call.from {
            Source::Caller(reply, _permit) => reply.result("{}"),
            Source::Mcpool(errand) => self.resubscribed(call.server, errand, true, Vec::new()),
            Source::Held { .. } => {}
        }
    }

    /// Answers a request with the answer that another one got.
    fn refuse_subscription(&mut self, key: CallKey, server: ServerId, answer: &Message, lost: Vec<Subscriber>) {
        let Some(call) = self.take_out(key) else { return };
        match call.from {
            Source::Caller(reply, _permit) => reply.answer(answer, answer.splice()),
            Source::Mcpool(errand) => self.resubscribed(server, errand, false, lost),
            Source::Held { .. } => {}
        }
    }

    /// Notes an instance's answer to a request about a subscription, before its caller hears it. The resource must be
    /// settled when the caller has heard it.
    pub(super) fn subscription_answered(
        &mut self,
        key: CallKey,
        at: InstanceRef,
        answer: &Message,
    ) -> Option<Answered> {
        let call = self.calls.get(key).filter(|call| call.subscribes())?;
        let (uri, request) = call.said_of_resource(key)?;
        let refusal = (answer.kind() == Kind::Error).then_some(answer);
        // Who asked for the first time hears that it was refused.
        let told = match &call.from {
            Source::Mcpool(Errand::Resubscribe { first: false, .. }) => Vec::new(),
            _ => request.who.clone(),
        };
        let subscriptions = &mut self.server_mut(at.server).subscriptions;
        match subscriptions.answered(key, refusal) {
            Some((_, uri, mut lost)) => {
                lost.retain(|who| !told.contains(who));
                Some(Answered { uri, lost })
            }
            None => {
                // A reload took its server away meanwhile.
                let took = request.what == What::Subscribe && refusal.is_none();
                for who in request.who.into_iter().filter(|_| took) {
                    self.lead_away(at.server, who, uri.clone());
                }
                None
            }
        }
    }

    /// Goes on with the requests that waited for an answer, because its caller has heard it.
    pub(super) fn subscription_settled(&mut self, at: InstanceRef, Answered { uri, lost }: Answered) {
        let now = clock::now();
        for who in lost {
            if self.is_there(who) {
                let again = self.server_mut(at.server).subscriptions.fails(who, uri.clone(), now, false);
                self.alarm.at(again);
            }
        }
        self.settle(at, &uri);
    }

    /// Notes that a request about a subscription is over, for whatever reason.
    pub(super) fn subscription_over(&mut self, key: CallKey, call: &Call) {
        let server = call.server;
        let subscriptions = &mut self.server_mut(server).subscriptions;
        let ended = subscriptions.ended(key, call.is_in_lane());
        let more = subscriptions.strays().over(key);
        if let Some((instance, uri)) = ended.at {
            self.backlog.add(Work::Resource(InstanceRef { server, key: instance }, uri));
        }
        ended.behind.into_iter().for_each(|call| self.backlog.add(Work::Again(call)));
        if more {
            self.backlog.add(Work::Strays(server));
        }
    }

    pub(super) fn is_there(&self, who: Subscriber) -> bool {
        match who {
            Subscriber::Session(caller) => self.callers.contains_key(caller),
            Subscriber::Stream(call) => self.listeners.contains_key(call),
        }
    }

    /// Handles `resources/unsubscribe` of a caller.
    pub(crate) fn unsubscribe(&mut self, mut accepted: Accepted, profile: Profile) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let uri = accepted.request.text(Field::Uri).unwrap_or_default().into_owned();
        let route = match self.route(caller, &accepted.request, false) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        // One that it wants to end may not have come to an instance yet.
        let (server, subscriptions) = (route.server, &self.server(route.server).subscriptions);
        let own = caller.in_flight.values().filter_map(|key| Some((*key, self.calls.get(*key)?)));
        let of_uri = |call: &Call| call.server == server && matches!(&call.then, Then::Subscribes(of) if **of == *uri);
        let ahead = own.filter(|(key, call)| of_uri(call) && !subscriptions.has_come(*key)).map(|(key, _)| key).max();
        if let Err(error) = self.pass_rate(&mut accepted, server) {
            return accepted.refuse(&error);
        }
        if self.offer(server, &profile, "{}").bridged {
            return self.unsubscribe_across(accepted, server, &uri);
        }
        let then = Then::Unsubscribes(uri.into());
        let key = self.submit(Call { splice: route.splice, then, ..accepted.call(server, profile) });
        match ahead {
            Some(first) => {
                let timeout = &self.server(server).config.timeout;
                let deadline = clock::now() + timeout.start + timeout.call;
                self.wait_at(key, Place::Behind, deadline);
                self.server_mut(server).subscriptions.comes_behind(first, key);
            }
            None => self.unsubscribe_from(key),
        }
    }

    /// Ends a caller's subscription to a resource.
    pub(super) fn unsubscribe_from(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let (server, caller) = (call.server, call.caller);
        let Then::Unsubscribes(uri) = call.then.clone() else { return };
        let left = self.server_mut(server).subscriptions.leave(Subscriber::Session(caller), &uri);
        let open = |key: &InstanceKey| {
            let instance = self.server(server).pool.instances.get(*key);
            instance.is_some_and(|instance| matches!(instance.state, State::Ready | State::Draining))
        };
        let mut homes = left.homes.clone();
        homes.retain(open);
        let mut homes = homes.into_iter().map(|key| InstanceRef { server, key });
        match homes.next() {
            Some(at) => self.come_to(key, at),
            None if left.stray || !left.homes.is_empty() => self.accept_subscription(key),
            None => self.todo.place(key),
        }
        for at in homes {
            self.settle(at, &uri);
        }
    }

    /// Ends the subscriptions of a caller or stream that is gone.
    pub(crate) fn forget_subscriptions(&mut self, server: ServerId, who: Subscriber) {
        let left = self.server_mut(server).subscriptions.leave_all(who);
        for (key, uri) in left {
            self.backlog.add(Work::Resource(InstanceRef { server, key }, uri));
        }
    }

    /// Tells the subscribers of a resource, and of what it is a part of, that a server says it changed.
    pub(crate) fn resource_updated(&mut self, at: InstanceRef, message: &Message) {
        let uri = message.text(Field::Uri).unwrap_or_default();
        let told = self.server(at.server).subscriptions.told(at.key, &uri);
        if told.is_empty() {
            return self.drop_from(at, "no_subscriber", &uri);
        }
        self.tell_all(at.server, message, told);
    }

    /// Passes on what a server says, in slices if there are many listeners.
    pub(super) fn tell_all(&mut self, server: ServerId, message: &Message, told: Vec<Subscriber>) {
        if told.len() <= FEW && self.backlog.is_empty() {
            return told.into_iter().for_each(|who| self.tell_of_update(server, who, message));
        }
        self.backlog.add(Work::Updated(server, Rc::new(message.clone()), told.into()));
    }

    /// Tells callers a line, in slices if they are many.
    pub(super) fn tell_line(&mut self, server: ServerId, what: &str, line: String, told: Vec<CallerKey>) {
        let notice = Notice { server, what: what.to_owned(), line: line.into() };
        if told.len() <= FEW && self.backlog.is_empty() {
            return told.into_iter().for_each(|caller| self.tell_notice(caller, &notice));
        }
        self.backlog.add(Work::Notice(notice, told.into()));
    }

    /// Tells a caller a line.
    pub(super) fn tell_notice(&self, caller: CallerKey, Notice { server, what, line }: &Notice) {
        if let Some(caller) = self.callers.get(caller) {
            let topic = Topic::State { what, stream: "" };
            caller.hear(self.server(*server).speaker(), topic, &Splice::new(line.clone()));
        }
    }

    /// Tells a subscriber that a resource changed.
    pub(super) fn tell_of_update(&self, server: ServerId, who: Subscriber, message: &Message) {
        match who {
            Subscriber::Stream(call) => self.tell_stream(server, call, message),
            Subscriber::Session(caller) => {
                let uri = message.text(Field::Uri).unwrap_or_default();
                if let Some(caller) = self.callers.get(caller)
                    && allows(&caller.access, Thing::Resource(&uri))
                {
                    caller.hear(
                        self.server(server).speaker(),
                        Topic::State { what: &uri, stream: "" },
                        &message.splice(),
                    );
                }
            }
        }
    }
}

/// What an answer means for a resource.
pub(super) struct Answered {
    uri: Rc<str>,
    lost: Vec<Subscriber>,
}

/// Returns the parameters of a subscription.
fn params(uri: &str) -> String {
    serde_json::json!({ "uri": uri }).to_string()
}
