//! Called by `pool` for the handshake with a legacy server and by `mux` for that with a legacy caller
//! (revision 2025-11-25, page "Lifecycle").

use super::profile::Legacy;
use crate::wire::message::{member, unquote};

/// Every legacy revision, the newest first.
pub const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The error that asks a client to visit web pages first (revision 2025-11-25, page "Elicitation").
pub const URL_ELICITATION_REQUIRED: &str = "-32042";

/// The one revision with JSON-RPC batches.
pub const WITH_BATCHES: &str = "2025-03-26";

/// Whether a revision lacks kinds of content that servers send all the same.
pub fn lacks_content(revision: &str) -> bool {
    revision < "2025-06-18"
}

/// The revision to speak with a caller that asks for `requested`: that one, or the newest legacy one.
pub fn negotiate(requested: &str) -> &'static str {
    REVISIONS.into_iter().find(|known| *known == requested).unwrap_or(REVISIONS[0])
}

/// The parameters of the `initialize` that opens an instance for callers of a profile.
pub fn initialize_params(profile: &Legacy) -> String {
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{}}}"#,
        profile.revision,
        profile.capabilities,
        super::implementation()
    )
}

/// What mcpool needs to know of an `InitializeResult`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// `logging` is declared.
    pub logging: bool,
    /// `resources.subscribe` is declared.
    pub subscribe: bool,
}

/// Reads the capabilities of an `InitializeResult`; `None` if it is none.
pub fn offers(result: &str) -> Option<Offers> {
    unquote(member(result, "protocolVersion")?)?;
    let capabilities = member(result, "capabilities").filter(|capabilities| capabilities.starts_with('{'))?;
    let resources = member(capabilities, "resources").unwrap_or("{}");
    Some(Offers {
        logging: member(capabilities, "logging").is_some(),
        subscribe: member(resources, "subscribe") == Some("true"),
    })
}

/// Whether a list is announced to change by `notifications/*/list_changed`.
pub fn announces(result: &str, kind: &str) -> bool {
    member(result, "capabilities")
        .and_then(|capabilities| member(capabilities, kind))
        .and_then(|kind| member(kind, "listChanged"))
        == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_not_legacy_is_negotiated_down() {
        assert_eq!(negotiate("2024-11-05"), "2024-11-05");
        assert_eq!(negotiate("2026-07-28"), "2025-11-25");
    }

    #[test]
    fn offers_are_read_from_the_result() {
        let result = r#"{"protocolVersion":"2025-06-18","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"x","version":"1"}}"#;
        assert_eq!(offers(result), Some(Offers { logging: true, subscribe: true }));
        assert!(announces(result, "tools") && !announces(result, "resources") && !announces(result, "prompts"));
        assert_eq!(offers("{}"), None);
    }
}
