//! The soak: a real daemon, real sockets and real processes for a while, with callers that come, call, cancel and vanish, and
//! servers that are killed, hang, exit and rave. `scripts/soak` runs it.
//!
//! The time is cut into rounds. After each round the callers leave, and an account is made: every request has come to
//! exactly one end, in the daemon's own counters too, nothing is left in its status, no process and no descriptor. The first rounds warm the
//! daemon up; after them its memory may not grow by more than [`GROWTH`].

mod account;
mod asks;
mod caller;
mod chaos;
mod counters;
mod daemon;
mod expect;
mod habits;
mod line;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use account::Account;
use caller::Place;
use daemon::Daemon;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, interval, sleep};

const USAGE: &str = "soak [SECONDS] --mcpool PATH [--seed N] [--callers N]";
/// Callers at once, unless told.
const CALLERS: usize = 32;
/// Rounds that warm the daemon up: its buffers, its allocator and its tables reach their size.
const WARM: u64 = 2;
/// A round takes about so many seconds.
const ROUND: u64 = 25;
/// And at least so long, however slow the machine is.
const SHORTEST: Duration = Duration::from_secs(5);
/// How much more memory may be resident than after the warm-up. At the worst moment callers that do not read have some thirty
/// MiB buffered; what is small of that leaves holes in the allocator's pages, differently in each round, a few MiB.
const GROWTH: u64 = 20 << 20;
/// How long may pass until nothing is left of a round: the longest call, the hold of questions, idle time, and the steps of stopping.
const QUIET: Duration = Duration::from_secs(30);

struct Wish {
    seconds: u64,
    seed: u64,
    callers: usize,
    mcpool: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    if let ["server", habit, "--seed", seed] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return runtime.block_on(habits::run(habit, seed.parse().unwrap_or_default()));
    }
    match Wish::read(&words) {
        Some(wish) => LocalSet::new().block_on(&runtime, soak(&wish)),
        None => fail(USAGE),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

impl Wish {
    fn read(words: &[String]) -> Option<Wish> {
        let (mut seconds, mut seed, mut callers, mut mcpool) = (300, fastrand::u64(..1_000_000), CALLERS, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" => seed = words.next()?.parse().ok()?,
                "--callers" => callers = words.next()?.parse().ok()?,
                "--mcpool" => mcpool = fs::canonicalize(words.next()?).ok(),
                word => seconds = word.parse().ok()?,
            }
        }
        Some(Wish { seconds, seed, callers, mcpool: mcpool? })
    }
}

async fn soak(wish: &Wish) -> ExitCode {
    println!("soaking for {} s with {} callers; --seed {} repeats the choices", wish.seconds, wish.callers, wish.seed);
    let directory = std::env::temp_dir().join(format!("mcpool-soak-{}", std::process::id()));
    let account = Account::default();
    match Daemon::start(&wish.mcpool, &directory, wish.seed).await {
        Ok(daemon) => run(wish, daemon, &account).await,
        Err(error) => account.wrong(format!("the daemon does not start: {error}")),
    }
    println!("\n{}", account.table());
    if account.is_right() {
        // Whatever is left there is in nobody's way.
        let _ = fs::remove_dir_all(&directory);
        return ExitCode::SUCCESS;
    }
    fail(&format!("the daemon's log is {}", directory.join("daemon.log").display()))
}

async fn run(wish: &Wish, daemon: Daemon, account: &Account) {
    let began = Instant::now();
    let mut daemon = Rc::new(daemon);
    let place =
        Rc::new(Place { directory: daemon.directory.clone(), mcpool: wish.mcpool.clone(), account: account.clone() });
    let idle = daemon.size().map(|size| size.descriptors).ok();
    let rounds = (wish.seconds / ROUND).max(WARM + 2);
    let mut warm = 0;
    for round in 1..=rounds {
        // What is left of the time, in equal parts; the quiet between rounds takes some of it.
        let left = Duration::from_secs(wish.seconds).saturating_sub(began.elapsed());
        let end = Instant::now() + (left / u32::try_from(rounds - round + 1).unwrap_or(1)).max(SHORTEST);
        let seed = wish.seed.wrapping_mul(1000).wrapping_add(round);
        let raging = tokio::task::spawn_local(chaos::rage(daemon.clone(), account.clone(), seed, end));
        let showing = tokio::task::spawn_local(show(daemon.clone(), account.clone(), began));
        crowd(wish, &place, seed, end).await;
        if raging.await.is_err() {
            account.wrong("the faults came to an end too early".into());
        }
        account.balance();
        if let Err(left) = daemon.quiet(idle, QUIET).await {
            account.wrong(format!("{QUIET:?} after round {round} there is still {left}"));
        }
        match daemon.counters().await {
            Ok(counters) => {
                counters.odds().into_iter().for_each(|odd| account.wrong(format!("after round {round} {odd}")));
            }
            Err(error) => account.wrong(format!("its counters cannot be read: {error}")),
        }
        showing.abort();
        let _ = showing.await;
        let memory = daemon.size().map_or(0, |size| size.memory);
        println!("round {round} of {rounds}: {}; {:.1} MiB resident", account.line(), mib(memory));
        if round <= WARM {
            warm = memory.max(warm);
        } else if memory > warm + GROWTH {
            account.wrong(format!("{:.1} MiB are resident, after the warm-up it was {:.1}", mib(memory), mib(warm)));
        }
    }
    match Rc::get_mut(&mut daemon) {
        Some(daemon) => finish(daemon, account).await,
        None => account.wrong("somebody still holds the daemon".into()),
    }
}

/// So many callers at once, one visit after the other.
async fn crowd(wish: &Wish, place: &Rc<Place>, seed: u64, end: Instant) {
    let mut callers = JoinSet::new();
    for slot in 0..wish.callers {
        let (place, mut chance) = (place.clone(), fastrand::Rng::with_seed(seed ^ (slot as u64) << 32));
        callers.spawn_local(async move {
            for visit in 0.. {
                sleep(Duration::from_millis(chance.u64(..100))).await;
                if Instant::now() >= end {
                    break;
                }
                caller::visit(place.clone(), format!("c{seed}.{slot}.{visit}"), chance.u64(..), end).await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        if let Err(error) = ended {
            place.account.wrong(format!("a caller broke down: {error}"));
        }
    }
}

/// Prints how far it is, now and then.
async fn show(daemon: Rc<Daemon>, account: Account, began: Instant) {
    let mut ticks = interval(Duration::from_secs(10));
    loop {
        ticks.tick().await;
        let (Ok(size), Ok(status)) = (daemon.size(), daemon.status().await) else { continue };
        let servers = status["servers"].as_array().into_iter().flatten();
        let processes: u64 = servers.filter_map(|server| server["processes"].as_u64()).sum();
        println!(
            "{:>4} s: {}; {} callers, {processes} instances, {} descriptors, {:.1} MiB",
            began.elapsed().as_secs(),
            account.line(),
            status["callers"].as_array().map_or(0, Vec::len),
            size.descriptors,
            mib(size.memory),
        );
    }
}

/// The daemon ends, and nothing of it is left.
async fn finish(daemon: &mut Daemon, account: &Account) {
    match daemon.end().await {
        Ok(status) if status.success() => {}
        Ok(status) => account.wrong(format!("the daemon ended with {status}")),
        Err(why) => account.wrong(format!("the daemon does not end: {why}")),
    }
    let left = daemon.offspring();
    if !left.is_empty() {
        account.wrong(format!("processes outlived the daemon: {left:?}"));
    }
    for socket in sockets(&daemon.directory) {
        account.wrong(format!("{} outlived the daemon", socket.display()));
    }
    for line in daemon.complaints() {
        account.wrong(format!("the daemon's log says: {line}"));
    }
}

fn sockets(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
