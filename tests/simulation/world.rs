//! Shared by everything in one run: the seed, the clock, and the truth about who said what to whom, which no
//! message can hide from. Model servers note what reached them and what they said; model callers check what they
//! hear against it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::config::{Config, EraChoice};
use tokio::time::Instant;

use super::ledger::Ledger;
use super::scale::Weight;
use super::server::Habits;
use super::truth::{Ask, State, Truth};

/// Stands in a noted line where an id belongs.
pub const ID: char = '\u{1}';
/// Stands in a noted line where a progress token belongs.
pub const TOKEN: char = '\u{2}';
/// The cause of what nobody caused.
pub const NOBODY: &str = "nobody";
/// What is known to be wrong and reported elsewhere: it is counted instead of failing the run.
pub const KNOWN: [&str; 0] = [];

/// One run.
pub struct World {
    rng: RefCell<Rng>,
    start: Instant,
    hash: RefCell<DefaultHasher>,
    aloud: bool,
    faults: RefCell<Vec<String>>,
    pub known: RefCell<BTreeMap<&'static str, usize>>,
    /// Every call that is to reach a server, by its cause.
    pub calls: RefCell<HashMap<String, Truth>>,
    /// Every ask of a server, by its nonce.
    pub asks: RefCell<HashMap<String, Ask>>,
    /// Every request state of mcpool's own that a caller was given.
    pub states: RefCell<Vec<State>>,
    /// What the roots of each caller were, the latest last.
    pub roots: RefCell<HashMap<usize, Vec<Option<String>>>>,
    /// Callers whose input has ended while they read on, and since when.
    pub silent: RefCell<BTreeMap<usize, Duration>>,
    /// Servers that have asked for roots.
    pub wanted_roots: RefCell<BTreeSet<usize>>,
    /// Callers that are gone, or about to be.
    pub gone: RefCell<BTreeSet<usize>>,
    /// Callers that did not read for a while.
    pub stalled: RefCell<BTreeSet<usize>>,
    /// The log levels that each legacy caller set.
    pub levels: RefCell<HashMap<usize, Vec<&'static str>>>,
    pub servers: Vec<Habits>,
    pub ledgers: RefCell<Vec<Ledger>>,
    /// Copies of each server that run.
    pub running: RefCell<Vec<usize>>,
    /// What copies weigh whose memory is bounded, by their process.
    pub weights: RefCell<BTreeMap<u32, Weight>>,
    /// The numbers of the copies that still read.
    pub reading: RefCell<BTreeSet<usize>>,
    /// When copies were told to end, by their number: their stdin was closed.
    pub told_to_end: RefCell<BTreeMap<usize, Duration>>,
    /// How often what is rare came about.
    pub tally: RefCell<BTreeMap<&'static str, usize>>,
    /// Nothing goes wrong any more.
    calm: Cell<bool>,
    /// How often each server was replaced, so that old copies of it may still run.
    pub generations: RefCell<Vec<usize>>,
    /// Since when nothing new is begun, and since when nothing at all is done.
    draining: Cell<Option<Duration>>,
    ended: Cell<Option<Duration>>,
    config: RefCell<Option<Rc<Config>>>,
    /// Every server as it was configured last, also one that was taken out; when that was.
    known_servers: RefCell<Vec<mcpool::config::Server>>,
    pub removed: RefCell<BTreeMap<usize, Duration>>,
    counter: Cell<u64>,
}

impl World {
    /// The world of a seed; `aloud` prints every message.
    pub fn new(seed: u64, aloud: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let servers: Vec<Habits> = (0..rng.usize(1..4)).map(|_| Habits::random(&mut rng)).collect();
        World {
            start: Instant::now(),
            hash: RefCell::default(),
            aloud,
            faults: RefCell::default(),
            known: RefCell::default(),
            calls: RefCell::default(),
            asks: RefCell::default(),
            states: RefCell::default(),
            roots: RefCell::default(),
            silent: RefCell::default(),
            wanted_roots: RefCell::default(),
            gone: RefCell::default(),
            stalled: RefCell::default(),
            levels: RefCell::default(),
            running: RefCell::new(vec![0; servers.len()]),
            generations: RefCell::new(vec![0; servers.len()]),
            ledgers: RefCell::new(servers.iter().map(|_| Ledger::default()).collect()),
            weights: RefCell::default(),
            reading: RefCell::default(),
            told_to_end: RefCell::default(),
            servers,
            tally: RefCell::default(),
            calm: Cell::default(),
            draining: Cell::default(),
            ended: Cell::default(),
            config: RefCell::default(),
            known_servers: RefCell::default(),
            removed: RefCell::default(),
            counter: Cell::default(),
            rng: RefCell::new(rng),
        }
    }

    /// What the multiplexer is told from now on.
    pub fn configure(&self, config: Config) {
        let mut known = self.known_servers.borrow_mut();
        if known.is_empty() {
            known.clone_from(&config.servers);
        }
        for server in &mut *known {
            let told = config.server(&server.name);
            told.into_iter().for_each(|told| server.clone_from(told));
            if let Ok(which) = server.name[1..].parse() {
                self.note_attempts(which, server.retry.attempts);
            }
        }
        drop(known);
        *self.config.borrow_mut() = Some(Rc::new(config));
    }

    /// Nothing new is begun any more.
    pub fn drains(&self) {
        self.draining.set(Some(self.now()));
    }

    /// Since when nothing new is begun.
    pub fn draining(&self) -> Option<Duration> {
        self.draining.get()
    }

    /// Every connection is closed.
    pub fn ends(&self) {
        self.ended.set(Some(self.now()));
    }

    /// Since when every connection is closed.
    pub fn ended(&self) -> Option<Duration> {
        self.ended.get()
    }

    /// The configuration of a server.
    pub fn server(&self, which: usize) -> mcpool::config::Server {
        self.known_servers.borrow()[which].clone()
    }

    /// When a server was last taken out of the config, if it ever was.
    pub fn removed(&self, which: usize) -> Option<Duration> {
        self.removed.borrow().get(&which).copied()
    }

    /// Whether a server is in the config.
    pub fn is_configured(&self, which: usize) -> bool {
        self.config().server(&format!("s{which}")).is_some()
    }

    /// What the multiplexer was told.
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().clone().expect("a configured world")
    }

    /// How much later than it was written a line may be read, since memory is short: mcpool waits for room for two seconds, and
    /// a few times.
    pub fn reads_late(&self) -> Duration {
        if self.config().limits.memory() < 1 << 20 { Duration::from_secs(6) } else { Duration::ZERO }
    }

    /// From now on nothing goes wrong.
    pub fn calm_down(&self) {
        self.note("world", "calms down");
        self.calm.set(true);
    }

    /// Whether nothing goes wrong any more.
    pub fn is_calm(&self) -> bool {
        self.calm.get()
    }

    /// Counts something that is rare, to show that it came about.
    pub fn count(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    /// A stream of chance of its own for somebody.
    pub fn fork(&self) -> Rng {
        self.rng.borrow_mut().fork()
    }

    /// A number that is used once.
    pub fn next(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Notes something that happened.
    pub fn note(&self, who: &str, text: &str) {
        (self.now(), who, text).hash(&mut *self.hash.borrow_mut());
        self.tell(who, text);
    }

    /// Prints what explains a run but is no part of it, so that the digest stays as it is.
    pub fn tell(&self, who: &str, text: &str) {
        if self.aloud {
            eprintln!("{:>9.3} {who:<10} {text}", self.now().as_secs_f64());
        }
    }

    /// Notes that an invariant is broken.
    pub fn fault(&self, text: impl Into<String>) {
        let text = format!("at {:.3}s: {}", self.now().as_secs_f64(), text.into());
        self.note("FAULT", &text);
        self.faults.borrow_mut().push(text);
    }

    /// Notes that an invariant is broken in a known way, or as `fault` if it is not known.
    pub fn known_fault(&self, kind: &'static str, text: impl Into<String>) {
        if KNOWN.contains(&kind) {
            *self.known.borrow_mut().entry(kind).or_default() += 1;
        } else {
            self.fault(format!("[{kind}] {}", text.into()));
        }
    }

    /// What was broken so far.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// A digest of everything that happened.
    pub fn digest(&self) -> u64 {
        self.hash.borrow().finish()
    }

    /// Works on the truth about a call.
    pub fn truth<T>(&self, cause: &str, work: impl FnOnce(&mut Truth) -> T) -> Option<T> {
        let found = self.calls.borrow_mut().get_mut(cause).map(work);
        if found.is_none() && cause != NOBODY {
            self.fault(format!("nobody ever caused {cause:?}"));
        }
        found
    }
}

impl World {
    /// Whether a caller had these roots when it made a call, or later.
    pub fn had_roots(&self, truth: &Truth, roots: Option<&String>) -> bool {
        let had = &self.roots.borrow()[&truth.caller];
        if self.stalled.borrow().contains(&truth.caller) {
            // It may not have read the question: then the server is told that there was no answer.
            return roots.is_none() || had.iter().any(|had| had.as_ref() == roots);
        }
        had[truth.roots..].iter().any(|had| had.as_ref() == roots)
    }

    /// Whether a caller's input has ended.
    pub fn says_no_more(&self, caller: usize) -> bool {
        self.silent.borrow().contains_key(&caller) || self.gone.borrow().contains(&caller)
    }

    /// Notes an ask, by its nonce, that a server is about to put.
    pub fn put_ask(&self, nonce: &str, cause: &str, request: &str, required: bool) {
        let (cause, request) = (cause.to_owned(), request.to_owned());
        let ask = Ask { cause, since: self.now(), request, delivered: None, answer: None, result: None, required };
        self.asks.borrow_mut().insert(nonce.to_owned(), ask);
    }

    /// Whether a copy of a server still reads what it is sent.
    pub fn reads(&self, copy: usize) -> bool {
        self.reading.borrow().contains(&copy)
    }

    /// Whether a copy of a server is certainly listened to at some time. One that is stopped may go on to speak, and its
    /// calls have failed by then or were sent again.
    pub fn hears(&self, copy: usize, at: Duration) -> bool {
        self.told_to_end.borrow().get(&copy).is_none_or(|since| at < *since)
    }

    /// Whether a server still works on a call.
    pub fn runs(&self, cause: &str) -> bool {
        let runs = |truth: &mut Truth| truth.ended.is_none() && truth.arrived.is_some_and(|copy| self.reads(copy));
        self.truth(cause, runs) == Some(true)
    }

    /// Whether a call may reach its server in the other era: its caller's is not spoken there, or not wanted, or the
    /// server is of a kind whose word nobody can rely on.
    pub fn may_cross(&self, truth: &Truth) -> bool {
        let habits = &self.servers[truth.server];
        let (speaks, other) =
            if truth.modern { (habits.modern, EraChoice::Legacy) } else { (habits.legacy, EraChoice::Modern) };
        !speaks || habits.is_fickle() || self.server(truth.server).era == other
    }
}

/// The text behind a key whose value is a plain string.
pub fn mark<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    line[start..].split('"').next()
}
