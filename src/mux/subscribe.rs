//! `resources/subscribe` of legacy callers: the server is subscribed once for all callers of an instance, and
//! unsubscribed when the last one leaves. When an instance ends, another takes its subscriptions over.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Pin, Then};
use super::errand::Errand;
use super::request::Accepted;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::pool::instance::{Instance, InstanceKey, InstanceRef, ServerId};
use crate::reply::CallerKey;
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// How long until a subscription that could not be taken over is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A subscription without an instance.
pub struct Orphan {
    caller: CallerKey,
    uri: Rc<str>,
    again: Instant,
}

/// Callers that are subscribed to a resource together: by URI, profile and roots.
struct Group {
    alike: (Rc<str>, Profile, Option<Rc<str>>),
    first: CallerKey,
    callers: Vec<CallerKey>,
}

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
    pub(crate) fn subscribe(&mut self, accepted: Accepted, profile: Profile) {
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
        let subscribed = |instance: &&Instance| {
            instance.alive() && instance.profile == profile && instance.subscribers.contains_key(&uri)
        };
        let roots = caller.roots.known();
        let there = self
            .server(route.server)
            .pool
            .instances
            .values()
            .filter(subscribed)
            .find(|instance| instance.roots.is_none() || instance.roots == roots);
        if let Some(at) = there.map(|instance| instance.at) {
            self.subscribed(at, accepted.caller, &uri);
            return accepted.result("{}");
        }
        let then = Then::Subscribed(uri.into());
        let call = Call { splice: route.splice, then, ..accepted.call(route.server, profile) };
        let key = self.submit(call);
        self.place(key);
    }

    /// A caller is subscribed through an instance.
    pub(crate) fn subscribed(&mut self, at: InstanceRef, key: CallerKey, uri: &str) {
        if !self.callers.contains_key(key) {
            return;
        }
        let Some(instance) = self.instance_mut(at) else { return };
        let subscribers = instance.subscribers.entry(uri.to_owned()).or_default();
        if !subscribers.contains(&key) {
            subscribers.push(key);
            if let Some(caller) = self.callers.get_mut(key) {
                caller.subscriptions += 1;
            }
        }
    }

    /// A caller unsubscribes.
    pub(crate) fn unsubscribe(&mut self, accepted: Accepted, profile: Profile) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let uri = accepted.request.text(Field::Uri).unwrap_or_default().into_owned();
        let route = match self.route(caller, &accepted.request, false) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        let mut others = false;
        let mut last = None;
        self.server_mut(route.server).orphans.retain(|orphan| orphan.caller != accepted.caller || *orphan.uri != *uri);
        let mut left = 0;
        for (key, instance) in &mut self.server_mut(route.server).pool.instances {
            let how = leave(instance, accepted.caller, &uri);
            left += usize::from(how != Left::NotThere);
            match how {
                Left::Last => last = Some(key),
                Left::NotAlone | Left::NotThere if instance.subscribers.contains_key(&uri) => others = true,
                Left::NotAlone | Left::NotThere => {}
            }
        }
        if let Some(caller) = self.callers.get_mut(accepted.caller) {
            caller.subscriptions -= left;
        }
        if last.is_none() && others {
            return accepted.result("{}");
        }
        let pin = last.map(|to| Pin { to, or_any: true });
        let call = Call { splice: route.splice, pin, ..accepted.call(route.server, profile) };
        let key = self.submit(call);
        self.place(key);
    }

    /// Ends the subscriptions of a caller that is gone.
    pub(crate) fn forget_subscriptions(&mut self, server: ServerId, caller: CallerKey) {
        self.server_mut(server).orphans.retain(|orphan| orphan.caller != caller);
        let mut ended = Vec::new();
        for (key, instance) in &mut self.server_mut(server).pool.instances {
            let uris: Vec<String> = instance.subscribers.keys().cloned().collect();
            ended.extend(
                uris.into_iter().filter(|uri| leave(instance, caller, uri) == Left::Last).map(|uri| (key, uri)),
            );
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
            for (_, callers) in instance.subscribers.iter().filter(|(whole, _)| is_part_of(whole, &uri)) {
                callers.iter().for_each(|caller| {
                    if !told.contains(caller) {
                        told.push(*caller)
                    }
                });
            }
        }
        if told.is_empty() {
            return self.drop_from(at, "no_subscriber", &uri);
        }
        for caller in told.into_iter().filter_map(|key| self.callers.get(key)) {
            caller.outbox.splice(&message.splice());
        }
    }

    /// An instance is gone with its subscriptions: another is to take them over.
    /// That is tried at once, but not again and again: a server may have ended because of it.
    pub(crate) fn orphan_subscriptions(&mut self, server: ServerId, orphans: BTreeMap<String, Vec<CallerKey>>) {
        let now = Instant::now();
        let again = self.server(server).taken_over.map_or(now, |last| now.max(last + AGAIN));
        for (uri, callers) in orphans {
            let uri: Rc<str> = uri.into();
            for caller in callers {
                if let Some(there) = self.callers.get_mut(caller) {
                    there.subscriptions -= 1;
                    self.servers[server.0].orphans.push(Orphan { caller, uri: uri.clone(), again });
                }
            }
        }
        self.alarm.at(again);
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
            let Some(caller) = self.callers.get(orphan.caller) else { continue };
            let Some(profile) = caller.session.as_ref().map(|session| session.profile.clone()) else { continue };
            let alike = (orphan.uri, profile, caller.roots.known());
            match groups.iter_mut().find(|group| group.alike == alike) {
                Some(group) => group.callers.push(orphan.caller),
                None => groups.push(Group { alike, first: orphan.caller, callers: vec![orphan.caller] }),
            }
        }
        for Group { alike: (uri, profile, _), first, callers } in groups {
            let params = params(&uri);
            let errand = Errand::Resubscribe(uri, callers);
            self.send_errand(server, first, profile, None, ("resources/subscribe", &params), errand);
        }
        self.server(server).orphans.iter().map(|orphan| orphan.again).min()
    }

    /// A subscription was taken over, or could not be yet.
    pub(crate) fn resubscribed(
        &mut self,
        server: ServerId,
        callers: Vec<CallerKey>,
        uri: &Rc<str>,
        to: Option<InstanceKey>,
    ) {
        for caller in callers.into_iter().filter(|caller| self.callers.contains_key(*caller)).collect::<Vec<_>>() {
            if let Some(key) = to {
                self.subscribed(InstanceRef { server, key }, caller, uri);
                continue;
            }
            let again = Instant::now() + AGAIN;
            self.server_mut(server).orphans.push(Orphan { caller, uri: uri.clone(), again });
            self.alarm.at(again);
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

fn leave(instance: &mut Instance, caller: CallerKey, uri: &str) -> Left {
    let Some(subscribers) = instance.subscribers.get_mut(uri) else { return Left::NotThere };
    let before = subscribers.len();
    subscribers.retain(|other| *other != caller);
    match subscribers.len() {
        now if now == before => Left::NotThere,
        0 => {
            instance.subscribers.remove(uri);
            Left::Last
        }
        _ => Left::NotAlone,
    }
}
