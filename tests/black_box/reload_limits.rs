//! Limits that concern everybody change with a reload for servers and callers that did not change themselves.

use mcpool::config::Config;
use serde_json::json;

use crate::support::{legacy, play, proxy, script, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn another_size_of_messages_holds_for_the_next_instances_of_every_server() {
    play(async {
        let wordy = script().on("tools/call", |call, say| say.text(call, &"x".repeat(20_000)));
        let small = |config: &mut Config| config.limits.message = 4096;
        let proxy = proxy().server("wordy", wordy.into()).config(small).start().await;
        let caller = proxy.legacy(REVISION).connect("wordy").await;
        let answer = caller.call("speak", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (413, Some("too_large")), "{}", answer.raw);
        let changes = proxy.reload(|config| config.limits.message = 1 << 20).await;
        assert_eq!(changes.unchanged, 1);
        proxy.process("wordy", 0).crash().await;
        assert_eq!(caller.call("speak", json!({})).await.text().len(), 20_000);
    });
}

#[test]
fn another_number_of_calls_of_all_holds_at_once() {
    play(async {
        let limited = proxy().server("echo", legacy(|_| {})).config(|config| config.limits.in_flight_total = 1);
        let proxy = limited.start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let _stuck = caller.begin("forget", json!({}));
        settled().await;
        assert_eq!(caller.call("whoami", json!({})).await.code(), 429);
        proxy.reload(|config| config.limits.in_flight_total = 2).await;
        assert_eq!(caller.instance().await, "echo-0");
        proxy.reload(|config| config.limits.in_flight_total = 1).await;
        assert_eq!(caller.call("whoami", json!({})).await.code(), 429);
    });
}
