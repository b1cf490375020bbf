//! The calls of a model client: random parameters, noted so that server and client can check what arrives.

use std::time::Duration;

use fastrand::Rng;
use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;

use super::{Caller, Hope, Request, What};
use crate::simulation::json;
use crate::simulation::server::uri;
use crate::simulation::truth::Truth;
use crate::simulation::world::{ID, TOKEN};

/// A call before it gets its id, its `_meta` and its order.
pub(super) struct Draft {
    pub server: usize,
    pub method: &'static str,
    pub params: Vec<(String, String)>,
    pub batch: Option<u64>,
    /// The state as the client says it and as the server knows it.
    pub state: Option<(String, String)>,
}

impl Caller {
    /// A call of a server, with random parameters in random order.
    pub(super) fn call(&self, batch: Option<u64>) -> String {
        let server = self.servers[self.roll(self.servers.len() as u32) as usize];
        let foreign = self.kind.is_modern() && !self.prefix && self.roll(20) == 0;
        let (method, key) = match self.roll(if self.prefix { 8 } else { 10 }) {
            _ if foreign => (["ping", "logging/setLevel"][self.roll(2) as usize], ""),
            0..=4 => ("tools/call", "t"),
            5 | 6 => ("prompts/get", "p"),
            7 => ("resources/read", "uri"),
            8 => ("completion/complete", ""),
            _ => ("x/unheard-of", ""),
        };
        let n = self.roll(3);
        let arguments = json::object(&mut self.rng.borrow_mut(), 3);
        let mut params = vec![("arguments".to_owned(), arguments.clone()), ("argument".to_owned(), arguments)];
        params.truncate(1 + self.roll(2) as usize);
        match key {
            "" => {}
            "uri" => params.push(("uri".to_owned(), format!("\"{}\"", uri(server, n as usize)))),
            kind => params.push(("name".to_owned(), format!("\"{kind}{n}\""))),
        }
        self.send_call(Draft { server, method, params, batch, state: None })
    }

    /// Notes a call and gives its line.
    pub(super) fn send_call(&self, draft: Draft) -> String {
        let Draft { server, method, mut params, batch, state } = draft;
        let (id, cause) = self.fresh();
        let mut rng = self.rng.borrow_mut();
        let capabilities = if self.kind.is_modern() && rng.u32(..8) == 0 { "{}" } else { self.kind.capabilities() };
        let level = ["debug", "info", "error"][rng.usize(..3)];
        let level = (self.kind.is_modern() && rng.bool()).then_some(level);
        params.push(("_meta".to_owned(), self.meta(&mut rng, &cause, capabilities, level)));
        params.extend(state.as_ref().map(|(_, real)| ("requestState".to_owned(), real.clone())));
        let tool = params
            .iter()
            .find(|(key, _)| key == "name" && method == "tools/call")
            .map(|(_, name)| name.trim_matches('"').to_owned());
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
        drop(rng);
        let (mut line, token) = self.spoken(&request, &id, server);
        if let Some((said, real)) = &state {
            line = line.replacen(real, said, 1);
        }
        let truth = Truth {
            tool,
            made: self.world.now(),
            caller: self.no,
            server,
            method: method.to_owned(),
            modern: self.kind.is_modern(),
            capabilities: capabilities.to_owned(),
            revision: self.kind.revision(),
            request,
            roots: self.world.roots.borrow()[&self.no].len() - 1,
            ..Truth::default()
        };
        self.world.calls.borrow_mut().insert(cause.clone(), truth);
        self.expect(id, Request { token, batch, level, ..Request::new(What::Call(cause)) });
        line
    }

    fn meta(&self, rng: &mut Rng, cause: &str, capabilities: &str, level: Option<&str>) -> String {
        let text = |key: &str, value: String| (key.to_owned(), value);
        let mut meta = vec![text("x/y", json::value(rng, 1)), text("cause", format!("\"{cause}\""))];
        if rng.bool() {
            meta.push(text("progressToken", TOKEN.to_string()));
        }
        if self.kind.is_modern() {
            meta.push(text("io.modelcontextprotocol/protocolVersion", "\"2026-07-28\"".to_owned()));
            meta.push(text("io.modelcontextprotocol/clientCapabilities", capabilities.to_owned()));
            let client = format!(r#"{{"name":"c{}","version":"1"}}"#, self.no);
            meta.push(text("io.modelcontextprotocol/clientInfo", client));
            meta.extend(level.map(|level| text("io.modelcontextprotocol/logLevel", format!("\"{level}\""))));
        }
        // The model finds a cause by its text.
        spaceless(&json::members_in_any_order(rng, meta), "cause")
    }

    /// A request as this client says it: with an id, a token if it has one, and the name that its endpoint shows.
    pub(super) fn spoken(&self, request: &str, id: &str, server: usize) -> (String, Option<String>) {
        let mut line = request.replacen(ID, id, 1);
        let token = request.contains(TOKEN).then(|| self.fresh_token());
        if let Some(token) = &token {
            line = line.replacen(TOKEN, token, 1);
        }
        if self.prefix
            && let Ok(message) = Message::read(line.clone().into(), 1000)
            && let Some(name) = message.text(Field::Name)
        {
            line.replace_range(message.span(Field::Name).range(), &format!("\"s{server}__{name}\""));
        }
        (line, token)
    }

    /// Notes that a request is to be answered.
    pub(super) fn expect(&self, id: String, request: Request) {
        self.pending.borrow_mut().insert(id, Request { since: self.world.now(), ..request });
    }

    /// An id and a cause for a call.
    pub(super) fn fresh(&self) -> (String, String) {
        (self.fresh_id(), format!("{}n{}", self.name(), self.next.get()))
    }

    fn fresh_token(&self) -> String {
        self.next.set(self.next.get() + 1);
        if self.roll(4) == 0 { format!("\"t{}\\u0031\"", self.next.get()) } else { self.next.get().to_string() }
    }

    /// An id that was never used, in any form that JSON-RPC has; equal between callers.
    pub(super) fn fresh_id(&self) -> String {
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
}

impl Request {
    /// One that comes alone, for the first time.
    pub(super) fn new(what: What) -> Request {
        Request {
            what,
            since: Duration::ZERO,
            token: None,
            batch: None,
            cancelled: None,
            level: None,
            hope: Hope::Fresh,
        }
    }
}

/// Takes the white space away between a key and its value, so that the model can find it.
fn spaceless(text: &str, key: &str) -> String {
    let quoted = format!("\"{key}\"");
    let Some(start) = text.find(&quoted).map(|start| start + quoted.len()) else { return text.to_owned() };
    let rest = text[start..].trim_start().trim_start_matches(':').trim_start();
    format!("{}:{rest}", &text[..start])
}
