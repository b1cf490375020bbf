//! Called by the pool: the calls that wait for an instance. Those that wait for the same stand in one line, in which
//! users, their processes and the connections of these are served round robin, so that a caller with a thousand calls waiting
//! delays another by one. What a call costs here does not grow with how many others wait.

mod line;
mod places;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use slotmap::SlotMap;
use tokio::time::Instant;

use super::lease::Lease;
use super::need::{Need, Told};
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey};
use line::Line;
use places::Places;
pub use turns::Turn;

slotmap::new_key_type! {
    /// One line of a queue.
    pub struct LineKey;
}

/// A call in the queue.
#[derive(Debug)]
pub struct Ticket {
    pub call: CallKey,
    pub caller: CallerKey,
    /// Whose turn it takes.
    pub principal: Principal,
    pub need: Need,
    /// It wants no call of another caller beside it, where there is room: its caller listens to what is logged about it.
    pub apart: bool,
    /// It is mcpool's own and only wants the server to introduce itself.
    pub introduces: bool,
    /// Since when it waits.
    pub since: Instant,
    /// Nobody waits for it: it is worth no instance of its own.
    pub leisurely: bool,
    /// It found every instance busy, and takes a place in the queue.
    pub full: bool,
}

/// What the calls of one line have in common: they fit the same instances in the same way.
type Kind = (Lease, bool);

/// A line, and where it stands among the others.
struct Standing {
    told: Told,
    kind: Kind,
    /// Lines are looked at round robin, too.
    rank: u64,
    line: Line,
}

/// Where a call stands.
#[derive(Clone, Copy)]
struct Spot {
    line: LineKey,
    caller: CallerKey,
    at: u64,
}

/// The queue of one pool.
#[derive(Default)]
pub struct Queue {
    lines: SlotMap<LineKey, Standing>,
    /// The lines whose calls want an instance that was told this.
    of_told: HashMap<Told, Vec<(Kind, LineKey)>, RandomState>,
    order: BTreeMap<u64, LineKey>,
    spots: HashMap<CallKey, Spot, RandomState>,
    places: Places,
    leisurely: BTreeSet<CallKey>,
    last_rank: u64,
    last_at: u64,
}

impl Queue {
    /// Returns how many calls wait.
    pub fn len(&self) -> usize {
        self.spots.len()
    }

    /// Returns whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// Returns the calls that wait, in no order.
    #[cfg(debug_assertions)]
    pub fn calls(&self) -> impl Iterator<Item = CallKey> {
        self.spots.keys().copied()
    }

    /// Returns how many calls wait that the same instances can serve.
    pub fn waiting_like(&self, need: &Need) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.lines_like(need.told()).map(|standing| standing.line.len()).sum()
    }

    /// Returns how many calls of a caller wait that the same instances can serve.
    pub fn waiting_like_of(&self, need: &Need, caller: CallerKey) -> usize {
        self.lines_like(need.told()).map(|standing| standing.line.of(caller)).sum()
    }

    /// Returns how many places are taken, by calls that found every instance busy.
    pub fn places(&self) -> usize {
        self.places.taken()
    }

    /// Returns how many calls wait that take no place and that the same instances can serve.
    pub fn placeless_like(&self, need: &Need) -> usize {
        self.lines_like(need.told()).map(|standing| standing.line.placeless()).sum()
    }

    /// Returns how many calls wait that take no place.
    pub fn placeless(&self) -> usize {
        self.len() - self.places()
    }

    /// Returns the calls that nobody waits for. It costs nothing if there are none.
    pub fn leisurely(&self) -> impl Iterator<Item = &Ticket> {
        self.leisurely.iter().filter_map(|call| self.get(*call))
    }

    /// Lets a call wait behind the calls of its own caller.
    pub fn push(&mut self, ticket: Ticket) {
        // A call waits once.
        drop(self.remove(ticket.call));
        let line = self.line_for(&ticket);
        self.last_at += 1;
        let (at, call, caller, principal) = (self.last_at, ticket.call, ticket.caller, ticket.principal);
        self.spots.insert(call, Spot { line, caller, at });
        if ticket.full {
            self.places.take(principal, at, call);
        }
        if ticket.leisurely {
            self.leisurely.insert(call);
        }
        self.lines[line].line.push(at, ticket);
    }

    /// Takes a call out.
    pub fn remove(&mut self, call: CallKey) -> Option<Ticket> {
        let spot = self.spots.remove(&call)?;
        self.take_from(call, spot)
    }

    /// Takes out the calls whose need is one that `wanted` accepts, in the order in which they came.
    pub fn remove_needing(&mut self, wanted: impl Fn(&Told) -> bool) -> Vec<Ticket> {
        self.remove_all(None, wanted, |_| true)
    }

    /// Takes out the calls that one caller makes, or that mcpool makes on its behalf, in the order in which they came.
    pub fn remove_of(&mut self, caller: CallerKey, wanted: impl Fn(&Ticket) -> bool) -> Vec<Ticket> {
        self.remove_all(Some(caller), |_| true, wanted)
    }

    /// Makes room for a caller in a full queue. It takes the newest place of the caller with the most places, if that
    /// caller then still has no fewer than the newcomer.
    pub fn crowd_out(&mut self, newcomer: Principal) -> Option<Ticket> {
        self.remove(self.places.owed_to(newcomer)?)
    }

    /// Returns whether a call waits for an instance that was told this.
    pub fn is_wanted(&self, told: &Told) -> bool {
        self.of_told.contains_key(told)
    }

    /// Returns the line that comes after the one of this rank.
    pub fn line_after(&self, rank: u64) -> Option<(u64, LineKey)> {
        self.order.range(rank + 1..).next().map(|(rank, line)| (*rank, *line))
    }

    /// Returns the last rank of a line.
    pub fn last_rank(&self) -> u64 {
        self.last_rank
    }

    /// Returns the next call, with its turn, of the caller whose turn in a line comes after `turn`.
    pub fn next_in(&self, line: LineKey, turn: Turn) -> Option<(Turn, &Ticket)> {
        self.lines.get(line)?.line.after(turn)
    }

    /// Returns the next call of a caller in a line.
    pub fn head_of(&self, line: LineKey, caller: CallerKey) -> Option<&Ticket> {
        self.lines.get(line)?.line.head(caller)
    }

    /// Takes out a call that has its turn. Its caller comes after the others of its line now, and its line after the
    /// other lines.
    pub fn serve(&mut self, call: CallKey) -> Option<Ticket> {
        let Spot { line, caller, at } = *self.spots.get(&call)?;
        if let Some(standing) = self.lines.get_mut(line)
            && let Some(principal) = standing.line.get(caller, at).map(|ticket| ticket.principal)
        {
            standing.line.had_turn(principal, caller);
            self.order.remove(&standing.rank);
            self.last_rank += 1;
            standing.rank = self.last_rank;
            self.order.insert(standing.rank, line);
        }
        self.remove(call)
    }

    fn get(&self, call: CallKey) -> Option<&Ticket> {
        let spot = self.spots.get(&call)?;
        self.lines.get(spot.line)?.line.get(spot.caller, spot.at)
    }

    fn lines_like(&self, told: &Told) -> impl Iterator<Item = &Standing> {
        let lines = self.of_told.get(told).into_iter().flatten();
        lines.filter_map(|(_, line)| self.lines.get(*line))
    }

    fn line_for(&mut self, ticket: &Ticket) -> LineKey {
        let (told, kind) = (ticket.need.told(), (ticket.need.lease(), ticket.apart));
        let known = self.of_told.get(told).into_iter().flatten().find(|(other, _)| *other == kind);
        if let Some((_, line)) = known {
            return *line;
        }
        self.last_rank += 1;
        let standing = Standing { told: told.clone(), kind, rank: self.last_rank, line: Line::default() };
        let line = self.lines.insert(standing);
        self.of_told.entry(told.clone()).or_default().push((kind, line));
        self.order.insert(self.last_rank, line);
        line
    }

    fn take_from(&mut self, call: CallKey, spot: Spot) -> Option<Ticket> {
        let standing = self.lines.get_mut(spot.line)?;
        let ticket = standing.line.remove(spot.caller, spot.at)?;
        if ticket.full {
            self.places.give_back(ticket.principal, spot.at);
        }
        if ticket.leisurely {
            self.leisurely.remove(&call);
        }
        if standing.line.is_empty() {
            self.close(spot.line);
        }
        Some(ticket)
    }

    /// Forgets a line in which nobody stands.
    fn close(&mut self, line: LineKey) {
        let Some(standing) = self.lines.remove(line) else { return };
        self.order.remove(&standing.rank);
        if let Some(alike) = self.of_told.get_mut(&standing.told) {
            alike.retain(|(kind, _)| *kind != standing.kind);
            if alike.is_empty() {
                self.of_told.remove(&standing.told);
            }
        }
    }

    fn remove_all(
        &mut self,
        of: Option<CallerKey>,
        needs: impl Fn(&Told) -> bool,
        wanted: impl Fn(&Ticket) -> bool,
    ) -> Vec<Ticket> {
        let lines = self.lines.values().filter(|standing| needs(&standing.told));
        let tickets = lines.flat_map(|standing| standing.line.tickets(of));
        let calls: Vec<CallKey> = tickets.filter(|ticket| wanted(ticket)).map(|ticket| ticket.call).collect();
        let mut spots: Vec<(u64, CallKey)> =
            calls.into_iter().filter_map(|call| Some((self.spots.get(&call)?.at, call))).collect();
        spots.sort_unstable_by_key(|(at, _)| *at);
        spots.into_iter().filter_map(|(_, call)| self.remove(call)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::profile::Profile;

    struct Scene {
        calls: SlotMap<CallKey, ()>,
        callers: SlotMap<CallerKey, ()>,
        queue: Queue,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { calls: SlotMap::with_key(), callers: SlotMap::with_key(), queue: Queue::default() }
        }

        fn caller(&mut self) -> CallerKey {
            self.callers.insert(())
        }

        fn waits(&mut self, caller: CallerKey, profile: &Profile) -> CallKey {
            let call = self.calls.insert(());
            let need = Need::new(profile.clone(), None, Lease::Shared, caller);
            let ticket = Ticket {
                call,
                caller,
                principal: process(caller),
                need,
                apart: false,
                introduces: false,
                since: Instant::now(),
                leisurely: false,
                full: true,
            };
            self.queue.push(ticket);
            call
        }

        /// Serves the next call of the next line; whose it was.
        fn serve(&mut self) -> Option<CallerKey> {
            let (_, line) = self.queue.line_after(0)?;
            let call = self.queue.next_in(line, Turn::default())?.1.call;
            self.queue.serve(call).map(|ticket| ticket.caller)
        }
    }

    fn process(caller: CallerKey) -> Principal {
        Principal::of(0, None, caller)
    }

    fn other() -> Profile {
        Profile::legacy("2025-06-18", "{}").unwrap()
    }

    #[test]
    fn a_greedy_caller_delays_another_by_one_call() {
        let mut scene = Scene::new();
        let (greedy, modest) = (scene.caller(), scene.caller());
        for _ in 0..1000 {
            scene.waits(greedy, &Profile::Modern);
        }
        scene.waits(modest, &Profile::Modern);
        let served: Vec<_> = (0..3).filter_map(|_| scene.serve()).collect();
        assert_eq!(served, [greedy, modest, greedy]);
        assert_eq!(scene.queue.len(), 998);
    }

    #[test]
    fn lines_for_different_things_take_turns() {
        let mut scene = Scene::new();
        let (many, few) = (scene.caller(), scene.caller());
        for _ in 0..10 {
            scene.waits(many, &Profile::Modern);
        }
        for _ in 0..2 {
            scene.waits(few, &other());
        }
        let served: Vec<_> = (0..4).filter_map(|_| scene.serve()).collect();
        assert_eq!(served, [many, few, many, few]);
        let need = Need::new(other(), None, Lease::Call, few);
        assert_eq!((scene.queue.waiting_like(&need), scene.queue.len()), (0, 8));
    }

    #[test]
    fn a_full_queue_makes_room_for_a_modest_caller_only() {
        let mut scene = Scene::new();
        let (greedy, modest) = (scene.caller(), scene.caller());
        let last = (0..3).map(|_| scene.waits(greedy, &Profile::Modern)).last();
        assert!(scene.queue.crowd_out(process(greedy)).is_none());
        assert_eq!(scene.queue.crowd_out(process(modest)).map(|out| out.call), last);
        scene.waits(modest, &Profile::Modern);
        assert!(scene.queue.crowd_out(process(modest)).is_none());
        assert_eq!((scene.queue.len(), scene.queue.places()), (3, 3));
    }

    #[test]
    fn what_is_removed_is_gone_everywhere() {
        let mut scene = Scene::new();
        let (one, two) = (scene.caller(), scene.caller());
        let gone = scene.waits(one, &Profile::Modern);
        scene.waits(two, &Profile::Modern);
        scene.waits(one, &other());
        assert_eq!(scene.queue.remove(gone).map(|ticket| ticket.caller), Some(one));
        assert!(scene.queue.remove(gone).is_none());
        assert_eq!(scene.queue.remove_of(one, |ticket| ticket.need.told().profile == Profile::Modern).len(), 0);
        assert_eq!(scene.queue.remove_needing(|told| told.profile == other()).len(), 1);
        assert_eq!((scene.queue.len(), scene.queue.lines.len(), scene.queue.of_told.len()), (1, 1, 1));
        assert_eq!(scene.serve(), Some(two));
        assert!(scene.queue.is_empty() && scene.serve().is_none() && scene.queue.places() == 0);
    }
}
