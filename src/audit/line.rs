//! One line of the audit log.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::digest::Digest;

/// What is told of a request that ended.
pub struct Line {
    pub time: SystemTime,
    pub caller: u64,
    pub uid: u32,
    pub pid: Option<i32>,
    pub program: Option<String>,
    pub endpoint: String,
    pub client: String,
    pub server: String,
    pub method: String,
    /// The tool, prompt or resource, as the caller named it.
    pub target: Option<String>,
    pub digest: Option<Digest>,
    pub outcome: &'static str,
    pub reason: String,
    pub took: Duration,
}

impl Line {
    /// As JSON, with its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let digest =
            self.digest.map(|Digest(bytes)| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let is_tool = self.method == "tools/call";
        let line = json!({
            "time": humantime::format_rfc3339_millis(self.time).to_string(),
            "caller": self.caller,
            "uid": self.uid,
            "pid": self.pid,
            "program": self.program,
            "endpoint": self.endpoint,
            "client": self.client,
            "server": self.server,
            "method": self.method,
            "tool": self.target.as_ref().filter(|_| is_tool),
            "target": self.target.as_ref().filter(|_| !is_tool),
            "arguments_hmac_sha256": digest,
            "outcome": self.outcome,
            "reason": self.reason,
            "ms": (self.took.as_secs_f64() * 1e6).round() / 1e3,
        });
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
    }
}
