//! Called by `pool` for what a server is told, by `mux` for what a caller said, and by the catalogue for what it keeps:
//! the only place that knows how the two eras differ on the wire. Inside, there is one kind of call.

pub mod bridge;
pub mod digest;
pub mod legacy;
pub mod level;
pub mod modern;
pub mod nulls;
pub mod profile;
pub mod roots;

/// The two families of protocol revisions (revision 2026-07-28, page "Versioning and Compatibility").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Opens with `initialize`; the connection has a state.
    Legacy,
    /// Stateless: every request carries its own `_meta`.
    Modern,
}

impl Era {
    /// The one that it is not.
    pub fn other(self) -> Era {
        match self {
            Era::Legacy => Era::Modern,
            Era::Modern => Era::Legacy,
        }
    }

    /// The word for it in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        }
    }
}

/// The era of a revision.
pub fn of_revision(revision: &str) -> Era {
    if revision == modern::REVISION { Era::Modern } else { Era::Legacy }
}

/// Requests in the middle of which a modern server may ask (revision 2026-07-28, page "Multi Round-Trip Requests").
pub fn may_ask_in(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Methods that ask something of a caller in the middle of a call.
pub fn is_ask(method: &str) -> bool {
    matches!(method, "sampling/createMessage" | "elicitation/create" | "roots/list")
}

/// How mcpool names itself to servers and, on an endpoint of several, to callers.
pub fn implementation() -> String {
    format!(r#"{{"name":"mcpool","title":"mcpool","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
}
