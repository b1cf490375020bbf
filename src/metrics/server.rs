//! The account of one server: held by its pool and by each of its calls, which tell it what happens. Everything that a
//! call adds to is found by a small index.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::method::Method;
use super::times::Times;
use super::words::Words;
use crate::wire::tally::Tally;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result, of the server or from what mcpool knows. That a tool calls its own result an error is the
    /// caller's business.
    Ok,
    /// With an error that the server answered.
    Error,
    /// With an error of mcpool's own; `mcpool_refusals_total` has the reason.
    Refused,
    /// Its caller cancelled it or left.
    Cancelled,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 4] = [Outcome::Ok, Outcome::Error, Outcome::Refused, Outcome::Cancelled];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Refused => "refused",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// How a probe of an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The instance answered.
    Answered,
    /// It left the probe unanswered, and answered a list request.
    Confirmed,
    /// It answered neither.
    Missed,
}

impl Probe {
    const ALL: [Probe; 3] = [Probe::Answered, Probe::Confirmed, Probe::Missed];

    fn as_str(self) -> &'static str {
        match self {
            Probe::Answered => "answered",
            Probe::Confirmed => "confirmed",
            Probe::Missed => "missed",
        }
    }
}

/// What is counted of one server.
pub struct ServerMetrics {
    pub name: String,
    calls: [[Tally; Outcome::ALL.len()]; Method::COUNT],
    refused: Words,
    starts: Words,
    failed_starts: Tally,
    stopped: Words,
    leases_new: Tally,
    leases_reused: Tally,
    exhausted: Tally,
    overflow: Tally,
    retries: Tally,
    probes: [Tally; Probe::ALL.len()],
    trips: Tally,
    lists_cut: Tally,
    /// Lines of stderr that were not logged: there were too many.
    pub stderr_left_out: Tally,
    /// What it said that may be lost, and callers or instances that were behind were not told.
    pub unheard: Rc<Tally>,
    /// How long calls waited for an instance.
    pub queued: Times,
    took: [Times; Method::COUNT],
}

impl ServerMetrics {
    pub(super) fn new(name: &str) -> Rc<ServerMetrics> {
        Rc::new(ServerMetrics {
            name: name.to_owned(),
            calls: Default::default(),
            refused: Words::default(),
            starts: Words::default(),
            failed_starts: Tally::default(),
            stopped: Words::default(),
            leases_new: Tally::default(),
            leases_reused: Tally::default(),
            exhausted: Tally::default(),
            overflow: Tally::default(),
            retries: Tally::default(),
            probes: Default::default(),
            trips: Tally::default(),
            lists_cut: Tally::default(),
            stderr_left_out: Tally::default(),
            unheard: Rc::default(),
            queued: Times::default(),
            took: Default::default(),
        })
    }

    /// A call ended. `queued`: how long it waited for an instance, if it had to have one; `took`: how long it was with
    /// one, if it was.
    pub fn call_ended(&self, method: Method, outcome: Outcome, queued: Option<Duration>, took: Option<Duration>) {
        self.calls[method.index()][outcome as usize].one();
        queued.into_iter().for_each(|time| self.queued.note(time));
        took.into_iter().for_each(|time| self.took[method.index()].note(time));
    }

    /// How long calls were with an instance on average.
    pub fn took_altogether(&self) -> Option<Duration> {
        let (count, sum) =
            self.took.iter().fold((0, 0), |(count, sum), times| (count + times.count(), sum + times.micros()));
        sum.checked_div(count).map(Duration::from_micros)
    }

    /// How long calls were with an instance, by method; those of which there was one.
    pub fn took(&self) -> impl Iterator<Item = (Method, &Times)> {
        Method::all().map(|method| (method, &self.took[method.index()])).filter(|(_, times)| times.count() > 0)
    }

    /// Counts what mcpool refused, by the word for the error ([`super::reason`]).
    pub fn refused(&self, reason: &'static str) {
        self.refused.one(reason);
    }

    /// An instance is started; why, in one of a few words.
    pub fn started(&self, reason: &'static str) {
        self.starts.one(reason);
    }

    /// An instance did not become ready.
    pub fn start_failed(&self) {
        self.failed_starts.one();
    }

    /// An instance is stopped, or has ended; why, in one of a few words.
    pub fn stopped(&self, reason: &'static str) {
        self.stopped.one(reason);
    }

    /// A call got an instance: a fresh one that had served nobody before, or one that had.
    pub fn leased(&self, fresh: bool) {
        if fresh { self.leases_new.one() } else { self.leases_reused.one() }
    }

    /// A call came when no instance had room and no other could be started.
    pub fn exhausted(&self) {
        self.exhausted.one();
    }

    /// A temporary instance was started beyond `instances.max`.
    pub fn overflowed(&self) {
        self.overflow.one();
    }

    /// A call was sent again after its instance had died.
    pub fn retried(&self) {
        self.retries.one();
    }

    /// A probe of an instance ended.
    pub fn probed(&self, outcome: Probe) {
        self.probes[outcome as usize].one();
    }

    /// The breaker opened.
    pub fn tripped(&self) {
        self.trips.one();
    }

    /// A list was longer than a list may be, and was cut off.
    pub fn list_cut(&self) {
        self.lists_cut.one();
    }

    /// Refusals, by reason.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refused.all()
    }

    /// Starts of instances, by reason.
    pub fn starts(&self) -> BTreeMap<&'static str, u64> {
        self.starts.all()
    }

    /// How often the breaker opened.
    pub fn trips(&self) -> u64 {
        self.trips.get()
    }

    /// Ends of instances, by reason.
    pub fn stops(&self) -> BTreeMap<&'static str, u64> {
        self.stopped.all()
    }

    /// Calls that ended, by method and outcome; those of which there was one.
    pub fn calls(&self) -> impl Iterator<Item = (Method, Outcome, u64)> {
        let by_outcome = move |method: Method| {
            let counts = &self.calls[method.index()];
            Outcome::ALL.into_iter().map(move |outcome| (method, outcome, counts[outcome as usize].get()))
        };
        Method::all().flat_map(by_outcome).filter(|(.., count)| *count > 0)
    }

    /// Calls by that method that ended so.
    pub(super) fn count(&self, method: Method, outcome: Outcome) -> u64 {
        self.calls[method.index()][outcome as usize].get()
    }

    /// Counts without a word of their own besides the server's: name and value.
    pub fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("start_failures", self.failed_starts.get()),
            ("exhausted", self.exhausted.get()),
            ("overflow", self.overflow.get()),
            ("retries", self.retries.get()),
            ("breaker_trips", self.trips.get()),
            ("lists_cut", self.lists_cut.get()),
        ]
    }

    /// Probes that ended, by outcome.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Probe::ALL.into_iter().map(|outcome| (outcome.as_str(), self.probes[outcome as usize].get()))
    }

    /// Leases, new and reused.
    pub fn leases(&self) -> [(&'static str, u64); 2] {
        [("new", self.leases_new.get()), ("reused", self.leases_reused.get())]
    }
}
