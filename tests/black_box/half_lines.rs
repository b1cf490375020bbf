//! Lines that are not finished, and callers that close their side or say nothing.

use serde_json::json;

use crate::support::{Proxy, after, legacy, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";

async fn echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).config(|config| config.limits.message = 4 << 20).start().await
}

#[test]
fn half_a_line_and_then_silence_ends_the_connection() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(b"{\"jsonrpc\":\"2.0\",");
        caller.closed().await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        assert_eq!(proxy.status()["callers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn half_a_line_has_one_deadline_that_a_few_bytes_do_not_move() {
    play(async {
        for first in [1, 9 << 20] {
            let proxy = proxy().server("echo", legacy(|_| {})).start().await;
            let caller = proxy.legacy(REVISION).connect("echo").await;
            caller.send_bytes(&[b"{\"x\":\"".as_slice(), &b"x".repeat(first)].concat());
            let clock = tokio::time::Instant::now();
            let drip = async {
                loop {
                    after(seconds(1)).await;
                    caller.send_bytes(b"x");
                }
            };
            tokio::select! {
                () = caller.closed() => {}
                () = drip => {}
            }
            // What came fast bought one more.
            assert!(clock.elapsed() <= seconds(61), "after {:?}", clock.elapsed());
        }
    });
}

#[test]
fn a_long_line_that_keeps_coming_is_waited_for() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\",\"params\":{\"x\":\"");
        for _ in 0..100 {
            after(seconds(1)).await;
            caller.send_bytes(&b"x".repeat(20 << 10));
        }
        caller.send("\"}}");
        assert_eq!(*caller.line().await.result(), json!({}));
        // What comes behind it has a deadline of its own.
        caller.send_bytes(b"{");
        let clock = tokio::time::Instant::now();
        caller.closed().await;
        assert_eq!(clock.elapsed().as_secs(), 30);
    });
}

#[test]
fn a_caller_that_closes_its_side_is_let_go_with_all_its_calls() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.begin("forget", json!({}));
        settled().await;
        caller.end_input();
        caller.closed().await;
        assert_eq!(proxy.instances("echo")[0]["in_flight"], 0);
    });
}

#[test]
fn a_request_that_is_cut_off_at_the_end_is_answered_and_a_whole_one_is_carried_out() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(br#"{"jsonrpc":"2.0","id":"cut","method":"tools/ca"#);
        settled().await;
        caller.end_input();
        let answer = caller.line().await;
        assert_eq!((&answer.value["id"], answer.code()), (&json!("cut"), -32700), "{}", answer.raw);
        caller.closed().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(br#"{"jsonrpc":"2.0","id":"whole","method":"ping"}"#);
        settled().await;
        caller.end_input();
        assert_eq!(caller.line().await.value["id"], "whole");
        caller.closed().await;
    });
}

#[test]
fn an_idle_caller_is_left_in_peace() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        after(seconds(24 * 3600)).await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn nothing_is_left_of_callers_that_came_and_went() {
    play(async {
        let proxy = echo().await;
        for _ in 0..20 {
            let caller = proxy.legacy(REVISION).connect("echo").await;
            caller.begin("forget", json!({}));
            caller.send_bytes(b"{\"half\":");
            settled().await;
            caller.hang_up().await;
        }
        let instance = &proxy.instances("echo")[0];
        assert_eq!((&instance["in_flight"], &instance["asks"]), (&json!(0), &json!(0)));
        assert_eq!(proxy.status()["callers"], json!([]));
        assert_eq!(proxy.started("echo"), 1);
    });
}
