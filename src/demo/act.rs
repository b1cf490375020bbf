//! What the tools do, once for both eras: [`run`] is called for every `tools/call`. How a call progresses, logs and
//! asks differs by era, and stands behind [`Call`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::World;
use super::ask::{Ask, Kind};
use super::line::{Fault, Outcome, Raw, raw, text};

/// The log levels, least urgent first.
pub const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The place of a level among [`LEVELS`].
pub fn level(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| *level == name)
}

/// One `tools/call` on its way.
pub trait Call {
    fn world(&self) -> &World;
    /// What the server knows of its client, and of itself.
    fn whoami(&self) -> Outcome;
    /// Whether the client's revision has structured content.
    fn structured(&self) -> bool;
    /// Says that step `step` of `of` begins, if the client wants to know.
    async fn progress(&self, step: u64, of: u64);
    /// Emits a log line, if the client wants that level.
    async fn log(&self, level: usize, data: Value);
    /// Asks all of it at once and gives the answers in the order of the asks.
    async fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Raw>, Stop>;
    /// Tells who wants to know that the lists have changed.
    async fn lists_changed(&self);
    /// Tells who wants to know that a resource has changed.
    async fn updated(&self, uri: &str);
}

/// What `whoami` tells.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI<'a> {
    pub era: &'static str,
    pub instance: &'a str,
    pub initializes: u64,
    pub protocol_version: &'a str,
    pub capabilities: &'a Raw,
    pub client_info: &'a Option<Raw>,
    pub roots: &'a Option<Raw>,
}

/// Why a tool ends without a result of its own.
pub enum Stop {
    /// With an error result, which a model can read.
    Failed(String),
    /// With a JSON-RPC error.
    Fault(Fault),
    /// With a result that the era has made.
    Ended(Raw),
    /// The whole server ends, at once.
    Die,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// A tool's result, as all revisions know it; the modern one adds its own fields.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_type: Option<&'static str>,
    content: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Raw>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

impl ToolResult {
    fn text(text: impl Into<String>) -> ToolResult {
        ToolResult { content: vec![json!({ "type": "text", "text": text.into() })], ..ToolResult::default() }
    }

    pub fn failed(text: impl Into<String>) -> ToolResult {
        ToolResult { is_error: true, ..ToolResult::text(text) }
    }

    fn structured(self, call: &impl Call, content: Raw) -> ToolResult {
        ToolResult { structured_content: call.structured().then_some(content), ..self }
    }
}

/// Runs a tool. Its name has been checked against the list.
pub async fn run(name: &str, arguments: &Option<Raw>, call: &impl Call) -> Result<ToolResult, Stop> {
    match name {
        "echo" => echo(arguments, call),
        "add" => add(take(arguments)?, call),
        "whoami" => Ok(ToolResult::text(call.whoami()?.get())),
        "slow" => slow(take(arguments)?, call).await,
        "log" => log(take(arguments)?, call).await,
        "ask_sampling" => {
            let Prompt { prompt } = take(arguments)?;
            ask_one(Ask::Sampling { prompt }, call).await
        }
        "ask_elicit" => {
            let Message { message } = take(arguments)?;
            ask_one(Ask::Elicit { message }, call).await
        }
        "ask_url" => ask_one(Ask::Url { message: "Please confirm on this page".to_owned() }, call).await,
        "ask_roots" => ask_one(Ask::Roots, call).await,
        "ask_ping" => ask_one(Ask::Ping, call).await,
        "ask_two" => ask_two(take(arguments)?, call).await,
        "ask_rounds" => ask_rounds(take(arguments)?, call).await,
        "image" => {
            let content = vec![json!({ "type": "image", "data": PIXEL, "mimeType": "image/png" })];
            Ok(ToolResult { content, ..ToolResult::default() })
        }
        "fail" => Err(Stop::Failed(take::<Failure>(arguments)?.message)),
        "error" => Err(Stop::Fault(take(arguments)?)),
        "change_lists" => {
            let extra = !call.world().extra.get();
            call.world().extra.set(extra);
            call.lists_changed().await;
            Ok(ToolResult::text(if extra { "added" } else { "removed" }))
        }
        "touch" => {
            let Touch { uri } = take(arguments)?;
            call.world().touch(&uri);
            call.updated(&uri).await;
            Ok(ToolResult::text(format!("touched {uri}")))
        }
        "extra" => Ok(ToolResult::text("extra")),
        "forget" => std::future::pending().await,
        "die" => Err(Stop::Die),
        name => Err(Stop::Fault(Fault::params(format!("Unknown tool: {name}")))),
    }
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Touch {
    uri: String,
}

/// Reads a tool's arguments; what is wrong with them a model should know.
fn take<'a, T: Deserialize<'a>>(arguments: &'a Option<Raw>) -> Result<T, Stop> {
    serde_json::from_str(text(arguments)).map_err(|error| Stop::Failed(format!("Wrong arguments: {error}")))
}

fn echo(arguments: &Option<Raw>, call: &impl Call) -> Result<ToolResult, Stop> {
    let content = match arguments {
        Some(arguments) => arguments.clone(),
        None => raw(&json!({}))?,
    };
    Ok(ToolResult::text(text(arguments)).structured(call, content))
}

#[derive(Deserialize)]
struct Add {
    a: serde_json::Number,
    b: serde_json::Number,
}

fn add(Add { a, b }: Add, call: &impl Call) -> Result<ToolResult, Stop> {
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b));
    let sum = match whole {
        Some(sum) => json!(sum),
        None => json!(a.as_f64().unwrap_or(f64::NAN) + b.as_f64().unwrap_or(f64::NAN)),
    };
    if sum.is_null() {
        return Err(Stop::Failed("The sum is no number".to_owned()));
    }
    Ok(ToolResult::text(sum.to_string()).structured(call, raw(&json!({ "sum": sum }))?))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
    #[serde(default = "one")]
    steps: u64,
}

fn one() -> u64 {
    1
}

/// Progress is told as a step begins, so that the last of it does not come in one breath with the answer.
async fn slow(Slow { ms, steps }: Slow, call: &impl Call) -> Result<ToolResult, Stop> {
    let steps = steps.clamp(1, 10_000);
    for step in 1..=steps {
        call.progress(step, steps).await;
        let part = ms.saturating_mul(step) / steps - ms.saturating_mul(step - 1) / steps;
        sleep(Duration::from_millis(part)).await;
    }
    Ok(ToolResult::text(format!("slept {ms} ms in {steps} steps")))
}

#[derive(Deserialize)]
struct Log {
    level: String,
    #[serde(default = "one")]
    count: u64,
}

async fn log(Log { level: name, count }: Log, call: &impl Call) -> Result<ToolResult, Stop> {
    let level = level(&name).ok_or_else(|| Stop::Failed(format!("Unknown level: {name}")))?;
    for line in 1..=count {
        call.log(level, json!({ "line": line, "of": count })).await;
    }
    Ok(ToolResult::text(format!("logged {count} lines at {name}")))
}

async fn ask_one(ask: Ask, call: &impl Call) -> Result<ToolResult, Stop> {
    let answers = call.ask(vec![ask]).await?;
    Ok(ToolResult::text(answers.first().map_or("", |answer| answer.get())))
}

#[derive(Deserialize)]
struct Two {
    #[serde(default = "sampling_and_elicit")]
    kinds: [Kind; 2],
}

fn sampling_and_elicit() -> [Kind; 2] {
    [Kind::Sampling, Kind::Elicit]
}

async fn ask_two(Two { kinds: [first, second] }: Two, call: &impl Call) -> Result<ToolResult, Stop> {
    let asks = vec![first.ask("first of two".to_owned()), second.ask("second of two".to_owned())];
    Ok(ToolResult::text(raw(&call.ask(asks).await?)?.get()))
}

#[derive(Deserialize)]
struct Rounds {
    n: u64,
    #[serde(default = "elicit")]
    kind: Kind,
}

fn elicit() -> Kind {
    Kind::Elicit
}

async fn ask_rounds(Rounds { n, kind }: Rounds, call: &impl Call) -> Result<ToolResult, Stop> {
    let mut answers = Vec::new();
    for round in 1..=n {
        answers.extend(call.ask(vec![kind.ask(format!("round {round} of {n}"))]).await?);
    }
    Ok(ToolResult::text(raw(&answers)?.get()))
}
