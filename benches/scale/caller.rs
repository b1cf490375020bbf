//! Callers in memory. They trust no answer.
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};

use crate::Result;
use crate::meter::of_peer;

/// One connection.
pub struct Caller {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: WriteHalf<DuplexStream>,
    modern: bool,
    next: u64,
}

impl Caller {
    pub fn new(stream: DuplexStream, modern: bool) -> Caller {
        let (reader, write) = tokio::io::split(stream);
        Caller { lines: BufReader::new(reader).lines(), write, modern, next: 0 }
    }

    /// Opens the session, in the era that has one.
    pub async fn open(&mut self) -> Result {
        if self.modern {
            return Ok(());
        }
        let info = json!({ "name": "scale", "version": "1" });
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
        self.ask("initialize", hello).await?;
        let done = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        self.write(done.to_owned()).await
    }

    /// A request whose answer is not waited for.
    pub async fn request(&mut self, method: &str, params: Value) -> Result<u64> {
        let (id, line) = self.line(method, params);
        self.write(line).await?;
        Ok(id)
    }

    /// A request as a line, without saying it.
    pub fn line(&mut self, method: &str, mut params: Value) -> (u64, String) {
        self.next += 1;
        if self.modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "scale", "version": "1" },
            });
        }
        let request = json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        (self.next, format!("{request}\n"))
    }

    pub async fn write(&mut self, text: String) -> Result {
        Ok(of_peer(self.write.write_all(text.as_bytes())).await?)
    }

    /// A request and its result.
    pub async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.request(method, params).await?;
        let mut answer = self.answer(id).await?;
        match answer["result"].take() {
            Value::Null => Err(format!("{method}: {}", answer["error"]).into()),
            result => Ok(result),
        }
    }

    pub async fn call(&mut self, tool: &str) -> Result {
        self.ask("tools/call", json!({ "name": tool, "arguments": {} })).await.map(drop)
    }

    /// The answer to a request; what else comes is not looked at.
    pub async fn answer(&mut self, id: u64) -> Result<Value> {
        self.hear(|message| message["id"] == id && message["method"].is_null()).await
    }

    /// The next message that is as wanted.
    pub async fn hear(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let hearing = async {
            while let Some(line) = self.lines.next_line().await? {
                let message = serde_json::from_str(&line)?;
                if wanted(&message) {
                    return Ok(message);
                }
            }
            Err("the connection ended".into())
        };
        of_peer(hearing).await
    }
}
