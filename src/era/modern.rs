//! Called by `pool` for the probe of a modern server and by `mux` for requests of modern callers
//! (revision 2026-07-28, pages "Overview", "Versioning and Compatibility" and "Discovery").

use super::profile::LARGEST;
use crate::error::Error;
use crate::wire::message::{Message, elements, member, unquote};
use crate::wire::scan::Field;

/// The modern revision that mcpool speaks.
pub const REVISION: &str = "2026-07-28";

/// Where a request says who sends it (page "Overview", "Per-request protocol fields").
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// The error codes by which a modern server is recognised (page "Overview", "Error Codes").
const MODERN_ERRORS: [&str; 3] = ["-32020", "-32021", "-32022"];

/// The `_meta` of a request of mcpool's own, on behalf of callers with these capabilities.
pub fn meta(capabilities: &str) -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{REVISION}","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#,
        super::implementation()
    )
}

/// Whether a request is one of the modern era: it says its version itself.
pub fn is_modern(request: &Message) -> bool {
    request.span(Field::MetaVersion).found()
}

/// Checks what every modern request must carry (page "Overview", "Per-request protocol fields").
///
/// # Errors
/// `-32602` for a missing field, `-32022` for a version that mcpool does not speak.
pub fn check(request: &Message) -> Result<(), Error> {
    let version = request.text(Field::MetaVersion).unwrap_or_default();
    if version != REVISION {
        return Err(Error::UnsupportedVersion {
            message: format!("unsupported protocol version {version:?}; send {REVISION}, or open with `initialize`"),
            requested: version.into_owned(),
            supported: vec![REVISION],
        });
    }
    match request.raw(Field::MetaCapabilities).filter(|capabilities| capabilities.starts_with('{')) {
        None => Err(Error::InvalidParams("`_meta` lacks `io.modelcontextprotocol/clientCapabilities`".into())),
        Some(capabilities) if capabilities.len() > LARGEST => {
            let what = "`io.modelcontextprotocol/clientCapabilities` in `_meta` has more than 16 KiB";
            Err(Error::InvalidParams(what.into()))
        }
        Some(_) => Ok(()),
    }
}

/// What the answer to a `server/discover` says about a server (revision 2026-07-28, page "stdio").
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It is modern; the raw `DiscoverResult`.
    Modern(String),
    /// It is modern, of revisions that mcpool does not speak.
    Unspoken(String),
    /// Anything else means legacy.
    Legacy,
}

/// The name of the member by which a message says on which stream it is.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The member by which a message says that it is on the stream of this id, which is JSON.
pub fn stream_tag(id: &str) -> String {
    format!(r#""{SUBSCRIPTION_ID}":{id}"#)
}

/// Judges the answer to a `server/discover`.
pub fn judge(answer: &Message) -> Found {
    if let Some(result) = answer.raw(Field::Result) {
        return match member(result, "supportedVersions") {
            Some(versions)
                if elements(versions).into_iter().any(|version| unquote(version).as_deref() == Some(REVISION)) =>
            {
                Found::Modern(result.to_owned())
            }
            Some(versions) => Found::Unspoken(versions.to_owned()),
            None => Found::Legacy,
        };
    }
    let error = answer.raw(Field::Error).unwrap_or("{}");
    match member(error, "code") {
        Some(code) if MODERN_ERRORS.contains(&code) => {
            let data = member(error, "data").unwrap_or("{}");
            Found::Unspoken(member(data, "supported").unwrap_or("[]").to_owned())
        }
        _ => Found::Legacy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> Message {
        Message::read(bytes::Bytes::copy_from_slice(line.as_bytes()), 64).unwrap()
    }

    #[test]
    fn any_error_that_is_not_a_modern_one_means_legacy() {
        let judged = |answer: &str| judge(&message(&format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#)));
        assert!(matches!(judged(r#""result":{"supportedVersions":["2026-07-28"]}"#), Found::Modern(_)));
        assert_eq!(
            judged(r#""result":{"supportedVersions":["2099-01-01"]}"#),
            Found::Unspoken(r#"["2099-01-01"]"#.into())
        );
        assert_eq!(judged(r#""error":{"code":-32601,"message":"x"}"#), Found::Legacy);
        assert_eq!(
            judged(r#""error":{"code":-32022,"message":"x","data":{"supported":["2099-01-01"]}}"#),
            Found::Unspoken(r#"["2099-01-01"]"#.into())
        );
        assert_eq!(judged(r#""result":{}"#), Found::Legacy);
    }

    #[test]
    fn a_request_says_its_version_and_capabilities() {
        let request = |meta: &str| {
            message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#))
        };
        assert!(check(&request(&meta("{}"))).is_ok());
        assert_eq!(
            check(&request(r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#)).unwrap_err().code(),
            -32602
        );
        assert_eq!(check(&request(&meta("{}").replace("2026-07-28", "1900-01-01"))).unwrap_err().code(), -32022);
        assert!(!is_modern(&request("{}")));
    }
}
