//! Called by `mux` for every call to a server and for what becomes of it: refuses calls at once while the server is
//! sick, and those of one party while only that one's fail. Time and jitter are arguments, so that the same happenings
//! lead to the same decisions ([decision 9](../../docs/decisions/0009-what-counts-against-a-server.md)).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
pub use crate::guard::circuit::State;
use crate::guard::circuit::{Circuit, Token};
use crate::guard::evidence::Evidence;
use crate::guard::principal::Principal;

/// How many parties in trouble are told apart at once.
const PARTIES: usize = 64;

/// One breaker.
pub struct Breaker {
    config: config::Breaker,
    /// For all.
    all: Circuit,
    evidence: Evidence,
    /// For those whose own calls failed.
    parties: BTreeMap<Principal, Party>,
}

/// One whose calls failed.
struct Party {
    circuit: Circuit,
    /// Failures in a row.
    failures: u32,
}

/// The right to be the one call that tries: of all, of its party, or both.
#[derive(Debug, Default)]
pub struct Trial {
    of_all: Option<Token>,
    of_party: Option<Token>,
}

/// What a call was a trial of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    all: bool,
    party: bool,
}

/// Why a call does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it may be worth another try.
    pub retry: Duration,
    /// The last failure, in words.
    pub cause: String,
    /// Whether calls of others pass.
    pub alone: bool,
}

/// A failure that tells of a sick server, or of a sick client.
#[derive(Clone, Copy, Debug)]
pub struct Ailment<'a> {
    /// Whose calls it may have been; nobody's, if no call can be the cause.
    pub met: &'a [Principal],
    /// What the call that failed was a trial of, if it is about one only.
    pub call: Option<Tries>,
    pub cause: &'a str,
}

/// For whom a breaker opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub for_all: bool,
    pub for_parties: Vec<Principal>,
}

impl Trial {
    /// Whether what becomes of the call decides anything.
    pub fn decides(&self) -> bool {
        self.of_all.is_some() || self.of_party.is_some()
    }
}

impl<'a> Ailment<'a> {
    /// One that is not about one call.
    pub fn of(met: &'a [Principal], cause: &'a str) -> Ailment<'a> {
        Ailment { met, call: None, cause }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: config::Breaker) -> Breaker {
        let (all, evidence) = (Circuit::new(&config), Evidence::default());
        Breaker { config, all, evidence, parties: BTreeMap::new() }
    }

    /// Whether a call of somebody may pass; if it is the one that tries, `trial` says so from then on. A right that it was
    /// given before the breaker opened once more counts for nothing.
    ///
    /// # Errors
    /// It may not now.
    pub fn admit(&mut self, who: Principal, trial: &mut Trial, now: Instant) -> Result<(), Refusal> {
        let Trial { of_all, of_party } = std::mem::take(trial);
        let of_party = match self.parties.get_mut(&who) {
            Some(party) => party.circuit.admit(who, of_party, now).map_err(|retry| {
                // There is no use in coming back while all are refused.
                let retry = retry.max(self.all.refuses(who, now).unwrap_or_default());
                Refusal { retry, cause: party.circuit.cause().to_owned(), alone: true }
            })?,
            None => None,
        };
        let of_all = self.all.admit(who, of_all, now);
        let of_all = of_all.map_err(|retry| Refusal { retry, cause: self.all.cause().to_owned(), alone: false })?;
        *trial = Trial { of_all, of_party };
        Ok(())
    }

    /// What somebody's call is a trial of by now.
    pub fn tries(&self, who: Principal, trial: &Trial) -> Tries {
        let party = self.parties.get(&who).zip(trial.of_party.as_ref());
        Tries {
            all: trial.of_all.as_ref().is_some_and(|token| self.all.is_tried_with(token)),
            party: party.is_some_and(|(party, token)| party.circuit.is_tried_with(token)),
        }
    }

    /// Whether a call of somebody would be refused for some time to come; nothing is tried with it.
    pub fn refuses(&self, who: Principal, now: Instant) -> Option<Refusal> {
        let own = self.parties.get(&who).map(|party| (&party.circuit, true));
        let circuits = [own, Some((&self.all, false))].into_iter().flatten();
        let open = circuits.filter(|(circuit, _)| circuit.state(now) == State::Open);
        let refusals = open.map(|(circuit, alone)| {
            let retry = circuit.refuses(who, now).unwrap_or_default();
            Refusal { retry, cause: circuit.cause().to_owned(), alone }
        });
        refusals.max_by_key(|refusal| refusal.retry)
    }

    /// Notes a failure; for whom that opens it. While one call tries, no other call decides: it was sent before.
    pub fn failed(&mut self, failure: Ailment<'_>, now: Instant, jitter: f64) -> Opened {
        let mut opened = Opened::default();
        let Some(limit) = self.config.failures.map(std::num::NonZeroU32::get) else { return opened };
        let tried = |circuit: &Circuit, of: fn(&Tries) -> bool| {
            !circuit.is_tried() || failure.call.is_none_or(|tries| of(&tries))
        };
        for who in failure.met {
            let Some(party) = self.party(*who, now) else { continue };
            if party.circuit.is_open() || !tried(&party.circuit, |tries| tries.party) {
                continue;
            }
            party.failures = party.failures.saturating_add(1);
            if party.failures >= limit || party.circuit.is_tried() {
                // Nobody else can take its turns.
                party.circuit.open(&[], now, jitter, failure.cause);
                opened.for_parties.push(*who);
            }
        }
        // What was sent before it opened says nothing new.
        if !self.all.is_open() && tried(&self.all, |tries| tries.all) {
            self.evidence.note(failure.met);
            if self.all.is_tried() || self.evidence.suffices(limit) {
                self.all.open(failure.met, now, jitter, failure.cause);
                opened.for_all = true;
            } else {
                self.all.blame(failure.cause);
            }
        }
        opened
    }

    /// Notes that the server answered somebody's call, or gave another sign of life that counts; whether that closed it for
    /// all, or for that party.
    pub fn succeeded(&mut self, who: Principal) -> bool {
        let mut closes = false;
        // What was sent before it opened says nothing new.
        if self.parties.get(&who).is_some_and(|party| !party.circuit.is_open()) {
            closes |= self.parties.remove(&who).is_some_and(|party| !party.circuit.is_closed());
        }
        if !self.all.is_open() {
            self.evidence.clear();
            closes |= self.all.close();
        }
        closes
    }

    /// Closes it, whatever was: the operator knows better.
    pub fn reset(&mut self) {
        self.all.close();
        self.evidence.clear();
        self.parties.clear();
    }

    /// What it looks like for all.
    pub fn state(&self, now: Instant) -> State {
        self.all.state(now)
    }

    /// How long it stays open for all.
    pub fn opens_for(&self, now: Instant) -> Option<Duration> {
        self.all.opens_for(now)
    }

    /// The last failure, in words.
    pub fn cause(&self) -> &str {
        self.all.cause()
    }

    /// Those for whom alone it is not closed.
    pub fn parties(&self, now: Instant) -> impl Iterator<Item = (Principal, &Circuit)> {
        let parties = self.parties.iter().map(|(who, party)| (*who, &party.circuit));
        parties.filter(move |(_, circuit)| circuit.state(now) != State::Closed)
    }

    /// What it looks like for those for whom it is worst.
    pub fn worst(&self, now: Instant) -> State {
        let parties = self.parties(now).map(|(_, circuit)| circuit.state(now));
        parties.fold(self.state(now), State::max)
    }

    /// Whether nothing is held against what it stands for, nor against anybody.
    pub fn is_clean(&self) -> bool {
        self.evidence.is_empty() && self.all.is_closed() && self.parties.is_empty()
    }

    /// What is known of somebody whose call failed; nothing, where too many are refused. Others make room, those first of whom
    /// nothing is held: whoever has left is never tried.
    fn party(&mut self, who: Principal, now: Instant) -> Option<&mut Party> {
        if self.parties.len() >= PARTIES && !self.parties.contains_key(&who) {
            let closed = self.parties.iter().find(|(_, party)| party.circuit.is_closed());
            let tried = || self.parties.iter().find(|(_, party)| party.circuit.state(now) != State::Open);
            let least = closed.or_else(tried).map(|(who, _)| *who);
            self.parties.remove(&least?);
        }
        let new = || Party { circuit: Circuit::new(&self.config), failures: 0 };
        Some(self.parties.entry(who).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests;
