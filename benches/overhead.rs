//! `cargo bench --bench overhead [-- [--quick] [FILTER]]`: what mcpool costs, against a plain byte relay
//! (`examples/relay.rs`) before the same server (`examples/echo_server.rs`), in one run. Whoever works on the forwarding
//! path runs it before and after. `docs/performance.md` has the goals, and figures of one machine.
//!
//! Relay and mcpool take turns, round by round, and what is printed are medians, so that a busy machine
//! harms both alike. Every answer is checked for its id and its owner: a wrong one ends the run.
//! FILTER is a part of a name: latency, in-flight, shared, payload, idle, crowd, catalogue, connect.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench measures the real time")]

use std::env;

use tokio::runtime;

#[path = "overhead/caller.rs"]
mod caller;
#[path = "overhead/forwarding.rs"]
mod forwarding;
#[path = "overhead/gatherings.rs"]
mod gatherings;
#[path = "overhead/process.rs"]
mod process;
#[path = "overhead/standing.rs"]
mod standing;
#[path = "overhead/subject.rs"]
mod subject;
#[path = "overhead/table.rs"]
mod table;

/// Whatever goes wrong ends the run with a sentence.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long to look.
#[derive(Clone, Copy)]
struct Effort {
    /// Times that relay and mcpool take turns. Odd, so that there is a median.
    rounds: usize,
    /// Length of one turn.
    turn: std::time::Duration,
    /// How long the idle are watched.
    idle: std::time::Duration,
    /// Size of the crowd.
    crowd: usize,
}

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    // `cargo test --benches` builds without optimisation and doesn't say `--bench`: nothing to measure there.
    if !args.iter().any(|arg| arg == "--bench") {
        println!("overhead: run it with `cargo bench --bench overhead`");
        return Ok(());
    }
    let filter = args.iter().find(|arg| !arg.starts_with("--")).map_or("", String::as_str);
    let effort = if args.iter().any(|arg| arg == "--quick") { Effort::quick() } else { Effort::full() };
    subject::build_examples()?;
    process::raise_open_files()?;
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(effort, filter))
}

async fn run(effort: Effort, filter: &str) -> Result {
    let wants = |name: &str| name.contains(filter);
    let mut table = table::Table::open();
    if wants("latency") {
        table.add(forwarding::latency(effort).await?);
    }
    if wants("in-flight") {
        table.add(forwarding::in_flight(effort).await?);
    }
    if wants("shared") {
        table.add(forwarding::shared(effort).await?);
    }
    if wants("payload") {
        table.add(forwarding::payloads(effort).await?);
    }
    if wants("idle") {
        table.add(gatherings::idle(effort).await?);
    }
    if wants("crowd") {
        table.add(gatherings::crowd(effort).await?);
    }
    if wants("catalogue") {
        table.add(standing::catalogue(effort).await?);
    }
    if wants("connect") {
        table.add(standing::connect(effort).await?);
    }
    table.close();
    Ok(())
}

impl Effort {
    fn full() -> Self {
        let millis = std::time::Duration::from_millis;
        Effort { rounds: 41, turn: millis(100), idle: millis(5000), crowd: 10_000 }
    }

    fn quick() -> Self {
        let millis = std::time::Duration::from_millis;
        Effort { rounds: 11, turn: millis(50), idle: millis(1000), crowd: 2_000 }
    }
}
