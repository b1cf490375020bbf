//! The modern demo server: revision 2026-07-28. It keeps nothing between requests but tasks and open streams.

mod call;
mod listen;

use std::io;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use self::call::ToolCall;
use self::listen::Listeners;
use super::act;
use super::line::{self, Fault, Incoming, Out, Outcome, Peer, Raw, Running, parse, raw};
use super::seal::Seal;
use super::{Options, World, content};

/// The one revision that it speaks.
pub const REVISION: &str = "2026-07-28";

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Serves one client until `reader` ends.
///
/// # Errors
/// When a stream fails, or when the tool `die` is called.
pub async fn serve<R, W>(reader: R, writer: W, options: Options) -> io::Result<()>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    line::drive(reader, writer, |out| Server::new(out, options)).await
}

struct Server {
    world: World,
    seal: Seal,
    out: Out,
    running: Running,
    listeners: Listeners,
}

/// The `_meta` of a request (basic/index, "Per-request protocol fields").
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    revision: String,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Raw,
    #[serde(rename = "io.modelcontextprotocol/clientInfo")]
    info: Option<Raw>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<String>,
    #[serde(rename = "progressToken")]
    token: Option<Raw>,
}

impl Meta {
    /// # Errors
    /// -32602 if a required field is missing or a field is wrong, -32022 if the revision is another one.
    fn read(params: &Option<Raw>) -> Result<Meta, Fault> {
        #[derive(Deserialize)]
        struct Params {
            #[serde(rename = "_meta")]
            meta: Meta,
        }
        let Params { meta } = parse(params)?;
        if meta.revision != REVISION {
            return Err(unsupported(&meta.revision));
        }
        if !meta.capabilities.get().starts_with('{') {
            return Err(Fault::params("clientCapabilities is not an object"));
        }
        match &meta.log_level {
            Some(level) if act::level(level).is_none() => Err(Fault::params(format!("Unknown level: {level}"))),
            _ => Ok(meta),
        }
    }

    /// Whether the client takes a task in place of a result.
    fn takes_tasks(&self) -> bool {
        let capabilities: Value = serde_json::from_str(self.capabilities.get()).unwrap_or_default();
        capabilities["extensions"][TASKS].is_object()
    }
}

/// Legacy clients show nothing but the message, so it names the remedy.
fn unsupported(requested: &str) -> Fault {
    let message = format!("Unsupported protocol version {requested}: this server speaks {REVISION} only");
    Fault::new(-32022, message).with(&json!({ "supported": [REVISION], "requested": requested }))
}

fn missing(capabilities: &Value) -> Fault {
    Fault::new(-32021, format!("Missing required client capability: {capabilities}"))
        .with(&json!({ "requiredCapabilities": capabilities }))
}

impl Peer for Server {
    async fn take(self: Rc<Self>, message: Incoming) -> io::Result<()> {
        match message {
            Incoming::Request { id, method, params } => self.request(id, &method, params).await?,
            Incoming::Notification { method, params } if method == "notifications/cancelled" => self.cancel(&params),
            // This revision knows no other notification of a client, and no request that it could answer.
            Incoming::Notification { .. } | Incoming::Answer { .. } => {}
        }
        Ok(())
    }
}

impl Server {
    fn new(out: Out, options: Options) -> Server {
        let world = World::new(options);
        let seal = Seal::new(&mut world.chance.borrow_mut());
        Server { world, seal, out, running: Running::default(), listeners: Listeners::default() }
    }

    async fn request(self: Rc<Self>, id: Raw, method: &str, params: Option<Raw>) -> io::Result<()> {
        let outcome = match (method, Meta::read(&params)) {
            ("initialize", _) => self.refuse_initialize(&params),
            (_, Err(fault)) => Err(fault),
            ("tools/call", Ok(meta)) => match ToolCall::read(Rc::clone(&self), meta, &params) {
                Ok((tool, call)) => return call.start(id, tool).await,
                Err(fault) => Err(fault),
            },
            ("subscriptions/listen", Ok(meta)) => match self.listeners.open(&self.out, &id, &meta, &params).await {
                Ok(()) => return Ok(()),
                Err(fault) => Err(fault),
            },
            (_, Ok(_)) => self.answer(method, &params).await,
        };
        self.out.answer(&id, &outcome).await;
        Ok(())
    }

    fn refuse_initialize(&self, params: &Option<Raw>) -> Outcome {
        self.world.initializes.set(self.world.initializes.get() + 1);
        let params: Value = parse(params)?;
        Err(unsupported(params["protocolVersion"].as_str().unwrap_or("unknown")))
    }

    /// The requests that are answered at once.
    async fn answer(&self, method: &str, params: &Option<Raw>) -> Outcome {
        if let Some(list) = content::list(&self.world, method, params, REVISION) {
            return self.cacheable(list?, self.world.options.ttl.as_millis());
        }
        match method {
            "server/discover" => self.discover(),
            // Not for a cache: `touch` changes a note without a word to those who do not listen.
            "resources/read" => self.cacheable(content::read(&self.world, &known_uri(params)?), 0),
            "prompts/get" => self.complete(content::prompt(&self.world, params)?),
            "completion/complete" => self.complete(content::complete(params)?),
            "tasks/get" => self.complete(self.world.task(params)?.modern()),
            "tasks/update" => {
                // None of its tasks asks: there is nothing to fill in.
                self.world.task(params)?;
                self.complete(json!({}))
            }
            "tasks/cancel" => {
                let task = self.world.task(params)?;
                if task.cancel(&self.world) {
                    self.listeners.task_changed(&self.out, &task).await;
                }
                self.complete(json!({}))
            }
            _ => Err(Fault::method(method)),
        }
    }

    fn discover(&self) -> Outcome {
        let capabilities = json!({
            "tools": { "listChanged": true },
            "resources": { "subscribe": true, "listChanged": true },
            "prompts": { "listChanged": true },
            "completions": {},
            "logging": {},
            "extensions": { TASKS: {} },
        });
        let result = json!({
            "supportedVersions": [REVISION],
            "capabilities": capabilities,
            "instructions": content::INSTRUCTIONS,
        });
        self.cacheable(result, self.world.options.ttl.as_millis())
    }

    fn cacheable(&self, mut result: Value, ttl_ms: u128) -> Outcome {
        result["ttlMs"] = json!(u64::try_from(ttl_ms).unwrap_or(u64::MAX));
        result["cacheScope"] = json!(if ttl_ms == 0 { "private" } else { "public" });
        self.complete(result)
    }

    fn complete(&self, mut result: Value) -> Outcome {
        result["resultType"] = json!("complete");
        result["_meta"] = self.signature();
        raw(&result)
    }

    /// The `_meta` of every result.
    fn signature(&self) -> Value {
        json!({ "io.modelcontextprotocol/serverInfo": content::identity() })
    }

    fn cancel(&self, params: &Option<Raw>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled {
            request_id: Raw,
        }
        if let Ok(Cancelled { request_id }) = parse(params) {
            self.running.cancel(&request_id);
            self.listeners.close(&request_id);
        }
    }
}

fn known_uri(params: &Option<Raw>) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct Named {
        uri: String,
    }
    let Named { uri } = parse(params)?;
    if content::exists(&uri) {
        return Ok(uri);
    }
    Err(Fault::params("Resource not found").with(&json!({ "uri": uri })))
}
