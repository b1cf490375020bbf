//! Rules of an endpoint by who connects: the first that fits says what a caller may, and how much of it.

use mcpool::config::{Endpoint, Grants, Rule, Who};
use serde_json::json;

use crate::allowed::{forbidden, patterns, published};
use crate::support::{legacy, play, proxy};

const REVISION: &str = "2025-11-25";

fn rule(who: Who, tools: &[&str]) -> Rule {
    Rule { who, grants: Grants { tools: patterns(tools), ..Grants::default() }, callers: None, in_flight: None }
}

fn uid(uid: u32) -> Who {
    Who { uids: Some(vec![uid]), ..Who::default() }
}

#[test]
fn the_first_rule_that_fits_a_caller_says_what_it_may() {
    play(async {
        let set = |it: &mut Endpoint| {
            it.grants.tools = patterns(&["whoami"]);
            it.callers = vec![rule(uid(7), &["*"]), rule(uid(1000), &["echo"]), rule(uid(1000), &["add"])];
        };
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["echo"]);
        forbidden(&caller.call("add", json!({})).await);
        forbidden(&caller.call("whoami", json!({})).await);
        assert_eq!(proxy.status()["callers"][0]["rule"], 2);
        proxy.reload_exactly(|config| config.endpoints.last_mut().expect("pub").callers.clear()).await;
        caller.heard("notifications/tools/list_changed").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["whoami"]);
        forbidden(&caller.call("echo", json!({})).await);
    });
}

#[test]
fn a_rule_bounds_how_many_come_and_what_each_has_in_flight() {
    play(async {
        let set = |it: &mut Endpoint| {
            let tight = Rule { callers: Some(1), in_flight: Some(1), ..rule(uid(1000), &["*"]) };
            it.callers = vec![tight];
        };
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        caller.call("echo", json!({})).await;
        let slow = caller.begin("slow", json!({"ms": 100}));
        assert_eq!(caller.call("echo", json!({})).await.reason(), Some("caller_overloaded"));
        slow.answer().await;
        proxy.dial("pub").closed().await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(other.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
        caller.hang_up().await;
        let next = proxy.legacy(REVISION).connect("pub").await;
        assert_eq!(next.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
    });
}
