//! A server with descendants (`family.py`), and a caller of it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::daemon::Place;

/// A place with a server `s` of these habits.
pub fn place(habits: &str, more: &str) -> Place {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py");
    let args: Vec<String> = [script.to_string_lossy().into_owned()]
        .into_iter()
        .chain(habits.split_whitespace().map(str::to_owned))
        .collect();
    serving(&format!("command: python3\n    args: {}\n    {more}", json!(args)))
}

pub fn serving(server: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "servers:\n  s:\n    era: legacy\n    timeout: {{ stop: 400ms }}\n    {server}\nsockets:\n  dir: {sockets:?}\ncatalogue:\n  dir: {cache:?}\n",
        sockets = place.sockets(),
        cache = place.home().join("cache"),
    );
    fs::write(place.config(), config).expect("written");
    place
}

/// A caller on the socket itself, so that nothing starts the daemon again.
pub struct Caller(BufReader<UnixStream>);

impl Caller {
    pub async fn new(place: &Place) -> Caller {
        Caller::opened(place).await.0
    }

    /// With the answer to its `initialize`, whatever that is.
    pub async fn opened(place: &Place) -> (Caller, Value) {
        let mut caller = Caller(BufReader::new(UnixStream::connect(place.socket("s")).await.expect("a socket")));
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        let answer = caller.request("initialize", params).await;
        (caller, answer)
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.expect("written");
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
            assert!(read.expect("nothing came").expect("a line") > 0, "the connection was closed");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer.get("id").is_some() {
                return answer;
            }
        }
    }

    pub async fn call(&mut self, tool: &str) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": {} })).await
    }

    /// The server's process and all that it has started.
    pub async fn family(&mut self) -> Vec<u32> {
        serde_json::from_value(self.told("family").await).expect("a list of ids")
    }

    /// What a tool of the server tells, which is JSON.
    pub async fn told(&mut self, tool: &str) -> Value {
        let answer = self.call(tool).await;
        let told = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(told).unwrap_or_else(|_| panic!("no JSON: {told}"))
    }
}
