//! Called by `mux` when a caller sends a request: bounds its calls in flight and the bytes that they keep, within what its
//! principal and all callers together may have.

use std::cell::Cell;
use std::rc::Rc;

use super::share::Share;
use super::total::{Part, Taken, Total};
use crate::catalogue::Scope;
use crate::error::{self, Error};
use crate::wire::gauge::{SHORT, Weight};

/// A bound on how many permits one caller has at once.
#[derive(Clone)]
pub struct InFlight(Rc<Bound>);

struct Bound {
    out: Cell<usize>,
    limit: Cell<usize>,
    share: Share,
    /// The caller's place at its endpoint.
    _place: Taken,
}

/// The right to have one call in flight; given back when dropped.
pub struct Permit {
    of: InFlight,
    /// The part of the total that it takes; what mcpool answers at once takes none.
    counts: Option<Part>,
    /// The bytes of the request, which its principal keeps.
    bytes: usize,
    /// Whether rate limits have let the call pass.
    pub rated: bool,
    /// Whose list was fetched anew to decide about it.
    pub looked_up: Option<Scope>,
}

/// The right to have one call whose caller is away and is to come back; given back when dropped.
pub struct Away {
    _place: Taken,
    _weight: Weight,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So many of one's own are out.
    Own(usize),
    /// So many of all are out.
    All(usize),
    /// Its principal keeps more bytes than its share of what is left: how many.
    Memory(usize),
}

impl From<Full> for Error {
    fn from(full: Full) -> Error {
        match full {
            Full::Own(limit) => Error::CallerOverloaded { limit, bound: error::Bound::InFlight },
            Full::All(limit) => Error::Overloaded { limit },
            Full::Memory(bytes) => Error::MemoryFull { bytes },
        }
    }
}

impl InFlight {
    /// At most `limit` permits at once for the caller in this place, within its principal's share.
    pub fn within(share: Share, place: Taken, limit: usize) -> InFlight {
        InFlight(Rc::new(Bound { out: Cell::new(0), limit: Cell::new(limit), share, _place: place }))
    }

    /// Allows another number of permits; those that are out stay out.
    pub fn allow(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// The principal's share.
    pub fn share(&self) -> &Share {
        &self.0.share
    }

    /// One permit for a request of so many bytes, if one is left.
    ///
    /// # Errors
    /// None is left.
    pub fn admit(&self, bytes: usize) -> Result<Permit, Full> {
        let mut permit = self.weigh(bytes)?;
        permit.claim()?;
        Ok(permit)
    }

    /// A permit for a request that mcpool answers at once, which counts as no call. For a short one there is memory, whatever
    /// its caller keeps.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn pass(&self, bytes: usize) -> Result<Permit, Full> {
        if bytes > SHORT { self.weigh(bytes) } else { Ok(self.weighed(bytes)) }
    }

    fn weigh(&self, bytes: usize) -> Result<Permit, Full> {
        let gauge = self.share().bytes();
        if gauge.has_room(bytes) { Ok(self.weighed(bytes)) } else { Err(Full::Memory(gauge.now())) }
    }

    fn weighed(&self, bytes: usize) -> Permit {
        self.share().bytes().add(bytes);
        Permit { of: self.clone(), counts: None, bytes, rated: false, looked_up: None }
    }

    /// Lets one call of so many bytes be kept while its caller is away, of which the principal may have `most`.
    ///
    /// # Errors
    /// There are as many as may be: the principal's limit, or that of all.
    pub fn leave(&self, total: &Total, most: usize, bytes: usize) -> Result<Away, Full> {
        let share = self.share();
        if total.of(share.principal()) >= most {
            return Err(Full::Own(most));
        }
        let place = total.take(share.principal()).ok_or(Full::All(total.limit()))?;
        Ok(Away { _place: place, _weight: share.bytes().weigh(bytes) })
    }

    /// How many permits are out.
    pub fn count(&self) -> usize {
        self.0.out.get()
    }
}

impl Permit {
    /// Returns whether it counts as a call.
    pub fn is_call(&self) -> bool {
        self.counts.is_some()
    }

    /// Counts as a call from now on: it has to wait for something.
    ///
    /// # Errors
    /// As many calls are in flight as may be.
    pub fn claim(&mut self) -> Result<(), Full> {
        if self.counts.is_some() {
            return Ok(());
        }
        let Bound { out, limit, share, .. } = &*self.of.0;
        if out.get() >= limit.get() {
            return Err(Full::Own(limit.get()));
        }
        self.counts = Some(share.take_call().map_err(Full::All)?);
        out.set(out.get() + 1);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Bound { out, share, .. } = &*self.of.0;
        share.bytes().remove(self.bytes);
        if let Some(part) = self.counts {
            out.set(out.get() - 1);
            share.give_call(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::guard::principal::Principal;
    use crate::guard::share::Shares;
    use crate::key::CallerKey;

    fn limits(calls: usize, memory: usize) -> Limits {
        Limits { in_flight_total: calls, memory: Some(memory), ..Limits::default() }
    }

    fn caller(shares: &Shares, process: i32, limit: usize) -> InFlight {
        let principal = Principal::of(0, Some(process), CallerKey::default());
        let place = shares.place("x", 1000, principal).unwrap();
        InFlight::within(shares.of(principal), place, limit)
    }

    #[test]
    fn a_permit_comes_back_when_dropped() {
        let shares = Shares::new(0, &limits(2, 1 << 20));
        let (one, other) = (caller(&shares, 1, 1), caller(&shares, 2, 5));
        let permit = one.admit(10).unwrap();
        assert_eq!(one.admit(0).err(), Some(Full::Own(1)));
        let _second = other.admit(0).unwrap();
        assert_eq!(other.admit(0).err(), Some(Full::All(2)));
        assert_eq!((one.share().bytes().now(), shares.memory().used()), (10, 10));
        drop(permit);
        assert!(one.admit(0).is_ok() && other.admit(0).is_ok());
        assert_eq!((one.count(), shares.memory().used()), (0, 0));
    }

    #[test]
    fn another_limit_holds_for_holders_that_are_there() {
        let shares = Shares::new(0, &limits(1, 1 << 20));
        let one = caller(&shares, 1, 5);
        let _first = one.admit(0).unwrap();
        shares.allow(&limits(2, 1 << 20));
        let _second = one.admit(0).unwrap();
        shares.allow(&limits(1, 1 << 20));
        assert_eq!(one.admit(0).err(), Some(Full::All(1)));
        one.allow(2);
        shares.allow(&limits(9, 1 << 20));
        assert_eq!(one.admit(0).err(), Some(Full::Own(2)));
    }

    #[test]
    fn two_callers_of_a_process_have_one_share_and_leave_the_last_tenth() {
        let shares = Shares::new(0, &limits(100, 1 << 20));
        let callers = [caller(&shares, 1, 60), caller(&shares, 1, 60), caller(&shares, 2, 60)];
        let permits = callers.clone().map(|caller| std::iter::from_fn(|| caller.admit(0).ok()).collect::<Vec<_>>());
        assert_eq!(permits.each_ref().map(Vec::len), [60, 30, 1]);
        // What is answered at once needs none.
        assert!(callers[1].pass(0).is_ok() && callers[1].pass(0).and_then(|mut permit| permit.claim()).is_err());
    }

    #[test]
    fn who_keeps_much_has_no_permit_for_more_and_who_keeps_little_has() {
        let shares = Shares::new(0, &limits(1000, 100 << 20));
        let (greedy, modest) = (caller(&shares, 1, 1000), caller(&shares, 2, 1000));
        let permits: Vec<Permit> = std::iter::from_fn(|| greedy.admit(1 << 20).ok()).collect();
        assert_eq!(permits.len(), 80);
        assert_eq!(greedy.admit(100).err(), Some(Full::Memory(80 << 20)));
        assert!(modest.admit(1 << 20).is_ok());
    }
}
