//! `resources/subscribe` of legacy callers: the server is subscribed once for all callers of an instance, and
//! unsubscribed when the last one leaves. When an instance ends, another takes its subscriptions over.

mod orphans;

use std::rc::Rc;

use super::Mux;
use super::call::{Call, Pin, Then};
use super::errand::Errand;
use super::request::Accepted;
use crate::caller::Caller;
use crate::caller::access::{Thing, allows};
use crate::caller::roots::NO_ROOTS;
use crate::era::profile::Profile;
use crate::era::roots::RootList;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef, ServerId};
use crate::pool::instance::Instance;
use crate::pool::ties::Subscriber;
use crate::wire::message::Message;
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;
pub use orphans::Orphan;

/// Whether a resource is a subscribed one, or a part of it.
pub fn is_part_of(whole: &str, uri: &str) -> bool {
    let rest = uri.strip_prefix(whole).filter(|_| !whole.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

fn params(uri: &str) -> String {
    serde_json::json!({ "uri": uri }).to_string()
}

impl Mux {
    /// A caller subscribes.
    pub(crate) fn subscribe(&mut self, mut accepted: Accepted, profile: Profile) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let uri = accepted.request.text(Field::Uri).unwrap_or_default().into_owned();
        let route = match self.route(caller, &accepted.request, false) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        let limit = self.config.limits.subscriptions;
        if caller.subscriptions >= limit {
            return accepted.refuse(&Error::CallerOverloaded { limit });
        }
        if !self.knows_era(route.server, profile.era()) {
            return self.await_introductions(accepted, profile, vec![route.server]);
        }
        let roots = caller.roots.known();
        if let Err(error) = self.pass_rate(&mut accepted, route.server) {
            return accepted.refuse(&error);
        }
        let offer = self.offer(route.server, &profile, "{}");
        if offer.bridged {
            return self.subscribe_across(accepted, route.server, &offer, uri);
        }
        if let Some(at) = self.subscribed_instance(route.server, &profile, roots, &uri) {
            self.subscribed(at, Subscriber::Session(accepted.caller), &uri);
            return accepted.result("{}");
        }
        let then = Then::Subscribed(uri.into());
        let key = self.submit(Call { splice: route.splice, then, ..accepted.call(route.server, profile) });
        self.place(key);
    }

    /// An instance that is subscribed to a resource already, and was told what these callers tell.
    fn subscribed_instance(
        &self,
        server: ServerId,
        profile: &Profile,
        roots: Option<RootList>,
        uri: &str,
    ) -> Option<InstanceRef> {
        let subscribed = |instance: &&Instance| {
            instance.alive() && instance.profile == *profile && instance.subscribers.contains_key(uri)
        };
        let mut instances = self.server(server).pool.instances.values().filter(subscribed);
        instances.find(|instance| instance.roots.is_none() || instance.roots == roots).map(|instance| instance.at)
    }

    /// Subscribes a modern caller's stream to a resource of a legacy server.
    pub(crate) fn subscribe_stream(&mut self, call: CallKey, server: ServerId, uri: Rc<str>) {
        let Some(listen) = self.calls.get(call) else { return };
        let (caller, profile) = (listen.caller, self.offer_to(server, listen).profile);
        let who = Subscriber::Stream(call);
        let roots = self.callers.get(caller).and_then(|caller| caller.roots.known()).unwrap_or_else(|| NO_ROOTS.into());
        match self.subscribed_instance(server, &profile, Some(roots), &uri) {
            Some(at) => {
                self.subscribed(at, who, &uri);
                self.stream_subscribed(call, server, &uri, true);
            }
            None => {
                let params = params(&uri);
                let errand = Errand::Resubscribe { uri, all: vec![who], first: true };
                self.send_errand(server, caller, profile, None, ("resources/subscribe", &params), errand);
            }
        }
    }

    /// Somebody is subscribed through an instance.
    pub(crate) fn subscribed(&mut self, at: InstanceRef, who: Subscriber, uri: &str) {
        if !self.is_there(who) {
            return;
        }
        if self.in_stead_of(at.server) != Some(at.server) {
            return self.orphan_again(at.server, [(uri.to_owned(), vec![who])].into());
        }
        let Some(instance) = self.instance_mut(at) else { return };
        let subscribers = instance.subscribers.entry(uri.to_owned()).or_default();
        if !subscribers.contains(&who) {
            subscribers.push(who);
            self.count_subscription(who, 1);
        }
    }

    fn is_there(&self, who: Subscriber) -> bool {
        match who {
            Subscriber::Session(caller) => self.callers.contains_key(caller),
            Subscriber::Stream(call) => self.listeners.contains_key(call),
        }
    }

    /// Counts subscriptions of legacy callers; a stream is counted as what it asked for.
    fn count_subscription(&mut self, who: Subscriber, by: isize) {
        if let Subscriber::Session(caller) = who
            && let Some(caller) = self.callers.get_mut(caller)
        {
            caller.subscriptions = caller.subscriptions.saturating_add_signed(by);
        }
    }

    /// A caller unsubscribes.
    pub(crate) fn unsubscribe(&mut self, mut accepted: Accepted, profile: Profile) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let uri = accepted.request.text(Field::Uri).unwrap_or_default().into_owned();
        let route = match self.route(caller, &accepted.request, false) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        if let Err(error) = self.pass_rate(&mut accepted, route.server) {
            return accepted.refuse(&error);
        }
        if self.offer(route.server, &profile, "{}").bridged {
            return self.unsubscribe_across(accepted, route.server, &uri);
        }
        let mut others = false;
        let mut last = None;
        let who = Subscriber::Session(accepted.caller);
        self.server_mut(route.server).orphans.retain(|orphan| orphan.who != who || *orphan.uri != *uri);
        let mut left = 0;
        for (key, instance) in &mut self.server_mut(route.server).pool.instances {
            let how = leave(instance, who, &uri);
            left += isize::from(how != Left::NotThere);
            match how {
                Left::Last => last = Some(key),
                Left::NotAlone | Left::NotThere if instance.subscribers.contains_key(&uri) => others = true,
                Left::NotAlone | Left::NotThere => {}
            }
        }
        self.count_subscription(who, -left);
        if last.is_none() && others {
            return accepted.result("{}");
        }
        let pin = last.map(|to| Pin { to, or_any: true });
        let key = self.submit(Call { splice: route.splice, pin, ..accepted.call(route.server, profile) });
        self.place(key);
    }

    /// Ends the subscriptions of a caller or stream that is gone.
    pub(crate) fn forget_subscriptions(&mut self, server: ServerId, who: Subscriber) {
        self.server_mut(server).orphans.retain(|orphan| orphan.who != who);
        let mut ended = Vec::new();
        for (key, instance) in &mut self.server_mut(server).pool.instances {
            let uris: Vec<String> = instance.subscribers.keys().cloned().collect();
            ended.extend(uris.into_iter().filter(|uri| leave(instance, who, uri) == Left::Last).map(|uri| (key, uri)));
        }
        for (key, uri) in ended {
            self.send_quietly(InstanceRef { server, key }, "resources/unsubscribe", &params(&uri));
        }
    }

    /// A server says that a resource changed: its subscribers get to know, and those of what it is a part of.
    pub(crate) fn resource_updated(&mut self, at: InstanceRef, message: &Message) {
        let uri = message.text(Field::Uri).unwrap_or_default();
        let Some(instance) = self.instance(at) else { return };
        let mut told = instance.subscribers.get(uri.as_ref()).cloned().unwrap_or_default();
        if told.is_empty() {
            for (_, all) in instance.subscribers.iter().filter(|(whole, _)| is_part_of(whole, &uri)) {
                for who in all {
                    if !told.contains(who) {
                        told.push(*who);
                    }
                }
            }
        }
        if told.is_empty() {
            return self.drop_from(at, "no_subscriber", &uri);
        }
        for who in told {
            match who {
                Subscriber::Stream(call) => self.tell_stream(at.server, call, message),
                Subscriber::Session(caller) => {
                    let may = |caller: &&Caller| allows(&caller.access, Thing::Resource(&uri));
                    if let Some(caller) = self.callers.get(caller).filter(may) {
                        caller.hear(
                            self.server(at.server).speaker(),
                            Topic::State { what: &uri, stream: "" },
                            &message.splice(),
                        );
                    }
                }
            }
        }
    }
}

/// What it means that a caller left a subscription.
#[derive(PartialEq)]
enum Left {
    NotThere,
    NotAlone,
    Last,
}

fn leave(instance: &mut Instance, who: Subscriber, uri: &str) -> Left {
    let Some(subscribers) = instance.subscribers.get_mut(uri) else { return Left::NotThere };
    let before = subscribers.len();
    subscribers.retain(|other| *other != who);
    match subscribers.len() {
        now if now == before => Left::NotThere,
        0 => {
            instance.subscribers.remove(uri);
            Left::Last
        }
        _ => Left::NotAlone,
    }
}
