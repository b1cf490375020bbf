//! `cargo bench --bench scale [-- [--quick] [FILTER]]`: what one message costs beside 10, 1,000 and 10,000 of everything that
//! there can be many of, and how long everybody stands still for what one peer sends. Whoever changes the core runs it.
//!
//! One thread runs the multiplexer with callers and servers in memory, under a clock that stands still, so nothing waits for
//! time. What is measured is the processor time of that thread, less what callers and servers take of it: other work of the machine
//! does not count. FILTER is a part of a row's name. `--quick` leaves out the 10,000 and gives up sooner.
#![expect(clippy::disallowed_types, reason = "a bench measures the real time")]

use std::env;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

#[path = "scale/caller.rs"]
mod caller;
#[path = "scale/hostile.rs"]
mod hostile;
#[path = "scale/many.rs"]
mod many;
#[path = "scale/meter.rs"]
mod meter;
#[path = "scale/processes.rs"]
mod processes;
#[path = "scale/server.rs"]
mod server;
#[path = "scale/stage.rs"]
mod stage;

/// Whatever goes wrong ends the row with a sentence.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a message costs must not grow with what others have: with the most of a thing it may cost this many times as
/// much as with the least.
const GOAL_RATIO: f64 = 2.0;
/// No caller may stand still for longer because of what one peer sends, in milliseconds.
const GOAL_PAUSE: f64 = 10.0;

/// How far to go.
#[derive(Clone, Copy)]
pub struct Effort {
    counts: &'static [usize],
    /// How long a row may take to be set up, and to be measured, for each count.
    patience: Duration,
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    // `cargo test --benches` builds without optimisation and doesn't say `--bench`: nothing to measure there.
    if !args.iter().any(|arg| arg == "--bench") {
        println!("scale: run it with `cargo bench --bench scale`");
        return;
    }
    let filter = args.iter().find(|arg| !arg.starts_with("--")).map_or("", String::as_str);
    let effort = if args.iter().any(|arg| arg == "--quick") {
        Effort { counts: &[10, 1000], patience: Duration::from_secs(5) }
    } else {
        Effort { counts: &[10, 1000, 10_000], patience: Duration::from_secs(30) }
    };
    println!("processor time of one message, beside so many of a thing\n");
    print!("{:<64}", "");
    effort.counts.iter().for_each(|count| print!("{count:>12}"));
    println!("{:>10}", "ratio");
    for (name, row) in many::ROWS {
        if name.contains(filter) {
            println!("{name:<64}{}", costs(effort, row));
        }
    }
    println!("\nthe longest that a bystander stands still, in processor time\n");
    for (name, row) in hostile::ROWS {
        if name.contains(filter) {
            let told = match alone(row(effort)) {
                Ok(pause) if pause > GOAL_PAUSE => format!("{pause:>9.1} ms  over {GOAL_PAUSE} ms"),
                Ok(pause) => format!("{pause:>9.1} ms"),
                Err(error) => format!("  {error}"),
            };
            println!("{name:<96}{told}");
        }
    }
}

/// A row of the table: what a message costs beside each count, and how the last compares with the first.
fn costs(effort: Effort, row: many::Row) -> String {
    let mut told = String::new();
    let mut costs = Vec::new();
    for count in effort.counts {
        match alone(row(*count, effort)) {
            Ok(micros) => {
                costs.push(micros);
                told.push_str(&format!("{:>12}", format!("{micros:.1} us")));
            }
            // What does not come to an end at this count will not at the next one.
            Err(error) => return format!("{told}  {error}"),
        }
    }
    let ratio = costs[costs.len() - 1] / costs[0];
    format!("{told}{:>10}{}", format!("{ratio:.1}x"), if ratio > GOAL_RATIO { "  over 2x" } else { "" })
}

/// Runs one measurement in a runtime of its own.
fn alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}
