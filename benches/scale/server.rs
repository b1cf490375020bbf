//! Servers in memory, of either era. What they do goes by the name of the tool that is called.
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use mcpool::config;
use mcpool::pool::launch::{Connection, Launcher};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::spawn_local;

use crate::meter::of_peer;

/// What every server has.
#[derive(Clone, Copy)]
pub struct Traits {
    /// Tools that it lists, and how long the description of each is.
    pub tools: (usize, usize),
    pub resources: usize,
    /// A list of tools that is none: so many numbers.
    pub numbers: usize,
}

impl Traits {
    pub const FEW: Traits = Traits { tools: (3, 20), resources: 3, numbers: 0 };
}

/// Starts them. Those whose names begin with `modern` are modern.
pub struct Rack(pub Traits);

impl Launcher for Rack {
    fn launch(&self, server: &config::Server) -> io::Result<Connection> {
        let (writer, stdin) = duplex(1 << 20);
        let (stdout, reader) = duplex(1 << 20);
        let server = Server { modern: server.name.starts_with("modern"), has: self.0, ..Server::default() };
        spawn_local(of_peer(Rc::new(server).run(stdin, stdout)));
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), stderr: None, pid: None, process: None })
    }
}

struct Server {
    modern: bool,
    has: Traits,
    tasks: RefCell<usize>,
}

impl Default for Server {
    fn default() -> Self {
        Server { modern: false, has: Traits::FEW, tasks: RefCell::default() }
    }
}

impl Server {
    async fn run(self: Rc<Self>, stdin: DuplexStream, mut stdout: DuplexStream) {
        let mut lines = BufReader::new(stdin).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(request) = serde_json::from_str::<Value>(&line) else { return };
            let method = request["method"].as_str().unwrap_or_default().to_owned();
            if request["params"]["name"] == "exit" {
                return;
            }
            let said = self.answers(&method, &request);
            if !said.is_empty() && stdout.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// The lines that follow from a message.
    fn answers(&self, method: &str, request: &Value) -> String {
        let id = &request["id"];
        let result = match method {
            _ if id.is_null() => return String::new(),
            "initialize" if !self.modern => {
                let tasks = json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
                let mut result = json!({ "capabilities": { "tasks": tasks }, "protocolVersion": "2025-11-25" });
                self.introduce(&mut result);
                result
            }
            "server/discover" if self.modern => {
                let mut result =
                    json!({ "supportedVersions": ["2026-07-28"], "ttlMs": 600_000, "cacheScope": "public" });
                self.introduce(&mut result);
                result
            }
            "ping" | "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => json!({}),
            "tools/list" if self.has.numbers > 0 => {
                let numbers = vec!["1"; self.has.numbers].join(",");
                return format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"tools\":[{numbers}]}}}}\n");
            }
            "tools/list" => self.listed(json!({ "tools": self.tools() })),
            "resources/list" => self.listed(json!({ "resources": self.resources() })),
            "resources/templates/list" => self.listed(json!({ "resourceTemplates": [] })),
            "prompts/list" => self.listed(json!({ "prompts": [] })),
            "tasks/get" => task(&request["params"]["taskId"]),
            "subscriptions/listen" => return acknowledged(id, &request["params"]["notifications"]),
            "tools/call" if request["params"]["name"] == "hang" => return String::new(),
            "tools/call" if request["params"]["task"].is_object() => {
                *self.tasks.borrow_mut() += 1;
                json!({ "task": task(&json!(format!("task-{}", self.tasks.borrow()))) })
            }
            "tools/call" if request["params"]["name"] == "touch" => {
                let uri = &request["params"]["arguments"]["uri"];
                let told =
                    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}});
                return format!("{told}\n{}", reply(id, &self.complete(json!({ "content": [] }))));
            }
            "tools/call" => self.complete(json!({ "content": [{ "type": "text", "text": "done" }] })),
            _ => {
                let error = json!({ "code": -32601, "message": "unknown method" });
                return format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
        };
        reply(id, &result)
    }

    fn introduce(&self, result: &mut Value) {
        result["serverInfo"] = json!({ "name": "model", "version": "1" });
        result["capabilities"]["tools"] = json!({ "listChanged": true });
        result["capabilities"]["resources"] = json!({ "listChanged": true, "subscribe": true });
        *result = self.complete(result.take());
    }

    fn listed(&self, mut result: Value) -> Value {
        if self.modern {
            result["ttlMs"] = json!(600_000);
            result["cacheScope"] = json!("public");
        }
        self.complete(result)
    }

    fn complete(&self, mut result: Value) -> Value {
        if self.modern {
            result["resultType"] = json!("complete");
        }
        result
    }

    fn tools(&self) -> Vec<Value> {
        let (count, size) = self.has.tools;
        let text = "x".repeat(size);
        let tool = |number| json!({ "name": format!("tool_{number}"), "description": text, "inputSchema": { "type": "object" } });
        (0..count).map(tool).collect()
    }

    fn resources(&self) -> Vec<Value> {
        (0..self.has.resources).map(|number| json!({ "uri": format!("file:///{number}"), "name": "a" })).collect()
    }
}

fn task(id: &Value) -> Value {
    let now = "2026-01-01T00:00:00Z";
    json!({ "taskId": id, "status": "working", "createdAt": now, "lastUpdatedAt": now, "ttl": 3_600_000, "pollInterval": 1000 })
}

fn reply(id: &Value, result: &Value) -> String {
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

/// A stream that hears all that it asked for.
fn acknowledged(id: &Value, wants: &Value) -> String {
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
    let params = json!({ "notifications": wants, "_meta": meta });
    format!("{}\n", json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params }))
}
