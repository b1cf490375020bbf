//! Called by `mux` when a caller sends a request: bounds its calls in flight.

use std::cell::Cell;
use std::rc::Rc;

/// A bound on how many permits are out at once.
#[derive(Clone, Debug)]
pub struct InFlight {
    out: Rc<Cell<usize>>,
    limit: usize,
}

/// The right to have one call in flight; given back when dropped.
#[derive(Debug)]
pub struct Permit(Rc<Cell<usize>>);

impl InFlight {
    /// At most `limit` permits at once.
    pub fn new(limit: usize) -> InFlight {
        InFlight { out: Rc::default(), limit }
    }

    /// One permit, if one is left.
    pub fn admit(&self) -> Option<Permit> {
        (self.out.get() < self.limit).then(|| {
            self.out.set(self.out.get() + 1);
            Permit(self.out.clone())
        })
    }

    /// How many permits are out.
    pub fn count(&self) -> usize {
        self.out.get()
    }

    /// How many may be out.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_dropped() {
        let bound = InFlight::new(1);
        let permit = bound.admit();
        assert!(permit.is_some() && bound.admit().is_none());
        drop(permit);
        assert!(bound.admit().is_some());
        assert_eq!(bound.count(), 0);
    }
}
