//! What the server writes when it behaves: requests and their answers, in either era.

use std::io::{self, Write};

use serde_json::{Value, json};

const MODERN: &str = "2026-07-28";

/// A request of the client.
pub struct Request {
    id: Value,
    pub method: String,
    modern: bool,
}

impl Request {
    /// Reads one; `None` if the message is something else.
    pub fn read(message: &Value) -> Option<Request> {
        let modern = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let method = message["method"].as_str()?.to_owned();
        Some(Request { id: message.get("id")?.clone(), method, modern: modern == MODERN })
    }

    pub fn answer(&self, result: Value) -> io::Result<()> {
        write(&self.answered(result))
    }

    /// The line that answers with a result. The fields of the modern era are those of any result and of lists.
    fn answered(&self, mut result: Value) -> String {
        if self.modern {
            result["resultType"] = json!("complete");
            if self.method != "tools/call" {
                (result["ttlMs"], result["cacheScope"]) = (json!(1000), json!("public"));
            }
        }
        json!({ "jsonrpc": "2.0", "id": self.id, "result": result }).to_string()
    }

    /// Answers a call with a text.
    pub fn say(&self, text: &str) -> io::Result<()> {
        write(&self.said(text))
    }

    /// The line that answers a call with a text.
    pub fn said(&self, text: &str) -> String {
        self.answered(json!({ "content": [{ "type": "text", "text": text }] }))
    }

    pub fn fail(&self, code: i64, why: &str) -> io::Result<()> {
        write(&json!({ "jsonrpc": "2.0", "id": self.id, "error": { "code": code, "message": why } }).to_string())
    }
}

/// Writes a line at once.
pub fn write(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// Lines that are no messages.
pub fn garbage() -> io::Result<()> {
    for line in ["starting up...", "[1, 2]", "{\"jsonrpc\":\"2.0\"", "", "null", "{}"] {
        write(line)?;
    }
    io::stdout().write_all(b"\xff\xfe\x00\r\n")
}

pub fn initialized(message: &Value) -> Value {
    let mut result = json!({ "protocolVersion": message["params"]["protocolVersion"], "serverInfo": info() });
    result["capabilities"] = capabilities();
    result
}

pub fn discovered() -> Value {
    json!({ "supportedVersions": [MODERN], "capabilities": capabilities(), "serverInfo": info() })
}

pub fn tools(extra: bool) -> Value {
    let mut names = vec!["bad", "echo", "hold", "refused"];
    names.extend(extra.then_some("extra"));
    let tool = |name| json!({ "name": name, "inputSchema": { "type": "object" } });
    json!({ "tools": names.into_iter().map(tool).collect::<Vec<_>>() })
}

fn info() -> Value {
    json!({ "name": "bad-server", "version": "1" })
}

fn capabilities() -> Value {
    json!({ "tools": { "listChanged": true }, "logging": {} })
}
