//! The whole multiplexer in a simulation: in-memory callers and servers, a paused clock, and every choice drawn
//! from one seed, so that a seed which fails can be run again to the letter. What must hold is checked by
//! `simulation/caller` and `simulation/server` on every message, and by `run` at the end.
//!
//! `MCPOOL_SEEDS` says how many seeds are tried, `MCPOOL_SEED` runs a single one aloud. `MCPOOL_DIGESTS` names a file
//! that gets a line for each seed: its number, and a digest over all that callers and servers saw, in order. Where code
//! only moves, the digests before and after are equal; `scripts/digests` compares two such files.

mod simulation {
    pub mod across;
    pub mod caller;
    pub mod fair;
    pub mod json;
    pub mod ledger;
    pub mod run;
    pub mod scale;
    pub mod server;
    pub mod settings;
    pub mod truth;
    pub mod upheaval;
    pub mod world;
}

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use simulation::fair;
use simulation::run::{Outcome, run};

/// Longer than any seed takes; one that takes longer goes in circles without time passing.
const STUCK: Duration = Duration::from_secs(60);

/// After this many seeds that failed the rest is not tried.
const ENOUGH: usize = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_message_is_lost_doubled_or_misrouted() {
    if let Some(seed) = number("MCPOOL_SEED") {
        let outcome = run(seed, true);
        assert!(outcome.faults.is_empty(), "{}", told(&outcome));
        return;
    }
    let seeds = number("MCPOOL_SEEDS").unwrap_or(if cfg!(debug_assertions) { 1_000 } else { 10_000 });
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let tally = Mutex::new(BTreeMap::new());
    let digests = Mutex::new(BTreeMap::new());
    let enough = || failed.lock().map_or(true, |failed| failed.len() >= ENOUGH);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds && !enough())
                {
                    let outcome = watched(seed);
                    let mut tally = tally.lock().expect("no thread panics with it");
                    for (what, count) in &outcome.tally {
                        *tally.entry(*what).or_insert(0) += count;
                    }
                    drop(tally);
                    digests.lock().expect("no thread panics with it").insert(seed, outcome.digest);
                    if !outcome.faults.is_empty() {
                        failed.lock().expect("no thread panics with it").push(told(&outcome));
                    }
                }
            });
        }
    });
    if let Some(file) = std::env::var_os("MCPOOL_DIGESTS") {
        let digests = digests.into_inner().expect("no thread panics with it");
        let lines: String = digests.iter().map(|(seed, digest)| format!("{seed} {digest:016x}\n")).collect();
        std::fs::write(file, lines).expect("a place for the digests");
    }
    let failed = failed.into_inner().expect("no thread panics with it");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    println!("{seeds} seeds, in which there were {:#?}", tally.into_inner().expect("no thread panics with it"));
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in 0..number("MCPOOL_TWICE").unwrap_or(40) {
        let (once, again) = (watched(seed), watched(seed));
        assert_eq!(once.digest, again.digest, "seed {seed} ran in two ways");
    }
}

/// What is with the server is finished, then the greedy one has its turn, then the other one.
#[test]
fn a_greedy_caller_delays_another_by_one_call() {
    let outcome = fair::compete(1000, 2000);
    assert_eq!(outcome.modest, fair::REST + fair::WORK + fair::WORK);
    assert_eq!(outcome.greedy, 1000);
}

#[test]
fn a_full_queue_keeps_only_the_greedy_out() {
    let outcome = fair::compete(1000, 100);
    assert_eq!(outcome.modest, fair::REST + fair::WORK + fair::WORK);
    // One was with the server and a hundred waited, of which one made room.
    assert_eq!(outcome.greedy, 1 + 100 - 1);
}

/// Runs a seed on a thread of its own, so that one which never ends is told.
fn watched(seed: u64) -> Outcome {
    let (done, outcome) = mpsc::channel();
    let thread = std::thread::spawn(move || done.send(run(seed, false)));
    match outcome.recv_timeout(STUCK) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("seed {seed} goes in circles; {}", replay(seed)),
        Err(RecvTimeoutError::Disconnected) => {
            panic!("seed {seed} panicked: {:?}; {}", thread.join().is_err(), replay(seed))
        }
    }
}

fn told(outcome: &Outcome) -> String {
    let more = outcome.faults.len() - 1;
    format!("seed {}: {}\n({more} more)\n{}", outcome.seed, outcome.faults[0], replay(outcome.seed))
}

fn replay(seed: u64) -> String {
    format!("replay with: MCPOOL_SEED={seed} cargo test --release --test simulation")
}
