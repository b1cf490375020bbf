//! A client on a socket that holds mcpool to one answer for each request: every answer that comes was asked for, and
//! comes once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::PATIENCE;

/// The answer to one request.
pub struct Answer(pub Value);

impl Answer {
    /// The text of a tool's result.
    pub fn text(&self) -> &str {
        let Answer(value) = self;
        value["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {value}"))
    }

    /// Code and reason of an error, which is mcpool's own.
    pub fn failure(&self) -> (i64, &str) {
        let error = &self.0["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("no error: {:.300}", self.0.to_string()));
        (code, error["data"]["mcpool"]["reason"].as_str().unwrap_or("none"))
    }

    pub fn message(&self) -> &str {
        self.0["error"]["message"].as_str().unwrap_or_default()
    }
}

/// One connected caller.
pub struct Caller {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    /// In the modern era every request says so.
    meta: Option<Value>,
    /// The error with which its session was refused.
    pub opened: Option<Answer>,
    next: u64,
    open: BTreeSet<u64>,
    answers: BTreeMap<u64, Answer>,
    heard: Vec<Value>,
}

impl Caller {
    /// Of the legacy era, with its session open. If that failed, what was said is in `opened`: a server that was never
    /// seen has to be started for it.
    pub async fn legacy(socket: &Path) -> Caller {
        let mut caller = Caller::connect(socket, None).await;
        let info = json!({ "name": "caller", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        let id = caller.request("initialize", params).await;
        caller.opened = Some(caller.answer(id).await).filter(|opened| opened.0["error"].is_object());
        if caller.opened.is_none() {
            caller.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        }
        caller
    }

    /// Of the modern era.
    pub async fn modern(socket: &Path) -> Caller {
        let era = "io.modelcontextprotocol";
        let meta = json!({ format!("{era}/protocolVersion"): "2026-07-28", format!("{era}/clientCapabilities"): {} });
        Caller::connect(socket, Some(meta)).await
    }

    async fn connect(socket: &Path, meta: Option<Value>) -> Caller {
        let (reader, writer) = UnixStream::connect(socket).await.expect("a socket that listens").into_split();
        let lines = BufReader::new(reader).lines();
        let (open, answers, heard) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Caller { lines, writer, meta, opened: None, next: 0, open, answers, heard }
    }

    /// Sends a request; its id.
    pub async fn request(&mut self, method: &str, mut params: Value) -> u64 {
        self.next += 1;
        if let Some(meta) = &self.meta {
            params["_meta"] = meta.clone();
        }
        self.open.insert(self.next);
        self.say(&json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params })).await;
        self.next
    }

    /// Calls a tool, without waiting for the answer.
    pub async fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Calls a tool.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        let id = self.begin(tool, arguments).await;
        self.answer(id).await
    }

    /// Waits for the answer to a request.
    pub async fn answer(&mut self, id: u64) -> Answer {
        while !self.answers.contains_key(&id) {
            self.hear().await;
        }
        self.answers.remove(&id).expect("an answer")
    }

    /// Waits for a notification.
    pub async fn heard(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(|message| message["method"] == method) {
                return self.heard.remove(at);
            }
            self.hear().await;
        }
    }

    /// All that came unasked so far. What was sent to this caller before is here, since its `ping` is answered behind it.
    pub async fn heard_so_far(&mut self) -> &[Value] {
        let ping = self.request("ping", json!({})).await;
        self.answer(ping).await;
        &self.heard
    }

    /// Nothing is owed to this caller any more, and nothing came twice.
    pub async fn is_even(&mut self) {
        self.heard_so_far().await;
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
    }

    async fn say(&mut self, message: &Value) {
        self.writer.write_all(format!("{message}\n").as_bytes()).await.expect("the daemon reads");
    }

    async fn hear(&mut self) {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no answer to {:?}", self.open)).expect("a line");
        let message: Value = serde_json::from_str(&line.expect("the daemon hung up")).expect("JSON");
        match message["id"].as_u64().filter(|_| message["method"].is_null()) {
            None => self.heard.push(message),
            Some(id) => {
                assert!(self.open.remove(&id), "answered twice, or never asked: {message}");
                self.answers.insert(id, Answer(message));
            }
        }
    }
}
