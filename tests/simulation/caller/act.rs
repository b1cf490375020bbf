//! What a model client does of its own accord.

use std::rc::Rc;

use mcpool::wire::message::member;

use super::kind::Kind;
use super::{Caller, Request, Stream, What};
use crate::simulation::server::uri;

impl Caller {
    /// Opens the connection; whether it may be used.
    pub(super) async fn open(&self) -> bool {
        let discover = format!(r#"{{"_meta":{{{}}}}}"#, self.version());
        let Kind::Legacy { revision, capabilities } = &self.kind else {
            self.ready.set(true);
            if self.roll(2) == 0 {
                let line = self.request(What::Open, "server/discover", &discover, None);
                self.say(line).await;
            }
            return true;
        };
        if self.roll(4) == 0 {
            let line = self.request(What::Probe, "server/discover", &discover, None);
            self.say(line).await;
            self.rest(1000).await;
        }
        let params = format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"clientInfo":{{"name":"c{}","version":"1"}}}}"#,
            self.no
        );
        let line = self.request(What::Open, "initialize", &params, None);
        self.say(line).await;
        while self.opened.get().is_none() {
            if tokio::time::timeout(super::BOUND, self.answered.notified()).await.is_err() {
                self.world.fault(format!("{} got no answer to `initialize`", self.name()));
                return false;
            }
        }
        if self.opened.get() == Some(false) {
            return false;
        }
        self.rest(20).await;
        self.ready.set(true);
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()).await;
        true
    }

    /// Does something.
    pub(super) async fn act(self: &Rc<Caller>) {
        let line = match (self.roll(30), self.kind.is_modern()) {
            (0 | 1, _) => self.list(),
            (2 | 3, _) => return self.cancel().await,
            (4, _) => r#"{"jsonrpc":"2.0","method":"notifications/whatever","params":{"x":1}}"#.to_owned(),
            (5..=7, true) => self.listen(),
            (8..=10, true) => match self.in_vain() {
                Some(line) => line,
                None => self.call(None),
            },
            (5, false) => self.request(What::Nothing, "ping", "{}", None),
            (6, false) => {
                let level = ["debug", "warning"][self.roll(2) as usize];
                self.world.levels.borrow_mut().entry(self.no).or_default().push(level);
                self.request(What::Nothing, "logging/setLevel", &format!(r#"{{"level":"{level}"}}"#), None)
            }
            (7..=9, false) => self.subscribe(),
            (10, false) if self.has("roots") => self.change_roots(),
            (11..=13, false) if self.kind.speaks_batches() => {
                let batch = Some(self.world.next());
                let lines: Vec<String> = (0..=self.roll(4)).map(|_| self.call(batch)).collect();
                format!("[{}]", lines.join(" , "))
            }
            _ => self.call(None),
        };
        self.say(line).await;
    }

    /// Notes a request and gives its line, of which only `id` and `params` matter.
    pub(super) fn request(&self, what: What, method: &str, params: &str, batch: Option<u64>) -> String {
        let id = self.fresh_id();
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.expect(id, Request { batch, ..Request::new(what) });
        line
    }

    fn list(&self) -> String {
        let (method, kind) = [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")]
            [self.roll(3) as usize];
        let params =
            if self.kind.is_modern() { format!(r#"{{"_meta":{{{}}}}}"#, self.version()) } else { "{}".to_owned() };
        self.request(What::List(kind), method, &params, None)
    }

    fn listen(&self) -> String {
        let server = self.servers[self.roll(self.servers.len() as u32) as usize];
        let uris: Vec<String> = (0..self.roll(3)).map(|n| format!("\"{}\"", uri(server, n as usize))).collect();
        let tools = ["", r#""toolsListChanged":true,"#][self.roll(2) as usize];
        let wanted = format!(r#"{{{tools}"resourceSubscriptions":[{}]}}"#, uris.join(","));
        let line = self.request(
            What::Listen,
            "subscriptions/listen",
            &format!(r#"{{"_meta":{{{}}},"notifications":{wanted}}}"#, self.version()),
            None,
        );
        let newest = self
            .pending
            .borrow()
            .iter()
            .find(|(id, _)| line.contains(&format!("\"id\":{id},")))
            .map(|(id, _)| id.clone());
        self.streams.borrow_mut().insert(newest.unwrap_or_default(), Stream { wanted, acknowledged: false });
        line
    }

    /// Subscribes or unsubscribes, one at a time for each resource.
    fn subscribe(&self) -> String {
        let server = self.servers[self.roll(self.servers.len() as u32) as usize];
        let uri = uri(server, self.roll(3) as usize);
        let busy = |request: &Request| matches!(&request.what, What::Subscribe(other) | What::Unsubscribe(other) if *other == uri);
        if self.pending.borrow().values().any(busy) {
            return self.call(None);
        }
        let params = format!(r#"{{"uri":"{uri}"}}"#);
        if self.subscribed.borrow().contains(&uri) {
            return self.request(What::Unsubscribe(uri), "resources/unsubscribe", &params, None);
        }
        self.subscribed.borrow_mut().insert(uri.clone());
        self.request(What::Subscribe(uri), "resources/subscribe", &params, None)
    }

    /// Cancels a call or ends a stream.
    async fn cancel(&self) {
        let ids: Vec<String> = {
            let pending = self.pending.borrow();
            let open = pending.iter().filter(|(_, request)| {
                request.cancelled.is_none() && matches!(request.what, What::Call(_) | What::Listen)
            });
            open.map(|(id, _)| id.clone()).collect()
        };
        if ids.is_empty() {
            return;
        }
        let id = &ids[self.roll(ids.len() as u32) as usize];
        if let Some(request) = self.pending.borrow_mut().get_mut(id) {
            request.cancelled = Some(self.world.now());
            self.abandon(request);
        }
        self.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"why not"}}}}"#
        ))
        .await;
    }

    fn change_roots(&self) -> String {
        let roots = (self.roll(4) > 0).then(|| format!("file:///{}", self.roll(3)));
        self.world.roots.borrow_mut().entry(self.no).or_default().push(roots.clone());
        *self.roots.borrow_mut() = roots;
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#.to_owned()
    }

    pub(super) fn has(&self, capability: &str) -> bool {
        !self.kind.is_modern() && member(self.kind.capabilities(), capability).is_some()
    }

    /// What a modern request without a cause says of its client.
    fn version(&self) -> String {
        format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#,
            self.kind.capabilities()
        )
    }
}
