//! Called by whoever says what may be lost: what that is about, and who says it.

use std::rc::Rc;

use crate::wire::tally::Tally;

/// Whoever says what may be lost: a server. It is counted here what callers that were behind did not hear.
pub type Speaker = Rc<Tally>;

/// What the newest message says alone: how far a call is, that a list or a resource is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// Each message says something of its own, as log lines do.
    None,
    /// The progress of the call with this token.
    Progress(&'a str),
    /// A list, a resource or a task, on a stream or, if that is empty, on none.
    State { what: &'a str, stream: &'a str },
}

impl Topic<'_> {
    /// What it is kept by; none if nothing is.
    pub fn name(&self) -> Option<String> {
        match self {
            Topic::None => None,
            Topic::Progress(token) => Some(format!("p{token}")),
            Topic::State { what, stream } => Some(format!("s{stream} {what}")),
        }
    }
}
