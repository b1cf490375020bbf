//! Called by whoever keeps bytes for a peer, such as outboxes and readers of lines: the daemon's one account of bytes. Each
//! principal and each server has a [`Gauge`] in it, and each thing that is kept a [`Weight`], which gives back on drop.
//!
//! Up to four fifths of the limit everybody may keep what the other limits allow. Above that a holder may keep no more than
//! what is left below [`MOST`], so that those with much stop first and those with little go on.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What everybody may keep, however full the account is.
pub const SMALL: usize = 256 << 10;

/// What is so short that whoever keeps too much may have it still, if it reads.
pub const SHORT: usize = 4 << 10;

/// The hundredths of the limit above which those who keep much may not keep more, and above which the largest gives way.
pub const TIGHT: usize = 80;
pub const MOST: usize = 95;

/// How long after the largest gave way it is looked again whether it was enough.
pub const SHED: Duration = Duration::from_millis(10);

/// Returns whether a holder that keeps `own` bytes may keep so many more: `used` is what all keep together.
pub fn fits(limit: usize, used: usize, own: usize, more: usize) -> bool {
    let (used_then, own_then) = (used.saturating_add(more), own.saturating_add(more));
    used_then <= part(limit, TIGHT) || own_then <= part(limit, MOST).saturating_sub(used).max(SMALL)
}

fn part(limit: usize, hundredths: usize) -> usize {
    limit / 100 * hundredths
}

/// What the daemon keeps for all peers together.
#[derive(Clone, Debug)]
pub struct Memory(Rc<All>);

#[derive(Debug)]
struct All {
    used: Cell<usize>,
    limit: Cell<usize>,
}

/// What one holder keeps; it is part of what all keep, and maybe of what a group of holders keeps. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(Rc<Node>);

#[derive(Debug)]
struct Node {
    now: Cell<usize>,
    /// The group that it is part of, if that has no more than one share altogether.
    within: Option<Gauge>,
    all: Memory,
}

/// So many bytes of a holder; given back when dropped.
#[derive(Debug)]
pub struct Weight {
    of: Gauge,
    bytes: usize,
}

impl Memory {
    /// An account in which nothing is kept.
    pub fn new(limit: usize) -> Memory {
        Memory(Rc::new(All { used: Cell::new(0), limit: Cell::new(limit) }))
    }

    /// Allows another number of bytes. What is kept stays, unless it is too much now.
    pub fn allow(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// The bytes that may be kept.
    pub fn limit(&self) -> usize {
        self.0.limit.get()
    }

    /// The bytes that are kept.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// Returns whether the largest holder is to give way.
    pub fn is_pressed(&self) -> bool {
        self.used() > part(self.limit(), MOST)
    }

    /// A holder with a share of its own, or a group whose holders have one share together.
    pub fn holder(&self) -> Gauge {
        self.gauge(None)
    }

    fn gauge(&self, within: Option<Gauge>) -> Gauge {
        Gauge(Rc::new(Node { now: Cell::new(0), within, all: self.clone() }))
    }
}

impl Gauge {
    /// A holder that is part of this group.
    pub fn holder(&self) -> Gauge {
        self.0.all.gauge(Some(self.clone()))
    }

    /// The bytes that it keeps.
    pub fn now(&self) -> usize {
        self.0.now.get()
    }

    /// Returns whether more is kept for all than ever should be.
    pub fn is_pressed(&self) -> bool {
        self.0.all.is_pressed()
    }

    /// Returns whether it may keep so many bytes more.
    pub fn has_room(&self, more: usize) -> bool {
        let (limit, used) = (self.0.all.limit(), self.0.all.used());
        if used + more <= part(limit, TIGHT) {
            return true;
        }
        // Of the last twentieth a group has nothing, however many small holders it has.
        let small = self.now() + more <= SMALL && used + more <= part(limit, MOST);
        let of_group = |group: &Gauge| small || fits(limit, used, group.now(), more);
        fits(limit, used, self.now(), more) && self.0.within.as_ref().is_none_or(of_group)
    }

    /// Keeps so many bytes, until the weight is dropped. Whether there is room must be asked before.
    pub fn weigh(&self, bytes: usize) -> Weight {
        self.add(bytes);
        Weight { of: self.clone(), bytes }
    }

    /// Notes that it keeps so many bytes more. Whoever notes that also notes their end.
    pub fn add(&self, bytes: usize) {
        self.each(|now| now.set(now.get() + bytes));
        let used = &self.0.all.0.used;
        used.set(used.get() + bytes);
    }

    /// Notes that it keeps so many bytes less.
    pub fn remove(&self, bytes: usize) {
        self.each(|now| now.set(now.get().saturating_sub(bytes)));
        let used = &self.0.all.0.used;
        used.set(used.get().saturating_sub(bytes));
    }

    fn each(&self, change: impl Fn(&Cell<usize>)) {
        change(&self.0.now);
        if let Some(group) = &self.0.within {
            change(&group.0.now);
        }
    }
}

impl Weight {
    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The holder that keeps them.
    pub fn of(&self) -> &Gauge {
        &self.of
    }

    /// Notes that so many bytes are kept from now on.
    pub fn becomes(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.of.add(bytes - self.bytes);
        } else {
            self.of.remove(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.of.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Keeps as much as it may, one MiB at a time.
    fn fill(gauge: &Gauge) -> Vec<Weight> {
        std::iter::from_fn(|| gauge.has_room(MIB).then(|| gauge.weigh(MIB))).collect()
    }

    #[test]
    fn what_is_kept_counts_for_the_holder_its_group_and_all_until_it_is_dropped() {
        let memory = Memory::new(100 * MIB);
        let group = memory.holder();
        let (one, other) = (group.holder(), group.holder());
        let mut weight = one.weigh(3);
        let _other = other.weigh(4);
        weight.becomes(10);
        assert_eq!((one.now(), other.now(), group.now(), memory.used()), (10, 4, 14, 14));
        weight.becomes(1);
        assert_eq!((one.now(), group.now(), weight.bytes()), (1, 5, 1));
        drop(weight);
        assert_eq!((one.now(), group.now(), memory.used()), (0, 4, 4));
    }

    #[test]
    fn however_many_keep_as_much_as_they_may_there_is_room_for_another() {
        for greedy in [1, 2, 12, 100] {
            let memory = Memory::new(1000 * MIB);
            let holders: Vec<Gauge> = (0..greedy).map(|_| memory.holder()).collect();
            let _kept: Vec<Vec<Weight>> = holders.iter().map(fill).collect();
            assert!(!memory.is_pressed(), "{greedy}: {} MiB", memory.used() / MIB);
            let modest = memory.holder();
            assert!(modest.has_room(SMALL), "{greedy}");
            assert!(!holders[0].has_room(MIB));
        }
    }

    #[test]
    fn a_group_has_one_share_however_many_it_has_and_never_the_last_twentieth() {
        let memory = Memory::new(1000 * MIB);
        let others = memory.holder();
        let _kept: Vec<Vec<Weight>> = (0..50).map(|_| fill(&others.holder())).collect();
        assert!(!others.holder().has_room(MIB) && others.holder().has_room(SMALL));
        assert!(memory.holder().has_room(10 * MIB));
        let mut small = Vec::new();
        for _ in 0..10_000 {
            let gauge = others.holder();
            small.extend(gauge.has_room(SMALL).then(|| gauge.weigh(SMALL)));
        }
        assert!(!memory.is_pressed() && !others.holder().has_room(SMALL));
        assert!(memory.holder().has_room(SMALL));
    }

    #[test]
    fn the_largest_gives_way_when_more_is_kept_than_ever_should_be() {
        let memory = Memory::new(100 * MIB);
        let server = memory.holder();
        let _kept = server.weigh(95 * MIB);
        assert!(!memory.is_pressed());
        let _more = server.weigh(MIB);
        assert!(memory.is_pressed());
    }
}
