//! A `tools/call` of the modern server. What it asks travels in an `InputRequiredResult` (basic/patterns/mrtr): the
//! retry runs the tool again from its start, and an ask that has been answered returns at once.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::spawn_local;

use super::super::World;
use super::super::act::{self, Call, LEVELS, Stop, ToolResult};
use super::super::ask::Ask;
use super::super::line::{Fault, Outcome, Raw, parse, raw, text};
use super::super::seal::Answers;
use super::super::tasks::Task;
use super::super::tools::{self, Tool};
use super::{Meta, REVISION, Server, missing};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    name: String,
    arguments: Option<Raw>,
    #[serde(default)]
    input_responses: Answers,
    request_state: Option<String>,
}

pub struct ToolCall {
    server: Rc<Server>,
    meta: Meta,
    name: String,
    arguments: Option<Raw>,
    /// What has been answered so far, in this round and those before.
    answers: Answers,
    /// The number of the tool's next ask.
    next: Cell<u64>,
    task: bool,
}

impl ToolCall {
    /// The call that `params` make and the tool that they name.
    pub fn read(server: Rc<Server>, meta: Meta, params: &Option<Raw>) -> Result<(Tool, ToolCall), Fault> {
        let Params { name, arguments, input_responses, request_state } = parse(params)?;
        let found = tools::all(REVISION, server.world.extra.get()).find(|tool| tool.name == name);
        let tool = found.ok_or_else(|| Fault::params(format!("Unknown tool: {name}")))?;
        let answers = match request_state {
            // Without a state the call is new, and answers to it belong to nothing.
            None => Answers::new(),
            Some(state) => {
                let mut answers = server.seal.open(&purpose(&name, &arguments), &state)?;
                answers.extend(input_responses);
                answers
            }
        };
        Ok((tool, ToolCall { server, meta, name, arguments, answers, next: Cell::new(0), task: false }))
    }

    pub async fn start(mut self, id: Raw, tool: Tool) -> io::Result<()> {
        #[derive(Deserialize)]
        struct Wish {
            #[serde(default)]
            task: bool,
        }
        let server = Rc::clone(&self.server);
        // The extension leaves it to the server what becomes a task. This one does as the call says.
        let wish = tool.task && parse::<Wish>(&self.arguments).is_ok_and(|wish| wish.task);
        if wish && self.meta.takes_tasks() {
            self.task = true;
            let task = server.world.begin_task(None);
            server.out.answer(&id, &self.created(&task)).await;
            task.works(spawn_local(self.run_task(Rc::clone(&task))).abort_handle());
            return Ok(());
        }
        if tool.waits {
            let key = id.clone();
            server.running.spawn(&key, async move {
                // No tool that waits ends the server.
                if let Ok(outcome) = self.run().await {
                    self.server.out.answer(&id, &outcome).await;
                }
            });
            return Ok(());
        }
        let outcome = self.run().await?;
        server.out.answer(&id, &outcome).await;
        Ok(())
    }

    fn created(&self, task: &Task) -> Outcome {
        let mut result = task.modern();
        result["resultType"] = json!("task");
        result["_meta"] = self.server.signature();
        raw(&result)
    }

    async fn run_task(self, task: Rc<Task>) {
        let Ok(outcome) = self.run().await else { return };
        task.finish(&self.server.world, if outcome.is_ok() { "completed" } else { "failed" }, Some(outcome));
        self.server.listeners.task_changed(&self.server.out, &task).await;
    }

    /// What the call ends with. The error is the end of the server.
    async fn run(&self) -> io::Result<Outcome> {
        let mut result = match act::run(&self.name, &self.arguments, self).await {
            Ok(result) => result,
            Err(Stop::Failed(text)) => ToolResult::failed(text),
            Err(Stop::Fault(fault)) => return Ok(Err(fault)),
            Err(Stop::Ended(result)) => return Ok(Ok(result)),
            Err(Stop::Die) => return Err(io::Error::other("the tool `die` was called")),
        };
        result.result_type = Some("complete");
        result.meta = Some(self.server.signature());
        Ok(raw(&result))
    }

    /// The result that asks for what is not yet answered.
    fn input_required(&self, asks: Map<String, Value>) -> Outcome {
        raw(&json!({
            "resultType": "input_required",
            "inputRequests": asks,
            "requestState": self.server.seal.close(&purpose(&self.name, &self.arguments), &self.answers),
            "_meta": self.server.signature(),
        }))
    }
}

/// What a `requestState` is good for: this tool with these arguments.
fn purpose(name: &str, arguments: &Option<Raw>) -> String {
    format!("{name} {}", text(arguments))
}

fn request(ask: &Ask) -> Value {
    match ask.params(REVISION, None) {
        Some(params) => json!({ "method": ask.method(), "params": params }),
        None => json!({ "method": ask.method() }),
    }
}

impl Call for ToolCall {
    fn world(&self) -> &World {
        &self.server.world
    }

    fn whoami(&self) -> Outcome {
        raw(&act::WhoAmI {
            era: "modern",
            instance: &self.server.world.options.name,
            initializes: self.server.world.initializes.get(),
            protocol_version: &self.meta.revision,
            capabilities: &self.meta.capabilities,
            client_info: &self.meta.info,
            roots: &None,
        })
    }

    fn structured(&self) -> bool {
        true
    }

    async fn progress(&self, step: u64, of: u64) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress<'a> {
            progress_token: &'a Raw,
            progress: u64,
            total: u64,
            message: String,
        }
        // A task has no progress notifications (tasks extension, "Task Status Notifications").
        if let Some(progress_token) = self.meta.token.as_ref().filter(|_| !self.task) {
            let message = format!("step {step} of {of}");
            let params = Progress { progress_token, progress: step, total: of, message };
            self.server.out.notify("notifications/progress", Some(params)).await;
        }
    }

    async fn log(&self, level: usize, data: Value) {
        let wanted = self.meta.log_level.as_deref().and_then(act::level);
        if wanted.is_some_and(|wanted| level >= wanted) {
            let params = json!({ "level": LEVELS[level], "logger": "demo", "data": data });
            self.server.out.notify("notifications/message", Some(params)).await;
        }
    }

    async fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Raw>, Stop> {
        let mut given = Vec::new();
        let mut open = Map::new();
        for ask in &asks {
            if !ask.fits(&self.meta.capabilities) {
                return Err(Stop::Fault(missing(&ask.needs())));
            }
            let key = format!("ask-{}", self.next.replace(self.next.get() + 1));
            match self.answers.get(&key) {
                Some(answer) => given.push(answer.clone()),
                None => drop(open.insert(key, request(ask))),
            }
        }
        if open.is_empty() { Ok(given) } else { Err(Stop::Ended(self.input_required(open)?)) }
    }

    async fn lists_changed(&self) {
        self.server.listeners.lists_changed(&self.server.out).await;
    }

    async fn updated(&self, uri: &str) {
        self.server.listeners.updated(&self.server.out, uri).await;
    }
}
