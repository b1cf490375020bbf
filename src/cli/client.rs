//! Called by `tools`, `call` and `demo`: a small MCP client for people, of either era, with one request in flight
//! at a time. It declares no capabilities and refuses what is asked of it: nobody fills in a form here. Arguments
//! and results stay the text that was given, so numbers of any size arrive as they are.

use std::io;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::print::complain;
use crate::era::{Era, legacy, modern};
use crate::text::line;
use crate::wire::frame::{Line, LineReader, Scratch};

/// The longest line that is taken, in bytes.
const LONGEST: usize = 64 << 20;
/// What the client of `tools` and `call` is called.
pub const PERSON: &str = "mcpool-cli";
/// A modern server's answer to a legacy client (revision 2026-07-28, page "Overview", "Error Codes").
const UNSUPPORTED_VERSION: i64 = -32022;

/// A connection to an endpoint or to a server.
pub struct Client<R, W> {
    lines: LineReader<R>,
    writer: W,
    era: Era,
    name: String,
    /// The id of the request that is in flight, or was last; its progress token too.
    last: u64,
}

/// How far a call has come.
#[derive(Debug, Deserialize)]
pub struct Progress {
    /// Grows with every notification.
    pub progress: f64,
    /// What it grows to, if that is known.
    pub total: Option<f64>,
    pub message: Option<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request was answered with an error.
    #[error("error {code}: {}", line(message))]
    Refused { code: i64, message: String },
    /// The answer is no valid one.
    #[error("the answer cannot be understood: {0}")]
    Strange(String),
    /// The other side closed the connection before it answered.
    #[error("the connection was closed before the answer came")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What a command does that asked an endpoint in vain: an error of the other side is told by its code, which is the same
/// whichever request it answers.
///
/// # Errors
/// In words for people: there is no answer.
pub fn failed(endpoint: &str, failure: Failure) -> Result<ExitCode, String> {
    if !matches!(failure, Failure::Refused { .. }) {
        return Err(format!("{endpoint}: {failure}"));
    }
    complain(failure);
    Ok(ExitCode::FAILURE)
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::Strange(error.to_string())
    }
}

/// A message that arrived.
#[derive(Deserialize)]
struct Heard {
    id: Option<Box<RawValue>>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: Params<'a, P>,
}

#[derive(Serialize)]
struct Params<'a, P> {
    #[serde(rename = "_meta")]
    meta: Value,
    #[serde(flatten)]
    own: &'a P,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<R, W> {
    /// Opens a session of an era as the client `name`.
    ///
    /// # Errors
    /// The other side lacks the era, or cannot be talked to.
    pub async fn open(reader: R, writer: W, era: Era, name: &str) -> Result<Self, Failure> {
        let lines = LineReader::new(reader, Scratch::default(), LONGEST);
        let mut client = Client { lines, writer, era, name: name.to_owned(), last: 0 };
        client.greet().await?;
        Ok(client)
    }

    /// Opens a session of whichever era is there, the legacy one first.
    ///
    /// # Errors
    /// The other side cannot be talked to.
    pub async fn open_any(reader: R, writer: W, name: &str) -> Result<Self, Failure> {
        let lines = LineReader::new(reader, Scratch::default(), LONGEST);
        let mut client = Client { lines, writer, era: Era::Legacy, name: name.to_owned(), last: 0 };
        match client.greet().await {
            Err(Failure::Refused { code: UNSUPPORTED_VERSION, .. }) => {
                client.era = Era::Modern;
                client.greet().await?;
            }
            greeted => greeted?,
        }
        Ok(client)
    }

    async fn greet(&mut self) -> Result<(), Failure> {
        if self.era == Era::Modern {
            self.request("server/discover", &json!({}), |_| {}).await?;
            return Ok(());
        }
        let params = json!({
            "protocolVersion": legacy::REVISIONS[0],
            "capabilities": {},
            "clientInfo": { "name": self.name, "version": env!("CARGO_PKG_VERSION") },
        });
        self.request("initialize", &params, |_| {}).await?;
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await
    }

    /// Sends a request, whose parameters are an object, and waits for its result. If the wait is given up, say
    /// [`Client::cancel`].
    ///
    /// # Errors
    /// The request is refused, or the connection ends.
    pub async fn request<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Box<RawValue>, Failure> {
        self.last += 1;
        let id = self.last;
        let params = Params { meta: self.meta(id), own: params };
        self.say(&Request { jsonrpc: "2.0", id, method, params }).await?;
        loop {
            let heard = self.hear().await?;
            match (heard.id, heard.method) {
                (Some(ask), Some(method)) => self.refuse(&ask, &method).await?,
                (None, Some(method)) if method == "notifications/progress" => {
                    if let Some(progress) = progress_of(id, heard.params.as_deref()) {
                        on_progress(progress);
                    }
                }
                (Some(answered), None) if answered.get() == id.to_string() => {
                    return match (heard.result, heard.error) {
                        (Some(result), None) => Ok(result),
                        (None, Some(Refusal { code, message })) => Err(Failure::Refused { code, message }),
                        _ => Err(Failure::Strange("it has neither a result nor an error, or both".into())),
                    };
                }
                // An error to nobody in particular: what was said could not even be read.
                (None, None) if let Some(Refusal { code, message }) = heard.error => {
                    return Err(Failure::Refused { code, message });
                }
                // Other notifications, and late answers to what was cancelled.
                _ => {}
            }
        }
    }

    /// Gives up the request that is in flight.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn cancel(&mut self, reason: &str) -> Result<(), Failure> {
        let params = json!({ "requestId": self.last, "reason": reason });
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })).await
    }

    /// All items of a list, from all its pages: `list("tools/list", "tools")`.
    ///
    /// # Errors
    /// As for [`Client::request`]; a list whose cursor does not move on.
    pub async fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.request(method, &params, |_| {}).await?;
            let mut page: Value = serde_json::from_str(page.get())?;
            match page[key].take() {
                Value::Array(more) => items.extend(more),
                _ => return Err(Failure::Strange(format!("the result of {method} has no list of {key}"))),
            }
            match page["nextCursor"].take() {
                Value::Null => return Ok(items),
                cursor if params["cursor"] == cursor => {
                    return Err(Failure::Strange(format!("{method} gives the same page for ever")));
                }
                cursor => params = json!({ "cursor": cursor }),
            }
        }
    }

    fn meta(&self, token: u64) -> Value {
        if self.era == Era::Legacy {
            return json!({ "progressToken": token });
        }
        json!({
            "progressToken": token,
            "io.modelcontextprotocol/protocolVersion": modern::REVISION,
            "io.modelcontextprotocol/clientInfo": { "name": self.name, "version": env!("CARGO_PKG_VERSION") },
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    }

    async fn refuse(&mut self, id: &RawValue, method: &str) -> Result<(), Failure> {
        let answer = if method == "ping" {
            json!({ "jsonrpc": "2.0", "id": id, "result": {} })
        } else {
            let message = format!("this client does not offer {method}");
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": message } })
        };
        self.say(&answer).await
    }

    async fn say(&mut self, message: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.writer.write_all(&line).await?;
        Ok(self.writer.flush().await?)
    }

    /// The next line that is a message.
    async fn hear(&mut self) -> Result<Heard, Failure> {
        loop {
            match self.lines.next().await? {
                None => return Err(Failure::Closed),
                Some(Line::TooLong(size, _)) => return Err(Failure::Strange(format!("it has {size} bytes"))),
                Some(Line::Whole(line)) => {
                    if let Ok(heard) = serde_json::from_slice(&line) {
                        return Ok(heard);
                    }
                }
            }
        }
    }
}

fn progress_of(id: u64, params: Option<&RawValue>) -> Option<Progress> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Notified {
        progress_token: Value,
        #[serde(flatten)]
        progress: Progress,
    }
    let notified: Notified = serde_json::from_str(params?.get()).ok()?;
    (notified.progress_token == id).then_some(notified.progress)
}
