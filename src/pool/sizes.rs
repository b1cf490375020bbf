//! Called when a call finds no instance with room: how many instances there are, and which of them count.

use super::Pool;
use super::instance::Instance;
use super::need::Told;
use crate::guard::principal::Principal;

/// The part of `instances.asking` that one process may have.
const SHARE: usize = 4;

/// How many instances of a pool there are. Temporary ones are counted apart, and those that only wait for a person's answer
/// are not counted as far as `instances.asking` goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// On no way out, and told what a call needs.
    pub own: usize,
    /// On no way out.
    pub living: usize,
    /// Whose process is not gone yet.
    pub processes: usize,
    /// Started beyond `instances.max` because all were busy.
    pub overflow: usize,
    /// Started beyond `instances.max` to introduce themselves.
    pub introducing: usize,
}

/// Who may let instances wait for a person at no cost to others.
struct People {
    left: usize,
    share: usize,
    of: Vec<(Principal, usize)>,
}

impl People {
    fn of(asking: usize) -> People {
        People { left: asking, share: asking.div_ceil(SHARE), of: Vec::new() }
    }

    /// Returns whether one more of a process need not be counted.
    fn admit(&mut self, principal: Principal) -> bool {
        let own = match self.of.iter().position(|(known, _)| *known == principal) {
            Some(place) => &mut self.of[place].1,
            None => {
                self.of.push((principal, 0));
                let last = self.of.len() - 1;
                &mut self.of[last].1
            }
        };
        if self.left == 0 || *own >= self.share {
            return false;
        }
        (self.left, *own) = (self.left - 1, *own + 1);
        true
    }
}

impl Pool {
    /// Returns how many instances there are, for a call that needs one that was told this.
    pub fn sizes(&self, told: &Told) -> Sizes {
        let (mut sizes, mut people) = (Sizes::default(), People::of(self.config.instances.asking));
        for instance in self.instances.values() {
            if instance.temporary {
                *if instance.introduces() { &mut sizes.introducing } else { &mut sizes.overflow } += 1;
                continue;
            }
            if instance.awaits_a_person() && people.admit(instance.principal()) {
                continue;
            }
            sizes.processes += 1;
            if instance.alive() {
                sizes.living += 1;
                sizes.own += usize::from(instance.serves(told));
            }
        }
        sizes
    }

    /// Returns whether another instance may be started beside those that are there.
    pub fn has_room_beside(&self, instance: &Instance) -> bool {
        let (told, limits) = (instance.told(), &self.config.instances);
        let sizes = self.sizes(&told);
        let max = limits.most(instance.bound.is_some());
        sizes.own < max && sizes.living < limits.total && sizes.processes < limits.total && !self.memory_is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CallerKey;

    #[test]
    fn one_process_may_let_a_quarter_wait_and_all_together_no_more_than_there_are() {
        let process = |pid| Principal::of(0, Some(pid), CallerKey::default());
        let mut people = People::of(8);
        assert_eq!([(); 3].map(|()| people.admit(process(1))), [true, true, false]);
        let others = (2..8).map(|pid| people.admit(process(pid))).filter(|admitted| *admitted).count();
        assert_eq!(others, 6);
        assert!(!people.admit(process(9)));
        assert!(!People::of(0).admit(process(1)));
    }
}
