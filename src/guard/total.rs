//! Called wherever many share one total, such as places for callers, calls in flight, held calls or tasks: who may still
//! take one. The rule is [`part`]; decision 14 says why it is this one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::principal::Principal;

/// What somebody has of a total already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// What the process has.
    pub process: usize,
    /// What all processes of the user have of the last tenth.
    pub last_tenth: usize,
    /// How many users share the last tenth: the owner of the daemon and those that are connected.
    pub users: usize,
}

/// Which part of a total one more would come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Common,
    LastTenth,
}

/// Returns from which part of a total of `limit`, of which `taken` are out, somebody may take one more. The last tenth is for
/// processes that have none, and each user has an equal part of it.
pub fn part(limit: usize, taken: usize, own: Own) -> Option<Part> {
    let tenth = limit / 10;
    if taken < limit - tenth {
        return Some(Part::Common);
    }
    let each = (tenth / own.users.max(1)).max(1);
    let has_little = own.process == 0 && own.last_tenth < each;
    // A total below ten has no last tenth.
    (taken < limit && has_little).then_some(Part::LastTenth)
}

/// A total, and who has how much of it. Clones share it.
#[derive(Clone, Debug)]
pub struct Total(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    users: Users,
    limit: Cell<usize>,
    taken: Cell<usize>,
    /// What each user has of the last tenth, and each process of all.
    last_tenth: RefCell<BTreeMap<u32, usize>>,
    processes: RefCell<BTreeMap<Principal, usize>>,
}

/// How many users share what is shared out: the owner of the daemon, who always counts, and those that are connected.
#[derive(Clone, Debug)]
pub struct Users(Rc<Cell<usize>>);

/// One of a total; given back when dropped.
#[derive(Debug)]
pub struct Taken {
    of: Total,
    by: Principal,
    part: Part,
}

impl Default for Users {
    /// The owner alone.
    fn default() -> Users {
        Users(Rc::new(Cell::new(1)))
    }
}

impl Users {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.get()
    }

    /// Notes that a user besides the owner came.
    pub fn came(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// Notes that a user besides the owner left.
    pub fn left(&self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Total {
    /// A total of which nothing is taken, for these users.
    pub fn new(limit: usize, users: Users) -> Total {
        let (last_tenth, processes) = (RefCell::default(), RefCell::default());
        Total(Rc::new(Inner { users, limit: Cell::new(limit), taken: Cell::new(0), last_tenth, processes }))
    }

    /// Allows another number; what is taken stays taken.
    pub fn allow(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// How many may be taken.
    pub fn limit(&self) -> usize {
        self.0.limit.get()
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.get()
    }

    /// How many a principal has.
    pub fn of(&self, principal: Principal) -> usize {
        self.0.processes.borrow().get(&principal).copied().unwrap_or(0)
    }

    /// Takes one, if the principal may have one more.
    pub fn take(&self, principal: Principal) -> Option<Taken> {
        let Inner { users, limit, taken, last_tenth, processes } = &*self.0;
        let of_user = last_tenth.borrow().get(&principal.user()).copied().unwrap_or(0);
        let own = Own { process: self.of(principal), last_tenth: of_user, users: users.count() };
        let part = part(limit.get(), taken.get(), own)?;
        taken.set(taken.get() + 1);
        *processes.borrow_mut().entry(principal).or_default() += 1;
        if part == Part::LastTenth {
            *last_tenth.borrow_mut().entry(principal.user()).or_default() += 1;
        }
        Some(Taken { of: self.clone(), by: principal, part })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Inner { taken, last_tenth, processes, .. } = &*self.of.0;
        taken.set(taken.get() - 1);
        less(&mut processes.borrow_mut(), self.by);
        if self.part == Part::LastTenth {
            less(&mut last_tenth.borrow_mut(), self.by.user());
        }
    }
}

/// Counts one less, and forgets who has none.
fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key).filter(|count| **count > 1) {
        *count -= 1;
    } else {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CallerKey;

    const OWNER: u32 = 1000;

    fn process(user: u32, number: i32) -> Principal {
        Principal::of(user, Some(number), CallerKey::default())
    }

    /// Takes as many as it may.
    fn grab(total: &Total, principal: Principal) -> Vec<Taken> {
        std::iter::from_fn(|| total.take(principal)).collect()
    }

    fn total(limit: usize, users: usize) -> Total {
        let all = Users::default();
        (1..users).for_each(|_| all.came());
        Total::new(limit, all)
    }

    #[test]
    fn the_last_tenth_is_for_those_who_have_none() {
        let total = total(100, 1);
        let greedy = grab(&total, process(OWNER, 1));
        assert_eq!(greedy.len(), 90);
        let modest: Vec<Vec<Taken>> = (2..12).map(|number| grab(&total, process(OWNER, number))).collect();
        assert!(modest.iter().all(|taken| taken.len() == 1));
        assert!(total.take(process(OWNER, 12)).is_none());
        drop(greedy);
        assert_eq!(grab(&total, process(OWNER, 12)).len(), 80);
    }

    #[test]
    fn a_thousand_processes_of_another_user_have_one_users_part_of_it() {
        let total = total(100, 2);
        let crowd: Vec<Vec<Taken>> = (0..1000).map(|number| grab(&total, process(7, number))).collect();
        assert_eq!(crowd.iter().map(Vec::len).sum::<usize>(), 95);
        let own: Vec<Vec<Taken>> = (0..9).map(|number| grab(&total, process(OWNER, number))).collect();
        assert_eq!(own.iter().map(Vec::len).sum::<usize>(), 5);
    }

    #[test]
    fn a_total_below_ten_is_first_come_first_served() {
        let total = total(9, 2);
        let taken = grab(&total, process(7, 1));
        assert_eq!(taken.len(), 9);
        total.allow(10);
        assert!(total.take(process(7, 1)).is_none() && total.take(process(OWNER, 1)).is_some());
    }

    #[test]
    fn whoever_has_none_gets_one_whatever_others_took_and_gave_back() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let total = total(random.usize(40..200), 2);
            let mut out: Vec<Taken> = Vec::new();
            for _ in 0..2000 {
                // One greedy process of the owner, and any number of another user.
                let who = if random.bool() { process(OWNER, 1) } else { process(7, random.i32(1..1000)) };
                match random.u32(..4) {
                    0 if !out.is_empty() => drop(out.swap_remove(random.usize(..out.len()))),
                    _ => out.extend(total.take(who)),
                }
                assert!(total.taken() <= total.limit() && total.taken() == out.len());
                assert!(total.take(process(OWNER, 2)).is_some(), "seed {seed}: {total:?}");
            }
            out.clear();
            assert!(total.0.last_tenth.borrow().is_empty() && total.0.processes.borrow().is_empty());
        }
    }
}
