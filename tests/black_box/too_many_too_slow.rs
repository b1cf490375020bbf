//! Callers that are too many, or that do not read what they are told: they lose their place, and nobody else anything.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{legacy, play, proxy, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn a_caller_that_does_not_read_is_disconnected_and_nobody_waits_for_it() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).config(|config| config.limits.outgoing = 1 << 20).start().await;
        let fellow = proxy.legacy(REVISION).connect("echo").await;
        let mut deaf = proxy.stream("echo");
        let client = json!({"name": "deaf", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client});
        let mut lines = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        lines += "\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        deaf.write_all(lines.as_bytes()).await.expect("written");
        for id in 1..=20 {
            let call = json!({"name": "echo", "arguments": {"text": "x".repeat(100_000)}});
            let line = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call});
            // It may be disconnected before the last one.
            let _ = deaf.write_all(format!("{line}\n").as_bytes()).await;
            assert_eq!(fellow.call("echo", json!({})).await.text(), "{}");
            let waiting = proxy.status()["callers"]
                .as_array()
                .expect("callers")
                .iter()
                .filter_map(|one| one["buffered"].as_u64())
                .sum::<u64>();
            assert!(waiting <= (1 << 20) + 200_000, "{waiting} bytes wait");
        }
        settled().await;
        let status = proxy.status();
        assert_eq!(status["callers"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["counters"]["callers_dropped"], json!({"does_not_read": 1}));
        assert_eq!((&status["calls"], &proxy.instances("echo")[0]["in_flight"]), (&json!(0), &json!(0)));
        let mut rest = Vec::new();
        deaf.read_to_end(&mut rest).await.expect("the end of what was written");
        assert_eq!(fellow.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn one_caller_too_many_is_turned_away_until_another_leaves() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).config(|config| config.limits.callers = 2).start().await;
        let one = proxy.legacy(REVISION).connect("echo").await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        proxy.dial("echo").closed().await;
        assert_eq!(proxy.status()["counters"]["callers_refused"], 1);
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        one.hang_up().await;
        settled().await;
        let next = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(next.call("echo", json!({})).await.text(), "{}");
    });
}
