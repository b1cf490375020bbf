//! The rows about calls under way: relay and mcpool side by side, turn by turn.
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::caller::{Caller, Payload};
use crate::process::OneCore;
use crate::subject::Subject;
use crate::table::{Goal, Row, median};
use crate::{Effort, Result};

/// One call in flight, with caller, proxy and server on one core: nothing overlaps, so that every instruction counts.
pub async fn latency(effort: Effort) -> Result<Vec<Row>> {
    let _pinned = OneCore::pin()?;
    let [relay, mcpool] = compare(effort, 1, 1, 100).await?;
    let name = |what| format!("latency: 1 in flight, one core: {what}");
    Ok(vec![
        row(name("a call"), &relay, &mcpool, "us", Goal::RatioAtMost(1.2), |turn| turn.micros_a_call()),
        row(name("its cpu"), &relay, &mcpool, "us", Goal::RatioAtMost(1.3), |turn| turn.cpu_a_call()),
    ])
}

pub async fn in_flight(effort: Effort) -> Result<Vec<Row>> {
    let [relay, mcpool] = compare(effort, 1, 64, 100).await?;
    let name = |what| format!("in-flight: 1 caller x 64: {what}");
    Ok(vec![
        row(name("calls"), &relay, &mcpool, "/s", Goal::RatioAtLeast(0.9), |turn| turn.calls_a_second()),
        row(name("cpu a call"), &relay, &mcpool, "us", Goal::None, |turn| turn.cpu_a_call()),
    ])
}

/// Fifty callers on one server process; the relay has one for each of them.
pub async fn shared(effort: Effort) -> Result<Vec<Row>> {
    let [relay, mcpool] = compare(effort, 50, 4, 100).await?;
    let name = |what| format!("shared: 50 callers x 4: {what}");
    Ok(vec![
        row(name("calls"), &relay, &mcpool, "/s", Goal::RatioAtLeast(1.0), |turn| turn.calls_a_second()),
        row(name("cpu a call"), &relay, &mcpool, "us", Goal::RatioAtMost(0.7), |turn| turn.cpu_a_call()),
        row(name("cpu a call, servers too"), &relay, &mcpool, "us", Goal::None, |turn| turn.tree_cpu_a_call()),
    ])
}

pub async fn payloads(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (size, said, goal) in [(64 << 10, "64 KiB", 0.9), (1 << 20, "1 MiB", 0.8)] {
        let [relay, mcpool] = compare(effort, 1, 4, size).await?;
        let name = |what| format!("payload: {said}, 4 in flight: {what}");
        let speed = |turn: &Turn| turn.calls_a_second() * size as f64 / f64::from(1 << 20);
        rows.push(row(name("each way"), &relay, &mcpool, "MiB/s", Goal::RatioAtLeast(goal), speed));
        rows.push(row(name("cpu a call"), &relay, &mcpool, "us", Goal::None, |turn| turn.cpu_a_call()));
    }
    Ok(rows)
}

/// What one turn of one subject came to.
pub struct Turn {
    pub calls: u64,
    pub took: Duration,
    /// Of the relay or the daemon itself.
    pub cpu: Duration,
    /// Of the servers behind it.
    pub servers: Duration,
}

impl Turn {
    fn calls_a_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    pub fn micros_a_call(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / self.calls as f64
    }

    pub fn cpu_a_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    fn tree_cpu_a_call(&self) -> f64 {
        (self.cpu + self.servers).as_secs_f64() * 1e6 / self.calls as f64
    }
}

pub fn row(
    name: String,
    relay: &[Turn],
    mcpool: &[Turn],
    unit: &'static str,
    goal: Goal,
    of: impl Fn(&Turn) -> f64,
) -> Row {
    let middle = |turns: &[Turn]| median(turns.iter().map(&of).collect());
    Row { name, relay: Some(middle(relay)), mcpool: middle(mcpool), unit, goal }
}

/// Turns of the relay, and turns of mcpool between them.
async fn compare(effort: Effort, callers: usize, in_flight: usize, size: usize) -> Result<[Vec<Turn>; 2]> {
    let mut sides =
        [Side::new(Subject::relay()?, callers, size).await?, Side::new(Subject::mcpool()?, callers, size).await?];
    let mut turns = [Vec::new(), Vec::new()];
    // The first round warms up and isn't counted.
    for round in 0..=effort.rounds {
        for (side, turns) in sides.iter_mut().zip(&mut turns) {
            let turn = side.turn(in_flight, effort.turn).await?;
            if round > 0 {
                turns.push(turn);
            }
        }
    }
    Ok(turns)
}

/// A subject and the callers on it, who stay connected between turns.
struct Side {
    subject: Subject,
    callers: Vec<(Caller, Payload)>,
}

impl Side {
    async fn new(subject: Subject, count: usize, size: usize) -> Result<Self> {
        let mut callers = Vec::with_capacity(count);
        for number in 0..count {
            let mut caller = subject.connect().await?;
            caller.initialize().await?;
            callers.push((caller, Payload::new(number, size)));
        }
        Ok(Side { subject, callers })
    }

    async fn turn(&mut self, in_flight: usize, length: Duration) -> Result<Turn> {
        let (cpu_before, servers_before) = self.subject.cpu()?;
        let began = Instant::now();
        let until = began + length;
        let mut at_work = JoinSet::new();
        for (mut caller, payload) in self.callers.drain(..) {
            at_work.spawn(async move {
                let calls = caller.work(&payload, in_flight, until).await?;
                Result::Ok((calls, (caller, payload)))
            });
        }
        let mut calls = 0;
        while let Some(done) = at_work.join_next().await {
            let (answered, caller) = done??;
            calls += answered;
            self.callers.push(caller);
        }
        let took = began.elapsed();
        let (cpu, servers) = self.subject.cpu()?;
        Ok(Turn { calls, took, cpu: cpu - cpu_before, servers: servers.saturating_sub(servers_before) })
    }
}
