//! Called by `mux::listen` and `mux::subscriptions` where caller and server speak different eras. A modern caller's
//! stream of a legacy server is made of what the server tells its sessions and of `resources/subscribe`. A legacy
//! caller's subscriptions of a modern server become a part of the one stream to it.

use std::rc::Rc;

use super::stream::Waiting;
use crate::caller::access::{Thing, allows};
use crate::catalogue::VariantKey;
use crate::clock;
use crate::era::Era;
use crate::era::bridge::request::without_stream;
use crate::era::legacy::{announces, offers};
use crate::era::modern::stream_tag;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, ServerId};
use crate::mux::Mux;
use crate::mux::backlog::News;
use crate::mux::call::Place;
use crate::mux::offer::Offer;
use crate::mux::request::Accepted;
use crate::pool::ties::Subscriber;
use crate::server::filter::Filter;
use crate::wire::message::Message;
use crate::wire::outbox::Topic;
use crate::wire::scan::{Field, Span};

impl Mux {
    /// Gives a modern listener what a legacy server has: the changes of lists that it announces, and subscriptions to
    /// its resources.
    pub(super) fn listen_across(&mut self, call: CallKey, server: ServerId, offer: &Offer, wanted: Filter) {
        let introduction = offer.introduction();
        let lists = self.lists_of(server, &introduction);
        let said = self.server(server).catalogue.said(&introduction);
        let subscribes = said.and_then(offers).is_some_and(|offers| offers.subscribe);
        if let Some(listener) = self.listeners.get_mut(call) {
            listener.granted.join(&wanted.meet(&lists));
        }
        let uris: Vec<Rc<str>> = wanted.uris.iter().filter(|_| subscribes).map(|uri| uri.as_str().into()).collect();
        if uris.is_empty() {
            return self.granted(call, server, &Filter::default());
        }
        uris.into_iter().for_each(|uri| self.subscribe_stream(call, server, uri));
    }

    /// Returns the lists that a modern server announces changes of.
    pub(super) fn announced_lists(&self, server: ServerId) -> Filter {
        self.lists_of(server, &VariantKey::of_introduction(&Profile::Modern))
    }

    fn lists_of(&self, server: ServerId, introduction: &VariantKey) -> Filter {
        let said = self.server(server).catalogue.said(introduction);
        let announced = |kind| said.is_some_and(|said| announces(said, kind));
        Filter {
            tools: announced("tools"),
            prompts: announced("prompts"),
            resources: announced("resources"),
            uris: Default::default(),
        }
    }

    /// Handles a legacy server's answer to a subscription of a stream. When the last one is decided, the stream opens.
    pub(in crate::mux) fn stream_subscribed(&mut self, call: CallKey, server: ServerId, uri: &str, taken: bool) {
        let Some(listener) = self.listeners.get_mut(call) else { return };
        if taken {
            listener.granted.uris.insert(uri.to_owned());
        } else {
            for (_, wants) in listener.wants.iter_mut().filter(|(id, _)| *id == server) {
                wants.uris.remove(uri);
            }
            self.servers[server.0].upstream.listened.stream_leaves(call, uri);
        }
        let wants = listener.wants.iter().filter(|(id, _)| *id == server).flat_map(|(_, wants)| &wants.uris);
        if wants.into_iter().all(|uri| listener.granted.uris.contains(uri)) {
            self.granted(call, server, &Filter::default());
        }
    }

    /// Tells a listener what a server says.
    pub(in crate::mux) fn tell_stream(&self, server: ServerId, call: CallKey, message: &Message) {
        let Some(listener) = self.listeners.get(call).filter(|listener| listener.acknowledged) else { return };
        let Some(caller) = self.callers.get(listener.caller) else { return };
        let uri = message.text(Field::Uri).unwrap_or_default();
        if !uri.is_empty() && !allows(&caller.access, Thing::Resource(&uri)) {
            return;
        }
        let tag = stream_tag(listener.id.as_str());
        let (meta, params) = (message.span(Field::Meta), message.span(Field::Params));
        let mut splice = message.splice();
        if message.span(Field::MetaSubscription).found() {
            // A modern server's own stream.
            splice.put_if(message.span(Field::MetaSubscription), listener.id.as_str());
            let what = if uri.is_empty() { message.method() } else { uri };
            let topic = Topic::State { what: &what, stream: listener.id.as_str() };
            return caller.hear(self.server(server).speaker(), topic, &splice);
        }
        let inside = |object: Span| Span { start: object.start + 1, end: object.start + 1 };
        match message.raw(Field::Meta) {
            Some(raw) if raw.starts_with('{') => {
                let comma = if raw[1..].trim_start().starts_with('}') { "" } else { "," };
                splice.put(inside(meta), format!("{tag}{comma}"));
            }
            Some(_) => splice.put(meta, format!("{{{tag}}}")),
            // An update has at least its URI, so there is something behind the comma.
            None => splice.put(inside(params), format!(r#""_meta":{{{tag}}},"#)),
        }
        caller.hear(self.server(server).speaker(), Topic::State { what: &uri, stream: listener.id.as_str() }, &splice);
    }

    /// Subscribes a legacy caller to a resource of a modern server.
    pub(in crate::mux) fn subscribe_across(
        &mut self,
        accepted: Accepted,
        server: ServerId,
        offer: &Offer,
        uri: String,
    ) {
        let Some(own) =
            self.callers.get(accepted.caller).and_then(|caller| Some(caller.session.as_ref()?.profile.clone()))
        else {
            return;
        };
        let introduction = self.introduction(server, &own, offer);
        if !introduction.and_then(|said| offers(&said)).is_some_and(|offers| offers.subscribe) {
            let name = &self.server(server).config.name;
            return accepted.refuse(&Error::MethodNotFound(format!("server `{name}` takes no subscriptions")));
        }
        let caller = accepted.caller;
        self.server_mut(server).upstream.listened.session_joins(caller, &uri.as_str().into());
        self.wait_for_word(accepted, server, own, uri.into(), true);
        self.todo.stream(server);
    }

    /// Lets a request wait until the server has said whether it tells of a resource.
    fn wait_for_word(&mut self, accepted: Accepted, server: ServerId, own: Profile, uri: Rc<str>, subscribes: bool) {
        let caller = accepted.caller;
        let timeout = &self.server(server).config.timeout;
        let deadline = clock::now() + timeout.start + timeout.call;
        let call = self.submit(accepted.call(server, own));
        self.wait_at(call, Place::Behind, deadline);
        self.server_mut(server).upstream.waiting.push(Waiting { call, caller, uri, subscribes });
    }

    /// Lets a legacy caller hear of a modern server's resource.
    pub(in crate::mux) fn join_stream(&mut self, server: ServerId, key: CallerKey, uri: &str) {
        self.server_mut(server).upstream.listened.session_joins(key, &uri.into());
        self.todo.stream(server);
    }

    /// Ends a legacy caller's subscription to a modern server's resource.
    pub(in crate::mux) fn unsubscribe_across(&mut self, accepted: Accepted, server: ServerId, uri: &str) {
        let key = accepted.caller;
        let session = self.callers.get(key).and_then(|caller| caller.session.as_ref());
        let Some(own) = session.map(|session| session.profile.clone()) else { return };
        let upstream = &mut self.server_mut(server).upstream;
        let left = upstream.listened.session_leaves(key, uri);
        if upstream.waiting.iter().any(|one| one.caller == key && *one.uri == *uri) {
            // Its own request to subscribe is answered first.
            self.wait_for_word(accepted, server, own, uri.into(), false);
        } else {
            accepted.result("{}");
        }
        if left {
            self.left_stream(server);
        }
    }

    /// Takes a legacy caller that is gone out of the stream to a modern server.
    pub(in crate::mux) fn leave_stream(&mut self, server: ServerId, key: CallerKey) {
        if self.server_mut(server).upstream.listened.session_ends(key) {
            self.left_stream(server);
        }
    }

    pub(super) fn left_stream(&mut self, server: ServerId) {
        self.todo.stream(server);
        self.rest_again(server);
    }

    /// Lets instances be idle again that nobody needs for listening any more.
    pub(super) fn rest_again(&mut self, server: ServerId) {
        if self.is_listened_to(server) {
            return;
        }
        let now = clock::now();
        let idle = self.server(server).config.recycle.idle;
        for instance in self.server_mut(server).pool.instances.values_mut().filter(|instance| instance.rests()) {
            instance.idle_since = now;
        }
        self.alarm.at(now + idle);
    }

    /// Listens to servers of the other era for a legacy caller that is ready to hear of changes.
    pub(in crate::mux) fn follow_lists(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return };
        let servers = caller.endpoint.servers.clone();
        servers.into_iter().for_each(|server| self.todo.stream(server));
    }

    /// Returns whether legacy callers want to know of changes of a modern server's lists.
    pub(super) fn is_followed(&self, server: ServerId) -> bool {
        let known = self.server(server);
        known.catalogue.serves(Era::Legacy, known.config.era) == Some(Era::Modern)
            && !known.audience().open().is_empty()
    }

    /// Passes on what a stream said to the legacy callers that it concerns. Returns whether there were any.
    pub(super) fn tell_sessions(&mut self, server: ServerId, message: &Message) -> bool {
        let (method, uri) = (message.method(), message.text(Field::Uri).unwrap_or_default());
        if method != "notifications/resources/updated" {
            let told = self.server(server).audience().open().iter().copied().map(Subscriber::Session).collect();
            let news = News { server, profile: Profile::Modern, scope: None, method: method.into_owned() };
            self.tell_or_leave(news, told);
            return self.is_followed(server);
        }
        let told = self.server(server).upstream.listened.sessions().told(&uri);
        let some = !told.is_empty();
        let may = |key: &CallerKey| {
            self.callers.get(*key).is_some_and(|caller| allows(&caller.access, Thing::Resource(&uri)))
        };
        let told = told.into_iter().filter(may).collect();
        self.tell_line(server, &uri, without_stream(message), told);
        some
    }
}
