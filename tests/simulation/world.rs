//! Shared by everything in one run: the seed, the clock, and the truth about who said what to whom, which no
//! message can hide from. Model servers note what reached them and what they said; model callers check what they
//! hear against it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::server::Habits;

/// Stands in a noted line where an id belongs.
pub const ID: char = '\u{1}';
/// Stands in a noted line where a progress token belongs.
pub const TOKEN: char = '\u{2}';
/// What is known to be wrong and reported elsewhere: it is counted instead of failing the run.
pub const KNOWN: [&str; 0] = [];

/// One run.
pub struct World {
    rng: RefCell<Rng>,
    start: Instant,
    hash: RefCell<DefaultHasher>,
    aloud: bool,
    faults: RefCell<Vec<String>>,
    pub known: RefCell<HashMap<&'static str, usize>>,
    /// Every call that is to reach a server, by its cause.
    pub calls: RefCell<HashMap<String, Truth>>,
    /// Every ask of a server, by its nonce.
    pub asks: RefCell<HashMap<String, Ask>>,
    /// What the roots of each caller were, the latest last.
    pub roots: RefCell<HashMap<usize, Vec<Option<String>>>>,
    pub servers: Vec<Habits>,
    /// Copies of each server that run.
    pub running: RefCell<Vec<usize>>,
    /// The numbers of the copies that still read.
    pub reading: RefCell<BTreeSet<usize>>,
    counter: Cell<u64>,
}

/// What is true of one call.
#[derive(Default)]
pub struct Truth {
    pub caller: usize,
    /// The server that it is for.
    pub server: usize,
    /// The line that is to reach the server.
    pub request: String,
    /// How often the roots of its caller had changed when it called.
    pub roots: usize,
    /// The server's copy that it reached.
    pub arrived: Option<usize>,
    /// The server's answer, and when it was given.
    pub answer: Option<(String, Duration)>,
    /// Progress notifications sent and seen.
    pub progress: (u32, u32),
    /// Since when nothing is to be done for it any more: cancelled or refused.
    pub abandoned: Option<Duration>,
}

/// What is true of one ask.
pub struct Ask {
    pub cause: String,
    /// The line that is to reach the caller.
    pub request: String,
    /// To whom it was delivered.
    pub delivered: Option<usize>,
    /// The answer that is to reach the server.
    pub answer: Option<String>,
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
            roots: RefCell::default(),
            running: RefCell::new(vec![0; servers.len()]),
            reading: RefCell::default(),
            servers,
            counter: Cell::default(),
            rng: RefCell::new(rng),
        }
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
        if found.is_none() {
            self.fault(format!("nobody ever caused {cause:?}"));
        }
        found
    }
}

impl World {
    /// Whether a caller had these roots when it made a call, or later.
    pub fn had_roots(&self, truth: &Truth, roots: Option<&String>) -> bool {
        self.roots.borrow()[&truth.caller][truth.roots..].iter().any(|had| had.as_ref() == roots)
    }
}

/// The text behind a key whose value is a plain string.
pub fn mark<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    line[start..].split('"').next()
}
