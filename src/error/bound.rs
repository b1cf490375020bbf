//! Named by whoever refuses a caller because it has too much already: which bound it met, and the key that sets it.

use crate::plural::plural;

/// What a caller may have only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Calls in flight of one connection.
    InFlight,
    /// The same, where a rule of the endpoint says how many.
    InFlightByRule,
    /// Subscriptions and streams of one connection.
    Subscriptions,
    /// Calls of one caller in which it is asked, and that wait for it to come back.
    Held,
    /// Such calls of all callers.
    HeldOfAll,
}

impl Bound {
    /// What is said to a caller that met it.
    pub(super) fn told(self, limit: usize) -> String {
        let calls = || plural(limit, "call");
        match self {
            Bound::InFlight => format!(
                "this connection has {} in flight already; wait for answers, or raise `limits.in_flight`",
                calls()
            ),
            Bound::InFlightByRule => format!(
                "this connection has {} in flight already; wait for answers, or raise `limits.in_flight` of the rule in `callers` of this endpoint",
                calls()
            ),
            Bound::Subscriptions => format!(
                "this connection may have {}, streams among them; end some, or raise `limits.subscriptions`",
                plural(limit, "subscription")
            ),
            Bound::Held => {
                format!("{} of this client wait for its answers already; answer them, or raise `limits.held`", calls())
            }
            Bound::HeldOfAll => format!(
                "{} wait for answers of their clients already; try again, or raise `limits.held_total`",
                calls()
            ),
        }
    }
}
