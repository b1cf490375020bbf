//! A `tools/call` of the legacy server: at once, beside others, or as a task.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::super::World;
use super::super::act::{self, Call, LEVELS, Stop, ToolResult};
use super::super::ask::Ask;
use super::super::line::{Fault, Outcome, Raw, parse, raw};
use super::super::tasks::Task;
use super::super::tools::Tool;
use super::{Client, Session, find};

/// How long after the user's consent the page of a URL elicitation is done.
const PAGE_VISIT: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
pub struct Params {
    name: String,
    arguments: Option<Raw>,
    task: Option<TaskParams>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Deserialize)]
struct TaskParams {
    ttl: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(rename = "progressToken")]
    token: Option<Raw>,
}

impl Params {
    /// The params of a `tools/call` and the tool that they name.
    pub fn read(params: &Option<Raw>, world: &World, revision: &str) -> Result<(Tool, Params), Fault> {
        let mut params: Params = parse(params)?;
        let tool = find(world, &params.name, revision)?;
        if revision < "2025-11-25" {
            params.task = None;
        }
        if params.task.is_some() && !tool.task {
            return Err(Fault::new(-32601, format!("The tool {} does not run as a task", tool.name)));
        }
        Ok((tool, params))
    }
}

/// One call; of a task, `task` is its id.
pub struct ToolCall {
    session: Rc<Session>,
    client: Rc<Client>,
    params: Params,
    task: Option<String>,
}

impl ToolCall {
    pub fn new(session: Rc<Session>, client: Rc<Client>, params: Params) -> ToolCall {
        ToolCall { session, client, params, task: None }
    }

    pub async fn start(mut self, id: Raw, tool: Tool) -> io::Result<()> {
        let session = Rc::clone(&self.session);
        if let Some(TaskParams { ttl }) = self.params.task {
            let task = session.world.begin_task(ttl);
            self.task = Some(task.id.clone());
            session.out.answer(&id, &raw(&json!({ "task": task.legacy() }))).await;
            task.works(spawn_local(self.run_task(Rc::clone(&task))).abort_handle());
            return Ok(());
        }
        if tool.waits {
            let key = id.clone();
            session.running.spawn(&key, async move {
                // No tool that waits ends the server.
                if let Ok((outcome, _)) = self.run().await {
                    self.session.out.answer(&id, &outcome).await;
                }
            });
            return Ok(());
        }
        let (outcome, _) = self.run().await?;
        session.out.answer(&id, &outcome).await;
        Ok(())
    }

    async fn run_task(self, task: Rc<Task>) {
        let Ok((outcome, failed)) = self.run().await else { return };
        task.finish(&self.session.world, if failed { "failed" } else { "completed" }, Some(outcome));
        self.session.out.notify("notifications/tasks/status", Some(task.legacy())).await;
    }

    /// What the call ends with, and whether that is a failure. The error is the end of the server.
    async fn run(&self) -> io::Result<(Outcome, bool)> {
        let mut result = match act::run(&self.params.name, &self.params.arguments, self).await {
            Ok(result) => result,
            Err(Stop::Failed(text)) => ToolResult::failed(text),
            Err(Stop::Fault(fault)) => return Ok((Err(fault), true)),
            Err(Stop::Ended(result)) => return Ok((Ok(result), false)),
            Err(Stop::Die) => return Err(io::Error::other("the tool `die` was called")),
        };
        result.meta = self.related();
        Ok((raw(&result), result.is_error))
    }

    /// The `_meta` of everything that a task says.
    fn related(&self) -> Option<Value> {
        let id = self.task.as_ref()?;
        Some(json!({ "io.modelcontextprotocol/related-task": { "taskId": id } }))
    }

    /// The params of an ask, with the id of a URL elicitation.
    fn ask_params(&self, ask: &Ask) -> (Option<Value>, Option<String>) {
        let elicitation = matches!(ask, Ask::Url { .. }).then(|| self.session.world.fresh_id());
        (ask.params(self.client.revision, elicitation.as_deref()), elicitation)
    }

    fn can_be_asked(&self, ask: &Ask) -> bool {
        let since = match ask {
            Ask::Elicit { .. } => "2025-06-18",
            Ask::Url { .. } => "2025-11-25",
            Ask::Sampling { .. } | Ask::Roots | Ask::Ping => "2024-11-05",
        };
        self.client.revision >= since && ask.fits(&self.client.capabilities)
    }

    /// Later, when the user has done what the page wanted.
    fn complete(&self, elicitation: String) {
        let out = self.session.out.clone();
        spawn_local(async move {
            sleep(PAGE_VISIT).await;
            out.notify("notifications/elicitation/complete", Some(json!({ "elicitationId": elicitation }))).await;
        });
    }
}

impl Call for ToolCall {
    fn world(&self) -> &World {
        &self.session.world
    }

    fn whoami(&self) -> Outcome {
        let world = &self.session.world;
        raw(&act::WhoAmI {
            era: "legacy",
            instance: &world.options.name,
            initializes: world.initializes.get(),
            protocol_version: self.client.revision,
            capabilities: &self.client.capabilities,
            client_info: &self.client.info,
            roots: &self.session.roots.borrow(),
        })
    }

    fn structured(&self) -> bool {
        self.client.revision >= "2025-06-18"
    }

    async fn progress(&self, step: u64, of: u64) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress<'a> {
            progress_token: &'a Raw,
            progress: u64,
            total: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<String>,
            #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
            meta: Option<Value>,
        }
        let Some(progress_token) = &self.params.meta.token else { return };
        let message = (self.client.revision >= "2025-03-26").then(|| format!("step {step} of {of}"));
        let params = Progress { progress_token, progress: step, total: of, message, meta: self.related() };
        self.session.out.notify("notifications/progress", Some(params)).await;
    }

    async fn log(&self, level: usize, data: Value) {
        if level >= self.session.level.get() {
            let params = json!({ "level": LEVELS[level], "logger": "demo", "data": data });
            self.session.out.notify("notifications/message", Some(params)).await;
        }
    }

    async fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Raw>, Stop> {
        if let Some(ask) = asks.iter().find(|ask| !self.can_be_asked(ask)) {
            return Err(Stop::Failed(format!("The client cannot be asked for {}", ask.method())));
        }
        let Session { asks: table, out, .. } = &*self.session;
        let mut asked = Vec::new();
        for ask in &asks {
            let (params, elicitation) = self.ask_params(ask);
            asked.push((table.send(out, ask.method(), params).await, elicitation));
        }
        let mut answers = Vec::new();
        for (ask, (waiting, elicitation)) in asks.iter().zip(asked) {
            let refused = |error: Raw| Stop::Failed(format!("{} failed: {}", ask.method(), error.get()));
            let answer = waiting.wait().await.map_err(refused)?;
            let consent = serde_json::from_str(answer.get()).is_ok_and(|answer: Value| answer["action"] == "accept");
            if let Some(elicitation) = elicitation.filter(|_| consent) {
                self.complete(elicitation);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn lists_changed(&self) {
        for kind in ["tools", "prompts", "resources"] {
            self.session.out.notify(&format!("notifications/{kind}/list_changed"), None::<()>).await;
        }
    }

    async fn updated(&self, uri: &str) {
        if self.session.subscriptions.borrow().contains(uri) {
            self.session.out.notify("notifications/resources/updated", Some(json!({ "uri": uri }))).await;
        }
    }
}
