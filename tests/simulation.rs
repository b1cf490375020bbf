//! The whole multiplexer in a simulation: in-memory callers and servers, a paused clock, and every choice drawn
//! from one seed, so that a seed which fails can be run again to the letter. What must hold is checked by
//! `simulation/caller` and `simulation/server` on every message, and by `run` at the end.
//!
//! `MCPOOL_SEEDS` says how many seeds are tried, `MCPOOL_SEED` runs a single one aloud. `MCPOOL_DIGESTS` names a file
//! that gets a line for each seed: its number, and a digest over all that callers and servers saw, in order. Where code
//! only moves, the digests before and after are equal; `scripts/digests` compares two such files.
//!
//! `simulation/hostile` is a second kind of run, with seeds of its own: modest callers beside hostile ones that flood, forge and
//! never end a line, and beside a hostile server. None of the modest may be refused, kept waiting beyond a bound that follows
//! from the config, or shown anything because of them; what is not held yet is said where the checks bear with it
//! (`hostile/bound.rs`, `hostile/modest/check.rs`). `MCPOOL_SEEDS` and `MCPOOL_SEED` count there as well; the digests are
//! those of the first kind alone.

mod simulation {
    pub mod across;
    pub mod caller;
    pub mod fair;
    pub mod hostile;
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

use simulation::run::{Outcome, run};
use simulation::{fair, hostile};

/// Longer than any seed takes; one that takes longer goes in circles without time passing.
const STUCK: Duration = Duration::from_secs(60);

/// After this many seeds that failed the rest is not tried.
const ENOUGH: usize = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_message_is_lost_doubled_or_misrouted() {
    try_seeds(PLAIN);
}

#[test]
fn the_modest_never_suffer_from_the_hostile() {
    try_seeds(HOSTILE);
}

/// A kind of run.
#[derive(Clone, Copy)]
struct Kind {
    run: fn(u64, bool) -> Outcome,
    /// What its test alone is called.
    name: &'static str,
    /// How many seeds are tried unless somebody says so, in a debug build and in a release.
    seeds: [u64; 2],
    /// Where somebody wants the digests.
    digests: Option<&'static str>,
}

/// Runs in which everybody may go wrong.
const PLAIN: Kind = Kind { run, name: "no_message", seeds: [1_000, 10_000], digests: Some("MCPOOL_DIGESTS") };
/// Runs with hostile peers.
const HOSTILE: Kind = Kind { run: hostile::run, name: "the_modest", seeds: [20, 3_000], digests: None };

/// Tries as many seeds as are wanted, or a single one aloud.
fn try_seeds(kind: Kind) {
    if let Some(seed) = number("MCPOOL_SEED") {
        let outcome = (kind.run)(seed, true);
        assert!(outcome.faults.is_empty(), "{}", told(kind, &outcome));
        return;
    }
    let [debug, release] = kind.seeds;
    let seeds = number("MCPOOL_SEEDS").unwrap_or(if cfg!(debug_assertions) { debug } else { release });
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
                    let outcome = watched(kind, seed);
                    let mut tally = tally.lock().expect("no thread panics with it");
                    for (what, count) in &outcome.tally {
                        *tally.entry(*what).or_insert(0) += count;
                    }
                    drop(tally);
                    digests.lock().expect("no thread panics with it").insert(seed, outcome.digest);
                    if !outcome.faults.is_empty() {
                        failed.lock().expect("no thread panics with it").push(told(kind, &outcome));
                    }
                }
            });
        }
    });
    if let Some(file) = kind.digests.and_then(std::env::var_os) {
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
        // Hostile ones have much to say, which takes its time.
        for kind in [Some(PLAIN), Some(HOSTILE).filter(|_| seed < 4)].into_iter().flatten() {
            let (once, again) = (watched(kind, seed), watched(kind, seed));
            assert_eq!(once.digest, again.digest, "seed {seed} of `{}` ran in two ways", kind.name);
        }
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
fn watched(kind: Kind, seed: u64) -> Outcome {
    let (done, outcome) = mpsc::channel();
    let thread = std::thread::spawn(move || done.send((kind.run)(seed, false)));
    match outcome.recv_timeout(STUCK) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("seed {seed} goes in circles; {}", replay(kind, seed)),
        Err(RecvTimeoutError::Disconnected) => {
            panic!("seed {seed} panicked: {:?}; {}", thread.join().is_err(), replay(kind, seed))
        }
    }
}

fn told(kind: Kind, outcome: &Outcome) -> String {
    let more = outcome.faults.len() - 1;
    format!("seed {}: {}\n({more} more)\n{}", outcome.seed, outcome.faults[0], replay(kind, outcome.seed))
}

fn replay(kind: Kind, seed: u64) -> String {
    format!("replay with: MCPOOL_SEED={seed} cargo test --release --test simulation {}", kind.name)
}
