//! Asked by the catalogue when it learns of one more kind of client than it remembers: which of the others is forgotten.

use std::collections::HashMap;

use crate::principal::Principal;

/// For whom something is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Behalf {
    /// For nobody who came since the daemon runs.
    #[default]
    Nobody,
    /// For one caller's process.
    One(Principal),
    /// For several of them.
    Several,
}

impl Behalf {
    /// The same, for one more.
    #[must_use]
    pub fn and(self, who: Principal) -> Behalf {
        match self {
            _ if who == Principal::MCPOOL => self,
            Behalf::Nobody => Behalf::One(who),
            Behalf::One(other) if other == who => self,
            Behalf::One(_) | Behalf::Several => Behalf::Several,
        }
    }

    fn user(self) -> Option<u32> {
        match self {
            Behalf::One(who) => Some(who.user()),
            Behalf::Nobody | Behalf::Several => None,
        }
    }
}

/// Returns the place of what is forgotten, of these in the order in which they were needed, the latest first. The user has
/// least room left who has most already, and of a user the process that has most: who comes with ever new capabilities
/// makes mcpool forget what it knows for that caller, and not what others need. What several need goes last.
pub fn forgotten(all: impl Iterator<Item = Behalf> + Clone) -> Option<usize> {
    let (mut of_user, mut of_one) = (HashMap::<_, usize>::new(), HashMap::<_, usize>::new());
    for behalf in all.clone() {
        *of_user.entry(behalf.user()).or_default() += 1;
        *of_one.entry(behalf).or_default() += 1;
    }
    let greed = |(place, behalf): &(usize, Behalf)| {
        let alone = *behalf != Behalf::Several;
        (alone, if alone { of_user[&behalf.user()] } else { 0 }, of_one[behalf], *place)
    };
    all.enumerate().max_by_key(greed).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CallerKey;

    fn one(user: u32, process: i32) -> Behalf {
        Behalf::Nobody.and(Principal::of(user, Some(process), CallerKey::default()))
    }

    fn goes(all: &[Behalf]) -> Option<usize> {
        forgotten(all.iter().copied())
    }

    #[test]
    fn who_has_most_makes_room_of_its_own() {
        let (greedy, modest) = (one(1, 10), one(2, 20));
        assert_eq!(goes(&[greedy, greedy, modest]), Some(1));
        assert_eq!(goes(&[modest, greedy]), Some(1), "of equals the one whose need is longest ago");
        assert_eq!(goes(&[one(1, 10), one(1, 11), one(1, 12), modest, modest]), Some(2), "many processes are one user");
        assert_eq!(goes(&[]), None);
    }

    #[test]
    fn what_several_need_goes_last() {
        let shared = one(1, 10).and(Principal::of(2, Some(20), CallerKey::default()));
        assert_eq!(shared, Behalf::Several);
        assert_eq!(goes(&[one(1, 10), shared, shared, shared]), Some(0));
        assert_eq!(goes(&[shared, shared]), Some(1));
    }
}
