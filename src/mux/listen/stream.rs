//! Called at the end of a turn for a server whose listeners changed: opens, widens and closes the one stream to it, and
//! deals with what comes on it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Listener, tell_lists};
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::profile::Profile;
use crate::era::{Era, modern};
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::call::Source;
use crate::mux::errand::{Errand, Order, Outcome};
use crate::pool::instance::{Instance, State};
use crate::pool::ties::Subscriber;
use crate::server::filter::Filter;
use crate::server::listened::Listened;
use crate::wire::id::{WireId, digits};
use crate::wire::message::{Kind, Message};
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
    /// Streams of modern callers that it has not granted anything yet.
    pub(super) awaiting: Vec<CallKey>,
    /// Who listens, and to what.
    pub(super) listened: Listened,
    /// Requests of legacy callers that wait for the server's word on a resource.
    pub(super) waiting: Vec<Waiting>,
    /// After a stream for legacy callers could not be had: when it is tried again.
    again: Option<Instant>,
}

impl Upstream {
    /// The streams of modern callers that want to hear of a notification.
    pub(in crate::mux) fn streams_told(&self, method: &str, uri: &str) -> Vec<CallKey> {
        self.listened.streams_told(method, uri)
    }

    /// How many resources a legacy caller is subscribed to.
    pub(in crate::mux) fn count(&self, caller: CallerKey) -> usize {
        self.listened.sessions().count(caller)
    }
}

/// A request that waits until the stream to the server carries a resource, or does not.
pub(super) struct Waiting {
    pub(super) call: CallKey,
    pub(super) caller: CallerKey,
    pub(super) uri: Rc<str>,
    /// Whether it subscribes; else it unsubscribes, and comes behind one that does.
    pub(super) subscribes: bool,
}

struct Stream {
    call: CallKey,
    asked: Filter,
    granted: Option<Filter>,
    opened: Instant,
}

impl Mux {
    /// Whether the streams of modern callers count, since the server speaks their era.
    fn is_native(&self, server: ServerId) -> bool {
        let known = self.server(server);
        known.catalogue.serves(Era::Modern, known.config.era) == Some(Era::Modern)
    }

    /// Whether somebody listens to a server who wants an instance of it to be there for that.
    pub(in crate::mux) fn is_listened_to(&self, server: ServerId) -> bool {
        !self.server(server).upstream.listened.is_empty(self.is_native(server))
    }

    /// On whose behalf a server is listened to.
    fn one_who_listens(&self, server: ServerId) -> CallerKey {
        let listened = &self.server(server).upstream.listened;
        let stream = || self.listeners.get(listened.one_stream()?).map(|listener| listener.caller);
        listened.sessions().first().or_else(stream).unwrap_or_default()
    }

    /// Opens, widens or closes the stream to a server, as its listeners want. It is told one thing at a time: what is
    /// wanted meanwhile is asked for when it has answered.
    pub(in crate::mux) fn adjust_stream(&mut self, server: ServerId) {
        let native = self.is_native(server);
        let ready = |instance: &Instance| instance.state == State::Ready && instance.profile == Profile::Modern;
        let there = self.server(server).pool.instances.values().any(ready);
        let lists = if there && self.is_followed(server) { self.announced_lists(server) } else { Filter::default() };
        let retired = self.in_stead_of(server) != Some(server);
        let upstream = &mut self.server_mut(server).upstream;
        if upstream.listened.is_empty(native) && lists.is_empty() || retired {
            let streams = [upstream.current.take(), upstream.next.take()];
            upstream.listened.lost();
            upstream.awaiting.clear();
            let streams = streams.into_iter().flatten();
            streams.for_each(|stream| self.cancel(stream.call, Some("nobody listens")));
            return self.grant(server);
        }
        if upstream.next.is_some() {
            return;
        }
        let carries = |stream: &Stream| stream.asked.covers(&lists);
        if !upstream.listened.is_wider() && upstream.current.as_ref().is_some_and(carries) {
            return self.grant(server);
        }
        let mut wanted = upstream.listened.union(native);
        wanted.join(&lists);
        if upstream.current.as_ref().is_some_and(|current| current.asked.covers(&wanted)) {
            upstream.listened.is_carried();
            return self.grant(server);
        }
        let now = clock::now();
        if !self.is_awaited(server) && self.server(server).upstream.again.is_some_and(|again| now < again) {
            return;
        }
        let caller = self.one_who_listens(server);
        let params = format!(r#"{{"_meta":{},"notifications":{}}}"#, modern::meta("{}"), wanted.to_json());
        self.server_mut(server).upstream.listened.is_carried();
        let order = Order::new(server, caller, Profile::Modern, ("subscriptions/listen", &params));
        match self.send_errand(order, Errand::Listen) {
            Some(call) => {
                self.server_mut(server).upstream.next =
                    Some(Stream { call, asked: wanted, granted: None, opened: clock::now() })
            }
            // mcpool could not say it.
            None => {
                self.server_mut(server).upstream.listened.lost();
                self.end_stream(server, &wanted, None, None);
            }
        }
    }

    /// Answers the requests of legacy callers for which the server has said what is to be known.
    fn answer_waiting(&mut self, server: ServerId) {
        let waiting = std::mem::take(&mut self.server_mut(server).upstream.waiting);
        for one in waiting {
            let upstream = &self.server(server).upstream;
            let stream = upstream.current.as_ref().filter(|stream| stream.asked.uris.contains(&*one.uri));
            let granted = stream.and_then(|stream| stream.granted.as_ref());
            let granted = granted.map(|granted| granted.uris.contains(&*one.uri));
            match granted.or((!upstream.listened.sessions().has(&one.uri)).then_some(true)) {
                None => self.server_mut(server).upstream.waiting.push(one),
                Some(false) if one.subscribes => {
                    self.server_mut(server).upstream.listened.session_leaves(one.caller, &one.uri);
                    let why = format!("server `{}` tells of no changes of it", self.server(server).config.name);
                    let error =
                        Error::ResourceNotFound { uri: one.uri.to_string(), why: format!(": {why}"), modern: false };
                    self.answer_one(one.call, Err(&error), None);
                }
                Some(_) => self.answer_one(one.call, Ok(()), None),
            }
        }
    }

    fn answer_one(&mut self, call: CallKey, said: Result<(), &Error>, refusal: Option<&Message>) {
        let Some(Source::Caller(reply, _permit)) = self.take_out(call).map(|call| call.from) else { return };
        match (said, refusal) {
            (_, Some(refusal)) => reply.answer(refusal, refusal.splice()),
            (Ok(()), None) => reply.result("{}"),
            (Err(error), None) => reply.refuse(error),
        }
    }

    /// Refuses the requests of legacy callers that wait for a stream that cannot be had.
    fn refuse_waiting(&mut self, server: ServerId, asked: &Filter, refusal: Option<&Message>, error: Option<Error>) {
        let waiting = std::mem::take(&mut self.server_mut(server).upstream.waiting);
        let name = self.server(server).config.name.clone();
        let detail = "it ended the stream of its changes".to_owned();
        let error = error.unwrap_or(Error::ServerMisbehaved { server: name, detail });
        for one in waiting {
            let current = self.server(server).upstream.current.as_ref();
            let carried = current.is_some_and(|stream| stream.asked.uris.contains(&*one.uri));
            // What nobody wants any more no later stream asks for.
            let later =
                !asked.uris.contains(&*one.uri) && self.server(server).upstream.listened.sessions().has(&one.uri);
            if carried || later {
                self.server_mut(server).upstream.waiting.push(one);
            } else if one.subscribes {
                self.server_mut(server).upstream.listened.session_leaves(one.caller, &one.uri);
                self.answer_one(one.call, Err(&error), refusal);
            } else {
                self.answer_one(one.call, Ok(()), None);
            }
        }
    }

    /// A request that waits for the server's word is given up.
    pub(in crate::mux) fn waits_no_more(&mut self, server: ServerId, call: CallKey) {
        let upstream = &mut self.server_mut(server).upstream;
        let Some(place) = upstream.waiting.iter().position(|one| one.call == call) else { return };
        let one = upstream.waiting.remove(place);
        if one.subscribes && upstream.listened.session_leaves(one.caller, &one.uri) {
            self.left_stream(server);
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
                self.todo.stream(at.server);
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
                variant.note_told(list);
            }
        }
    }

    fn fan_out(&mut self, at: InstanceRef, message: &Message) {
        let (method, uri) = (message.method(), message.text(Field::Uri).unwrap_or_default());
        let told = self.tell_sessions(at.server, message);
        let streams = self.server(at.server).upstream.listened.streams_told(&method, &uri);
        let delivered = told || !streams.is_empty();
        let streams: Vec<Subscriber> = streams.into_iter().map(Subscriber::Stream).collect();
        self.tell_all(at.server, message, streams);
        if !delivered {
            self.drop_from(at, "no_subscriber", &method);
        }
    }

    /// Gives the listeners that wait for a server what its stream grants.
    fn grant(&mut self, server: ServerId) {
        if !self.server(server).upstream.waiting.is_empty() {
            self.answer_waiting(server);
        }
        if self.server(server).upstream.awaiting.is_empty() {
            return;
        }
        let Some(granted) = self.server(server).upstream.current.as_ref().and_then(|stream| stream.granted.clone())
        else {
            return;
        };
        let asked =
            self.server(server).upstream.current.as_ref().map(|stream| stream.asked.clone()).unwrap_or_default();
        let awaiting = std::mem::take(&mut self.server_mut(server).upstream.awaiting);
        let mut ready = Vec::new();
        for call in awaiting {
            let Some(listener) = self.listeners.get_mut(call) else { continue };
            let wants = listener.wants.iter().filter(|(id, _)| *id == server).map(|(_, wants)| wants);
            if !wants.clone().all(|wants| asked.covers(wants)) {
                self.server_mut(server).upstream.awaiting.push(call);
                continue;
            }
            let granted = wants.fold(Filter::default(), |mut all, wants| {
                all.join(&wants.meet(&granted));
                all
            });
            listener.granted.join(&granted);
            listener.waiting.retain(|other| *other != server);
            if listener.acknowledged
                && let Some(caller) = self.callers.get(listener.caller)
            {
                // What it was told first lacked this server, whose lists may have changed since.
                tell_lists(caller, listener, |list| granted.lets_through(list, ""));
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
        upstream.listened.lost();
        let Some(Stream { asked, granted, opened, .. }) = stream else { return };
        let lasted = granted.is_some() && opened.elapsed() >= LASTING;
        match outcome {
            _ if self.is_draining() => {}
            _ if lasted => self.todo.stream(server),
            Outcome::Answer(answer) if answer.kind() == Kind::Error => {
                self.end_stream(server, &asked, Some(answer), None)
            }
            Outcome::Answer(_) => self.end_stream(server, &asked, None, None),
            Outcome::Failed(error) => self.end_stream(server, &asked, None, Some(error)),
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
    fn end_stream(&mut self, server: ServerId, asked: &Filter, refusal: Option<&Message>, error: Option<Error>) {
        // What an older one carries needs no wider one.
        self.grant(server);
        self.refuse_waiting(server, asked, refusal, error);
        // While an older stream lives, only those are affected who wait for the wider one that could not be had.
        let alive = self.server(server).upstream.current.is_some();
        let affected = |listener: &Listener| {
            let mut wants = listener.wants.iter().filter(|(id, wants)| *id == server && !wants.is_empty());
            // What came later was not asked for by the stream that is over.
            (!alive || listener.waiting.contains(&server)) && wants.any(|(_, wants)| asked.covers(wants))
        };
        let upstream = &self.server(server).upstream;
        let wanting = if alive { upstream.awaiting.clone() } else { upstream.listened.streams() };
        let of_server = wanting.into_iter().filter(|call| self.listeners.get(*call).is_some_and(affected));
        let of_server: Vec<CallKey> = of_server.collect();
        for call in of_server {
            let Some(listener) = self.listeners.get_mut(call) else { continue };
            if listener.wants.len() > 1 {
                listener.wants.retain(|(id, _)| *id != server);
                listener.waiting.retain(|id| *id != server);
                self.server_mut(server).upstream.listened.stream_ends(call);
                self.acknowledge(call);
                continue;
            }
            match refusal.filter(|_| !listener.acknowledged) {
                Some(refusal) => {
                    self.drop_listener(call);
                    if let Some(Source::Caller(reply, _permit)) = self.take_out(call).map(|call| call.from) {
                        reply.answer(refusal, refusal.splice());
                    }
                }
                None => self.end_listener(call),
            }
        }
        let Mux { servers, listeners, .. } = self;
        let upstream = &mut servers[server.0].upstream;
        upstream
            .awaiting
            .retain(|call| listeners.get(*call).is_some_and(|listener| listener.waiting.contains(&server)));
        let waits = !(upstream.awaiting.is_empty() && upstream.waiting.is_empty());
        // The same is not asked for twice in a turn.
        if waits && !asked.covers(&self.server(server).upstream.listened.union(self.is_native(server))) {
            self.todo.stream(server);
        } else if waits || !self.is_awaited(server) {
            // What waits has to wait for the next attempt. For nobody, what is still open is closed.
            let again = clock::now() + AGAIN;
            self.server_mut(server).upstream.again = Some(again);
            self.alarm.at(again);
            self.todo.stream(server);
        }
    }

    /// Whether a modern caller listens to a server, or somebody waits for its word.
    fn is_awaited(&self, server: ServerId) -> bool {
        let upstream = &self.server(server).upstream;
        upstream.listened.has_streams() || !upstream.waiting.is_empty()
    }

    /// Tries again to listen for legacy callers; when the next attempt is due.
    pub(in crate::mux) fn sweep_stream(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        let again = self.server(server).upstream.again?;
        if now < again {
            return Some(again);
        }
        self.server_mut(server).upstream.again = None;
        self.todo.stream(server);
        None
    }
}
