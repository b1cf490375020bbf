//! Subscriptions that mcpool takes itself: those whose instance is gone, which another takes over, and those of
//! modern callers' streams.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::params;
use crate::clock;
use crate::era::Era;
use crate::era::profile::Profile;
use crate::era::roots::RootList;
use crate::key::{CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::errand::Errand;
use crate::pool::ties::Subscriber;

/// How long until a subscription that could not be taken over is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A subscription without an instance.
pub struct Orphan {
    pub(in crate::mux) who: Subscriber,
    pub(in crate::mux) uri: Rc<str>,
    again: Instant,
    /// It waits until it is known which era the server speaks.
    strange: bool,
}

/// Who is subscribed to a resource together: by URI, profile and roots.
struct Group {
    alike: (Rc<str>, Profile, Option<RootList>),
    first: CallerKey,
    all: Vec<Subscriber>,
}

/// What mcpool subscribes to, for whom, and whether for the first time.
type Subscription = (Rc<str>, Vec<Subscriber>, bool);

impl Mux {
    /// An instance is gone with its subscriptions: another is to take them over.
    /// That is tried at once, but not again and again: a server may have ended because of it.
    pub(crate) fn orphan_subscriptions(&mut self, server: ServerId, orphans: BTreeMap<String, Vec<Subscriber>>) {
        orphans.values().flatten().for_each(|who| self.count_subscription(*who, -1));
        self.orphan_again(server, orphans);
    }

    /// Subscriptions that have no instance are to be taken over: by the server, or by what took its place.
    pub(crate) fn orphan_again(&mut self, server: ServerId, orphans: BTreeMap<String, Vec<Subscriber>>) {
        let Some(server) = self.in_stead_of(server) else { return };
        let now = clock::now();
        let again = self.server(server).taken_over.map_or(now, |last| now.max(last + AGAIN));
        for (uri, all) in orphans {
            let uri: Rc<str> = uri.into();
            let known = &self.server(server).orphans;
            let is_known = |who: Subscriber| known.iter().any(|orphan| orphan.who == who && orphan.uri == uri);
            let new = |who: &Subscriber| self.sees(server, *who) && !is_known(*who);
            let all: Vec<Subscriber> = all.into_iter().filter(new).collect();
            let orphans = all.into_iter().map(|who| Orphan { who, uri: uri.clone(), again, strange: false });
            self.server_mut(server).orphans.extend(orphans);
        }
        self.alarm.at(again);
    }

    /// Whether a server is one of those that a subscriber's endpoint shows.
    fn sees(&self, server: ServerId, who: Subscriber) -> bool {
        let caller = match who {
            Subscriber::Session(caller) => Some(caller),
            Subscriber::Stream(call) => self.calls.get(call).map(|call| call.caller),
        };
        let caller = caller.and_then(|caller| self.callers.get(caller));
        caller.is_some_and(|caller| caller.endpoint.servers.contains(&server))
    }

    /// Subscribes anew what has lost its instance; when the next is to be tried.
    pub(crate) fn sweep_orphans(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        if self.draining {
            return None;
        }
        let (due, later): (Vec<Orphan>, Vec<Orphan>) =
            std::mem::take(&mut self.server_mut(server).orphans).into_iter().partition(|orphan| orphan.again <= now);
        self.server_mut(server).orphans = later;
        if !due.is_empty() {
            self.server_mut(server).taken_over = Some(now);
        }
        // Callers of one profile are subscribed together, as they were.
        let mut groups: Vec<Group> = Vec::new();
        for orphan in due {
            let Some((first, profile, roots)) = self.may_take_over(server, &orphan, now) else { continue };
            let alike = (orphan.uri, profile, roots);
            match groups.iter_mut().find(|group| group.alike == alike) {
                Some(group) => group.all.push(orphan.who),
                None => groups.push(Group { alike, first, all: vec![orphan.who] }),
            }
        }
        for Group { alike: (uri, profile, _), first, all } in groups {
            let params = params(&uri);
            let errand = Errand::Resubscribe { uri, all, first: false };
            self.send_errand(server, first, profile, None, ("resources/subscribe", &params), errand);
        }
        self.server(server).orphans.iter().map(|orphan| orphan.again).min()
    }

    /// On whose behalf an instance is subscribed, and what it is told then. Nothing if nobody is there any more, if it is
    /// not known yet how, or if the server is listened to in another way.
    fn may_take_over(
        &mut self,
        server: ServerId,
        orphan: &Orphan,
        now: Instant,
    ) -> Option<(CallerKey, Profile, Option<RootList>)> {
        let (key, own, offer) = match orphan.who {
            Subscriber::Session(key) => {
                let caller = self.callers.get(key)?;
                (key, caller.session.as_ref()?.profile.era(), self.offer_to_session(server, caller)?)
            }
            Subscriber::Stream(call) => {
                let call = self.calls.get(call)?;
                (call.caller, Era::Modern, self.offer_to(server, call))
            }
        };
        if !self.knows_era(server, own) {
            let again = now + AGAIN;
            let (who, uri) = (orphan.who, orphan.uri.clone());
            self.server_mut(server).orphans.push(Orphan { who, uri, again, strange: true });
            self.introduce_server(server, key, offer);
            return None;
        }
        match orphan.who {
            Subscriber::Session(_) if offer.bridged => {
                self.join_stream(server, key, &orphan.uri);
                return None;
            }
            // Its stream has it.
            Subscriber::Stream(_) if !offer.bridged => return None,
            _ => {}
        }
        Some((key, offer.profile, self.callers.get(key)?.roots.known()))
    }

    /// Whether subscriptions wait for the era of a server to be known.
    pub(crate) fn has_strange_orphans(&self, server: ServerId) -> bool {
        self.server(server).orphans.iter().any(|orphan| orphan.strange)
    }

    /// It was found which era a server speaks, or does not: subscriptions that wait for that are taken over.
    pub(crate) fn era_found(&mut self, server: ServerId) {
        let now = clock::now();
        let strange = self.server_mut(server).orphans.iter_mut().filter(|orphan| orphan.strange);
        let found = strange.map(|orphan| orphan.again = now).count();
        if found > 0 {
            self.alarm.at(now);
        }
    }

    /// A subscription of mcpool's own was taken, or was not: one that was lost is tried again.
    pub(crate) fn resubscribed(&mut self, server: ServerId, (uri, all, first): Subscription, to: Option<InstanceKey>) {
        for who in all.into_iter().filter(|who| self.is_there(*who)).collect::<Vec<_>>() {
            if let Some(key) = to {
                self.subscribed(InstanceRef { server, key }, who, &uri);
            } else if !first {
                let again = clock::now() + AGAIN;
                self.server_mut(server).orphans.push(Orphan { who, uri: uri.clone(), again, strange: false });
                self.alarm.at(again);
            }
            if let Subscriber::Stream(call) = who
                && first
            {
                self.stream_subscribed(call, server, &uri, to.is_some());
            }
        }
        if let Some(key) = to {
            self.unsubscribe_if_nobody(InstanceRef { server, key }, &uri);
        }
    }

    /// Ends a subscription that was taken for those who left in the meantime.
    fn unsubscribe_if_nobody(&mut self, at: InstanceRef, uri: &str) {
        if self.instance(at).is_some_and(|instance| !instance.subscribers.contains_key(uri)) {
            self.send_quietly(at, "resources/unsubscribe", &params(uri));
        }
    }
}
