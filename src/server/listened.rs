//! Kept for each server, and called by `mux::listen`: what callers listen to at the server. It is kept by caller, so
//! that one that comes or goes costs what it wants. The stream to the server carries the union.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::filter::Filter;
use super::sessions::Sessions;
use crate::key::{CallKey, CallerKey};

/// Who listens to a server.
#[derive(Default)]
pub struct Listened {
    /// Legacy callers that are subscribed to resources.
    sessions: Sessions<CallerKey>,
    /// Streams of modern callers, by resource ...
    streams: Sessions<CallKey>,
    /// ... and by the lists that they want to hear of: tools, prompts, resources.
    lists: [BTreeSet<CallKey>; 3],
    /// Whether something is wanted that the widest stream to the server may not carry.
    wider: bool,
}

impl Listened {
    /// Whether nobody listens; `native` says whether streams count, which they do where the server speaks their era.
    pub fn is_empty(&self, native: bool) -> bool {
        self.sessions.is_empty() && !(native && self.has_streams())
    }

    /// Whether streams want something.
    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty() || self.lists.iter().any(|list| !list.is_empty())
    }

    /// A stream wants this, beyond what it wants already.
    pub fn stream_wants(&mut self, call: CallKey, wants: &Filter) {
        for (list, wanted) in self.lists.iter_mut().zip([wants.tools, wants.prompts, wants.resources]) {
            self.wider |= wanted && list.insert(call);
        }
        for uri in &wants.uris {
            self.wider |= self.streams.join(call, &uri.as_str().into());
        }
    }

    /// A stream wants nothing more; whether it did.
    pub fn stream_ends(&mut self, call: CallKey) -> bool {
        let listed = self.lists.iter_mut().map(|list| list.remove(&call)).fold(false, |one, other| one | other);
        self.streams.leave_all(call) | listed
    }

    /// A stream wants no updates of a resource any more.
    pub fn stream_leaves(&mut self, call: CallKey, uri: &str) {
        self.streams.leave(call, uri);
    }

    /// The streams that want to hear of a notification.
    pub fn streams_told(&self, method: &str, uri: &str) -> Vec<CallKey> {
        match method {
            "notifications/tools/list_changed" => self.lists[0].iter().copied().collect(),
            "notifications/prompts/list_changed" => self.lists[1].iter().copied().collect(),
            "notifications/resources/list_changed" => self.lists[2].iter().copied().collect(),
            "notifications/resources/updated" => self.streams.told(uri),
            _ => Vec::new(),
        }
    }

    /// Legacy callers that are subscribed to resources.
    pub fn sessions(&self) -> &Sessions<CallerKey> {
        &self.sessions
    }

    /// A legacy caller subscribes.
    pub fn session_joins(&mut self, caller: CallerKey, uri: &Rc<str>) {
        self.wider |= self.sessions.join(caller, uri);
    }

    /// A legacy caller ends a subscription; whether it had one.
    pub fn session_leaves(&mut self, caller: CallerKey, uri: &str) -> bool {
        self.sessions.leave(caller, uri)
    }

    /// A legacy caller is gone; whether it had subscriptions.
    pub fn session_ends(&mut self, caller: CallerKey) -> bool {
        self.sessions.leave_all(caller)
    }

    /// Takes every subscription of legacy callers.
    pub fn take_sessions(&mut self) -> impl Iterator<Item = (Rc<str>, CallerKey)> + use<> {
        self.sessions.take()
    }

    /// Whether something may be wanted that was not when a stream was opened last.
    pub fn is_wider(&self) -> bool {
        self.wider
    }

    /// A stream was found to carry everything, or is opened to.
    pub fn is_carried(&mut self) {
        self.wider = false;
    }

    /// What carried it is gone.
    pub fn lost(&mut self) {
        self.wider = true;
    }

    /// All that is wanted.
    pub fn union(&self, native: bool) -> Filter {
        let list = |place: usize| native && !self.lists[place].is_empty();
        let streams = self.streams.uris().filter(|_| native);
        Filter {
            tools: list(0),
            prompts: list(1),
            resources: list(2),
            uris: streams.chain(self.sessions.uris()).map(|uri| uri.to_string()).collect(),
        }
    }

    /// The streams that want something.
    pub fn streams(&self) -> Vec<CallKey> {
        let mut all: Vec<CallKey> = self.lists.iter().flatten().copied().chain(self.streams.all()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A stream that listens, on whose behalf the one to the server may be opened.
    pub fn one_stream(&self) -> Option<CallKey> {
        self.streams.first().or_else(|| self.lists.iter().find_map(|list| list.first().copied()))
    }
}
