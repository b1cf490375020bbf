//! Called by `demo`: callers that work through mcpool all at once, each of which knows what its answers must be.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::place::Place;
use crate::cli::client::{Client, Failure};
use crate::era::Era;

/// Callers of each era.
pub const OF_EACH: usize = 16;
/// Quick calls of a caller before it makes a slow one.
const QUICK: u64 = 40;

/// What the callers found.
#[derive(Default)]
pub struct Tally {
    pub calls: u64,
    pub right: u64,
    /// How long each quick call took.
    pub latencies: Vec<Duration>,
    /// What was wrong first, in words.
    pub first_wrong: Option<String>,
}

impl Tally {
    fn count(&mut self, caller: &str, answer: Result<(), String>) {
        self.calls += 1;
        match answer {
            Ok(()) => self.right += 1,
            Err(why) => drop(self.first_wrong.get_or_insert(format!("{caller}: {why}"))),
        }
    }
}

/// Lets the callers of both eras work until `end`, and counts into `tally`.
pub async fn work(place: &Place, end: Instant, tally: &Rc<RefCell<Tally>>) -> Result<(), String> {
    let mut callers = JoinSet::new();
    for era in [Era::Legacy, Era::Modern] {
        for number in 1..=OF_EACH {
            let stream = place.connect(era).await.map_err(|error| format!("cannot connect: {error}"))?;
            callers.spawn_local(caller(stream, era, format!("{}-caller-{number}", era.as_str()), end, tally.clone()));
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.map_err(|error| format!("a caller panicked: {error}"))?;
    }
    Ok(())
}

async fn caller(stream: UnixStream, era: Era, name: String, end: Instant, tally: Rc<RefCell<Tally>>) {
    let (reader, writer) = stream.into_split();
    let mut worker = match Client::open(reader, writer, era, &name).await {
        Ok(client) => Worker { client, era, name },
        Err(failure) => return tally.borrow_mut().count(&name, Err(failure.to_string())),
    };
    let listed = worker.list().await;
    tally.borrow_mut().count(&worker.name, listed);
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let began = Instant::now();
        let answer = match number % QUICK {
            0 => worker.slow().await,
            1 => worker.whoami().await,
            n if n % 4 == 0 => worker.add(number).await,
            _ => worker.echo(number).await,
        };
        let mut tally = tally.borrow_mut();
        if number % QUICK != 0 {
            tally.latencies.push(began.elapsed());
        }
        tally.count(&worker.name, answer);
    }
}

struct Worker<R, W> {
    client: Client<R, W>,
    era: Era,
    name: String,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Worker<R, W> {
    async fn list(&mut self) -> Result<(), String> {
        let tools = self.client.list("tools/list", "tools").await.map_err(|failure| failure.to_string())?;
        let has = |name| tools.iter().any(|tool| tool["name"] == name);
        right(["echo", "add", "slow", "whoami"].into_iter().all(has), || "a tool is missing from the list".into())
    }

    /// Nobody else has this payload.
    async fn echo(&mut self, number: u64) -> Result<(), String> {
        let mine = json!({ "from": self.name, "number": number, "text": "\"quoted\" \\ and ünïcode" });
        let result = self.call("echo", &mine).await?;
        right(result["structuredContent"] == mine, || format!("sent {mine}, got {result}"))
    }

    async fn add(&mut self, number: u64) -> Result<(), String> {
        let result = self.call("add", &json!({ "a": number, "b": 1_000_000 })).await?;
        right(result["structuredContent"]["sum"] == number + 1_000_000, || format!("a wrong sum: {result}"))
    }

    /// The server was opened once, however many callers it has. A modern one is told with each request who calls.
    async fn whoami(&mut self) -> Result<(), String> {
        let result = self.call("whoami", &json!({})).await?;
        let told: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().unwrap_or_default()).unwrap_or_default();
        let fits = match self.era {
            Era::Legacy => told["initializes"] == 1,
            Era::Modern => told["clientInfo"]["name"] == self.name.as_str(),
        };
        right(told["era"] == self.era.as_str() && fits, || format!("the server believes: {told}"))
    }

    /// Every step is told, in order, to the caller whose call it is.
    async fn slow(&mut self) -> Result<(), String> {
        let mut steps = Vec::new();
        let params = json!({ "name": "slow", "arguments": { "ms": 60, "steps": 3 } });
        let result = self.client.request("tools/call", &params, |progress| steps.push(progress.progress)).await;
        parsed(result)?;
        right(steps == [1.0, 2.0, 3.0], || format!("told the steps {steps:?} of 3"))
    }

    async fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, String> {
        let params = json!({ "name": tool, "arguments": arguments });
        parsed(self.client.request("tools/call", &params, |_| {}).await)
    }
}

fn parsed(answer: Result<Box<RawValue>, Failure>) -> Result<Value, String> {
    let result = answer.map_err(|failure| failure.to_string())?;
    serde_json::from_str(result.get()).map_err(|error| error.to_string())
}

fn right(is: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(why()) }
}
