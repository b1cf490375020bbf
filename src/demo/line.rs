//! The wire of the demo servers: JSON-RPC, one message a line. [`drive`] runs a server between two streams.
//!
//! Ids, progress tokens, arguments and answers stay raw text, so that they go back as they came.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet, spawn_local};

/// A JSON value to the letter.
pub type Raw = Box<RawValue>;

/// What a request ends with.
pub type Outcome = Result<Raw, Fault>;

/// Lines that may wait for a peer who does not read.
const BACKLOG: usize = 256;

/// A JSON-RPC error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    pub code: i64,
    pub message: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub data: Option<Raw>,
}

impl Fault {
    pub fn new(code: i64, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), data: None }
    }

    /// -32602, for params that are wrong.
    pub fn params(message: impl std::fmt::Display) -> Fault {
        Fault::new(-32602, message.to_string())
    }

    /// -32601, for a method that the server lacks.
    pub fn method(method: &str) -> Fault {
        Fault::new(-32601, format!("Method not found: {method}"))
    }

    pub fn with(mut self, data: &impl Serialize) -> Fault {
        self.data = to_raw_value(data).ok();
        self
    }
}

/// The text of a result, or why there is none.
pub fn raw(value: &impl Serialize) -> Outcome {
    to_raw_value(value).map_err(|error| Fault::new(-32603, error.to_string()))
}

/// Reads params, or an object in them.
pub fn parse<'a, T: Deserialize<'a>>(value: &'a Option<Raw>) -> Result<T, Fault> {
    serde_json::from_str(text(value)).map_err(Fault::params)
}

/// The text of an object that may be left out.
pub fn text(value: &Option<Raw>) -> &str {
    value.as_deref().map_or("{}", RawValue::get)
}

/// Keeps a `null` apart from a field that is not there.
pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

/// A message from the client.
pub enum Incoming {
    Request { id: Raw, method: String, params: Option<Raw> },
    Notification { method: String, params: Option<Raw> },
    Answer { id: Raw, outcome: Result<Raw, Raw> },
}

#[derive(Deserialize)]
struct Fields {
    jsonrpc: String,
    #[serde(default, deserialize_with = "present")]
    id: Option<Raw>,
    method: Option<String>,
    params: Option<Raw>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Raw>,
    error: Option<Raw>,
}

impl Incoming {
    fn read(line: &[u8]) -> Result<Incoming, Fault> {
        let value: Raw = serde_json::from_slice(line).map_err(|error| Fault::new(-32700, error.to_string()))?;
        let fields: Fields =
            serde_json::from_str(value.get()).map_err(|error| Fault::new(-32600, error.to_string()))?;
        let named = fields.id.as_ref().is_none_or(|id| can_be_id(id));
        match fields {
            Fields { jsonrpc, .. } if jsonrpc != "2.0" => Err(Fault::new(-32600, "jsonrpc is not \"2.0\"")),
            _ if !named => Err(Fault::new(-32600, "an id is a string or a number")),
            Fields { id: Some(id), method: Some(method), params, .. } => Ok(Incoming::Request { id, method, params }),
            Fields { id: None, method: Some(method), params, .. } => Ok(Incoming::Notification { method, params }),
            Fields { id: Some(id), error: Some(error), .. } => Ok(Incoming::Answer { id, outcome: Err(error) }),
            Fields { id: Some(id), result: Some(result), .. } => Ok(Incoming::Answer { id, outcome: Ok(result) }),
            _ => Err(Fault::new(-32600, "neither a request nor a notification nor an answer")),
        }
    }
}

fn can_be_id(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
}

/// One message out; what is `None` is left away.
#[derive(Serialize, Default)]
struct Outgoing<'a, T> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Fault>,
}

/// The way out. Waits while the peer does not read; says nothing once the peer is gone, since `serve` ends then.
#[derive(Clone)]
pub struct Out(mpsc::Sender<Option<String>>);

impl Out {
    pub async fn answer(&self, id: &RawValue, outcome: &Outcome) {
        let (result, error) = (outcome.as_deref().ok(), outcome.as_ref().err());
        self.send(&Outgoing::<()> { jsonrpc: "2.0", id: Some(id), result, error, ..Outgoing::default() }).await;
    }

    pub async fn notify(&self, method: &str, params: Option<impl Serialize>) {
        self.send(&Outgoing { jsonrpc: "2.0", method: Some(method), params, ..blank() }).await;
    }

    pub async fn request(&self, id: &RawValue, method: &str, params: Option<impl Serialize>) {
        self.send(&Outgoing { jsonrpc: "2.0", id: Some(id), method: Some(method), params, ..blank() }).await;
    }

    /// A notification that is a courtesy: said if there is room at once.
    pub fn mention(&self, method: &str, params: impl Serialize) {
        let message = Outgoing { jsonrpc: "2.0", method: Some(method), params: Some(params), ..blank() };
        if let Ok(line) = serde_json::to_string(&message) {
            let _ = self.0.try_send(Some(line));
        }
    }

    async fn send(&self, message: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(message) {
            let _ = self.0.send(Some(line)).await;
        }
    }
}

fn blank<'a, T>() -> Outgoing<'a, T> {
    Outgoing { jsonrpc: "2.0", id: None, method: None, params: None, result: None, error: None }
}

/// A server behind the wire.
pub trait Peer {
    /// Takes a message; an error ends the server.
    async fn take(self: Rc<Self>, message: Incoming) -> io::Result<()>;
}

/// Runs a server until its input ends. What is answered by then still goes out; calls that still run are dropped.
pub async fn drive<R, W, P>(reader: R, writer: W, peer: impl FnOnce(Out) -> P) -> io::Result<()>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
    P: Peer + 'static,
{
    let (sender, lines) = mpsc::channel(BACKLOG);
    let out = Out(sender);
    let peer = Rc::new(peer(out.clone()));
    let local = LocalSet::new();
    let run = async {
        let mut writing = pin!(write(writer, lines));
        tokio::select! {
            biased;
            ended = &mut writing => return ended,
            ended = read(reader, &peer, &out) => ended?,
        }
        tokio::select! {
            biased;
            ended = &mut writing => return ended,
            _ = out.0.send(None) => {}
        }
        writing.await
    };
    local.run_until(run).await
}

async fn read<R: AsyncRead + Unpin, P: Peer>(reader: R, peer: &Rc<P>, out: &Out) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        if !line.trim_ascii().is_empty() {
            match Incoming::read(&line) {
                Ok(message) => Rc::clone(peer).take(message).await?,
                Err(fault) => out.send(&Outgoing::<()> { error: Some(&fault), ..blank() }).await,
            }
        }
        line.clear();
    }
    Ok(())
}

/// Each line is a write of its own: some clients lose a progress notification that shares a read with the answer.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut lines: mpsc::Receiver<Option<String>>) -> io::Result<()> {
    while let Some(Some(mut line)) = lines.recv().await {
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// The requests that are being worked on, by the text of their id.
#[derive(Default)]
pub struct Running(Rc<RefCell<HashMap<String, AbortHandle>>>);

impl Running {
    pub fn spawn(&self, id: &RawValue, work: impl Future<Output = ()> + 'static) {
        let key = id.get().to_owned();
        let table = Rc::clone(&self.0);
        let done = key.clone();
        let task = spawn_local(async move {
            work.await;
            table.borrow_mut().remove(&done);
        });
        self.0.borrow_mut().insert(key, task.abort_handle());
    }

    /// Stops a request without an answer, if it runs.
    pub fn cancel(&self, id: &RawValue) {
        if let Some(task) = self.0.borrow_mut().remove(id.get()) {
            task.abort();
        }
    }
}
