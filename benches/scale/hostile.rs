//! How long everybody stands still for what one peer sends, or for what many do at once.
use std::pin::Pin;

use mcpool::mux::Mux;
use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::caller::Caller;
use crate::many::listen;
use crate::meter::{Patience, pause};
use crate::server::Traits;
use crate::stage::Stage;
use crate::{Effort, Result};

type Measure = Pin<Box<dyn Future<Output = Result<f64>>>>;
/// Measures the longest pause, in milliseconds.
pub type Row = fn(Effort) -> Measure;

pub const ROWS: [(&str, Row); 9] = [
    ("hostile: a caller writes 64 KiB of `tools/list`, of 3,000 tools of 200 bytes", |effort| Box::pin(lists(effort))),
    ("hostile: a caller writes 64 KiB of calls of unknown tools on `all`, beside 3,000 tools", |effort| {
        Box::pin(unknown_tools(effort))
    }),
    ("hostile: a caller listens to 300 unknown URIs on `all`, beside two modern servers of 2,000", |effort| {
        Box::pin(unknown_uris(effort))
    }),
    ("hostile: 40 callers open a small stream each, beside one of 9 MB of URIs", |effort| {
        Box::pin(wide_stream(effort))
    }),
    ("hostile: 400 callers ask for a list of 0.9 MB", |effort| Box::pin(one_list(effort))),
    ("hostile: a server of 20 callers with 1,000 subscriptions each ends", |effort| Box::pin(orphans(effort))),
    ("hostile: a server lists 4.5 million numbers", |effort| Box::pin(numbers(effort))),
    ("hostile: a caller with 10,000 calls in flight leaves", |effort| Box::pin(leaving(effort))),
    ("hostile: mcpool ends, with 10,000 calls in flight", |effort| Box::pin(ending(effort))),
];

const WRITE: usize = 64 << 10;

/// So many bytes of one request, in one write, until the last is answered. Whoever does so may be refused or left; how long
/// others stand still meanwhile is what counts.
async fn flood(caller: &mut Caller, method: &str, params: &Value) -> Result {
    let (mut text, mut last) = (String::new(), 0);
    while text.len() < WRITE {
        let (id, line) = caller.line(method, params.clone());
        text.push_str(&line);
        last = id;
    }
    caller.write(text).await?;
    let _ = caller.answer(last).await;
    Ok(())
}

async fn lists(_effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["here"], Traits { tools: (3000, 200), ..Traits::FEW }, |_| {});
    let mut caller = stage.caller("here").await?;
    caller.ask("tools/list", json!({})).await?;
    pause(flood(&mut caller, "tools/list", &json!({}))).await
}

async fn unknown_tools(_effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["here", "there"], Traits { tools: (3000, 1000), ..Traits::FEW }, |_| {});
    let mut caller = stage.caller("all").await?;
    caller.ask("tools/list", json!({})).await?;
    pause(flood(&mut caller, "tools/call", &json!({ "name": "here__nosuch" }))).await
}

async fn unknown_uris(_effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["modern", "modern2"], Traits { resources: 2000, ..Traits::FEW }, |_| {});
    let mut caller = stage.modern_caller("all");
    caller.ask("resources/list", json!({})).await?;
    let uris: Vec<String> = (0..300).map(|number| format!("file:///unknown/{number}")).collect();
    let wants = json!({ "notifications": { "resourceSubscriptions": uris } });
    pause(async {
        caller.request("subscriptions/listen", wants).await?;
        caller.hear(|_| true).await.map(drop)
    })
    .await
}

async fn wide_stream(effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["modern"], Traits::FEW, |_| {});
    let mut caller = stage.modern_caller("modern");
    let rest = "x".repeat(900);
    let uris: Vec<String> = (0..9000).map(|number| format!("file:///{number}/{rest}")).collect();
    caller.request("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": uris } })).await?;
    caller.hear(|_| true).await?;
    let patience = Patience::new(effort);
    pause(async {
        for number in 0..40 {
            patience.check(number)?;
            let mut other = stage.modern_caller("modern");
            listen(&mut other, &format!("file:///small/{number}")).await?;
        }
        Ok(())
    })
    .await
}

async fn one_list(_effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["here"], Traits { tools: (900, 950), ..Traits::FEW }, |_| {});
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(stage.caller("here").await?);
    }
    pause(async {
        let asking: Vec<_> = crowd
            .drain(..)
            .map(|mut caller| spawn_local(async move { caller.ask("tools/list", json!({})).await.is_ok() }))
            .collect();
        for one in asking {
            if !one.await? {
                return Err("a list was refused".into());
            }
        }
        Ok(())
    })
    .await
}

async fn orphans(effort: Effort) -> Result<f64> {
    let (stage, patience) = (Stage::two(), Patience::new(effort));
    let mut callers = Vec::new();
    for who in 0..20 {
        let mut caller = stage.caller("here").await?;
        for number in 0..1000 {
            patience.check(who * 1000 + number)?;
            caller.ask("resources/subscribe", json!({ "uri": format!("file:///{who}/{number}") })).await?;
        }
        callers.push(caller);
    }
    let mut bystander = stage.caller("there").await?;
    let patience = Patience::new(effort);
    pause(async {
        callers[0].request("tools/call", json!({ "name": "exit" })).await?;
        // Some seconds of the clock that `pause` moves on.
        for number in 0..5000 {
            bystander.call("echo").await?;
            patience.check(number)?;
        }
        Ok(())
    })
    .await
}

async fn numbers(_effort: Effort) -> Result<f64> {
    let stage = Stage::new(&["here"], Traits { numbers: 4_500_000, ..Traits::FEW }, |_| {});
    let mut caller = stage.caller("here").await?;
    pause(async {
        let id = caller.request("tools/list", json!({})).await?;
        // Whether such a list is shown or refused is another matter.
        caller.answer(id).await.map(drop)
    })
    .await
}

/// A stage with so many calls that are never answered, and who made them.
async fn hanging(effort: Effort) -> Result<(Stage, Caller)> {
    let (stage, patience) = (Stage::two(), Patience::new(effort));
    let mut caller = stage.caller("here").await?;
    for done in 0..10_000 {
        patience.check(done)?;
        caller.request("tools/call", json!({ "name": "hang" })).await?;
    }
    // When this is answered, those before it are on their way.
    caller.call("echo").await?;
    Ok((stage, caller))
}

async fn leaving(effort: Effort) -> Result<f64> {
    let (stage, caller) = hanging(effort).await?;
    let mut bystander = stage.caller("there").await?;
    pause(async {
        drop(caller);
        for _ in 0..100 {
            bystander.call("echo").await?;
        }
        Ok(())
    })
    .await
}

async fn ending(effort: Effort) -> Result<f64> {
    let (stage, mut caller) = hanging(effort).await?;
    pause(async {
        stage.mux.with(Mux::begin_drain);
        stage.mux.with(Mux::shut_down);
        caller.hear(|message| message["error"].is_object()).await.map(drop)
    })
    .await
}
