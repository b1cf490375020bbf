//! The legacy demo server: revisions 2024-11-05 to 2025-11-25, one client from `initialize` on.

mod asks;
mod call;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use self::asks::Asks;
use self::call::{Params, ToolCall};
use super::act;
use super::ask::Ask;
use super::line::{self, Fault, Incoming, Out, Outcome, Peer, Raw, Running, parse, raw};
use super::{Options, World, content, tools};

/// The revisions that it speaks; the last one is offered to a client that asks for another.
pub const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Serves one client until `reader` ends.
///
/// # Errors
/// When a stream fails, or when the tool `die` is called.
pub async fn serve<R, W>(reader: R, writer: W, options: Options) -> io::Result<()>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    line::drive(reader, writer, |out| Session::new(out, options)).await
}

/// Who the client said it is.
struct Client {
    revision: &'static str,
    capabilities: Raw,
    info: Option<Raw>,
}

struct Session {
    world: World,
    out: Out,
    client: RefCell<Option<Rc<Client>>>,
    /// Index of the lowest level that the client wants in its log: `info` until it says otherwise.
    level: Cell<usize>,
    running: Running,
    asks: Asks,
    subscriptions: RefCell<BTreeSet<String>>,
    /// The answer to the `roots/list` that follows `initialized`.
    roots: RefCell<Option<Raw>>,
}

impl Peer for Session {
    async fn take(self: Rc<Self>, message: Incoming) -> io::Result<()> {
        match message {
            Incoming::Request { id, method, params } => self.request(id, &method, params).await?,
            Incoming::Notification { method, params } => self.notification(&method, &params),
            Incoming::Answer { id, outcome } => self.asks.answer(&id, outcome),
        }
        Ok(())
    }
}

impl Session {
    fn new(out: Out, options: Options) -> Session {
        Session {
            world: World::new(options),
            out,
            client: RefCell::default(),
            level: Cell::new(1),
            running: Running::default(),
            asks: Asks::default(),
            subscriptions: RefCell::default(),
            roots: RefCell::default(),
        }
    }

    async fn request(self: Rc<Self>, id: Raw, method: &str, params: Option<Raw>) -> io::Result<()> {
        let client = self.client.borrow().clone();
        let outcome = match (method, client) {
            ("initialize", _) => self.initialize(&params),
            ("server/discover", _) => Err(Fault::method(method)),
            ("ping", _) => raw(&json!({})),
            (_, None) => Err(Fault::new(-32600, format!("{method} before initialize"))),
            ("tools/call", Some(client)) => match Params::read(&params, &self.world, client.revision) {
                Ok((tool, params)) => return ToolCall::new(self, client, params).start(id, tool).await,
                Err(fault) => Err(fault),
            },
            ("tasks/result", Some(client)) if client.revision == "2025-11-25" => match self.world.task(&params) {
                Ok(task) => {
                    let session = Rc::clone(&self);
                    let asked = id.clone();
                    self.running.spawn(&id, async move { session.out.answer(&asked, &task.outcome().await).await });
                    return Ok(());
                }
                Err(fault) => Err(fault),
            },
            (_, Some(client)) => self.answer(&client, method, &params).await,
        };
        self.out.answer(&id, &outcome).await;
        Ok(())
    }

    fn initialize(&self, params: &Option<Raw>) -> Outcome {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Initialize {
            protocol_version: String,
            capabilities: Raw,
            client_info: Option<Raw>,
        }
        self.world.initializes.set(self.world.initializes.get() + 1);
        let Initialize { protocol_version, capabilities, client_info: info } = parse(params)?;
        let known = REVISIONS.into_iter().find(|revision| *revision == protocol_version);
        let revision = known.unwrap_or(REVISIONS[3]);
        self.client.replace(Some(Rc::new(Client { revision, capabilities, info })));
        raw(&json!({
            "protocolVersion": revision,
            "capabilities": capabilities_of(revision),
            "serverInfo": content::identity(),
            "instructions": content::INSTRUCTIONS,
        }))
    }

    /// The requests that are answered at once.
    async fn answer(&self, client: &Client, method: &str, params: &Option<Raw>) -> Outcome {
        if let Some(list) = content::list(&self.world, method, params, client.revision) {
            return raw(&list?);
        }
        match method {
            "resources/read" => raw(&content::read(&self.world, &known_uri(params)?)),
            "resources/subscribe" => {
                self.subscriptions.borrow_mut().insert(known_uri(params)?);
                raw(&json!({}))
            }
            "resources/unsubscribe" => {
                self.subscriptions.borrow_mut().remove(&known_uri(params)?);
                raw(&json!({}))
            }
            "prompts/get" => raw(&content::prompt(&self.world, params)?),
            "completion/complete" => raw(&content::complete(params)?),
            "logging/setLevel" => self.set_level(params),
            _ if method.starts_with("tasks/") && client.revision == "2025-11-25" => self.tasks(method, params).await,
            _ => Err(Fault::method(method)),
        }
    }

    fn set_level(&self, params: &Option<Raw>) -> Outcome {
        let params: Value = parse(params)?;
        let level = params["level"].as_str().and_then(act::level);
        self.level.set(level.ok_or_else(|| Fault::params(format!("Unknown level: {}", params["level"])))?);
        raw(&json!({}))
    }

    async fn tasks(&self, method: &str, params: &Option<Raw>) -> Outcome {
        match method {
            "tasks/get" => raw(&self.world.task(params)?.legacy()),
            "tasks/list" => {
                let tasks = self.world.live_tasks().iter().map(|task| task.legacy()).collect();
                raw(&content::page(self.world.options.page, "tasks", tasks, params)?)
            }
            "tasks/cancel" => {
                let task = self.world.task(params)?;
                if !task.cancel(&self.world) {
                    return Err(Fault::params(format!("Task {} has ended: {}", task.id, task.status())));
                }
                self.out.notify("notifications/tasks/status", Some(task.legacy())).await;
                raw(&task.legacy())
            }
            _ => Err(Fault::method(method)),
        }
    }

    fn notification(self: Rc<Self>, method: &str, params: &Option<Raw>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled {
            request_id: Raw,
        }
        match method {
            "notifications/cancelled" => {
                if let Ok(Cancelled { request_id }) = parse(params) {
                    self.running.cancel(&request_id);
                }
            }
            "notifications/initialized" | "notifications/roots/list_changed" if self.world.options.ask_roots => {
                spawn_local(self.learn_roots());
            }
            _ => {}
        }
    }

    async fn learn_roots(self: Rc<Self>) {
        let client = self.client.borrow().clone();
        if client.is_some_and(|client| Ask::Roots.fits(&client.capabilities)) {
            let roots = self.asks.send(&self.out, Ask::Roots.method(), None).await.wait().await;
            self.roots.replace(roots.ok());
        }
    }
}

/// The URI that `params` name, if there is such a resource.
fn known_uri(params: &Option<Raw>) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct Named {
        uri: String,
    }
    let Named { uri } = parse(params)?;
    if content::exists(&uri) {
        return Ok(uri);
    }
    Err(Fault::new(-32002, "Resource not found").with(&json!({ "uri": uri })))
}

fn capabilities_of(revision: &str) -> Value {
    let mut capabilities = json!({
        "tools": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "prompts": { "listChanged": true },
        "logging": {},
    });
    if revision >= "2025-03-26" {
        capabilities["completions"] = json!({});
    }
    if revision >= "2025-11-25" {
        capabilities["tasks"] = json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
    }
    capabilities
}

/// The tool of that name that a client of that revision can see now.
fn find(world: &World, name: &str, revision: &str) -> Result<tools::Tool, Fault> {
    let found = tools::all(revision, world.extra.get()).find(|tool| tool.name == name);
    found.ok_or_else(|| Fault::params(format!("Unknown tool: {name}")))
}
