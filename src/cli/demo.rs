//! `mcpool demo`: shows a newcomer what mcpool is for, with servers that are built in. A real daemon serves 32
//! callers of both eras for a few seconds; every answer is checked and everything is counted.

mod crowd;
mod place;
mod price;
pub mod server;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, interval, sleep_until};

use super::{orders, print};
use crate::endpoint::sockets;
use crate::plural::plural;
use crate::tasks;
use crowd::{OF_EACH, Tally};
use place::Place;
use price::Price;

/// How long the callers work.
const WORK: Duration = Duration::from_secs(4);
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the line on stderr is renewed.
const TICK: Duration = Duration::from_millis(100);
/// As shells have it for what was ended by SIGINT.
const INTERRUPTED: u8 = 130;

const NEXT: &str = "\
Next: write ~/.config/mcpool/mcpool.yaml with your servers (`mcpool check` tells what is wrong with it), and
point your MCP host at them: {\"command\": \"mcpool\", \"args\": [\"connect\", \"NAME\"]}";

/// Runs the demo. Fails with 1 if an answer was wrong, with 130 after Ctrl-C.
///
/// # Errors
/// In words for people: it cannot be run here.
pub async fn run() -> Result<ExitCode, String> {
    tasks::run(async move {
        tokio::select! {
            code = show() => code,
            Ok(()) = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
        }
    })
    .await
}

async fn show() -> Result<ExitCode, String> {
    print::page(&format!(
        "Starting a daemon with two built-in servers, one of each era, and {} callers.",
        2 * OF_EACH
    ))?;
    let place = Place::open().await?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let began = Instant::now();
    watch(&place, began, &tally).await?;
    let took = began.elapsed();
    let status = orders::ask(&sockets::directory(&place.config), "status").await?;
    let price = price::measure(&place).await?;
    let tally = tally.take();
    let all_right = tally.calls > 0 && tally.right == tally.calls;
    if let Some(why) = &tally.first_wrong {
        print::complain(format_args!("the first wrong answer: {why}"));
    }
    print::page(&format!("\n{}\n\n{NEXT}", report(tally, took, &status, &price)))?;
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets the callers work, and shows how far they are.
async fn watch(place: &Place, began: Instant, tally: &Rc<RefCell<Tally>>) -> Result<(), String> {
    let work = crowd::work(place, began + WORK, tally);
    tokio::pin!(work);
    let bar = bar();
    let mut ticks = interval(TICK);
    let worked = loop {
        tokio::select! {
            worked = &mut work => break worked,
            () = sleep_until(began + WORK + PATIENCE) => break Err(format!("calls were not answered within {PATIENCE:?}")),
            _ = ticks.tick() => {
                bar.set_message(plural(tally.borrow().calls, "call"));
                bar.set_position(began.elapsed().as_millis() as u64);
            }
        }
    };
    bar.finish_and_clear();
    worked
}

/// Invisible unless stderr is a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(WORK.as_millis() as u64).with_style(style)
}

fn report(tally: Tally, took: Duration, status: &Value, price: &Price) -> String {
    let started: u64 =
        status["servers"].as_array().into_iter().flatten().filter_map(|server| server["started"].as_u64()).sum();
    let second = tally.calls as f64 / took.as_secs_f64();
    let (half, most) = (share(tally.latencies.clone(), 50), share(tally.latencies, 99));
    let ratio = price.pooled.as_secs_f64() / price.direct.as_secs_f64();
    let more = time(price.pooled.saturating_sub(price.direct));
    let rows = [
        ("callers", format!("{} at once, half legacy (2025-11-25), half modern (2026-07-28)", 2 * OF_EACH)),
        ("calls", format!("{} ({second:.0} a second)", tally.calls)),
        ("answers right", format!("{} of {}", tally.right, tally.calls)),
        ("server processes started", format!("{started}, instead of {} (one a caller)", 2 * OF_EACH)),
        ("latency with all at work", format!("{} median, {} at the 99th percentile", time(half), time(most))),
        (
            "what a caller pays",
            format!(
                "{more} more a call: {} instead of {} (x{ratio:.2}), alone",
                time(price.pooled),
                time(price.direct)
            ),
        ),
    ];
    rows.map(|(name, value)| format!("  {name:<26}{value}")).join("\n")
}

/// The time that `percent` of them do not exceed.
fn share(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn time(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 { format!("{micros} us") } else { format!("{} ms", time.as_millis()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_times_is_found_whatever_their_order() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!([50, 99].map(|percent| share(times.clone(), percent).as_millis()), [51, 100]);
        assert_eq!(share(Vec::new(), 50), Duration::ZERO);
    }
}
