//! Kept by each caller, and told by `mux::asks`: what is known of its roots, and whether it has been asked for them.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Access};
use crate::era::roots::RootList;
use crate::key::CallKey;

/// How long a client may take to tell its roots.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a caller's roots.
pub enum Roots {
    Unknown,
    /// Wanted, but the caller has not said `initialized` yet.
    Wanted,
    /// Asked for since then; `true` if they changed in the meantime.
    Asked(Instant, bool),
    /// The body of the answer, as a server gets it.
    Known(RootList),
}

impl Roots {
    /// What is known of a caller's that just connected: everything, where its endpoint says which it has.
    pub fn of(access: &Access) -> Roots {
        fixed(access).map_or(Roots::Unknown, Roots::Known)
    }

    /// The answer, if it is known.
    pub fn known(&self) -> Option<RootList> {
        match self {
            Roots::Known(roots) => Some(roots.clone()),
            _ => None,
        }
    }
}

/// When a modern caller told its roots, which it does in the middle of a call, and in which call it is asked for them.
#[derive(Default)]
pub struct InCalls {
    told: Option<Instant>,
    asked: Option<(CallKey, Instant)>,
}

impl InCalls {
    /// Notes that it is asked in this call.
    pub fn asks_in(&mut self, call: CallKey, now: Instant) {
        self.asked = Some((call, now));
    }

    /// Notes that the call in which it was asked is over.
    pub fn asks_no_more(&mut self) {
        self.asked = None;
    }

    /// Notes that it told them.
    pub fn told(&mut self, now: Instant) {
        (self.asked, self.told) = (None, Some(now));
    }

    /// Returns whether what it told is believed still.
    pub fn is_fresh(&self, now: Instant, believed: Duration) -> bool {
        self.told.is_some_and(|told| now < told + believed)
    }

    /// Until when its answer is waited for, if it was asked not long ago.
    pub fn awaited(&self, now: Instant) -> Option<Instant> {
        self.asked.map(|(_, since)| since + PATIENCE).filter(|until| now < *until)
    }

    /// Returns whether it is asked in this call.
    pub fn is_asked_in(&self, call: CallKey) -> bool {
        self.asked.is_some_and(|(in_call, _)| in_call == call)
    }
}

/// The body of the answer with the roots that callers with this access have, whatever they tell.
pub fn fixed(access: &Access) -> Option<RootList> {
    let config::Roots::Fixed(uris) = &access.roots else { return None };
    let roots: Vec<serde_json::Value> = uris.iter().map(|uri| serde_json::json!({ "uri": uri })).collect();
    Some(format!(r#""result":{}"#, serde_json::json!({ "roots": roots })).into())
}

/// What an instance is told that serves requests whose caller cannot be asked: a modern one tells its roots only in
/// the middle of a call.
pub const NO_ROOTS: &str =
    r#""error":{"code":-32603,"message":"this client tells its roots only in the middle of a call"}"#;
