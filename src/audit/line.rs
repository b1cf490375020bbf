//! Called by `audit` for each request that ended: its line in the audit log.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::digest::Digest;
use crate::hex::hex;

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

/// The line as it is written, in this order.
#[derive(Serialize)]
struct Written<'a> {
    time: String,
    caller: u64,
    uid: u32,
    pid: Option<i32>,
    program: Option<&'a str>,
    endpoint: &'a str,
    client: &'a str,
    server: &'a str,
    method: &'a str,
    tool: Option<&'a str>,
    target: Option<&'a str>,
    arguments_hmac_sha256: Option<String>,
    outcome: &'static str,
    reason: &'a str,
    ms: f64,
}

impl Line {
    /// As JSON, with its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let is_tool = self.method == "tools/call";
        let digest = |Digest(bytes): Digest| hex(&bytes);
        let written = Written {
            time: humantime::format_rfc3339_millis(self.time).to_string(),
            caller: self.caller,
            uid: self.uid,
            pid: self.pid,
            program: self.program.as_deref(),
            endpoint: &self.endpoint,
            client: &self.client,
            server: &self.server,
            method: &self.method,
            tool: self.target.as_deref().filter(|_| is_tool),
            target: self.target.as_deref().filter(|_| !is_tool),
            arguments_hmac_sha256: self.digest.map(digest),
            outcome: self.outcome,
            reason: &self.reason,
            ms: (self.took.as_secs_f64() * 1e6).round() / 1e3,
        };
        // Nothing in it cannot be written as JSON.
        let _ = serde_json::to_writer(&mut *out, &written);
        out.push(b'\n');
    }
}
