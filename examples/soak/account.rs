//! What was asked, what came of it, and what was wrong. At the end the two sides must be equal.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// As many wrongs are kept in words; the rest are counted.
const KEPT: usize = 30;

/// The account of one soak, shared by everything that writes into it.
#[derive(Clone, Default)]
pub struct Account(Rc<Books>);

#[derive(Default)]
struct Books {
    /// How each request ended, for each server.
    ends: RefCell<BTreeMap<String, BTreeMap<String, u64>>>,
    /// What else happened.
    events: RefCell<BTreeMap<&'static str, u64>>,
    asked: Cell<u64>,
    ended: Cell<u64>,
    longest: Cell<Duration>,
    /// Who waited longest, for what.
    longest_for: RefCell<String>,
    wrongs: RefCell<Vec<String>>,
    wrong: Cell<u64>,
}

impl Account {
    /// A request was sent.
    pub fn asked(&self) {
        self.0.asked.set(self.0.asked.get() + 1);
    }

    /// A request to `server` came to its end: answered, or given up by its caller.
    pub fn ended(&self, server: &str, how: &str) {
        self.0.ended.set(self.0.ended.get() + 1);
        let mut ends = self.0.ends.borrow_mut();
        *ends.entry(server.to_owned()).or_default().entry(how.to_owned()).or_default() += 1;
    }

    /// How long somebody waited for an answer, and for which.
    pub fn waited(&self, time: Duration, what: impl FnOnce() -> String) {
        if time > self.0.longest.get() {
            self.0.longest.set(time);
            self.0.longest_for.replace(what());
        }
    }

    /// Counts what happened besides.
    pub fn count(&self, what: &'static str) {
        *self.0.events.borrow_mut().entry(what).or_default() += 1;
    }

    /// A promise was broken.
    pub fn wrong(&self, what: String) {
        self.0.wrong.set(self.0.wrong.get() + 1);
        eprintln!("WRONG: {what}");
        let mut wrongs = self.0.wrongs.borrow_mut();
        if wrongs.len() < KEPT {
            wrongs.push(what);
        }
    }

    /// Whether every promise was kept.
    pub fn is_right(&self) -> bool {
        self.0.wrong.get() == 0
    }

    /// Every request must have come to one end; called when no caller is left.
    pub fn balance(&self) {
        let (asked, ended) = (self.0.asked.get(), self.0.ended.get());
        if asked != ended {
            self.wrong(format!("{asked} requests, but {ended} ends"));
        }
    }

    /// One line, for between.
    pub fn line(&self) -> String {
        format!(
            "{} requests, {} ended, longest wait {:.1} s, {} wrong",
            self.0.asked.get(),
            self.0.ended.get(),
            self.0.longest.get().as_secs_f64(),
            self.0.wrong.get()
        )
    }

    /// The whole account.
    pub fn table(&self) -> String {
        let mut table = format!("requests      {}\n", self.0.asked.get());
        for (server, ends) in &*self.0.ends.borrow() {
            let ends = ends.iter().map(|(how, count)| format!("{how} {count}")).collect::<Vec<_>>();
            table += &format!("  {server:<12}{}\n", ends.join(", "));
        }
        let events = self.0.events.borrow();
        let events = events.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>();
        table += &format!("besides       {}\n", events.join(", "));
        let (longest, what) = (self.0.longest.get().as_secs_f64(), self.0.longest_for.borrow());
        table += &format!("longest wait  {longest:.1} s, {what}\n");
        table += &format!("wrong         {}", self.0.wrong.get());
        for wrong in &*self.0.wrongs.borrow() {
            table += &format!("\n  {wrong}");
        }
        table
    }
}
