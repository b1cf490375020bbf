//! Called by a line of the queue: whose turn it is. Users take turns, then the processes of a user, then the
//! connections of a process: more processes or connections bring nobody more turns.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::guard::principal::Principal;
use crate::key::CallerKey;

/// A turn: of a user, of a process among those of its user, of a caller among those of its process. The first of all comes
/// after the default one.
pub type Turn = [u64; LEVELS];

const LEVELS: usize = 3;

/// Who takes turns among its like.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    All,
    User(u32),
    Process(Principal),
    Caller(CallerKey),
}

/// Whose turn comes when.
#[derive(Default)]
pub struct Turns {
    /// Those who take turns within each, and when.
    order: HashMap<Who, BTreeMap<u64, Who>, RandomState>,
    turn_of: HashMap<Who, u64, RandomState>,
    last: u64,
}

/// The way from all down to a caller.
fn way(principal: Principal, caller: CallerKey) -> [Who; LEVELS + 1] {
    [Who::All, Who::User(principal.user()), Who::Process(principal), Who::Caller(caller)]
}

impl Turns {
    /// Lets a caller take turns, after those who are there.
    pub fn join(&mut self, principal: Principal, caller: CallerKey) {
        for pair in way(principal, caller).windows(2) {
            if !self.turn_of.contains_key(&pair[1]) {
                self.last += 1;
                self.turn_of.insert(pair[1], self.last);
                self.order.entry(pair[0]).or_default().insert(self.last, pair[1]);
            }
        }
    }

    /// Notes that a caller had its turn: its like come first now, at each level.
    pub fn had(&mut self, principal: Principal, caller: CallerKey) {
        for pair in way(principal, caller).windows(2) {
            let (Some(turn), Some(order)) = (self.turn_of.get_mut(&pair[1]), self.order.get_mut(&pair[0])) else {
                return;
            };
            order.remove(turn);
            self.last += 1;
            *turn = self.last;
            order.insert(self.last, pair[1]);
        }
    }

    /// Lets a caller take no more turns; nor its process or user if nobody of them is left.
    pub fn leave(&mut self, principal: Principal, caller: CallerKey) {
        for pair in way(principal, caller).windows(2).rev() {
            if self.order.contains_key(&pair[1]) {
                return;
            }
            let (Some(turn), Some(order)) = (self.turn_of.remove(&pair[1]), self.order.get_mut(&pair[0])) else {
                return;
            };
            order.remove(&turn);
            if order.is_empty() {
                self.order.remove(&pair[0]);
            }
        }
    }

    /// The caller whose turn comes next after `turn`, and when.
    pub fn after(&self, turn: Turn) -> Option<(Turn, CallerKey)> {
        let mut found = Turn::default();
        let caller = self.within(Who::All, 0, Some(&turn), &mut found)?;
        Some((found, caller))
    }

    /// Returns the first caller within `who`, of those after a turn if there is one to come after.
    fn within(&self, who: Who, level: usize, after: Option<&Turn>, found: &mut Turn) -> Option<CallerKey> {
        let from = after.map_or(0, |after| after[level]);
        for (turn, child) in self.order.get(&who)?.range(from..) {
            found[level] = *turn;
            let same = after.filter(|_| *turn == from);
            match child {
                Who::Caller(_) if same.is_some() => {}
                Who::Caller(caller) => return Some(*caller),
                _ => {
                    if let Some(caller) = self.within(*child, level + 1, same, found) {
                        return Some(caller);
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    /// Who is served, in this order, if everybody always has something that waits.
    fn served(turns: &mut Turns, of: &HashMap<CallerKey, Principal>, times: usize) -> Vec<CallerKey> {
        let mut served = Vec::new();
        for _ in 0..times {
            let (_, caller) = turns.after(Turn::default()).expect("somebody");
            served.push(caller);
            turns.had(of[&caller], caller);
        }
        served
    }

    #[test]
    fn users_take_turns_then_their_processes_then_the_connections_of_these() {
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let keys: Vec<CallerKey> = (0..5).map(|_| callers.insert(())).collect();
        let who = [(1, 10), (1, 10), (1, 11), (2, 20), (2, 21)];
        let principals = keys.iter().zip(who).map(|(key, (user, pid))| (*key, Principal::of(user, Some(pid), *key)));
        let of: HashMap<CallerKey, Principal> = principals.collect();
        let mut turns = Turns::default();
        keys.iter().for_each(|key| turns.join(of[key], *key));
        let [a, b, c, d, e] = keys[..] else { panic!() };
        assert_eq!(served(&mut turns, &of, 8), [a, d, c, e, b, d, c, e]);
        turns.leave(of[&d], d);
        turns.leave(of[&e], e);
        assert_eq!(served(&mut turns, &of, 4), [a, c, b, c]);
    }

    #[test]
    fn everybody_is_met_once_after_one_another() {
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let keys: Vec<CallerKey> = (0..7).map(|_| callers.insert(())).collect();
        let mut turns = Turns::default();
        for (number, key) in keys.iter().enumerate() {
            turns.join(Principal::of(number as u32 % 2, Some(1 + number as i32 % 3), *key), *key);
        }
        let (mut met, mut turn) = (Vec::new(), Turn::default());
        while let Some((next, caller)) = turns.after(turn) {
            (turn, met) = (next, [met, vec![caller]].concat());
        }
        met.sort_unstable();
        assert_eq!(met, keys);
    }
}
