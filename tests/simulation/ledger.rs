//! What is true of each server as a whole: how much it was sent, what is held against it. Model servers and callers
//! note what they see; limits, breakers and retries are checked against it.

use std::collections::BTreeMap;
use std::time::Duration;

use mcpool::config::{Rate, RateLimit, Server};

use serde_json::Value;

use super::truth::Truth;
use super::world::World;

/// One server's.
#[derive(Default)]
pub struct Ledger {
    /// Calls that reached it.
    pub calls: usize,
    /// Those among them that had reached it before.
    pub repeats: usize,
    /// Copies that died in a call, of those that die in each.
    deaths: u32,
    /// The open breakers, as callers were told of them: the one for all, and those for one caller.
    breakers: BTreeMap<Option<usize>, Open>,
    /// When calls were made that reached it, by caller.
    admitted: BTreeMap<usize, Vec<Duration>>,
    /// How often its budget of retries began anew.
    budgets: usize,
    /// How often a call may be sent again, since when.
    attempts: Vec<(Duration, u8)>,
}

/// A breaker that is open, or half open.
pub struct Open {
    /// When a caller was told first.
    from: Duration,
    /// When it is open no more.
    until: Duration,
    /// The call that tries, and the copy that has it.
    trial: Option<(String, usize)>,
}

impl World {
    /// A caller was told that the breaker of a server is open for so long: for all, or for that caller alone.
    pub fn breaker_is_open(&self, server: usize, alone: Option<usize>, rest: Duration) {
        let (now, until) = (self.now(), self.now() + rest);
        let breakers = &mut self.ledgers.borrow_mut()[server].breakers;
        if breakers.get(&alone).is_none_or(|open| open.until < now && open.trial.is_none()) {
            self.count(if alone.is_some() {
                "breakers that were seen open for one"
            } else {
                "breakers that were seen open"
            });
            breakers.insert(alone, Open { from: now, until, trial: None });
        }
    }

    /// Whether a server's breaker was certainly open for a caller at some time.
    pub fn was_open(&self, server: usize, caller: usize, at: Duration) -> bool {
        // What is told is rounded up.
        const GRAIN: Duration = Duration::from_millis(2);
        let ledgers = self.ledgers.borrow();
        let breakers = [None, Some(caller)].map(|of| ledgers[server].breakers.get(&of));
        breakers.into_iter().flatten().any(|open| open.from < at && at + GRAIN < open.until)
    }

    /// A server said something that shows that it works: its breakers close, unless it is not time for that yet.
    pub fn breaker_closes(&self, server: usize) {
        let now = self.now();
        self.ledgers.borrow_mut()[server].breakers.retain(|_, open| open.until > now);
    }

    /// A call reached a copy of a server. While the breaker is open, none may; when it is half open, one at a time.
    pub fn note_arrival(&self, server: usize, copy: usize, cause: &str, made: Duration) {
        if !self.breakers_are_simple(server) {
            return;
        }
        let Some(caller) = self.truth(cause, |truth| truth.caller) else { return };
        if self.was_open(server, caller, made) {
            self.fault(format!("{cause} reached s{server}#{copy} though the breaker was open"));
        }
        for of in [None, Some(caller)] {
            self.note_trial(server, copy, of, cause, made);
        }
    }

    fn note_trial(&self, server: usize, copy: usize, of: Option<usize>, cause: &str, made: Duration) {
        let now = self.now();
        let trial = {
            let breakers = &mut self.ledgers.borrow_mut()[server].breakers;
            let open = breakers.get_mut(&of).filter(|open| open.until < now && open.until < made);
            let Some(open) = open else { return };
            open.trial.replace((cause.to_owned(), copy))
        };
        self.count("calls that try whether a server works again");
        let Some((other, at)) = trial.filter(|(other, at)| other != cause && self.reads(*at)) else { return };
        let open = |truth: &mut Truth| truth.is_with(at) && truth.abandoned.is_none();
        if self.truth(&other, open) == Some(true) {
            self.fault(format!("{cause} reached s{server}#{copy} while {other} tries whether it works again"));
        }
    }

    /// What limits a server begins anew.
    pub fn forget_limits(&self, server: usize) {
        let ledger = &mut self.ledgers.borrow_mut()[server];
        ledger.breakers.clear();
        ledger.admitted.clear();
        ledger.budgets += 1;
    }

    /// A config came in force that lets calls of a server be sent again so often.
    pub fn note_attempts(&self, server: usize, attempts: u8) {
        self.ledgers.borrow_mut()[server].attempts.push((self.now(), attempts));
    }

    /// How often a call that its server lost could be sent again, if that was decided at some time since.
    pub fn attempts_since(&self, server: usize, since: Duration) -> u8 {
        let ledgers = self.ledgers.borrow();
        let all = &ledgers[server].attempts;
        let first = all.iter().rposition(|(from, _)| *from <= since).unwrap_or(0);
        all[first..].iter().map(|(_, attempts)| *attempts).max().unwrap_or_default()
    }

    /// A copy of a server that dies in each call did so.
    pub fn died_in_a_call(&self, server: usize) {
        self.ledgers.borrow_mut()[server].deaths += 1;
    }

    /// A server that dies in each call is found out, however well it lists: its breaker has opened by then.
    pub fn check_deaths(&self, status: &Value) {
        for server in status["servers"].as_array().into_iter().flatten() {
            let Some(which) = server["name"].as_str().and_then(|name| name[1..].parse().ok()) else { continue };
            let (breaker, ledger) = (self.server(which).breaker, &self.ledgers.borrow()[which]);
            let enough = breaker.failures.is_some_and(|failures| ledger.deaths > failures.get());
            // What is held against a server that was restarted or replaced begins anew.
            if enough && ledger.budgets == 0 && !breaker.per_tool && server["breaker"]["trips"] == 0 {
                self.fault(format!("s{which} died in {} calls, and its breaker never opened: {server}", ledger.deaths));
            }
            if enough && ledger.budgets == 0 {
                self.count("servers found out though they list well");
            }
        }
    }

    /// Whether a server has one breaker for everything.
    pub fn breakers_are_simple(&self, server: usize) -> bool {
        !self.server(server).breaker.per_tool
    }

    /// A call reached a server; when it was made.
    pub fn note_admitted(&self, server: usize, caller: usize, made: Duration) {
        self.ledgers.borrow_mut()[server].admitted.entry(caller).or_default().push(made);
    }

    /// At the end: nobody had more than its share, and retries stayed within their budget.
    pub fn check_ledgers(&self) {
        for (which, ledger) in self.ledgers.take().into_iter().enumerate() {
            let Server { rate_limit: RateLimit { per_caller, total, .. }, retry, .. } = self.server(which);
            let all: Vec<Duration> = ledger.admitted.values().flatten().copied().collect();
            let own = ledger.admitted.into_values().map(|times| (times, per_caller));
            for (times, rate) in own.chain([(all, total)]) {
                if let Some((most, rate)) = rate.and_then(|rate| Some((exceeds(times, rate)?, rate))) {
                    self.fault(format!("{most} calls of s{which} were let through in {:?} at {rate:?}", rate.per));
                }
            }
            // A few to begin with, and then a part of all that is sent; lists and the like are sent too.
            let budget = if retry.budget == 0 {
                0
            } else {
                11 * (1 + ledger.budgets) + ledger.calls * usize::from(retry.budget) / 100
            };
            if ledger.repeats > budget + ledger.calls * usize::from(retry.budget) / 20 {
                self.fault(format!(
                    "{} of {} calls of s{which} were sent again: {retry:?}",
                    ledger.repeats, ledger.calls
                ));
            }
        }
    }
}

/// The most in any time of that length, if that is more than what may be saved up and what comes meanwhile.
fn exceeds(mut times: Vec<Duration>, rate: Rate) -> Option<usize> {
    times.sort_unstable();
    let within = |start: usize| times[start..].partition_point(|time| *time < times[start] + rate.per);
    let most = (0..times.len()).map(within).max().unwrap_or_default();
    (most > 2 * rate.count.get() as usize).then_some(most)
}
