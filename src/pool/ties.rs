//! Who is tied to an instance: those who use it, those who listen to it, and those who are to answer what it asks.

use tokio::time::Instant;

use crate::key::{CallKey, CallerKey};
use crate::wire::id::AskId;
use crate::wire::message::Message;

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

/// An ask of a server that is not answered yet.
pub struct Ask {
    pub message: Message,
    /// Who is to answer it; none while it is held because its owner is not known.
    pub with: Option<With>,
    pub since: Instant,
}

/// Who is subscribed to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscriber {
    /// A legacy caller.
    Session(CallerKey),
    /// A modern caller's open `subscriptions/listen`.
    Stream(CallKey),
}

/// Who is to answer an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// A legacy caller, to whom it was sent under an id of ours.
    Caller(CallerKey, AskId),
    /// A modern caller, with the retry of this call.
    Retry(CallKey),
}
