//! What is known of a caller's roots.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Access};
use crate::era::roots::RootList;

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
