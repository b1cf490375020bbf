//! Used by instances and by the parts of `mux` that keep subscriptions: who uses an instance, and who listens to it.

use crate::key::{CallKey, CallerKey};

/// Who has used an instance since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// Only this caller, so that whatever the server says unasked is about it.
    Only(CallerKey),
    Many,
    /// Nobody: who it was started for left before it was ready.
    Nobody,
}

impl Users {
    /// The only one, if there is only one.
    pub fn only(self) -> Option<CallerKey> {
        match self {
            Users::Only(caller) => Some(caller),
            Users::Many | Users::Nobody => None,
        }
    }
}

/// Who is subscribed to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscriber {
    /// A legacy caller.
    Session(CallerKey),
    /// A modern caller's open `subscriptions/listen`.
    Stream(CallKey),
}
