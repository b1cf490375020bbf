//! A server whose every line a test decides: for what no decent server does.

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;

type Deed = Rc<dyn Fn(&Heard, &Say)>;

/// What a scripted server does with what it hears. Without a word from the test it opens as a server of its era
/// does, refuses what the other opens with, answers pings, and is silent about the rest.
#[derive(Clone)]
pub struct Script {
    capabilities: Value,
    modern: bool,
    deeds: Vec<(&'static str, Deed)>,
    deaf_after: Option<&'static str>,
    closes_after: Option<&'static str>,
}

/// A server that shows tools, and whatever else the test adds.
pub fn script() -> Script {
    Script {
        capabilities: json!({ "tools": {} }),
        modern: false,
        deeds: Vec::new(),
        deaf_after: None,
        closes_after: None,
    }
}

/// A server of the modern era that shows tools and resources.
pub fn modern_script() -> Script {
    let capabilities = json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } });
    Script { capabilities, modern: true, ..script() }
}

/// A message that a scripted server got.
pub struct Heard {
    /// The message; without its params where this parser, other than the proxy, cannot follow.
    pub value: Value,
}

impl Heard {
    /// The id to answer.
    pub fn id(&self) -> &Value {
        &self.value["id"]
    }

    /// The progress token, if there is one.
    pub fn token(&self) -> &Value {
        &self.value["params"]["_meta"]["progressToken"]
    }
}

/// What is needed of a message whose strings hold lone surrogates.
#[derive(serde::Deserialize)]
struct Envelope {
    id: Value,
    method: Value,
}

/// The way out of a scripted server.
#[derive(Clone)]
pub struct Say(mpsc::UnboundedSender<Vec<u8>>);

/// A way out and where it leads.
pub fn say() -> (Say, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Say(sender), receiver)
}

impl Say {
    /// Says a line, whatever it is.
    pub fn line(&self, line: &str) {
        self.bytes(format!("{line}\n").into_bytes());
    }

    /// Says bytes.
    pub fn bytes(&self, bytes: Vec<u8>) {
        let _ = self.0.send(bytes);
    }

    /// Answers a request.
    pub fn result(&self, to: &Heard, result: Value) {
        self.line(&json!({ "jsonrpc": "2.0", "id": to.id(), "result": result }).to_string());
    }

    /// Answers a call with a text.
    pub fn text(&self, to: &Heard, text: &str) {
        self.result(to, json!({ "content": [{ "type": "text", "text": text }] }));
    }

    /// Answers a request with an error.
    pub fn error(&self, to: &Heard, error: Value) {
        self.line(&json!({ "jsonrpc": "2.0", "id": to.id(), "error": error }).to_string());
    }

    /// Asks something under that id.
    pub fn ask(&self, id: &str, method: &str, params: Value) {
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
    }

    /// Ends the process at once, as a crash does.
    pub fn crash(&self) -> ! {
        std::panic::resume_unwind(Box::new("it crashed"))
    }

    /// Says a notification.
    pub fn notify(&self, method: &str, params: Value) {
        self.line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }
}

impl Script {
    /// Declares these capabilities.
    pub fn capable(mut self, capabilities: Value) -> Script {
        self.capabilities = capabilities;
        self
    }

    /// What to do about messages of a method, instead of what was said before; the empty one stands for answers.
    pub fn on(mut self, method: &'static str, deed: impl Fn(&Heard, &Say) + 'static) -> Script {
        self.deeds.push((method, Rc::new(deed)));
        self
    }

    /// Reads nothing any more once it got a message of that method.
    pub fn deaf_after(mut self, method: &'static str) -> Script {
        self.deaf_after = Some(method);
        self
    }

    /// Closes its stdin once it got a message of that method.
    pub fn closes_after(mut self, method: &'static str) -> Script {
        self.closes_after = Some(method);
        self
    }

    /// Runs one process.
    pub async fn run(
        self,
        stdin: DuplexStream,
        mut stdout: DuplexStream,
        say: Say,
        mut said: mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        let mut lines = BufReader::new(stdin).lines();
        let mut deaf = false;
        loop {
            tokio::select! {
                biased;
                Some(bytes) = said.recv() => {
                    if stdout.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                line = lines.next_line(), if !deaf => match line {
                    Ok(Some(raw)) => {
                        let method = self.hear(raw, &say);
                        let closes = method.is_some() && method.as_deref() == self.closes_after;
                        if closes {
                            lines = BufReader::new(duplex(1).0).lines();
                        }
                        deaf = closes || method.is_some() && method.as_deref() == self.deaf_after;
                    }
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }

    /// Acts on what it heard; the method of that.
    fn hear(&self, raw: String, say: &Say) -> Option<String> {
        let read = serde_json::from_str(&raw).or_else(|_| {
            let Envelope { id, method } = serde_json::from_str(&raw)?;
            Ok::<Value, serde_json::Error>(json!({ "id": id, "method": method }))
        });
        let heard = Heard { value: read.unwrap_or_else(|_| panic!("the proxy sent no JSON: {raw}")) };
        let method = heard.value["method"].as_str().unwrap_or_default();
        match self.deeds.iter().rfind(|(on, _)| *on == method) {
            Some((_, deed)) => deed(&heard, say),
            None => self.usual(method, &heard, say),
        }
        Some(method.to_owned()).filter(|method| !method.is_empty())
    }

    fn usual(&self, method: &str, heard: &Heard, say: &Say) {
        match method {
            "initialize" if self.modern => {
                let requested = &heard.value["params"]["protocolVersion"];
                let data = json!({ "supported": ["2026-07-28"], "requested": requested });
                say.error(heard, json!({ "code": -32022, "message": "Unsupported protocol version", "data": data }));
            }
            "server/discover" if self.modern => say.result(
                heard,
                json!({
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": self.capabilities,
                    "resultType": "complete",
                    "ttlMs": 60_000,
                    "cacheScope": "public",
                }),
            ),
            "initialize" => say.result(
                heard,
                json!({
                    "protocolVersion": heard.value["params"]["protocolVersion"],
                    "capabilities": self.capabilities,
                    "serverInfo": { "name": "script", "version": "1" },
                }),
            ),
            "server/discover" => say.error(heard, json!({ "code": -32601, "message": "Method not found" })),
            "ping" => say.result(heard, json!({})),
            _ => {}
        }
    }
}
