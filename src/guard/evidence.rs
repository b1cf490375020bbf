//! Called by `guard::breaker`, and by `pool::health` for calls that an instance leaves unanswered: what failed in a
//! row, and who met it. What one party alone met says nothing against a server that serves others too.

use crate::guard::principal::Principal;

/// How many who met something are told apart. What others meet beyond that counts as theirs together.
const TOLD_APART: usize = 64;

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Evidence {
    all: u32,
    /// How many of them each party met. One failure may be met by several.
    met: Vec<(Principal, u32)>,
}

impl Evidence {
    /// Notes a failure, and those who met it; nobody, if nobody's call can have caused it.
    pub fn note(&mut self, met: &[Principal]) {
        self.all = self.all.saturating_add(1);
        for who in met {
            if let Some((_, count)) = self.met.iter_mut().find(|(known, _)| known == who) {
                *count = count.saturating_add(1);
            } else if self.met.len() < TOLD_APART {
                self.met.push((*who, 1));
            }
        }
    }

    /// Whether there is enough of it against the server itself: so many in a row, of which whoever met most did not meet
    /// at least half of so many.
    pub fn suffices(&self, limit: u32) -> bool {
        let most = self.met.iter().map(|(_, count)| *count).max().unwrap_or(0);
        self.all >= limit && self.all - most.min(self.all) >= (limit / 2).max(1)
    }

    /// Whether there are so many failures in a row, whoever met them.
    pub fn amounts_to(&self, limit: u32) -> bool {
        self.all >= limit
    }

    /// Forgets all: something was answered.
    pub fn clear(&mut self) {
        self.all = 0;
        self.met.clear();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(process: i32) -> Principal {
        Principal::of(7, Some(process), Default::default())
    }

    fn of<'a>(failures: impl IntoIterator<Item = &'a [Principal]>) -> Evidence {
        let mut evidence = Evidence::default();
        failures.into_iter().for_each(|met| evidence.note(met));
        evidence
    }

    #[test]
    fn what_one_party_met_is_never_enough_and_what_nobody_caused_is() {
        let (a, b, c) = (&[who(1)][..], &[who(2)][..], &[who(3)][..]);
        let none: &[Principal] = &[];
        assert!(!of([a; 1000]).suffices(5) && !of([a; 1000]).suffices(1));
        assert!(of([none; 5]).suffices(5) && !of([none; 4]).suffices(5));
        assert!(of([a, b]).suffices(2) && of([a, b]).suffices(1));
        assert!(of([a, b, a, b, a]).suffices(5) && of([a, b, c, a, b]).suffices(5));
        // One slip of another is not what makes it everybody's trouble.
        assert!(!of([a, a, a, a, a, a, a, b]).suffices(5));
    }

    #[test]
    fn what_two_met_together_may_be_the_doing_of_either() {
        let (a, both) = (&[who(1)][..], &[who(1), who(2)][..]);
        assert!(!of([both; 10]).suffices(5));
        assert!(!of([a, both, both, a, both]).suffices(5));
    }

    #[test]
    fn so_many_are_told_apart_and_no_more() {
        let all: Vec<Principal> = (1..1000).map(who).collect();
        let mut evidence = Evidence::default();
        all.iter().for_each(|one| evidence.note(&[*one]));
        assert!(evidence.met.len() == TOLD_APART && evidence.suffices(500));
        evidence.clear();
        assert!(evidence.is_empty() && !evidence.suffices(1));
    }
}
