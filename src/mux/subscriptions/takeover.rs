//! Called when an instance is gone or its server is replaced, and for modern callers' streams: subscriptions that
//! mcpool makes itself, at another instance. They go through a lane of their own (`server::subscriptions`), a few at
//! once.

use std::rc::Rc;

use tokio::time::Instant;

use super::params;
use crate::clock;
use crate::era::Era;
use crate::era::profile::Profile;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::backlog::Work;
use crate::mux::call::{Call, Source};
use crate::mux::errand::{Errand, Order};
use crate::pool::lease::Lease;
use crate::pool::ties::Subscriber;
use crate::server::subscriptions::Errand as Task;

/// How many are looked at in one go.
const SLICE: usize = 128;
/// How many are subscribed to one resource by one request.
const TOGETHER: usize = 256;

impl Mux {
    /// Subscribes a modern caller's stream to a resource of a legacy server.
    pub(in crate::mux) fn subscribe_stream(&mut self, call: CallKey, server: ServerId, uri: Rc<str>) {
        self.server_mut(server).subscriptions.stray(Subscriber::Stream(call), uri, true);
        self.backlog.add(Work::Strays(server));
    }

    /// Lets another instance take over the subscriptions of an instance that is gone.
    pub(in crate::mux) fn orphan_subscriptions(&mut self, at: InstanceRef) {
        if self.server_mut(at.server).subscriptions.instance_gone(at.key) {
            let again = self.server_mut(at.server).subscriptions.strays().lose(clock::now());
            self.alarm.at(again);
            self.backlog.add(Work::Lost(at.server));
        }
    }

    /// Moves all subscriptions of a retired server to the server that took its place.
    pub(in crate::mux) fn retire_subscriptions(&mut self, old: ServerId) {
        self.server_mut(old).subscriptions.all_gone();
        let waiting = self.server_mut(old).subscriptions.take_strays();
        waiting.into_iter().for_each(|(who, uri)| self.lead_away(old, who, uri));
        self.backlog.add(Work::Lost(old));
    }

    /// Moves the subscribers of instances that are gone, some of them at a time. Returns whether all are moved.
    pub(in crate::mux) fn lead_lost_away(&mut self, server: ServerId) -> bool {
        let mut some = 0;
        while some < SLICE {
            let Some(lost) = self.server_mut(server).subscriptions.next_lost() else {
                self.backlog.add(Work::Strays(self.in_stead_of(server).unwrap_or(server)));
                return true;
            };
            some += 1 + lost.subscribers.len() + lost.waiting.len();
            for who in lost.subscribers {
                self.lead_away(server, who, lost.uri.clone());
            }
            for call in lost.waiting {
                self.place_anew(call, &lost.wanted);
            }
        }
        false
    }

    /// Places a request again that waited at an instance which is gone, and was not sent there.
    fn place_anew(&mut self, key: CallKey, wanted: &[Subscriber]) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.pin = None;
        let server = call.server;
        if let Source::Mcpool(Errand::Resubscribe { uri, all, first }) = &call.from {
            let (uri, first) = (uri.clone(), *first);
            for who in all.clone().into_iter().filter(|who| wanted.contains(who)) {
                // A retired server serves nobody any more.
                if first {
                    self.server_mut(server).subscriptions.stray(who, uri.clone(), first);
                } else {
                    self.lead_away(server, who, uri.clone());
                }
            }
        } else if call.is_callers() {
            return self.todo.place(key);
        }
        self.cancel(key, None);
    }

    /// Handles the loss of the subscriber for whom mcpool's own request was to be sent. Others that need the request go
    /// on with it.
    pub(in crate::mux) fn ask_anew(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let server = call.server;
        let again = match &call.from {
            Source::Mcpool(Errand::Resubscribe { uri, all, first }) => Some((uri.clone(), all.clone(), *first)),
            _ => None,
        };
        self.cancel(key, None);
        // Behind its end: what it was sent for is forgotten then.
        if let Some((uri, all, first)) = again {
            all.into_iter().for_each(|who| self.server_mut(server).subscriptions.asks_anew(who, &uri, first));
            self.backlog.add(Work::Strays(server));
        }
    }

    /// Handles a request of mcpool's own that was to go to a server which is retired.
    pub(in crate::mux) fn resubscribe_elsewhere(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let server = call.server;
        if let Source::Mcpool(Errand::Resubscribe { uri, all, first: false }) = &call.from {
            let (uri, all) = (uri.clone(), all.clone());
            for who in all {
                if self.server_mut(server).subscriptions.not_stray(who, &uri) {
                    self.lead_away(server, who, uri.clone());
                }
            }
        }
        self.cancel(key, None);
    }

    /// Lets a subscriber that lost its subscription wait for another, of the server that took the place.
    pub(in crate::mux) fn lead_away(&mut self, from: ServerId, who: Subscriber, uri: Rc<str>) {
        let Some(to) = self.in_stead_of(from).filter(|to| self.sees(*to, who)) else { return };
        self.server_mut(to).subscriptions.stray(who, uri, false);
        self.backlog.add(Work::Strays(to));
    }

    /// Returns whether a server is one of those that a subscriber's endpoint shows.
    fn sees(&self, server: ServerId, who: Subscriber) -> bool {
        let caller = self.caller_of(who).and_then(|caller| self.callers.get(caller));
        caller.is_some_and(|caller| caller.endpoint.servers.contains(&server))
    }

    fn caller_of(&self, who: Subscriber) -> Option<CallerKey> {
        match who {
            Subscriber::Session(caller) => Some(caller),
            Subscriber::Stream(call) => self.calls.get(call).map(|call| call.caller),
        }
    }

    /// Sends the next requests, as long as there is room in the lane. Returns whether that is all for now.
    pub(in crate::mux) fn serve_strays(&mut self, server: ServerId) -> bool {
        let now = clock::now();
        for _ in 0..SLICE {
            if self.is_draining() {
                return true;
            }
            let Some(task) = self.server_mut(server).subscriptions.strays().next(now) else {
                let due = self.server_mut(server).subscriptions.strays().due();
                due.filter(|due| *due > now).into_iter().for_each(|due| self.alarm.at(due));
                return true;
            };
            match task {
                Task::Leave(key, uri) => self.tell_instance(
                    InstanceRef { server, key },
                    "resources/unsubscribe",
                    &uri.clone(),
                    Errand::Unsubscribe(uri),
                ),
                Task::Renew(key, uri) => self.tell_instance(
                    InstanceRef { server, key },
                    "resources/subscribe",
                    &uri.clone(),
                    Errand::Resubscribe { uri, all: Vec::new(), first: false },
                ),
                Task::Subscribe { who, uri, first } => self.subscribe_stray(server, who, uri, first, now),
            }
        }
        false
    }

    fn tell_instance(&mut self, at: InstanceRef, method: &str, uri: &str, errand: Errand) {
        let Some(profile) = self.instance(at).map(|instance| instance.profile.clone()) else { return };
        let params = params(uri);
        let make = self.errand(Order::to(at, CallerKey::default(), profile, (method, &params)), errand);
        self.send_in_lane(make);
    }

    fn subscribe_stray(&mut self, server: ServerId, who: Subscriber, uri: Rc<str>, first: bool, now: Instant) {
        if !self.server(server).subscriptions.is_stray(who, &uri) {
            return;
        }
        let Some((caller, profile)) = self.may_take_over(server, who, &uri, first, now) else { return };
        // Callers of one profile are subscribed together, as they were.
        let roots = self.callers.get(caller).and_then(|caller| caller.roots.known());
        let alike = |other: Subscriber, mux: &Mux| {
            let of = mux.caller_of(other).and_then(|key| Some((key, mux.callers.get(key)?)));
            let told = mux.told_for(server, other);
            told.as_ref() == Some(&profile) && of.is_some_and(|(_, caller)| caller.roots.known() == roots)
        };
        let alone =
            self.server(server).pool.lease(&profile, self.server(server).catalogue.known.seen).0 != Lease::Shared;
        let mut all = vec![who];
        if !alone {
            let mut strays = std::mem::take(self.server_mut(server).subscriptions.strays());
            all.extend(strays.take_alike(&uri, first, TOGETHER, |other| alike(other, self)));
            *self.server_mut(server).subscriptions.strays() = strays;
        }
        let params = params(&uri);
        let errand = Errand::Resubscribe { uri, all, first };
        let order = Order::new(server, caller, profile, ("resources/subscribe", &params));
        let key = self.errand(order, errand);
        self.send_in_lane(key);
    }

    fn send_in_lane(&mut self, key: Option<CallKey>) {
        let Some((key, server)) = key.and_then(|key| Some((key, self.calls.get(key)?.server))) else { return };
        self.server_mut(server).subscriptions.strays().sent(key);
        self.todo.place(key);
    }

    /// Returns what an instance must have been told that is subscribed for a subscriber; none if it is subscribed in
    /// another way.
    fn told_for(&self, server: ServerId, who: Subscriber) -> Option<Profile> {
        let (bridged, offer) = match who {
            Subscriber::Session(key) => (false, self.offer_to_session(server, self.callers.get(key)?)?),
            Subscriber::Stream(call) => (true, self.offer_to(server, self.calls.get(call)?)),
        };
        (offer.bridged == bridged).then_some(offer.profile)
    }

    /// Returns on whose behalf an instance is subscribed, and what it must have been told. Nothing if nobody is there
    /// any more, if that is not known yet, or if mcpool listens to the server in another way.
    fn may_take_over(
        &mut self,
        server: ServerId,
        who: Subscriber,
        uri: &Rc<str>,
        first: bool,
        now: Instant,
    ) -> Option<(CallerKey, Profile)> {
        let found = match who {
            Subscriber::Session(key) => self.callers.get(key).and_then(|caller| {
                let era = caller.session.as_ref()?.profile.era();
                Some((key, era, self.offer_to_session(server, caller)?))
            }),
            Subscriber::Stream(call) => {
                self.calls.get(call).map(|call| (call.caller, Era::Modern, self.offer_to(server, call)))
            }
        };
        let Some((key, own, offer)) = found else {
            self.server_mut(server).subscriptions.not_stray(who, uri);
            return None;
        };
        if !self.knows_era(server, own) {
            let again = self.server_mut(server).subscriptions.fails(who, uri.clone(), now, true);
            self.alarm.at(again);
            self.introduce_server(server, key, offer);
            return None;
        }
        let by_stream = offer.bridged != matches!(who, Subscriber::Stream(_));
        if by_stream && !first {
            self.server_mut(server).subscriptions.not_stray(who, uri);
            if let Subscriber::Session(_) = who {
                self.join_stream(server, key, uri);
            }
            return None;
        }
        Some((key, offer.profile))
    }

    /// Returns whether subscriptions wait for the era of a server to be known.
    pub(crate) fn has_strange_orphans(&self, server: ServerId) -> bool {
        self.server(server).subscriptions.are_strange()
    }

    /// Takes over the subscriptions that waited to know which era a server speaks.
    pub(crate) fn era_found(&mut self, server: ServerId) {
        if self.server_mut(server).subscriptions.strays().known() {
            self.backlog.add(Work::Strays(server));
        }
    }

    /// Handles the end of a request of mcpool's own. Subscribers that got nothing try again.
    pub(in crate::mux) fn resubscribed(
        &mut self,
        server: ServerId,
        errand: Errand,
        taken: bool,
        lost: Vec<Subscriber>,
    ) {
        let Errand::Resubscribe { uri, all, first } = errand else { return };
        let now = clock::now();
        for who in all {
            if let (Subscriber::Stream(call), true) = (who, first) {
                self.server_mut(server).subscriptions.not_stray(who, &uri);
                self.stream_subscribed(call, server, &uri, taken);
                continue;
            }
            let retired = self.in_stead_of(server) != Some(server);
            let waits = retired || lost.contains(&who) || self.server(server).subscriptions.is_stray(who, &uri);
            if taken || !waits || !self.is_there(who) {
                continue;
            }
            if retired {
                self.server_mut(server).subscriptions.not_stray(who, &uri);
                self.lead_away(server, who, uri.clone());
                continue;
            }
            let again = self.server_mut(server).subscriptions.fails(who, uri.clone(), now, false);
            self.alarm.at(again);
        }
    }

    /// Takes up what waits for its time. Returns when the next does.
    pub(in crate::mux) fn sweep_orphans(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        if self.is_draining() {
            return None;
        }
        let due = self.server_mut(server).subscriptions.strays().due()?;
        if due <= now {
            self.backlog.add(Work::Strays(server));
            return None;
        }
        Some(due)
    }
}

impl Call {
    /// Returns whether the call goes through the lane of subscriptions, where it takes no caller's place.
    pub(in crate::mux) fn is_in_lane(&self) -> bool {
        !self.is_callers() && self.subscribes()
    }
}
