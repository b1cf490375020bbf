//! The load generator: one MCP client (legacy) that speaks JSON lines and trusts no answer.
use std::time::Instant;

use bytes::{Buf, BytesMut};
use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Result;

/// One connection, and the calls that it waits for.
pub struct Caller {
    read: Box<dyn AsyncRead + Unpin + Send>,
    write: Box<dyn AsyncWrite + Unpin + Send>,
    input: BytesMut,
    /// How much of `input` is known to hold no end of a line.
    scanned: usize,
    output: BytesMut,
    /// Ids count from 1 in every caller: nothing but the way that it came tells whose an answer is.
    next_id: u64,
    waiting: Vec<u64>,
}

/// The part of an answer that the bench looks at where it doesn't have the usual form.
#[derive(Deserialize)]
struct Line<'a> {
    id: Option<u64>,
    method: Option<&'a str>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Caller {
    pub fn new(read: Box<dyn AsyncRead + Unpin + Send>, write: Box<dyn AsyncWrite + Unpin + Send>) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Caller { read, write, input, scanned: 0, output, next_id: 1, waiting: Vec::new() }
    }

    /// `initialize`, up to where a client may call.
    pub async fn initialize(&mut self) -> Result {
        self.ask("initialize", HELLO, b"\"serverInfo\"").await?;
        self.output.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        Ok(self.write.write_all_buf(&mut self.output).await?)
    }

    pub async fn list_tools(&mut self) -> Result {
        self.ask("tools/list", "{}", b"\"echo\"").await
    }

    /// One call of the echo tool.
    pub async fn call(&mut self, payload: &Payload) -> Result {
        self.request("tools/call", &payload.params);
        self.settle(1, &payload.mark, None, None).await.map(drop)
    }

    /// Keeps `in_flight` calls in flight until the time is up and all are answered. Gives the number of answers.
    pub async fn work(&mut self, payload: &Payload, in_flight: usize, until: Instant) -> Result<u64> {
        for _ in 0..in_flight {
            self.request("tools/call", &payload.params);
        }
        self.settle(in_flight, &payload.mark, Some(payload), Some(until)).await
    }

    async fn ask(&mut self, method: &str, params: &str, expected: &[u8]) -> Result {
        self.request(method, params);
        self.settle(1, expected, None, None).await.map(drop)
    }

    fn request(&mut self, method: &str, params: &str) {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push(id);
        let parts = [
            "{\"jsonrpc\":\"2.0\",\"id\":",
            &id.to_string(),
            ",\"method\":\"",
            method,
            "\",\"params\":",
            params,
            "}\n",
        ];
        parts.iter().for_each(|part| self.output.extend_from_slice(part.as_bytes()));
    }

    /// Writes what is to be written and reads answers until none is awaited, both at once: a server that waits for us to
    /// read would else wait for ever. Until the time is up, each answer is followed by a call more.
    async fn settle(
        &mut self,
        mut waiting: usize,
        expected: &[u8],
        again: Option<&Payload>,
        until: Option<Instant>,
    ) -> Result<u64> {
        let mut answers = 0;
        while waiting > 0 {
            tokio::select! {
                biased;
                written = self.write.write_buf(&mut self.output), if self.output.has_remaining() => {
                    written?;
                    continue;
                }
                read = self.read.read_buf(&mut self.input) => if read? == 0 {
                    return Err("the connection was closed before an answer".into());
                },
            }
            let more = again.filter(|_| until.is_some_and(|until| Instant::now() < until));
            while let Some(line) = self.line() {
                if !self.check(&line, expected)? {
                    continue;
                }
                answers += 1;
                match more {
                    Some(payload) => self.request("tools/call", &payload.params),
                    None => waiting -= 1,
                }
            }
        }
        Ok(answers)
    }

    fn line(&mut self) -> Option<BytesMut> {
        match memchr(b'\n', &self.input[self.scanned..]) {
            Some(end) => {
                let line = self.input.split_to(self.scanned + end + 1);
                self.scanned = 0;
                Some(line)
            }
            None => {
                self.scanned = self.input.len();
                // Room for what is left of a long line, and none kept by those who idle.
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                } else {
                    self.input.reserve(64 << 10);
                }
                None
            }
        }
    }

    /// Whether the line is an answer (and not a notification). An answer to what nobody asked, or meant for another, is
    /// an error.
    fn check(&mut self, line: &[u8], expected: &[u8]) -> Result<bool> {
        let wrong = || format!("wrong answer: {}", String::from_utf8_lossy(&line[..line.len().min(400)]));
        let id = match usual_id(line) {
            Some(id) => id,
            None => match serde_json::from_slice::<Line>(line)? {
                Line { id: Some(id), result: Some(_), .. } => id,
                Line { id: None, method: Some(_), .. } => return Ok(false),
                _ => return Err(wrong().into()),
            },
        };
        let place = self.waiting.iter().position(|&waiting| waiting == id).ok_or_else(wrong)?;
        self.waiting.swap_remove(place);
        match memmem::find(&line[..line.len().min(600)], expected) {
            Some(_) => Ok(true),
            None => Err(wrong().into()),
        }
    }
}

/// The id of an answer that is written as most are; seen without parsing.
fn usual_id(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"jsonrpc\":\"2.0\",\"id\":")?;
    let (id, rest) = rest.split_at(memchr(b',', rest)?);
    rest.starts_with(b",\"result\":").then_some(())?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

const HELLO: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"overhead","version":"1"}}"#;

/// What a caller says in its calls, with its name in it, by which it knows the answer for its own.
pub struct Payload {
    params: String,
    mark: Vec<u8>,
}

impl Payload {
    pub fn new(owner: usize, size: usize) -> Self {
        let mark = format!("this is of caller {owner};");
        let text = format!("{mark}{}", "x".repeat(size.saturating_sub(mark.len())));
        Payload { params: format!(r#"{{"name":"echo","arguments":{{"text":"{text}"}}}}"#), mark: mark.into_bytes() }
    }
}
