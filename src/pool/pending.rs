//! Called by `mux` for what it sends to an instance and what comes back: which call an id of ours stands for,
//! and whose calls are in flight.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::lately::Lately;
use crate::clock;
use crate::era::level::Level;
use crate::key::{CallKey, CallerKey};
use crate::wire::id::WireId;

/// How many answered or cancelled ids are remembered, to tell a late answer from an invented one.
const REMEMBERED: usize = 1024;

/// The requests that an instance has not answered.
#[derive(Default)]
pub struct Pending {
    next: u64,
    open: HashMap<WireId, Entry, RandomState>,
    given_up: VecDeque<Ghost>,
    callers: Vec<(CallerKey, usize)>,
    /// How many are no work.
    resting: usize,
    /// How many are probes.
    probes: usize,
    /// Whether work was done since that was asked last.
    worked: bool,
    /// Whether a caller's request ended since that was asked last.
    moved: bool,
    /// How many have a caller that listens to what is logged about them.
    listened: usize,
    /// Whose calls were answered a moment ago, and whose of those that listened.
    lately: Lately,
    lately_listened: Lately,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub call: CallKey,
    /// Whose call it is; `None` for mcpool's own.
    pub caller: Option<CallerKey>,
    /// The log level that the request asks for.
    pub level: Option<Level>,
    /// Whether its caller listens to what is logged about it: by this level, or by one for its whole session.
    pub listens: bool,
    pub load: Load,
    /// How many bytes had been said to the instance before it.
    pub after: u64,
}

/// What a request means for the instance that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Work,
    /// It stays open for as long as somebody listens, and is no work.
    Listening,
    /// It asks whether the instance still answers, and is no work.
    Probe,
    /// It tells the instance how to work, and is no work.
    Order,
}

/// A request that was given up and not answered: its server may go on talking about it for a while.
#[derive(Clone, Copy, Debug)]
struct Ghost {
    id: WireId,
    entry: Entry,
    until: Instant,
}

/// What an answer belongs to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The answer to this call.
    Answer(Entry),
    /// The answer to a request that was cancelled: swallow it.
    Late,
    /// An id that was answered already, or was never sent.
    Unknown,
}

/// Whose calls are in flight on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlightOf {
    Nobody,
    One(CallerKey),
    Several,
}

impl InFlightOf {
    /// Returns the same with another caller.
    fn and(self, caller: CallerKey) -> InFlightOf {
        match self {
            InFlightOf::Nobody => InFlightOf::One(caller),
            InFlightOf::One(other) if other == caller => self,
            InFlightOf::One(_) | InFlightOf::Several => InFlightOf::Several,
        }
    }

    /// Returns whether there are callers besides this one.
    pub fn includes_others(self, caller: CallerKey) -> bool {
        !matches!(self, InFlightOf::Nobody) && self != InFlightOf::One(caller)
    }
}

impl Pending {
    /// Returns an id for a request to be sent.
    pub fn open(&mut self, entry: Entry) -> WireId {
        let id = self.next_id();
        self.open.insert(id, entry);
        self.resting += usize::from(entry.load != Load::Work);
        self.probes += usize::from(entry.load == Load::Probe);
        self.listened += usize::from(entry.listens);
        if let Some(caller) = entry.caller {
            match self.callers.iter_mut().find(|(known, _)| *known == caller) {
                Some((_, count)) => *count += 1,
                None => self.callers.push((caller, 1)),
            }
        }
        id
    }

    /// Returns an id that stands for no call: the handshake's.
    pub fn next_id(&mut self) -> WireId {
        self.next += 1;
        WireId(self.next)
    }

    /// Returns what an id stands for, without taking it.
    pub fn get(&self, id: WireId) -> Option<Entry> {
        self.open.get(&id).copied()
    }

    /// Takes the request that an answer belongs to. Each can be taken once.
    pub fn take(&mut self, id: WireId) -> Taken {
        match self.remove(id) {
            Some(entry) => {
                self.was_answered(entry);
                Taken::Answer(entry)
            }
            None => match self.given_up.iter().position(|ghost| ghost.id == id) {
                Some(place) => {
                    self.given_up.remove(place);
                    Taken::Late
                }
                None => Taken::Unknown,
            },
        }
    }

    /// Gives up a request: its answer is late from now on. Until then, or until `until`, what the server says unasked
    /// may be about it.
    pub fn abandon(&mut self, id: WireId, until: Instant) {
        if let Some(entry) = self.remove(id) {
            if self.given_up.len() == REMEMBERED {
                self.given_up.pop_front();
            }
            self.given_up.push_back(Ghost { id, entry, until });
        }
    }

    /// Returns whose requests the server may have been busy with `at` some time: those in flight, and those given up a
    /// while before.
    pub fn talked_of(&self, at: Instant) -> InFlightOf {
        let mut of = self.of();
        for caller in self.given_up(at).filter_map(|entry| entry.caller) {
            of = of.and(caller);
        }
        of
    }

    fn was_answered(&mut self, entry: Entry) {
        let Some(caller) = entry.caller else { return };
        let now = clock::now();
        self.lately.note(caller, now);
        if entry.level.is_some() {
            self.lately_listened.note(caller, now);
        }
    }

    /// Returns whose requests a line may be about that the server writes now: those in flight, those given up a while
    /// before, and those answered a moment ago.
    pub fn spoken_of(&self, now: Instant) -> InFlightOf {
        self.lately.callers(now).fold(self.talked_of(now), InFlightOf::and)
    }

    /// Returns whose requests that asked for log lines were answered a moment ago.
    pub fn listened_lately(&self, now: Instant) -> impl Iterator<Item = CallerKey> {
        self.lately_listened.callers(now)
    }

    /// Returns whether another caller listens to what is logged about a request of its own.
    pub fn is_listened_to_by_others(&self, caller: CallerKey) -> bool {
        let others = |entry: Entry| entry.listens && entry.caller.is_some_and(|other| other != caller);
        self.listened > 0 && self.entries().any(others)
    }

    /// Returns the requests that were given up a while before.
    pub fn given_up(&self, at: Instant) -> impl Iterator<Item = Entry> {
        self.given_up.iter().filter(move |ghost| at < ghost.until).map(|ghost| ghost.entry)
    }

    /// Takes every request, in the order in which they were sent.
    pub fn take_all(&mut self) -> Vec<Entry> {
        self.callers.clear();
        (self.resting, self.probes, self.listened) = (0, 0, 0);
        let mut all: Vec<(WireId, Entry)> = self.open.drain().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Returns how many requests are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns whether no request is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns how many requests are open that are work.
    pub fn working(&self) -> usize {
        self.open.len() - self.resting
    }

    /// Returns whether no request is open that is work.
    pub fn rests(&self) -> bool {
        self.open.len() == self.resting
    }

    /// Returns whether no request is open but probes.
    pub fn is_idle(&self) -> bool {
        self.open.len() == self.probes
    }

    /// Returns whether a probe is open.
    pub fn is_probed(&self) -> bool {
        self.probes > 0
    }

    /// Returns whether work ended since this was asked last.
    pub fn has_worked(&mut self) -> bool {
        std::mem::take(&mut self.worked)
    }

    /// Returns whether a caller's request ended since this was asked last. What mcpool asks shows nothing of callers.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Changes the log level of an open request, because the caller that came back for it may want another.
    pub fn set_level(&mut self, id: WireId, level: Option<Level>) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.level = level;
        }
    }

    /// Returns whose calls are in flight.
    pub fn of(&self) -> InFlightOf {
        match self.callers.as_slice() {
            [] => InFlightOf::Nobody,
            [(caller, _)] => InFlightOf::One(*caller),
            _ => InFlightOf::Several,
        }
    }

    /// The caller whose calls are all that is in flight.
    pub fn only(&self) -> Option<CallerKey> {
        match self.callers.as_slice() {
            [(caller, count)] if *count == self.open.len() => Some(*caller),
            _ => None,
        }
    }

    /// Returns whether a caller has calls in flight.
    pub fn has(&self, caller: CallerKey) -> bool {
        self.callers.iter().any(|(known, _)| *known == caller)
    }

    /// Returns how many callers have calls in flight.
    pub fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Returns the open requests.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.open.values().copied()
    }

    fn remove(&mut self, id: WireId) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        self.resting -= usize::from(entry.load != Load::Work);
        self.probes -= usize::from(entry.load == Load::Probe);
        self.listened -= usize::from(entry.listens);
        self.worked |= entry.load == Load::Work;
        self.moved |= entry.caller.is_some();
        if let Some(place) = self.callers.iter().position(|(caller, _)| Some(*caller) == entry.caller) {
            self.callers[place].1 -= 1;
            if self.callers[place].1 == 0 {
                self.callers.swap_remove(place);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn entry(call: CallKey, caller: Option<CallerKey>) -> Entry {
        Entry { call, caller, level: None, listens: false, load: Load::Work, after: 0 }
    }

    #[test]
    fn an_answer_is_taken_once_and_a_late_one_is_known_as_such() {
        let call = SlotMap::<CallKey, ()>::with_key().insert(());
        let caller = SlotMap::<CallerKey, ()>::with_key().insert(());
        let mut pending = Pending::default();
        let (first, second) = (pending.open(entry(call, Some(caller))), pending.open(entry(call, None)));
        assert_eq!(pending.of(), InFlightOf::One(caller));
        assert_eq!(pending.take(first), Taken::Answer(entry(call, Some(caller))));
        assert_eq!(pending.take(first), Taken::Unknown);
        pending.abandon(second, Instant::now());
        assert_eq!((pending.take(second), pending.take(second)), (Taken::Late, Taken::Unknown));
        assert_eq!(pending.take(WireId(99)), Taken::Unknown);
        assert!(pending.is_empty() && pending.of() == InFlightOf::Nobody);
    }

    #[test]
    fn calls_of_several_callers_are_nobodys_in_particular() {
        let call = SlotMap::<CallKey, ()>::with_key().insert(());
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let (one, two) = (callers.insert(()), callers.insert(()));
        let mut pending = Pending::default();
        let first = pending.open(entry(call, Some(one)));
        pending.open(entry(call, Some(two)));
        assert_eq!(pending.of(), InFlightOf::Several);
        pending.take(first);
        assert_eq!(pending.of(), InFlightOf::One(two));
    }
}
