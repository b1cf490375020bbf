//! Called by `mux` when a caller sends a request: bounds its calls in flight, and those of all callers together.

use std::cell::Cell;
use std::rc::Rc;

use crate::catalogue::Scope;

/// A bound on how many permits are out at once, of one holder and of all.
#[derive(Clone, Debug)]
pub struct InFlight {
    own: Rc<Count>,
    all: Rc<Count>,
}

/// How many are out, and may be.
#[derive(Debug)]
struct Count {
    out: Cell<usize>,
    limit: Cell<usize>,
}

/// The right to have one call in flight; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    of: InFlight,
    /// Whether rate limits have let the call pass.
    pub rated: bool,
    /// Whose list was fetched anew to decide about it.
    pub looked_up: Option<Scope>,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So many of one's own are out.
    Own(usize),
    /// So many of all are out.
    All(usize),
}

impl InFlight {
    /// At most `limit` permits at once, of all holders together.
    pub fn new(limit: usize) -> InFlight {
        let all = Rc::new(Count::of(limit));
        InFlight { own: all.clone(), all }
    }

    /// A bound for one holder, within the bound of all.
    pub fn within(&self, limit: usize) -> InFlight {
        InFlight { own: Rc::new(Count::of(limit)), all: self.all.clone() }
    }

    /// Allows another number of permits of all holders together; those that are out stay out.
    pub fn allow(&self, limit: usize) {
        self.all.limit.set(limit);
    }

    /// Allows this holder another number of permits; those that are out stay out.
    pub fn allow_own(&self, limit: usize) {
        self.own.limit.set(limit);
    }

    /// One permit, if one is left.
    ///
    /// # Errors
    /// None is left.
    pub fn admit(&self) -> Result<Permit, Full> {
        if self.own.is_full() {
            return Err(Full::Own(self.own.limit.get()));
        }
        if self.all.is_full() {
            return Err(Full::All(self.all.limit.get()));
        }
        self.each(|count| count.out.set(count.out.get() + 1));
        Ok(Permit { of: self.clone(), rated: false, looked_up: None })
    }

    /// How many permits are out.
    pub fn count(&self) -> usize {
        self.own.out.get()
    }

    fn each(&self, change: impl Fn(&Count)) {
        change(&self.own);
        if !Rc::ptr_eq(&self.own, &self.all) {
            change(&self.all);
        }
    }
}

impl Count {
    fn of(limit: usize) -> Count {
        Count { out: Cell::new(0), limit: Cell::new(limit) }
    }

    fn is_full(&self) -> bool {
        self.out.get() >= self.limit.get()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.each(|count| count.out.set(count.out.get() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_dropped() {
        let all = InFlight::new(2);
        let (one, other) = (all.within(1), all.within(5));
        let permit = one.admit().unwrap();
        assert_eq!(one.admit().unwrap_err(), Full::Own(1));
        let _second = other.admit().unwrap();
        assert_eq!(other.admit().unwrap_err(), Full::All(2));
        drop(permit);
        assert!(one.admit().is_ok() && other.admit().is_ok());
        assert_eq!((one.count(), all.count()), (0, 1));
    }

    #[test]
    fn another_limit_holds_for_holders_that_are_there() {
        let all = InFlight::new(1);
        let one = all.within(5);
        let _first = one.admit().unwrap();
        all.allow(2);
        let _second = one.admit().unwrap();
        all.allow(1);
        assert_eq!(one.admit().unwrap_err(), Full::All(1));
        one.allow_own(2);
        all.allow(9);
        assert_eq!(one.admit().unwrap_err(), Full::Own(2));
    }
}
