//! The demo servers as a client sees them, over pipes in memory and a paused clock.

mod legacy;
mod modern;

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::Options;

fn options() -> Options {
    Options { seed: 7, epoch: UNIX_EPOCH, ..Options::new("demo-1") }
}

/// A client that is a test.
struct Client {
    lines: Lines<BufReader<DuplexStream>>,
    writer: DuplexStream,
    /// The `_meta` of every request, if it is a modern client.
    meta: Option<Value>,
    next: u64,
}

impl Client {
    async fn write(&mut self, line: &str) {
        self.writer.write_all(line.as_bytes()).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.write(&message.to_string()).await;
    }

    /// Sends a request and gives its id.
    async fn start(&mut self, method: &str, mut params: Value) -> u64 {
        if let Some(meta) = &self.meta {
            for (key, value) in meta.as_object().unwrap() {
                params["_meta"][key] = value.clone();
            }
        }
        let id = self.next;
        self.next += 1;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        id
    }

    async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    async fn read_line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("the server goes on")
    }

    async fn read(&mut self) -> Value {
        serde_json::from_str(&self.read_line().await).unwrap()
    }

    /// Asks and reads the one message that comes back.
    async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.start(method, params).await;
        let answer = self.read().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The text of a tool's result.
    async fn text(&mut self, tool: &str, arguments: Value) -> String {
        text(&self.call(tool, arguments).await)
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_secs(3600), self.lines.next_line()).await.is_err()
    }
}

fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}")).to_owned()
}

/// Runs `script` against a legacy server until the script ends; gives what the server ended with.
async fn with_legacy(options: Options, script: impl AsyncFnOnce(&mut Client)) -> io::Result<()> {
    let ((reader, lines), (writer, output)) = (duplex(1 << 16), duplex(1 << 16));
    let client = Client { lines: BufReader::new(output).lines(), writer: reader, meta: None, next: 0 };
    tokio::join!(super::legacy::serve(lines, writer, options), run(client, script)).0
}

/// The same against a modern one, with a client of those capabilities.
async fn with_modern(capabilities: Value, script: impl AsyncFnOnce(&mut Client)) -> io::Result<()> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    let ((reader, lines), (writer, output)) = (duplex(1 << 16), duplex(1 << 16));
    let client = Client { lines: BufReader::new(output).lines(), writer: reader, meta: Some(meta), next: 0 };
    tokio::join!(super::modern::serve(lines, writer, options()), run(client, script)).0
}

async fn run(mut client: Client, script: impl AsyncFnOnce(&mut Client)) {
    script(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn servers_run_inside_another_local_set() {
    let outer = async {
        let started = Instant::now();
        let sleep = async |client: &mut Client| {
            client.request("initialize", json!({ "protocolVersion": "2025-11-25", "capabilities": {} })).await;
            assert_eq!(client.text("slow", json!({ "ms": 5000 })).await, "slept 5000 ms in 1 steps");
        };
        let servers: Vec<_> = (0..2).map(|_| spawn_local(with_legacy(options(), sleep))).collect();
        for server in servers {
            server.await.unwrap().unwrap();
        }
        assert_eq!(started.elapsed().as_secs(), 5);
    };
    LocalSet::new().run_until(outer).await;
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_input_is_answered() {
    let (writer, mut output) = duplex(1 << 16);
    let lines: String =
        (0..1000).map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n")).collect();
    super::legacy::serve(io::Cursor::new(lines), writer, options()).await.unwrap();
    let mut said = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut output, &mut said).await.unwrap();
    assert_eq!(said.lines().count(), 1000);
}
