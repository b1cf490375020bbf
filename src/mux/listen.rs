//! Called by `mux::request` for `subscriptions/listen` of modern callers (revision 2026-07-28, page "Subscriptions").
//! mcpool keeps one stream to each server for all of them, wide enough for what they want together, and passes on what
//! comes under each caller's own `subscriptionId`. When a stream ends with its instance, another is opened and the
//! callers never notice.

mod across;
mod moved;
mod stream;

use super::Mux;
use super::backlog::Work;
use super::call::{Call, ENDLESS, Place, Source};
use super::offer::declared;
use super::request::Accepted;
use crate::caller::Caller;
use crate::caller::access::{Thing, allows};
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::Era;
use crate::era::modern::stream_tag;
use crate::era::profile::Profile;
use crate::error::{Bound, Error};
use crate::key::{CallKey, CallerKey, ServerId};
use crate::pool::ties::Subscriber;
use crate::server::filter::Filter;
use crate::wire::id::RawId;
use crate::wire::scan::Field;
pub use stream::Upstream;

/// A caller's open `subscriptions/listen`.
pub struct Listener {
    caller: CallerKey,
    id: RawId,
    /// What it wants of each server.
    wants: Vec<(ServerId, Filter)>,
    /// Servers that have not answered yet.
    waiting: Vec<ServerId>,
    granted: Filter,
    /// Whether it waits for all of them.
    patient: bool,
    acknowledged: bool,
}

impl Listener {
    /// Who listens.
    pub(super) fn caller(&self) -> CallerKey {
        self.caller
    }

    /// The id of the request that opened it, which each message on it bears.
    pub(super) fn id(&self) -> &RawId {
        &self.id
    }

    /// Notes that it is acknowledged without the servers that are late: these join later.
    pub(super) fn waits_no_longer(&mut self) {
        self.patient = false;
    }

    /// Whether it was acknowledged, so that it may be told something.
    pub(super) fn is_open(&self) -> bool {
        self.acknowledged
    }
}

impl Mux {
    /// A caller opens a stream.
    pub(crate) fn listen(&mut self, accepted: Accepted) {
        let key = accepted.caller;
        let Some(caller) = self.callers.get(key) else { return };
        let (endpoint, Some(id)) = (caller.endpoint.clone(), accepted.request.id(Field::Id)) else { return };
        let mut filter = Filter::read(accepted.request.raw(Field::Notifications).unwrap_or("{}"));
        filter.uris.retain(|uri| allows(&caller.access, Thing::Resource(uri)));
        let limit = self.config.limits.subscriptions;
        let open = caller
            .in_flight
            .values()
            .filter_map(|call| self.listeners.get(*call))
            .map(|listener| 1 + listener.wants.iter().map(|(_, wants)| wants.uris.len()).sum::<usize>());
        if open.sum::<usize>() + 1 + filter.uris.len() > limit {
            return accepted.refuse(&Error::CallerOverloaded { limit, bound: Bound::Subscriptions });
        }
        if self.is_draining() {
            return accepted.refuse(&Error::Draining);
        }
        let known = |id: &&ServerId| self.may_listen(**id, &accepted);
        let (servers, strange): (Vec<&ServerId>, Vec<&ServerId>) = endpoint.servers.iter().partition(known);
        let strange: Vec<ServerId> = strange.into_iter().filter(|id| !caller.missed().contains(id)).copied().collect();
        if !strange.is_empty() {
            return self.await_introductions(accepted, Profile::Modern, strange);
        }
        let servers: Vec<ServerId> = servers.into_iter().copied().collect();
        let wants: Vec<(ServerId, Filter)> = servers
            .iter()
            .map(|server| {
                let mut wanted = filter.clone();
                if endpoint.prefix {
                    wanted.uris.retain(|uri| self.owner_of(&endpoint, uri) == Some(*server));
                }
                (*server, wanted)
            })
            .collect();
        for (server, _) in wants.iter().filter(|(_, wanted)| !wanted.is_empty()) {
            if let Err(error) = self.rate(key, *server, &accepted.request) {
                return accepted.refuse(&error);
            }
        }
        let Some(first) = servers.first().copied() else {
            return accepted.refuse(&Error::MethodNotFound("no server of this endpoint can be reached".into()));
        };
        let call = self.submit(accepted.call(first, Profile::Modern));
        let timeouts = servers.iter().map(|server| &self.server(*server).config.timeout);
        let patience = match endpoint.prefix {
            // Those that are late join later.
            true => endpoint.patience,
            false => timeouts.map(|timeout| timeout.start + timeout.call).max().unwrap_or_default(),
        };
        self.wait_at(call, Place::Listening, clock::now() + patience);
        let waiting = wants.iter().filter(|(_, wanted)| !wanted.is_empty()).map(|(server, _)| *server).collect();
        let asked = wants.clone();
        let granted = Filter::default();
        let (patient, acknowledged) = (true, false);
        self.listeners.insert(call, Listener { caller: key, id, wants, waiting, granted, patient, acknowledged });
        for (server, wanted) in asked.into_iter().filter(|(_, wanted)| !wanted.is_empty()) {
            let offer = self.calls.get(call).map(|call| self.offer_to(server, call));
            match offer {
                Some(offer) if offer.bridged => {
                    self.server_mut(server).upstream.listened.stream_wants(call, &wanted);
                    self.listen_across(call, server, &offer, wanted);
                }
                _ => {
                    let upstream = &mut self.server_mut(server).upstream;
                    upstream.listened.stream_wants(call, &wanted);
                    upstream.awaiting.push(call);
                    self.todo.stream(server);
                }
            }
        }
        self.acknowledge(call);
    }

    /// Whether enough is known of a server to listen to it: which era it speaks, and what it offers where that is not the
    /// caller's own.
    fn may_listen(&self, server: ServerId, accepted: &Accepted) -> bool {
        let offer = self.offer(server, &Profile::Modern, declared(&accepted.request));
        let said = || self.server(server).catalogue.said(&offer.introduction()).is_some();
        self.knows_era(server, Era::Modern) && (!offer.bridged || said())
    }

    /// A listener is told what a server grants it.
    pub(super) fn granted(&mut self, call: CallKey, server: ServerId, granted: &Filter) {
        if let Some(listener) = self.listeners.get_mut(call) {
            listener.granted.join(granted);
            listener.waiting.retain(|other| *other != server);
            self.acknowledge(call);
        }
    }

    /// A stream is over: it wants nothing more of any server.
    fn drop_listener(&mut self, call: CallKey) -> Option<Listener> {
        let listener = self.listeners.remove(call)?;
        for (server, _) in &listener.wants {
            self.server_mut(*server).upstream.listened.stream_ends(call);
        }
        Some(listener)
    }

    /// A stream wants something else than before.
    fn wants_instead(&mut self, call: CallKey, wants: Vec<(ServerId, Filter)>) {
        let Some(listener) = self.listeners.get_mut(call) else { return };
        let before = std::mem::replace(&mut listener.wants, wants.clone());
        for (server, _) in before {
            self.server_mut(server).upstream.listened.stream_ends(call);
        }
        for (server, wanted) in wants {
            self.server_mut(server).upstream.listened.stream_wants(call, &wanted);
        }
    }

    /// Tells the streams of a modern caller, who was answered without a server, that it has come; whether the server is one
    /// to it as this profile says.
    pub(crate) fn tell_arrival_on_streams(&self, key: CallerKey, server: ServerId, profile: &Profile) -> bool {
        let Some(caller) = self.callers.get(key) else { return false };
        let mut there = false;
        let own = caller.in_flight.values().filter_map(|call| Some((*call, self.listeners.get(*call)?)));
        for (call, listener) in own {
            let offered = |call: &Call| self.offer_to(server, call).profile == *profile;
            if !listener.acknowledged || !self.calls.get(call).is_some_and(|call| offered(call)) {
                continue;
            }
            there = true;
            // It was not there when the stream was opened, so that it may have granted nothing.
            tell_lists(caller, listener, |list| listener.wants.iter().any(|(_, wants)| wants.lets_through(list, "")));
        }
        there
    }

    /// Acknowledges a listener once every server has said what it grants, or was too late: the first message of the stream.
    pub(super) fn acknowledge(&mut self, call: CallKey) {
        let Some(listener) = self.listeners.get_mut(call) else { return };
        if listener.acknowledged || listener.patient && !listener.waiting.is_empty() {
            return;
        }
        listener.acknowledged = true;
        let hears = listener.caller;
        if let Some(call) = self.calls.get_mut(call) {
            call.deadline = clock::now() + ENDLESS;
        }
        if let Some(caller) = self.callers.get(listener.caller) {
            let params = format!(
                r#"{{"_meta":{{{}}},"notifications":{}}}"#,
                stream_tag(listener.id.as_str()),
                listener.granted.to_json()
            );
            caller.notify("notifications/subscriptions/acknowledged", &params);
        }
        self.hears_from_now(hears);
    }

    /// Ends a listener's stream gracefully.
    pub(super) fn end_listener(&mut self, call: CallKey) {
        let Some(listener) = self.drop_listener(call) else { return };
        for (server, _) in &listener.wants {
            self.forget_subscriptions(*server, Subscriber::Stream(call));
        }
        if let Some(Source::Caller(reply, _permit)) = self.take_out(call).map(|call| call.from) {
            let tag = stream_tag(listener.id.as_str());
            reply.result(&format!(r#"{{"resultType":"complete","_meta":{{{tag}}}}}"#));
        }
    }

    /// Ends every stream gracefully.
    pub(crate) fn end_listens(&mut self) {
        let all = self.listeners.keys().collect();
        self.backlog.add(Work::EndStreams(all));
    }

    /// A caller's stream is closed by itself.
    pub(crate) fn unlisten(&mut self, call: CallKey) {
        if let Some(listener) = self.drop_listener(call) {
            for (server, _) in listener.wants {
                self.forget_subscriptions(server, Subscriber::Stream(call));
                self.todo.stream(server);
                self.rest_again(server);
            }
        }
    }
}

/// Tells a caller on its stream that these lists may have changed.
fn tell_lists(caller: &Caller, listener: &Listener, is_wanted: impl Fn(&str) -> bool) {
    for kind in ListKind::CAPABILITIES {
        let method = format!("notifications/{kind}/list_changed");
        if is_wanted(&method) {
            caller.notify(&method, &format!(r#"{{"_meta":{{{}}}}}"#, stream_tag(listener.id.as_str())));
        }
    }
}
