//! `subscriptions/listen` of modern callers (revision 2026-07-28, page "Subscriptions"): one stream to each server
//! for all of them, wide enough for what they want together, fanned out under each caller's own
//! `subscriptionId`. When it ends with its instance, another is opened and the callers never notice.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Place, Source};
use super::errand::{Errand, Outcome};
use super::lists::ListKind;
use super::request::Accepted;
use super::subscribe::is_part_of;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::pool::instance::{InstanceRef, ServerId};
use crate::reply::{CallKey, CallerKey};
use crate::wire::id::{RawId, WireId, digits};
use crate::wire::message::{Kind, Message, elements, member, unquote};
use crate::wire::scan::Field;

/// A stream that ends sooner than this is not opened again.
const LASTING: Duration = Duration::from_secs(1);
/// A stream that was acknowledged has no deadline.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a stream carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
}

/// The streams to one server.
#[derive(Default)]
pub struct Upstream {
    /// The stream whose notifications are fanned out.
    current: Option<Stream>,
    /// A wider one that is to take its place once it is acknowledged.
    next: Option<Stream>,
}

struct Stream {
    call: CallKey,
    asked: Filter,
    granted: Option<Filter>,
    opened: Instant,
}

/// A caller's open `subscriptions/listen`.
pub struct Listener {
    caller: CallerKey,
    id: RawId,
    /// What it wants of each server.
    wants: Vec<(ServerId, Filter)>,
    /// Servers that have not answered yet.
    waiting: Vec<ServerId>,
    granted: Filter,
    acknowledged: bool,
}

impl Filter {
    fn read(json: &str) -> Filter {
        let wants = |name| member(json, name) == Some("true");
        let uris = member(json, "resourceSubscriptions").map(elements).unwrap_or_default();
        Filter {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
            uris: uris.into_iter().filter_map(unquote).map(std::borrow::Cow::into_owned).collect(),
        }
    }

    fn to_json(&self) -> String {
        let mut json = serde_json::Map::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        json.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name.to_owned(), true.into())));
        if !self.uris.is_empty() {
            json.insert("resourceSubscriptions".into(), serde_json::json!(self.uris));
        }
        serde_json::Value::Object(json).to_string()
    }

    fn join(&mut self, other: &Filter) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend(other.uris.iter().cloned());
    }

    fn meet(&self, other: &Filter) -> Filter {
        Filter {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
            uris: self.uris.intersection(&other.uris).cloned().collect(),
        }
    }

    fn covers(&self, other: &Filter) -> bool {
        self.meet(other) == *other
    }

    fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether a notification is one that was wanted.
    fn lets_through(&self, method: &str, uri: &str) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => self.uris.iter().any(|wanted| is_part_of(wanted, uri)),
            _ => false,
        }
    }
}

impl Mux {
    /// A caller opens a stream.
    pub(crate) fn listen(&mut self, accepted: Accepted) {
        let key = accepted.caller;
        let Some(caller) = self.callers.get(key) else { return };
        let (endpoint, Some(id)) = (caller.endpoint.clone(), accepted.request.id(Field::Id)) else { return };
        let filter = Filter::read(accepted.request.raw(Field::Notifications).unwrap_or("{}"));
        let limit = self.config.limits.subscriptions;
        let open = self
            .listeners
            .values()
            .filter(|listener| listener.caller == key)
            .map(|listener| 1 + listener.wants.iter().map(|(_, wants)| wants.uris.len()).sum::<usize>());
        if open.sum::<usize>() + 1 + filter.uris.len() > limit {
            return accepted.refuse(&Error::CallerOverloaded { limit });
        }
        let speaks =
            |id: &ServerId| !self.server(*id).catalogue.lacks(Profile::Modern.era(), self.server(*id).config.era);
        let servers: Vec<ServerId> =
            endpoint.servers.iter().copied().filter(|id| !endpoint.prefix || speaks(id)).collect();
        if let [only] = servers.as_slice()
            && !speaks(only)
        {
            return accepted.refuse(&self.lacks_error(*only, Profile::Modern.era(), "subscriptions/listen"));
        }
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
        let Some(first) = servers.first().copied() else {
            return accepted.refuse(&Error::MethodNotFound("no server of this endpoint speaks 2026-07-28".into()));
        };
        let call = self.submit(accepted.call(first, Profile::Modern));
        let patience = servers
            .iter()
            .map(|server| &self.server(*server).config.timeout)
            .map(|timeout| timeout.start + timeout.call);
        let patience = patience.max().unwrap_or_default();
        self.wait_at(call, Place::Listening, Instant::now() + patience);
        let waiting = wants.iter().filter(|(_, wanted)| !wanted.is_empty()).map(|(server, _)| *server).collect();
        self.listeners.insert(
            call,
            Listener { caller: key, id, wants, waiting, granted: Filter::default(), acknowledged: false },
        );
        self.acknowledge(call);
        servers.into_iter().for_each(|server| self.adjust_stream(server));
    }

    /// Opens, widens or closes the stream to a server, as its listeners want.
    fn adjust_stream(&mut self, server: ServerId) {
        let mut wanted = Filter::default();
        let mut caller = CallerKey::default();
        for listener in self.listeners.values() {
            for (_, wants) in listener.wants.iter().filter(|(id, _)| *id == server) {
                wanted.join(wants);
                caller = listener.caller;
            }
        }
        let upstream = &mut self.server_mut(server).upstream;
        if wanted.is_empty() {
            let streams = [upstream.current.take(), upstream.next.take()];
            return streams.into_iter().flatten().for_each(|stream| self.cancel(stream.call, Some("nobody listens")));
        }
        if upstream.next.as_ref().is_some_and(|next| next.asked.covers(&wanted)) {
            return;
        }
        if upstream.current.as_ref().is_some_and(|current| current.asked.covers(&wanted)) {
            return self.grant(server);
        }
        if let Some(outdated) = upstream.next.take() {
            self.cancel(outdated.call, Some("a wider one is opened"));
        }
        let params = format!(r#"{{"_meta":{},"notifications":{}}}"#, modern::meta("{}"), wanted.to_json());
        let call =
            self.send_errand(server, caller, Profile::Modern, None, ("subscriptions/listen", &params), Errand::Listen);
        match call.filter(|call| self.calls.contains_key(*call)) {
            Some(call) => {
                self.server_mut(server).upstream.next =
                    Some(Stream { call, asked: wanted, granted: None, opened: Instant::now() })
            }
            // It was refused at once.
            None => self.end_stream(server, None),
        }
    }

    /// A notification that belongs to a stream of ours.
    pub(crate) fn heard_on_stream(&mut self, at: InstanceRef, message: &Message) {
        let id = message.raw(Field::MetaSubscription).and_then(digits).map(WireId);
        let call = id.and_then(|id| self.instance(at)?.pending.get(id)).map(|entry| entry.call);
        let upstream = &mut self.server_mut(at.server).upstream;
        let is = |stream: &Option<Stream>| stream.as_ref().is_some_and(|stream| Some(stream.call) == call);
        if message.method() == "notifications/subscriptions/acknowledged" {
            let granted = Filter::read(message.raw(Field::Notifications).unwrap_or("{}"));
            if is(&upstream.next) {
                let replaced = std::mem::replace(&mut upstream.current, upstream.next.take());
                if let Some(current) = &mut upstream.current {
                    current.opened = Instant::now();
                    current.granted = Some(granted);
                }
                replaced.into_iter().for_each(|stream| self.cancel(stream.call, Some("a wider one was opened")));
                self.grant(at.server);
            }
        } else if is(&upstream.current) {
            self.note_change(at, &message.method());
            self.fan_out(at, message);
        } else {
            self.drop_from(at, "no_subscriber", &message.method());
        }
    }

    fn note_change(&mut self, at: InstanceRef, method: &str) {
        let kind = method.strip_prefix("notifications/").and_then(|rest| rest.strip_suffix("/list_changed"));
        let changed = |list: &ListKind| Some(list.capability()) == kind;
        for variant in self
            .server_mut(at.server)
            .catalogue
            .variants_mut()
            .filter(|variant| variant.key.era == crate::era::Era::Modern)
        {
            for list in ListKind::ALL.into_iter().filter(changed) {
                variant.changed(list);
            }
        }
    }

    fn fan_out(&mut self, at: InstanceRef, message: &Message) {
        let (method, uri) = (message.method(), message.text(Field::Uri).unwrap_or_default());
        let mut delivered = false;
        for listener in self.listeners.values().filter(|listener| listener.acknowledged) {
            let wants =
                listener.wants.iter().any(|(server, wants)| *server == at.server && wants.lets_through(&method, &uri));
            if let Some(caller) = self.callers.get(listener.caller).filter(|_| wants) {
                let mut splice = message.splice();
                splice.put_if(message.span(Field::MetaSubscription), listener.id.as_str());
                caller.outbox.splice(&splice);
                delivered = true;
            }
        }
        if !delivered {
            self.drop_from(at, "no_subscriber", &method);
        }
    }

    /// Tells listeners of a change that mcpool found by itself.
    pub(crate) fn announce_on_streams(&mut self, server: ServerId, kind: ListKind, method: &str) {
        for listener in self.listeners.values().filter(|listener| listener.acknowledged) {
            let wants =
                listener.wants.iter().any(|(id, wants)| *id == server && wants.lets_through(method, kind.capability()));
            if let Some(caller) = self.callers.get(listener.caller).filter(|_| wants) {
                let id = listener.id.as_str();
                caller.notify(method, &format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#));
            }
        }
    }

    /// Gives the listeners that wait for a server what its stream grants.
    fn grant(&mut self, server: ServerId) {
        let Some(granted) = self.server(server).upstream.current.as_ref().and_then(|stream| stream.granted.clone())
        else {
            return;
        };
        let mut ready = Vec::new();
        for (call, listener) in &mut self.listeners {
            if !listener.waiting.contains(&server) {
                continue;
            }
            listener.waiting.retain(|other| *other != server);
            for (_, wants) in listener.wants.iter().filter(|(id, _)| *id == server) {
                listener.granted.join(&wants.meet(&granted));
            }
            ready.push(call);
        }
        ready.into_iter().for_each(|call| self.acknowledge(call));
    }

    /// Acknowledges a listener once every server has said what it grants: the first message of the stream.
    fn acknowledge(&mut self, call: CallKey) {
        let Some(listener) = self.listeners.get_mut(call) else { return };
        if listener.acknowledged || !listener.waiting.is_empty() {
            return;
        }
        listener.acknowledged = true;
        if let Some(call) = self.calls.get_mut(call) {
            call.deadline = Instant::now() + ENDLESS;
        }
        if let Some(caller) = self.callers.get(listener.caller) {
            let params = format!(
                r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}},"notifications":{}}}"#,
                listener.id.as_str(),
                listener.granted.to_json()
            );
            caller.notify("notifications/subscriptions/acknowledged", &params);
        }
    }

    /// The stream to a server ended.
    pub(crate) fn listen_ended(&mut self, server: ServerId, call: CallKey, outcome: Outcome<'_>) {
        let upstream = &mut self.server_mut(server).upstream;
        let is = |stream: &Option<Stream>| stream.as_ref().is_some_and(|stream| stream.call == call);
        let stream = if is(&upstream.current) {
            upstream.current.take()
        } else if is(&upstream.next) {
            upstream.next.take()
        } else {
            return;
        };
        let lasted = stream.is_some_and(|stream| stream.granted.is_some() && stream.opened.elapsed() >= LASTING);
        match outcome {
            _ if self.draining => {}
            _ if lasted => self.adjust_stream(server),
            Outcome::Answer(answer) if answer.kind() == Kind::Error => self.end_stream(server, Some(answer)),
            _ => self.end_stream(server, None),
        }
    }

    /// A server cancelled a request of ours, which only a stream may be; whether it was one.
    pub(crate) fn stream_cancelled(&mut self, at: InstanceRef, id: WireId) -> bool {
        let entry = self.instance(at).and_then(|instance| instance.pending.get(id));
        let Some(call) = entry.map(|entry| entry.call) else { return false };
        let streams = [&self.server(at.server).upstream.current, &self.server(at.server).upstream.next];
        if !streams.into_iter().flatten().any(|stream| stream.call == call) {
            return false;
        }
        if let Some(instance) = self.instance_mut(at) {
            instance.pending.abandon(id, Instant::now());
        }
        self.take_out(call);
        let ended = Error::Internal("the server ended the stream".into());
        self.listen_ended(at.server, call, Outcome::Failed(ended));
        self.released(at);
        true
    }

    /// No stream to a server can be had: its listeners get to know.
    fn end_stream(&mut self, server: ServerId, refusal: Option<&Message>) {
        // While an older stream lives, only those are affected who wait for the wider one that could not be had.
        let alive = self.server(server).upstream.current.is_some();
        let affected = |listener: &Listener| match alive {
            true => listener.waiting.contains(&server),
            false => listener.wants.iter().any(|(id, wants)| *id == server && !wants.is_empty()),
        };
        let of_server: Vec<CallKey> =
            self.listeners.iter().filter(|(_, listener)| affected(listener)).map(|(call, _)| call).collect();
        for call in of_server {
            let Some(listener) = self.listeners.get_mut(call) else { continue };
            if listener.wants.len() > 1 {
                listener.wants.retain(|(id, _)| *id != server);
                listener.waiting.retain(|id| *id != server);
                self.acknowledge(call);
                continue;
            }
            match refusal.filter(|_| !listener.acknowledged) {
                Some(refusal) => {
                    self.listeners.remove(call);
                    if let Some(Source::Caller(reply, _permit)) = self.take_out(call).map(|call| call.from) {
                        reply.answer(refusal, refusal.splice());
                    }
                }
                None => self.end_listener(call),
            }
        }
        let wants = |listener: &Listener| listener.wants.iter().any(|(id, wants)| *id == server && !wants.is_empty());
        if !self.listeners.values().any(wants) {
            // A stream that is still open, or about to be, is open for nobody.
            self.adjust_stream(server);
        }
    }

    /// Ends a listener's stream gracefully.
    fn end_listener(&mut self, call: CallKey) {
        let Some(listener) = self.listeners.remove(call) else { return };
        if let Some(Source::Caller(reply, _permit)) = self.take_out(call).map(|call| call.from) {
            let id = listener.id.as_str();
            reply.result(&format!(
                r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#
            ));
        }
    }

    /// Ends every stream gracefully.
    pub(crate) fn end_listens(&mut self) {
        let all: Vec<CallKey> = self.listeners.keys().collect();
        all.into_iter().for_each(|call| self.end_listener(call));
    }

    /// A caller's stream is closed by itself.
    pub(crate) fn unlisten(&mut self, call: CallKey) {
        if let Some(listener) = self.listeners.remove(call) {
            listener.wants.into_iter().for_each(|(server, _)| self.adjust_stream(server));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_joined_and_met() {
        let one = Filter::read(r#"{"toolsListChanged":true,"resourceSubscriptions":["a","b"]}"#);
        let two = Filter::read(r#"{"promptsListChanged":true,"toolsListChanged":false,"resourceSubscriptions":["b"]}"#);
        let mut both = one.clone();
        both.join(&two);
        assert!(both.covers(&one) && both.covers(&two) && !one.covers(&two));
        assert_eq!(one.meet(&two).to_json(), r#"{"resourceSubscriptions":["b"]}"#);
        assert!(
            one.lets_through("notifications/resources/updated", "a")
                && !one.lets_through("notifications/resources/updated", "c")
        );
        assert!(!one.lets_through("notifications/prompts/list_changed", ""));
    }
}
