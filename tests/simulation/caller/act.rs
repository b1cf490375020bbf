//! What a model client does of its own accord.

use std::rc::Rc;

use super::{Caller, Kind, Request, Stream, What};
use crate::simulation::json;
use crate::simulation::server::uri;
use crate::simulation::world::{ID, TOKEN, Truth};

const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{}}"#;

impl Caller {
    /// Opens the connection; whether it may be used.
    pub(super) async fn open(&self) -> bool {
        let Kind::Legacy { revision, capabilities } = &self.kind else {
            self.ready.set(true);
            if self.roll(2) == 0 {
                let line = self.request(What::Open, "server/discover", &format!(r#"{{"_meta":{{{VERSION}}}}}"#), None);
                self.say(line).await;
            }
            return true;
        };
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
            (5, false) => self.request(What::Nothing, "ping", "{}", None),
            (6, false) => {
                let level = ["debug", "warning"][self.roll(2) as usize];
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
        self.pending.borrow_mut().insert(id, Request { what, token: None, batch, cancelled: None });
        line
    }

    /// A call of a server, with random parameters in random order.
    pub(super) fn call(&self, batch: Option<u64>) -> String {
        let server = self.servers[self.roll(self.servers.len() as u32) as usize];
        let (method, key) = match self.roll(if self.prefix { 8 } else { 10 }) {
            0..=4 => ("tools/call", "t"),
            5 | 6 => ("prompts/get", "p"),
            7 => ("resources/read", "uri"),
            8 => ("completion/complete", ""),
            _ => ("x/unheard-of", ""),
        };
        let n = self.roll(3);
        let arguments = json::object(&mut self.rng.borrow_mut(), 3);
        let mut params = vec![("arguments".to_owned(), arguments.clone()), ("arguments".to_owned(), arguments)];
        params.truncate(1 + self.roll(2) as usize);
        let mut shown = None;
        match key {
            "" => {}
            "uri" => params.push(("uri".to_owned(), format!("\"{}\"", uri(server, n as usize)))),
            kind => {
                let real = format!("\"{kind}{n}\"");
                shown = self.prefix.then(|| (format!("\"s{server}__{kind}{n}\""), real.clone()));
                params.push(("name".to_owned(), real));
            }
        }
        self.send_call(server, method, params, shown, None, batch)
    }

    /// Notes a call; `shown` is the name as the caller says it and as the server knows it, `state` likewise.
    pub(super) fn send_call(
        &self,
        server: usize,
        method: &str,
        mut params: Vec<(String, String)>,
        shown: Option<(String, String)>,
        state: Option<(String, String)>,
        batch: Option<u64>,
    ) -> String {
        let id = self.fresh_id();
        let cause = format!("{}n{}", self.name(), self.next.get());
        let wants_progress = self.roll(2) == 0;
        let token = wants_progress.then(|| {
            if self.roll(4) == 0 { format!("\"t{}\\u0031\"", self.next.get()) } else { self.next.get().to_string() }
        });
        let mut rng = self.rng.borrow_mut();
        let mut meta = vec![("x/y".to_owned(), json::value(&mut rng, 1)), ("cause".to_owned(), format!("\"{cause}\""))];
        meta.extend(wants_progress.then(|| ("progressToken".to_owned(), TOKEN.to_string())));
        if self.kind.is_modern() {
            meta.push(("io.modelcontextprotocol/protocolVersion".to_owned(), "\"2026-07-28\"".to_owned()));
            meta.push(("io.modelcontextprotocol/clientCapabilities".to_owned(), "{\"elicitation\":{}}".to_owned()));
            if rng.bool() {
                meta.push(("io.modelcontextprotocol/logLevel".to_owned(), "\"debug\"".to_owned()));
            }
        }
        // A member that the server would see otherwise than the caller said it stands in for both.
        let meta = spaceless(&json::members_in_any_order(&mut rng, meta), "cause");
        params.push(("_meta".to_owned(), meta));
        params.extend(state.as_ref().map(|(_, real)| ("requestState".to_owned(), real.clone())));
        let params = json::members_in_any_order(&mut rng, params);
        let members = [
            ("jsonrpc", "\"2.0\""),
            ("id", &ID.to_string()),
            ("method", &format!("\"{method}\"")),
            ("params", &params),
            ("zz", "1.0"),
        ];
        let members = members.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let request = json::members_in_any_order(&mut rng, members);
        let mut line = request.replacen(ID, &id, 1);
        if let Some(token) = &token {
            line = line.replacen(TOKEN, token, 1);
        }
        for (said, real) in shown.into_iter().chain(state) {
            line = replace_member(&line, &real, &said);
        }
        let roots = self.world.roots.borrow()[&self.no].len() - 1;
        let truth = Truth { caller: self.no, server, request, roots, ..Truth::default() };
        self.world.calls.borrow_mut().insert(cause.clone(), truth);
        self.pending.borrow_mut().insert(id, Request { what: What::Call(cause), token, batch, cancelled: None });
        line
    }

    /// An id that was never used, in any form that JSON-RPC has; equal between callers.
    fn fresh_id(&self) -> String {
        self.next.set(self.next.get() + 1);
        let n = self.next.get() - 1;
        match self.roll(8) {
            0 => format!("\"{n}\""),
            1 => format!("\"a \\\"{n}\\\" \\\\ \\u0062ü\""),
            2 => format!("-{}", n + 1),
            3 => format!("{n}.0"),
            4 => format!("{n}e2"),
            5 => format!("1844674407370955{n:07}"),
            _ => n.to_string(),
        }
    }

    fn list(&self) -> String {
        let (method, kind) = [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")]
            [self.roll(3) as usize];
        let params = if self.kind.is_modern() { format!(r#"{{"_meta":{{{VERSION}}}}}"#) } else { "{}".to_owned() };
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
            &format!(r#"{{"_meta":{{{VERSION}}},"notifications":{wanted}}}"#),
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
        matches!(&self.kind, Kind::Legacy { capabilities, .. } if capabilities.contains(capability))
    }
}

/// Takes the white space away between a key and its value, so that the model can find it.
fn spaceless(text: &str, key: &str) -> String {
    let quoted = format!("\"{key}\"");
    let Some(start) = text.find(&quoted).map(|start| start + quoted.len()) else { return text.to_owned() };
    let rest = text[start..].trim_start().trim_start_matches(':').trim_start();
    format!("{}:{rest}", &text[..start])
}

/// Puts what the caller says in place of what the server knows.
fn replace_member(line: &str, real: &str, said: &str) -> String {
    line.replacen(real, said, 1)
}
