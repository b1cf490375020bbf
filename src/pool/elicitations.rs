//! Kept by `mux::owned` for each server: for whom an elicitation is that ends on a web page, until the server says that
//! it is done.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use foldhash::fast::RandomState;

use crate::key::{CallerKey, InstanceKey};

/// How many of one caller are remembered at one server; the oldest of its own goes first.
const OF_ONE: usize = 256;

/// An elicitation: two instances may count alike, so that its id alone names none.
type Named = (InstanceKey, Rc<str>);

/// The elicitations at one server that are not known to be complete.
#[derive(Default)]
pub struct Elicitations {
    owners: HashMap<Named, Owner, RandomState>,
    /// Those of each caller, the oldest first.
    of_callers: BTreeMap<CallerKey, VecDeque<Named>>,
}

/// For whom an elicitation is.
struct Owner {
    /// Who was given its id first, and has it on its list.
    first: CallerKey,
    /// Another caller was given the same id: whose page is done cannot be told.
    unclear: bool,
}

impl Elicitations {
    /// Remembers for whom an elicitation of an instance is.
    pub fn note(&mut self, instance: InstanceKey, id: &str, caller: CallerKey) {
        let named: Named = (instance, id.into());
        if let Some(owner) = self.owners.get_mut(&named) {
            owner.unclear |= owner.first != caller;
            return;
        }
        let own = self.of_callers.entry(caller).or_default();
        if own.len() >= OF_ONE
            && let Some(oldest) = own.pop_front()
        {
            self.owners.remove(&oldest);
        }
        own.push_back(named.clone());
        self.owners.insert(named, Owner { first: caller, unclear: false });
    }

    /// Takes an elicitation that its instance says is complete. Returns for whom it was, if that is certain.
    pub fn complete(&mut self, instance: InstanceKey, id: &str) -> Option<CallerKey> {
        let named: Named = (instance, id.into());
        let owner = self.owners.remove(&named)?;
        if let Some(own) = self.of_callers.get_mut(&owner.first) {
            own.retain(|other| *other != named);
            if own.is_empty() {
                self.of_callers.remove(&owner.first);
            }
        }
        (!owner.unclear).then_some(owner.first)
    }

    /// Forgets those of a caller that is gone.
    pub fn forget_caller(&mut self, caller: CallerKey) {
        for named in self.of_callers.remove(&caller).into_iter().flatten() {
            self.owners.remove(&named);
        }
    }

    /// Forgets those of an instance that is gone.
    pub fn forget_instance(&mut self, instance: InstanceKey) {
        self.owners.retain(|(at, _), _| *at != instance);
        self.of_callers.retain(|_, own| {
            own.retain(|(at, _)| *at != instance);
            !own.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn two<K: slotmap::Key>() -> (K, K) {
        let mut keys = SlotMap::<K, ()>::with_key();
        (keys.insert(()), keys.insert(()))
    }

    #[test]
    fn one_id_at_two_instances_names_two_elicitations() {
        let ((a, b), (here, there)) = (two(), two());
        let mut all = Elicitations::default();
        all.note(here, "1", a);
        all.note(there, "1", b);
        assert_eq!(all.complete(there, "1"), Some(b));
        assert_eq!((all.complete(there, "1"), all.complete(here, "1")), (None, Some(a)));
        assert!(all.owners.is_empty() && all.of_callers.is_empty());
    }

    #[test]
    fn one_id_for_two_callers_at_one_instance_is_nobodys() {
        let ((a, b), (here, _)) = (two(), two());
        let mut all = Elicitations::default();
        all.note(here, "1", a);
        all.note(here, "1", a);
        assert_eq!(all.complete(here, "1"), Some(a));
        all.note(here, "1", a);
        all.note(here, "1", b);
        assert_eq!(all.complete(here, "1"), None);
        assert!(all.owners.is_empty() && all.of_callers.is_empty());
    }

    #[test]
    fn who_has_many_takes_no_room_from_another() {
        let ((greedy, modest), (here, there)) = (two(), two());
        let mut all = Elicitations::default();
        all.note(here, "mine", modest);
        (0..10_000).for_each(|n| all.note(here, &n.to_string(), greedy));
        assert_eq!(all.owners.len(), OF_ONE + 1);
        assert_eq!((all.complete(here, "mine"), all.complete(here, "0")), (Some(modest), None));
        all.note(there, "mine", modest);
        all.forget_instance(here);
        assert_eq!(all.complete(there, "mine"), Some(modest));
        all.forget_caller(greedy);
        assert!(all.owners.is_empty() && all.of_callers.is_empty());
    }
}
