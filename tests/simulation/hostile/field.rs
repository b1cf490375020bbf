//! Shared by everybody in a run with hostile peers: the plan, the clock, and the truth about the calls of the modest.
//!
//! Every string of a peer carries a mark that says whose it is: `modest-CALLER-sSERVER-NUMBER` for one call of a modest
//! caller, `raid-` for what a hostile caller says, `evil-` for what a hostile server says. A mark says who may see it, so
//! that a line in the wrong hands gives itself away.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::plan::Plan;

/// Of a hostile caller.
pub const RAID: &str = "raid-";
/// Of a hostile server.
pub const EVIL: &str = "evil-";
/// Of a modest caller.
pub const MODEST: &str = "modest-";

/// How many lines that nobody wants hostile servers say in one run.
const NOISE: usize = 4000;

/// One run.
pub struct Field {
    pub plan: Plan,
    rng: RefCell<Rng>,
    start: Instant,
    aloud: bool,
    hash: RefCell<DefaultHasher>,
    faults: RefCell<Vec<String>>,
    tally: RefCell<BTreeMap<&'static str, usize>>,
    /// What was said to each call of a modest caller, by its mark: the answer's line without its id.
    said: RefCell<HashMap<String, String>>,
    /// The copy that each such call reached.
    reached: RefCell<HashMap<String, u64>>,
    /// The copies that a call made die.
    crashed: RefCell<BTreeSet<u64>>,
    /// When a call made a copy of each server die last.
    killed: RefCell<BTreeMap<usize, Instant>>,
    /// Copies of each server that run.
    running: RefCell<Vec<usize>>,
    over: Cell<bool>,
    /// How many lines hostile servers have said that nobody wanted.
    noise: Cell<usize>,
    counter: Cell<u64>,
}

impl Field {
    /// The run of a seed; `aloud` prints every message.
    pub fn new(seed: u64, aloud: bool) -> Field {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        Field {
            running: RefCell::new(vec![0; plan.servers.len()]),
            plan,
            rng: RefCell::new(rng),
            start: Instant::now(),
            aloud,
            hash: RefCell::default(),
            faults: RefCell::default(),
            tally: RefCell::default(),
            said: RefCell::default(),
            reached: RefCell::default(),
            crashed: RefCell::default(),
            killed: RefCell::default(),
            over: Cell::default(),
            noise: Cell::default(),
            counter: Cell::default(),
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

    /// The modest have done what they wanted to.
    pub fn ends(&self) {
        self.over.set(true);
    }

    /// Whether a hostile server may say so many more lines that nobody wants: a test has to end.
    pub fn bears(&self, lines: usize) -> bool {
        self.noise.set(self.noise.get() + lines);
        self.noise.get() < NOISE
    }

    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Notes what somebody said or heard.
    pub fn note(&self, who: &str, text: &str) {
        (self.now(), who, text).hash(&mut *self.hash.borrow_mut());
        if self.aloud {
            let cut: String = text.chars().take(400).collect();
            eprintln!("{:>9.3} {who:<10} {cut}", self.now().as_secs_f64());
        }
    }

    /// Notes that an invariant is broken.
    pub fn fault(&self, text: impl Into<String>) {
        let text = format!("at {:.3}s: {}", self.now().as_secs_f64(), text.into());
        self.note("FAULT", &text);
        let mut faults = self.faults.borrow_mut();
        if faults.len() < 100 {
            faults.push(text);
        }
    }

    /// Counts something, to show that it came about.
    pub fn count(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    pub fn take_faults(&self) -> Vec<String> {
        self.faults.take()
    }

    pub fn take_tally(&self) -> BTreeMap<&'static str, usize> {
        self.tally.take()
    }

    /// A digest of all that was said and heard.
    pub fn digest(&self) -> u64 {
        self.hash.borrow().finish()
    }

    /// A copy of a server starts.
    pub fn starts(&self, which: usize) -> usize {
        let mut running = self.running.borrow_mut();
        running[which] += 1;
        running[which]
    }

    /// A copy of a server is gone.
    pub fn stops(&self, which: usize) {
        self.running.borrow_mut()[which] -= 1;
    }

    /// How many copies of all servers run.
    pub fn running(&self) -> usize {
        self.running.borrow().iter().sum()
    }

    /// A call of a modest caller reached a copy, once.
    pub fn reaches(&self, cause: &str, copy: u64) {
        if let Some(other) = self.reached.borrow_mut().insert(cause.to_owned(), copy) {
            self.fault(format!("{cause} reached #{other} and then #{copy}"));
        }
    }

    /// A copy of a server dies of a call.
    pub fn dies(&self, which: usize, copy: u64) {
        self.crashed.borrow_mut().insert(copy);
        self.killed.borrow_mut().insert(which, Instant::now());
    }

    /// Whether a server may be down still because a call killed it.
    pub fn is_killed(&self, which: usize) -> bool {
        let replaced = self.plan.replaced(which);
        self.killed.borrow().get(&which).is_some_and(|at| at.elapsed() <= replaced)
    }

    /// Whether a call was with a copy that died of another.
    pub fn was_killed(&self, cause: &str) -> bool {
        self.reached.borrow().get(cause).is_some_and(|copy| self.crashed.borrow().contains(copy))
    }

    /// A sound server answers a call of a modest caller.
    pub fn says(&self, cause: &str, line: &str) {
        self.said.borrow_mut().insert(cause.to_owned(), line.to_owned());
    }

    /// What a sound server answered to a call.
    pub fn said(&self, cause: &str) -> Option<String> {
        self.said.borrow().get(cause).cloned()
    }
}

/// The marks of modest callers in a line.
pub fn modest_marks(line: &str) -> impl Iterator<Item = &str> {
    let marks = line.match_indices(MODEST).map(|(at, _)| &line[at..]);
    marks.map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len())])
}

/// The number behind a key, as in `"work":300`.
pub fn number(line: &str, key: &str) -> Option<u64> {
    let start = line.find(&format!("\"{key}\":"))? + key.len() + 3;
    let rest = &line[start..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}
