//! Called by `mux::reload` and `mux::retire`: moves streams and subscriptions when a changed config changed what there
//! is to listen to.

use std::rc::Rc;

use super::Listener;
use crate::catalogue::list::ListKind;
use crate::era::modern::stream_tag;
use crate::key::{CallKey, CallerKey, ServerId};
use crate::mux::Mux;
use crate::pool::ties::Subscriber;
use crate::server::filter::Filter;

impl Listener {
    /// Returns whether the stream wants something of a server.
    pub(in crate::mux) fn wants_of(&self, server: ServerId) -> bool {
        self.waiting.contains(&server) || self.wants.iter().any(|(id, _)| *id == server)
    }
}

impl Mux {
    /// Moves the streams of callers from retired servers to their successors, and to servers that are new to these
    /// callers. Returns the streams that are not open yet, which the caller of this method begins again.
    pub(in crate::mux) fn move_listeners(&mut self) -> Vec<CallKey> {
        let mut again = Vec::new();
        let all: Vec<CallKey> = self.listeners.keys().collect();
        for call in all {
            let Some(listener) = self.listeners.get(call) else { continue };
            let Some(caller) = self.callers.get(listener.caller) else { continue };
            let servers = caller.endpoint.servers.clone();
            let known: Vec<ServerId> = listener.wants.iter().map(|(id, _)| *id).collect();
            if known.iter().all(|id| servers.contains(id)) && servers.iter().all(|id| known.contains(id)) {
                continue;
            }
            if !listener.acknowledged {
                again.push(call);
                continue;
            }
            // What it wants of every server, apart from resources, which belong to one.
            let mut common = Filter::default();
            listener.wants.iter().for_each(|(_, wants)| common.join(wants));
            common.uris.clear();
            let mut wants: Vec<(ServerId, Filter)> = Vec::new();
            for (id, filter) in &listener.wants {
                if let Some(to) = self.in_stead_of(*id).filter(|to| servers.contains(to)) {
                    wants.push((to, filter.clone()));
                }
            }
            for id in servers {
                if !wants.iter().any(|(other, _)| *other == id) {
                    wants.push((id, common.clone()));
                }
            }
            let gone: Vec<ServerId> = known
                .into_iter()
                .filter(|id| self.in_stead_of(*id) == Some(*id) && !wants.iter().any(|(to, _)| to == id))
                .collect();
            let first = wants.first().map(|(id, _)| *id);
            self.wants_instead(call, wants);
            gone.into_iter().for_each(|id| self.forget_subscriptions(id, Subscriber::Stream(call)));
            match first {
                Some(first) => self.calls[call].server = first,
                None => self.end_listener(call),
            }
        }
        again.iter().for_each(|call| self.close_listener(*call));
        again
    }

    /// Takes back a stream that is not open yet.
    fn close_listener(&mut self, call: CallKey) {
        let Some(listener) = self.drop_listener(call) else { return };
        for (server, _) in listener.wants {
            self.forget_subscriptions(server, Subscriber::Stream(call));
        }
    }

    /// Moves the subscriptions of a retired server to its successor, in the form that the successor supports.
    pub(in crate::mux) fn move_subscriptions(&mut self, old: ServerId) {
        self.retire_subscriptions(old);
        let sessions = self.server_mut(old).upstream.listened.take_sessions();
        sessions.for_each(|(uri, key)| self.lead_away(old, Subscriber::Session(key), uri));
        let mut streams: Vec<(CallKey, Rc<str>)> = Vec::new();
        for (call, listener) in self.listeners.iter().filter(|(_, listener)| listener.acknowledged) {
            for (_, wants) in listener.wants.iter().filter(|(id, _)| *id == old) {
                streams.extend(wants.uris.iter().map(|uri| (call, uri.as_str().into())));
            }
        }
        streams.into_iter().for_each(|(call, uri)| self.lead_away(old, Subscriber::Stream(call), uri));
    }

    /// Ends the streams of a caller.
    pub(in crate::mux) fn end_listens_of(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return };
        let own = caller.in_flight.values().filter(|call| self.listeners.contains_key(**call));
        let own: Vec<CallKey> = own.copied().collect();
        own.into_iter().for_each(|call| self.end_listener(call));
    }

    /// Tells a caller that what it sees has changed.
    pub(in crate::mux) fn announce_other_view(&self, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return };
        for kind in ListKind::CAPABILITIES {
            let method = format!("notifications/{kind}/list_changed");
            if caller.is_initialized() {
                caller.outbox.line(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#).as_bytes());
            }
            let own = caller.in_flight.values().filter_map(|call| self.listeners.get(*call));
            let own = own.filter(|listener| listener.acknowledged);
            for listener in own.filter(|own| own.wants.iter().any(|(_, wants)| wants.lets_through(&method, ""))) {
                caller.notify(&method, &format!(r#"{{"_meta":{{{}}}}}"#, stream_tag(listener.id.as_str())));
            }
        }
    }
}
