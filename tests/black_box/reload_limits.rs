//! Limits change with a reload for servers and callers that are there, whether they concern everybody or some by a rule.

use mcpool::config::{Config, Grants, Rule, Who};
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

#[test]
fn another_number_of_calls_of_each_holds_for_those_that_are_connected() {
    play(async {
        let limited = proxy().server("echo", legacy(|_| {})).config(|config| config.limits.in_flight = 1);
        let proxy = limited.start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let _stuck = caller.begin("forget", json!({}));
        settled().await;
        assert_eq!(caller.call("whoami", json!({})).await.reason(), Some("caller_overloaded"));
        proxy.reload(|config| config.limits.in_flight = 2).await;
        assert_eq!(caller.instance().await, "echo-0");
        proxy.reload(|config| config.limits.in_flight = 1).await;
        assert_eq!(caller.call("whoami", json!({})).await.reason(), Some("caller_overloaded"));
    });
}

/// A rule for the callers of tests that allows all tools and so many calls at once.
fn rule(uid: u32, in_flight: Option<usize>) -> Rule {
    let grants = Grants { tools: Some(vec!["*".into()]), ..Grants::default() };
    Rule { who: Who { uids: Some(vec![uid]), ..Who::default() }, grants, callers: None, in_flight }
}

#[test]
fn the_limits_of_another_rule_hold_for_those_that_are_connected() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .config(|config| config.endpoints[0].callers = vec![rule(1000, Some(1))]);
        let proxy = proxy.start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let _stuck = caller.begin("forget", json!({}));
        settled().await;
        // Another number, no number, none again, another rule that comes first, no rule.
        for (rules, holds) in [
            (vec![rule(1000, Some(1))], true),
            (vec![rule(1000, Some(2))], false),
            (vec![rule(1000, Some(1))], true),
            (vec![rule(1000, None)], false),
            (vec![rule(1000, Some(1)), rule(1000, Some(5))], true),
            (vec![rule(1001, Some(1))], false),
            (vec![rule(1001, Some(5)), rule(1000, Some(1))], true),
            (vec![], false),
        ] {
            proxy.reload_exactly(|config| config.endpoints[0].callers.clone_from(&rules)).await;
            let answer = caller.call("whoami", json!({})).await;
            assert_eq!(answer.reason() == Some("caller_overloaded"), holds, "{rules:?}: {}", answer.raw);
        }
    });
}
