//! Made by `mux` for each call, and asked by everything that keeps something about a server: what an instance must have
//! been told, and whose it must be, to serve the call.
//!
//! [`Need`] is the key of all that mcpool remembers or shares about a server: lists, subscriptions, levels,
//! elicitations, tasks. Two needs are equal if the same instances serve both, at the same time or in turn. What is
//! filed under one may be shown to every caller with an equal one, and to no other. Whether several callers use an
//! instance at a time (a `shared` lease) or one after the other (a `call` lease) makes no difference to what the
//! instance was told, so needs that differ in that alone are equal. A `session` lease makes the instance its caller's
//! own: the caller is then part of the need.
//!
//! A need is cheap: to clone it counts two references, to compare or hash it looks at two numbers.

use std::hash::{Hash, Hasher};

use super::lease::Lease;
use crate::era::profile::Profile;
use crate::era::roots::RootList;
use crate::key::CallerKey;

/// What an instance was told, or is to be told, about its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// What it was opened with.
    pub profile: Profile,
    /// The roots that it was told; none where the server does not ask for them.
    pub roots: Option<RootList>,
}

/// What a call needs of an instance.
#[derive(Clone, Debug)]
pub struct Need {
    told: Told,
    lease: Lease,
    /// Whose the instance is, under a `session` lease.
    owner: Option<CallerKey>,
}

impl Need {
    /// Returns the need of a call of `caller`.
    pub fn new(profile: Profile, roots: Option<RootList>, lease: Lease, caller: CallerKey) -> Need {
        Need { told: Told { profile, roots }, lease, owner: (lease == Lease::Session).then_some(caller) }
    }

    /// Returns the need of a request for nobody in particular.
    pub fn of_nobody(told: Told) -> Need {
        Need { told, lease: Lease::Shared, owner: None }
    }

    /// Returns what the instance must have been told.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Returns what the instance must have been opened with.
    pub fn profile(&self) -> &Profile {
        &self.told.profile
    }

    /// Returns the roots that the instance must have been told.
    pub fn roots(&self) -> Option<&RootList> {
        self.told.roots.as_ref()
    }

    /// How the instance is shared.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// Returns the caller that has the instance for its whole session, if one has.
    pub fn owner(&self) -> Option<CallerKey> {
        self.owner
    }
}

impl PartialEq for Need {
    fn eq(&self, other: &Need) -> bool {
        self.owner == other.owner && self.told == other.told
    }
}

impl Eq for Need {}

impl Hash for Need {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.told, self.owner).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn needs_are_equal_if_the_same_instances_serve_both() {
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let (one, two) = (callers.insert(()), callers.insert(()));
        let profile = |capabilities| Profile::legacy("2025-06-18", capabilities).unwrap();
        let plain = |lease, caller| Need::new(profile("{}"), None, lease, caller);
        assert_eq!(plain(Lease::Shared, one), plain(Lease::Call, two));
        assert_eq!(plain(Lease::Session, one), plain(Lease::Session, one));
        assert_ne!(plain(Lease::Session, one), plain(Lease::Session, two));
        assert_ne!(plain(Lease::Session, one), plain(Lease::Shared, one));
        assert_ne!(plain(Lease::Shared, one), Need::new(profile(r#"{"roots":{}}"#), None, Lease::Shared, one));
        let rooted = |roots: &str| Need::new(profile("{}"), Some(roots.into()), Lease::Shared, one);
        assert_eq!(rooted("a"), rooted("a"));
        assert_ne!(rooted("a"), rooted("b"));
        assert_ne!(rooted("a"), plain(Lease::Shared, one));
    }
}
