//! The rows about many callers at once, who do little or nothing. A relay would need a process for each of them,
//! so the goals are plain figures.
use std::time::Instant;

use tokio::task::JoinSet;

use crate::caller::{Caller, Payload};
use crate::process::{cpu, memory};
use crate::subject::Subject;
use crate::table::{Goal, Row};
use crate::{Effort, Result};

/// How many connect at the same moment; below what a listener's queue holds.
const AT_A_TIME: usize = 100;

/// What a caller costs who has made a call and now waits.
pub async fn idle(effort: Effort) -> Result<Vec<Row>> {
    const CALLERS: usize = 1000;
    let subject = Subject::mcpool()?;
    // What the first callers cause is of the daemon, not of one more caller.
    drop(gather(&subject, AT_A_TIME).await?);
    let (before, _) = memory(subject.pid())?;
    let callers = gather(&subject, CALLERS).await?;
    let (after, _) = memory(subject.pid())?;
    let cpu_before = cpu(subject.pid())?;
    tokio::time::sleep(effort.idle).await;
    let spent = cpu(subject.pid())? - cpu_before;
    drop(callers);
    let name = |what| format!("idle: {CALLERS} callers: {what}");
    Ok(vec![
        plain(name("memory of one"), (after - before) / CALLERS as f64 / 1024.0, "KiB", Goal::AtMost(8.0)),
        // None at all would be a daemon without a clock: a thousandth of a core is nobody's.
        plain(name("cpu of all"), spent.as_secs_f64() * 1e3 / effort.idle.as_secs_f64(), "ms/s", Goal::AtMost(1.0)),
    ])
}

/// As many as there may be, all connected, all served.
pub async fn crowd(effort: Effort) -> Result<Vec<Row>> {
    let subject = Subject::mcpool()?;
    let (before, _) = memory(subject.pid())?;
    let began = Instant::now();
    let callers = gather(&subject, effort.crowd).await?;
    let took = began.elapsed();
    let (after, _) = memory(subject.pid())?;
    let count = callers.len();
    let mut answered = 0;
    // All are still there: each is answered once more.
    for (number, mut caller) in callers.into_iter().enumerate() {
        caller.call(&Payload::new(number, 100)).await?;
        answered += 1;
    }
    let name = |what| format!("crowd: {}: {what}", effort.crowd);
    Ok(vec![
        plain(name("connected at once, served"), f64::from(answered), "callers", Goal::AtLeast(effort.crowd as f64)),
        plain(name("to connect and call"), took.as_secs_f64() * 1e6 / count as f64, "us each", Goal::None),
        plain(name("memory of one"), (after - before) / count as f64 / 1024.0, "KiB", Goal::None),
    ])
}

/// Callers who have shaken hands and made one call.
async fn gather(subject: &Subject, count: usize) -> Result<Vec<Caller>> {
    let mut callers = Vec::with_capacity(count);
    while callers.len() < count {
        let mut arriving = JoinSet::new();
        for number in 0..AT_A_TIME.min(count - callers.len()) {
            let mut caller = subject.connect().await?;
            arriving.spawn(async move {
                caller.initialize().await?;
                caller.call(&Payload::new(number, 100)).await?;
                Result::Ok(caller)
            });
        }
        while let Some(arrived) = arriving.join_next().await {
            callers.push(arrived??);
        }
    }
    Ok(callers)
}

fn plain(name: String, mcpool: f64, unit: &'static str, goal: Goal) -> Row {
    Row { name, relay: None, mcpool, unit, goal }
}
