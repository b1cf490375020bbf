//! How an [`Error`] is told to a caller: the JSON-RPC reply with what a program can act on in `data`. Whoever answers a
//! request with an error calls it.

use std::time::Duration;

use serde_json::{Value, json};

use super::Error;
use crate::wire::id::RawId;

impl Error {
    /// The server whose fault it is, if it is one's.
    pub fn server(&self) -> Option<&str> {
        match self {
            Error::ChangedTool { server, .. }
            | Error::ServerDied { server, .. }
            | Error::ServerMisbehaved { server, .. }
            | Error::PoolExhausted { server }
            | Error::StartFailed { server, .. }
            | Error::StillStarting { server, .. }
            | Error::RateLimited { server, .. }
            | Error::BreakerOpen { server, .. }
            | Error::CallTimeout { server, .. }
            | Error::QueueTimeout { server, .. }
            | Error::Disabled { server } => Some(server),
            Error::TooLarge { server, .. } => server.as_deref(),
            Error::Parse(_)
            | Error::InvalidRequest(_)
            | Error::MethodNotFound(_)
            | Error::InvalidParams(_)
            | Error::Internal(_)
            | Error::ResourceNotFound { .. }
            | Error::UnsupportedVersion { .. }
            | Error::MissingCapability { .. }
            | Error::Unanswered { .. }
            | Error::Forbidden { .. }
            | Error::OwnServer { .. }
            | Error::OthersServer { .. }
            | Error::NoRoom { .. }
            | Error::NotRead { .. }
            | Error::CallerOverloaded { .. }
            | Error::Overloaded { .. }
            | Error::MemoryFull { .. }
            | Error::TooManyTasks { .. }
            | Error::Draining
            | Error::Drained
            | Error::AuditUnavailable
            | Error::Reconfigured(_)
            | Error::DaemonLost
            | Error::Disconnected(_)
            | Error::NoSession(_)
            | Error::Unreachable(_)
            | Error::AskTimeout { .. } => None,
        }
    }

    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::StartFailed { retry, .. } => *retry,
            Error::RateLimited { retry, .. }
            | Error::BreakerOpen { retry, .. }
            | Error::StillStarting { retry, .. } => Some(*retry),
            _ => None,
        }
    }

    /// The whole reply to the request `id`, as one line without its end. Without an id it is addressed to
    /// nobody, as JSON-RPC 2.0 (section 5) has it.
    pub fn reply(&self, id: Option<&RawId>) -> Vec<u8> {
        let mut object = json!({ "code": self.code(), "message": self.to_string() });
        if let Some(data) = self.data() {
            object["data"] = data;
        }
        let id = id.map_or("null", RawId::as_str);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{object}}}").into_bytes()
    }

    fn data(&self) -> Option<Value> {
        match self {
            Error::UnsupportedVersion { requested, supported, .. } => {
                return Some(json!({ "supported": supported, "requested": requested }));
            }
            Error::ResourceNotFound { uri, .. } => return Some(json!({ "uri": uri })),
            Error::MissingCapability { required } => {
                let required: Value = serde_json::from_str(required).unwrap_or_default();
                return Some(json!({ "requiredCapabilities": required }));
            }
            _ => {}
        }
        let mut mcpool = json!({ "reason": self.reason()? });
        if let Some(server) = self.server() {
            mcpool["server"] = server.into();
        }
        if let Some(retry) = self.retry_after() {
            // Rounded up, so that whoever waits for it does not come too early.
            mcpool["retryAfterMs"] = json!(retry.as_micros().div_ceil(1000) as u64);
        }
        Some(json!({ "mcpool": mcpool }))
    }
}

/// What is said to whoever stems from a server of this daemon, or may.
pub(super) fn own_server(server: Option<&str>, endpoint: &str) -> String {
    match server {
        Some(server) => format!(
            "this comes from server `{server}`, and servers may not call mcpool; if it is meant to, write `may_call: [{endpoint}]` into its configuration"
        ),
        None => "whoever connects here has lost its parents while servers ran, or bears signs of a server that it does not descend from; it may be a server's, and those may not call mcpool".to_owned(),
    }
}

/// What is said of a message that is not passed on, whoever sent it.
pub(super) fn too_large(server: Option<&str>, size: usize, limit: usize) -> String {
    let what = match server {
        Some(server) => format!("server `{server}` sent a message of {size} bytes, which"),
        None => format!("a message of {size} bytes"),
    };
    format!("{what} is above the limit of {limit} bytes; raise `limits.max_message` if it is wanted")
}

/// Whom an open breaker is about, and why it is.
pub(super) fn for_whom(alone: bool) -> &'static str {
    if alone {
        "for this client for now, because its calls failed too often"
    } else {
        "for now, because it failed too often"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_what_happened_whose_fault_it_is_and_what_to_do() {
        let error = Error::StartFailed {
            server: "files".into(),
            detail: "no such command".into(),
            retry: Some(Duration::from_millis(250)),
        };
        let reply: Value = serde_json::from_slice(&error.reply(RawId::new("\"a\\\"b\"").as_ref())).unwrap();
        assert_eq!(reply["id"], "a\"b");
        assert_eq!(reply["error"]["code"], 503);
        assert_eq!(
            reply["error"]["data"],
            json!({"mcpool": {"reason": "start_failed", "server": "files", "retryAfterMs": 250}})
        );
    }

    #[test]
    fn json_rpcs_own_errors_carry_no_data_of_ours() {
        let reply: Value = serde_json::from_slice(&Error::Parse("x".into()).reply(None)).unwrap();
        assert_eq!(
            reply,
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "parse error: x"}})
        );
    }
}
