//! The side of the servers: one stream to each, opened, widened and closed as its listeners want.

use std::time::Duration;

use tokio::time::Instant;

use super::Listener;
use super::filter::Filter;
use crate::caller::Caller;
use crate::caller::access::{Thing, allows};
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::profile::Profile;
use crate::era::{Era, modern};
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::call::Source;
use crate::mux::errand::{Errand, Outcome};
use crate::pool::instance::{Instance, State};
use crate::server::sessions::Sessions;
use crate::wire::id::{WireId, digits};
use crate::wire::message::{Kind, Message};
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;

/// How long until a stream for legacy callers that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// A stream that ends sooner than this is not opened again.
const LASTING: Duration = Duration::from_secs(1);

/// The streams to one server.
#[derive(Default)]
pub struct Upstream {
    /// The stream whose notifications are fanned out.
    current: Option<Stream>,
    /// A wider one that is to take its place once it is acknowledged.
    next: Option<Stream>,
    /// Legacy callers that are subscribed to resources.
    pub(super) sessions: Sessions,
    /// After a stream for legacy callers could not be had: when it is tried again.
    again: Option<Instant>,
}

impl Upstream {
    /// How many resources a legacy caller is subscribed to.
    pub(in crate::mux) fn count(&self, caller: CallerKey) -> usize {
        self.sessions.count(caller)
    }
}

struct Stream {
    call: CallKey,
    asked: Filter,
    granted: Option<Filter>,
    opened: Instant,
}

impl Mux {
    /// What is listened for by those who want an instance to be there for that, and one of them.
    pub(super) fn wanted_of(&self, server: ServerId) -> (Filter, CallerKey) {
        let (mut wanted, mut caller) = (Filter::default(), CallerKey::default());
        if self.listeners.is_empty() && self.server(server).upstream.sessions.is_empty() {
            return (wanted, caller);
        }
        let known = self.server(server);
        let native = known.catalogue.serves(Era::Modern, known.config.era) == Some(Era::Modern);
        for listener in self.listeners.values().filter(|_| native) {
            for (_, wants) in listener.wants.iter().filter(|(id, _)| *id == server) {
                wanted.join(wants);
                caller = listener.caller;
            }
        }
        let sessions = &known.upstream.sessions;
        wanted.uris.extend(sessions.uris().map(|uri| uri.to_string()));
        caller = sessions.first().unwrap_or(caller);
        (wanted, caller)
    }

    /// Opens, widens or closes the stream to a server, as its listeners want.
    pub(in crate::mux) fn adjust_stream(&mut self, server: ServerId) {
        let (mut wanted, caller) = self.wanted_of(server);
        let ready = |instance: &Instance| instance.state == State::Ready && instance.profile == Profile::Modern;
        let there = self.server(server).pool.instances.values().any(ready);
        if there && self.is_followed(server) {
            wanted.join(&self.announced_lists(server));
        }
        let retired = self.in_stead_of(server) != Some(server);
        let upstream = &mut self.server_mut(server).upstream;
        if wanted.is_empty() || retired {
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
        let now = clock::now();
        if !self.is_awaited(server) && self.server(server).upstream.again.is_some_and(|again| now < again) {
            return;
        }
        let params = format!(r#"{{"_meta":{},"notifications":{}}}"#, modern::meta("{}"), wanted.to_json());
        let call =
            self.send_errand(server, caller, Profile::Modern, None, ("subscriptions/listen", &params), Errand::Listen);
        match call {
            Some(call) => {
                self.server_mut(server).upstream.next =
                    Some(Stream { call, asked: wanted, granted: None, opened: clock::now() })
            }
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
                    current.opened = clock::now();
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
        let mut delivered = self.tell_sessions(at.server, message);
        for listener in self.listeners.values().filter(|listener| listener.acknowledged) {
            let wants =
                listener.wants.iter().any(|(server, wants)| *server == at.server && wants.lets_through(&method, &uri));
            let may = |caller: &&Caller| uri.is_empty() || allows(&caller.access, Thing::Resource(&uri));
            if let Some(caller) = self.callers.get(listener.caller).filter(|_| wants).filter(may) {
                let mut splice = message.splice();
                splice.put_if(message.span(Field::MetaSubscription), listener.id.as_str());
                let what = if uri.is_empty() { &method } else { &uri };
                let topic = Topic::State { what, stream: listener.id.as_str() };
                caller.hear(self.server(at.server).speaker(), topic, &splice);
                delivered = true;
            }
        }
        if !delivered {
            self.drop_from(at, "no_subscriber", &method);
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
            _ if lasted => self.todo.stream(server),
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
            instance.pending.abandon(id, clock::now());
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
        if !self.is_awaited(server) {
            // Legacy callers wait for the next attempt. For nobody, what is still open is closed.
            let again = clock::now() + AGAIN;
            self.server_mut(server).upstream.again = Some(again);
            self.alarm.at(again);
            self.todo.stream(server);
        }
    }

    /// Whether a modern caller listens to a server, or wants to.
    fn is_awaited(&self, server: ServerId) -> bool {
        let wants = |listener: &Listener| listener.wants.iter().any(|(id, wants)| *id == server && !wants.is_empty());
        self.listeners.values().any(wants)
    }

    /// Tries again to listen for legacy callers; when the next attempt is due.
    pub(in crate::mux) fn sweep_stream(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        let again = self.server(server).upstream.again?;
        if now < again {
            return Some(again);
        }
        self.server_mut(server).upstream.again = None;
        self.todo.stream(server);
        self.server(server).upstream.again
    }
}
