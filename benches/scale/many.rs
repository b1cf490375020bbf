//! What one message costs beside many of a thing that is not its own.
use std::pin::Pin;

use mcpool::config::LeaseChoice;
use serde_json::json;

use crate::caller::Caller;
use crate::meter::{Patience, message};
use crate::processes;
use crate::server::Traits;
use crate::stage::Stage;
use crate::{Effort, Result};

type Measure = Pin<Box<dyn Future<Output = Result<f64>>>>;
/// Sets up so many of a thing, and measures a message.
pub type Row = fn(usize, Effort) -> Measure;

pub const ROWS: [(&str, Row); 20] = [
    ("callers: a call of one of them", |n, effort| Box::pin(callers(n, effort, false))),
    ("callers: one more comes and goes", |n, effort| Box::pin(callers(n, effort, true))),
    ("calls in flight: a call at the same server", |n, effort| Box::pin(calls(n, effort, "here"))),
    ("calls in flight: a call at another server", |n, effort| Box::pin(calls(n, effort, "there"))),
    ("waiting calls: the next one has its turn", |n, effort| Box::pin(turns(n, effort))),
    ("waiting calls: a call at another server", |n, effort| Box::pin(waiting(n, effort))),
    ("tools: a call on the server's own endpoint", |n, effort| Box::pin(tools(n, effort, "here", "tool_"))),
    ("tools: a call on `all`", |n, effort| Box::pin(tools(n, effort, "all", "here__tool_"))),
    ("resources: one is read on `all`", |n, effort| Box::pin(resources(n, effort))),
    ("subscriptions: a call at the same server", |n, effort| Box::pin(subscriptions(n, effort, Beside::CallHere))),
    ("subscriptions: one resource is updated", |n, effort| Box::pin(subscriptions(n, effort, Beside::Update))),
    ("subscriptions: one more comes and goes", |n, effort| Box::pin(subscriptions(n, effort, Beside::Subscription))),
    ("subscriptions: a caller of another server comes and goes", |n, effort| {
        Box::pin(subscriptions(n, effort, Beside::Caller))
    }),
    ("tasks: one is asked about", |n, effort| Box::pin(tasks(n, effort, false))),
    ("tasks: a caller of another server comes and goes", |n, effort| Box::pin(tasks(n, effort, true))),
    ("streams: a call at the same server", |n, effort| Box::pin(streams(n, effort, false))),
    ("streams: one more is opened and closed", |n, effort| Box::pin(streams(n, effort, true))),
    ("instances: a call at the same server", |n, effort| Box::pin(instances(n, effort, "here"))),
    ("instances: a call at another server", |n, effort| Box::pin(instances(n, effort, "there"))),
    ("processes of the machine: `mcpool status`", |n, effort| Box::pin(processes::status(n, effort))),
];

/// Among so many callers the things are shared out, where they are not callers themselves.
const OWNERS: usize = 10;

async fn crowd(stage: &Stage, endpoint: &str, count: usize, patience: &Patience) -> Result<Vec<Caller>> {
    let mut crowd = Vec::with_capacity(count);
    for done in 0..count {
        patience.check(done)?;
        crowd.push(stage.caller(endpoint).await?);
    }
    Ok(crowd)
}

/// A caller that says hello and leaves, until nothing is left to be done about it.
async fn visit(stage: &Stage, endpoint: &str) -> Result {
    drop(stage.caller(endpoint).await?);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn callers(count: usize, effort: Effort, visits: bool) -> Result<f64> {
    let stage = Stage::two();
    let mut crowd = crowd(&stage, "here", count, &Patience::new(effort)).await?;
    if visits {
        return message(effort, async || visit(&stage, "here").await).await;
    }
    message(effort, async || crowd[0].call("echo").await).await
}

async fn calls(count: usize, effort: Effort, at: &str) -> Result<f64> {
    let (stage, patience) = (Stage::two(), Patience::new(effort));
    let mut owners = crowd(&stage, "here", OWNERS, &patience).await?;
    for done in 0..count {
        patience.check(done)?;
        owners[done % OWNERS].request("tools/call", json!({ "name": "hang" })).await?;
    }
    let mut caller = stage.caller(at).await?;
    message(effort, async || caller.call("echo").await).await
}

/// A stage whose first server takes one call at a time.
fn narrow() -> Stage {
    Stage::new(&["here", "there"], Traits::FEW, |server| {
        if server.name == "here" {
            server.concurrency = 1;
            server.instances.max = 1;
        }
    })
}

/// Everybody has a call waiting, and when it is answered another one.
async fn turns(count: usize, effort: Effort) -> Result<f64> {
    let (stage, patience) = (narrow(), Patience::new(effort));
    let mut crowd = crowd(&stage, "here", count, &patience).await?;
    let call = || json!({ "name": "echo" });
    let mut open = std::collections::VecDeque::new();
    for (who, caller) in crowd.iter_mut().enumerate() {
        patience.check(who)?;
        open.push_back((who, caller.request("tools/call", call()).await?));
    }
    message(effort, async || {
        let (who, id) = open.pop_front().ok_or("nobody waits")?;
        crowd[who].answer(id).await?;
        open.push_back((who, crowd[who].request("tools/call", call()).await?));
        Ok(())
    })
    .await
}

async fn waiting(count: usize, effort: Effort) -> Result<f64> {
    let (stage, patience) = (narrow(), Patience::new(effort));
    let mut crowd = crowd(&stage, "here", count, &patience).await?;
    for (done, caller) in crowd.iter_mut().enumerate() {
        patience.check(done)?;
        caller.request("tools/call", json!({ "name": "hang" })).await?;
    }
    let mut caller = stage.caller("there").await?;
    message(effort, async || caller.call("echo").await).await
}

async fn tools(count: usize, effort: Effort, at: &str, name: &str) -> Result<f64> {
    let stage = Stage::new(&["here", "there"], Traits { tools: (count, 100), ..Traits::FEW }, |_| {});
    let mut caller = stage.caller(at).await?;
    caller.ask("tools/list", json!({})).await?;
    let name = format!("{name}{}", count - 1);
    message(effort, async || caller.call(&name).await).await
}

async fn resources(count: usize, effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["here", "there"], Traits { resources: count, ..Traits::FEW }, |_| {});
    let mut caller = stage.caller("all").await?;
    caller.ask("resources/list", json!({})).await?;
    let uri = format!("file:///{}", count - 1);
    message(effort, async || {
        let id = caller.request("resources/read", json!({ "uri": uri })).await?;
        // That the server has no such method is its word, and comes from it.
        caller.answer(id).await.map(drop)
    })
    .await
}

enum Beside {
    CallHere,
    Update,
    Subscription,
    Caller,
}

async fn subscriptions(count: usize, effort: Effort, beside: Beside) -> Result<f64> {
    let (stage, patience) = (Stage::two(), Patience::new(effort));
    let mut owners = crowd(&stage, "here", OWNERS, &patience).await?;
    for done in 0..count {
        patience.check(done)?;
        owners[done % OWNERS].ask("resources/subscribe", json!({ "uri": format!("file:///{done}") })).await?;
    }
    let mut caller = stage.caller("here").await?;
    match beside {
        Beside::CallHere => message(effort, async || caller.call("echo").await).await,
        Beside::Caller => message(effort, async || visit(&stage, "there").await).await,
        Beside::Update => {
            message(effort, async || {
                let arguments = json!({ "uri": "file:///0" });
                caller.ask("tools/call", json!({ "name": "touch", "arguments": arguments })).await?;
                owners[0].hear(|message| message["method"] == "notifications/resources/updated").await.map(drop)
            })
            .await
        }
        Beside::Subscription => {
            message(effort, async || {
                caller.ask("resources/subscribe", json!({ "uri": "file:///more" })).await?;
                caller.ask("resources/unsubscribe", json!({ "uri": "file:///more" })).await.map(drop)
            })
            .await
        }
    }
}

async fn tasks(count: usize, effort: Effort, visits: bool) -> Result<f64> {
    let (stage, patience) = (Stage::two(), Patience::new(effort));
    let mut owners = crowd(&stage, "here", OWNERS, &patience).await?;
    let mut last = json!(null);
    for done in 0..count {
        patience.check(done)?;
        let call = json!({ "name": "work", "arguments": {}, "task": { "ttl": 3_600_000 } });
        last = owners[done % OWNERS].ask("tools/call", call).await?["task"]["taskId"].take();
    }
    if visits {
        return message(effort, async || visit(&stage, "there").await).await;
    }
    let owner = &mut owners[(count - 1) % OWNERS];
    message(effort, async || owner.ask("tasks/get", json!({ "taskId": last })).await.map(drop)).await
}

async fn streams(count: usize, effort: Effort, opens: bool) -> Result<f64> {
    let stage = Stage::new(&["modern"], Traits::FEW, |_| {});
    let patience = Patience::new(effort);
    let mut owners: Vec<Caller> = (0..OWNERS).map(|_| stage.modern_caller("modern")).collect();
    for done in 0..count {
        patience.check(done)?;
        listen(&mut owners[done % OWNERS], &format!("file:///{done}")).await?;
    }
    let mut caller = stage.modern_caller("modern");
    message(effort, async || {
        if !opens {
            return caller.call("echo").await;
        }
        let id = listen(&mut caller, "file:///more").await?;
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        caller.write(format!("{cancel}\n")).await
    })
    .await
}

/// Opens a stream and waits until it is acknowledged.
pub async fn listen(caller: &mut Caller, uri: &str) -> Result<u64> {
    let id =
        caller.request("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": [uri] } })).await?;
    let is_heard = |message: &serde_json::Value| message["method"] == "notifications/subscriptions/acknowledged";
    caller.hear(is_heard).await?;
    Ok(id)
}

async fn instances(count: usize, effort: Effort, at: &str) -> Result<f64> {
    let stage = Stage::new(&["here", "there"], Traits::FEW, |server| {
        if server.name == "here" {
            server.lease = LeaseChoice::Session;
            server.instances.max = 1 << 20;
        }
    });
    let patience = Patience::new(effort);
    let mut owners = Vec::new();
    for done in 0..count {
        patience.check(done)?;
        let mut owner = stage.caller("here").await?;
        owner.call("echo").await?;
        owners.push(owner);
    }
    let mut stranger = stage.caller("there").await?;
    let caller = if at == "here" { &mut owners[0] } else { &mut stranger };
    message(effort, async || caller.call("echo").await).await
}
