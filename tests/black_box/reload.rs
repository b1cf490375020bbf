//! Another config comes into force under callers that are connected: what did not change goes on, what changed is
//! replaced without a gap, what is gone ends gently, and everybody hears of it.

use mcpool::config::{Config, Endpoint};
use serde_json::{Value, json};

use crate::support::{Caller, after, legacy, modern, named, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";
const CHANGED: [&str; 3] =
    ["notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed"];

/// The caller is told, once, that everything may be different.
async fn told(caller: &Caller) {
    for method in CHANGED {
        caller.heard(method).await;
    }
    caller.hears_nothing().await;
}

async fn tools(caller: &Caller) -> Vec<String> {
    caller.ask("tools/list", json!({})).await.names().into_iter().map(str::to_owned).collect()
}

#[test]
fn what_did_not_change_goes_on() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("other", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = caller.begin("slow", json!({"ms": 500}));
        settled().await;
        proxy.replace("other", legacy(|_| {})).await;
        assert_eq!(running.answer().await.text(), "slept 500 ms in 1 steps");
        assert_eq!(caller.instance().await, "echo-0");
        caller.hears_nothing().await;
        assert_eq!((proxy.started("echo"), proxy.started("other")), (1, 0));
    });
}

#[test]
fn a_server_that_is_only_treated_differently_keeps_its_process() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.instance().await, "echo-0");
        let changes = proxy
            .reload(|config| {
                named(config, "echo").timeout.call = seconds(2);
                named(config, "echo").recycle.idle = seconds(10);
            })
            .await;
        assert_eq!((changes.adjusted, changes.unchanged), (vec!["echo".to_owned()], 0));
        let late = caller.call("forget", json!({})).await;
        assert_eq!((late.code(), late.message().contains("within 2")), (504, true), "{}", late.raw);
        assert_eq!(caller.instance().await, "echo-0");
        after(seconds(11)).await;
        assert_eq!(proxy.instances("echo").len(), 0);
        caller.hears_nothing().await;
    });
}

#[test]
fn fewer_instances_are_kept_when_fewer_may_be() {
    play(async {
        let one_call_each = |server: &mut mcpool::config::Server| server.concurrency = 1;
        let proxy = proxy().server("echo", legacy(|_| {})).set(one_call_each).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let calls = [(); 3].map(|()| caller.begin("slow", json!({"ms": 500})));
        settled().await;
        assert_eq!(proxy.instances("echo").len(), 3);
        proxy.reload(|config| named(config, "echo").instances.total = 1).await;
        for call in calls {
            assert_eq!(call.answer().await.text(), "slept 500 ms in 1 steps", "what runs is not cut");
        }
        settled().await;
        assert_eq!(proxy.instances("echo").len(), 1);
    });
}

#[test]
fn a_changed_server_is_replaced_without_a_gap() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = caller.begin_telling(json!("mine"), "slow", json!({"ms": 3000, "steps": 3}));
        settled().await;
        proxy.replace("echo", legacy(|_| {})).await;
        assert_eq!(proxy.started("echo"), 2, "the new one is started before the old one has ended");
        assert_eq!(caller.instance().await, "echo-1");
        let status = proxy.status();
        let retired: Vec<&Value> = status["servers"].as_array().expect("servers").iter().collect();
        assert_eq!((&retired[0]["retired"], &retired[1]["retired"]), (&json!(false), &json!(true)));
        assert_eq!(running.answer().await.text(), "slept 3000 ms in 3 steps");
        for _ in 0..3 {
            assert_eq!(caller.heard("notifications/progress").await["params"]["progressToken"], "mine");
        }
        told(&caller).await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1), "the old one is forgotten");
        assert_eq!(proxy.instances("echo")[0]["id"], 2, "numbers go on");
    });
}

#[test]
fn a_call_that_outlasts_the_drain_is_ended_and_told_why() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let stuck = caller.begin("forget", json!({}));
        settled().await;
        proxy.replace("echo", legacy(|_| {})).await;
        after(seconds(9)).await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(2));
        let refused = stuck.answer().await;
        assert_eq!((refused.code(), refused.reason()), (503, Some("draining")));
        assert!(refused.message().contains("server `echo` was changed"), "{}", refused.raw);
        assert_eq!(proxy.process("echo", 0).got("notifications/cancelled").len(), 1);
        settled().await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn what_waits_for_a_changed_server_goes_to_the_new_one() {
    play(async {
        let one_at_a_time = |server: &mut mcpool::config::Server| {
            server.instances.max = 1;
            server.concurrency = 1;
        };
        let proxy = proxy().server("echo", legacy(|_| {})).set(one_at_a_time).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = caller.begin("slow", json!({"ms": 5000}));
        let waiting = [caller.begin("whoami", json!({})), caller.begin("whoami", json!({}))];
        settled().await;
        proxy.replace("echo", legacy(|_| {})).await;
        for call in waiting {
            assert_eq!(call.answer().await.json()["instance"], "echo-1");
        }
        assert_eq!(running.answer().await.text(), "slept 5000 ms in 1 steps");
        assert_eq!(proxy.got("echo", "tools/call").len(), 3, "nothing is sent twice");
    });
}

#[test]
fn what_waits_for_a_removed_server_is_refused_and_what_runs_ends() {
    play(async {
        let one_at_a_time = |server: &mut mcpool::config::Server| {
            server.instances.max = 1;
            server.concurrency = 1;
        };
        let proxy =
            proxy().server("stays", legacy(|_| {})).server("goes", legacy(|_| {})).set(one_at_a_time).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let running = caller.begin("goes__slow", json!({"ms": 2000}));
        settled().await;
        let waiting = caller.begin("goes__echo", json!({}));
        settled().await;
        proxy.remove("goes").await;
        let refused = waiting.answer().await;
        assert_eq!((refused.code(), refused.reason()), (503, Some("draining")));
        assert!(refused.message().contains("`goes` was removed"), "{}", refused.raw);
        assert_eq!(caller.call("goes__echo", json!({})).await.code(), -32602, "nobody knows it any more");
        assert_eq!(running.answer().await.text(), "slept 2000 ms in 1 steps");
        told(&caller).await;
        assert!(tools(&caller).await.iter().all(|name| name.starts_with("stays__")));
    });
}

#[test]
fn the_callers_of_a_removed_endpoint_finish_and_are_left() {
    play(async {
        let proxy = proxy().server("stays", legacy(|_| {})).server("goes", legacy(|_| {})).start().await;
        let (busy, idle) = (proxy.legacy(REVISION).connect("goes").await, proxy.legacy(REVISION).connect("goes").await);
        let running = busy.begin("slow", json!({"ms": 2000}));
        settled().await;
        proxy.remove("goes").await;
        idle.closed().await;
        let refused = busy.call("echo", json!({})).await;
        assert_eq!((refused.code(), refused.reason()), (503, Some("draining")));
        assert_eq!(running.answer().await.text(), "slept 2000 ms in 1 steps");
        busy.closed().await;
        assert_eq!(proxy.mux.with(|mux| mux.places()), 2);
        proxy.add("comes", legacy(|_| {})).await;
        assert_eq!(proxy.mux.with(|mux| mux.places()), 2, "its place is taken by another");
        assert_eq!(proxy.legacy(REVISION).connect("comes").await.instance().await, "comes-0");
    });
}

#[test]
fn the_call_of_a_removed_endpoint_that_does_not_end_is_answered_too() {
    play(async {
        let proxy = proxy().server("stays", legacy(|_| {})).server("goes", legacy(|_| {})).start().await;
        let busy = proxy.legacy(REVISION).connect("goes").await;
        let stuck = busy.begin("forget", json!({}));
        settled().await;
        proxy.remove("goes").await;
        assert_eq!(stuck.answer().await.code(), 503);
        busy.closed().await;
    });
}

#[test]
fn an_added_server_joins_all_and_gets_an_endpoint_of_its_own() {
    play(async {
        let proxy = proxy().server("first", legacy(|_| {})).start().await;
        let all = proxy.legacy(REVISION).connect("all").await;
        let alone = proxy.legacy(REVISION).connect("first").await;
        let before = tools(&all).await.len();
        proxy.add("second", modern(|_| {})).await;
        told(&all).await;
        alone.hears_nothing().await;
        assert!(tools(&all).await.len() > before);
        assert_eq!(all.call("second__add", json!({"a": 1, "b": 2})).await.text(), "3");
        assert_eq!(proxy.modern().connect("second").await.instance().await, "second-0");
    });
}

#[test]
fn an_endpoint_that_shows_other_tools_tells_its_callers() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert!(tools(&caller).await.len() > 2);
        let only = |config: &mut Config| config.endpoints[0].grants.tools = Some(vec!["echo".into(), "whoami".into()]);
        proxy.reload_exactly(only).await;
        told(&caller).await;
        assert_eq!(tools(&caller).await, ["echo", "whoami"]);
        assert_eq!(caller.call("add", json!({"a": 1, "b": 1})).await.code(), 403);
        assert_eq!(caller.instance().await, "echo-0");
        proxy.reload_exactly(|config| config.endpoints.push(Endpoint::new("more", vec!["echo".into()]))).await;
        caller.hears_nothing().await;
        assert_eq!(proxy.legacy(REVISION).connect("more").await.instance().await, "echo-0");
    });
}

#[test]
fn a_user_that_may_connect_no_more_is_left() {
    play(async {
        let guest = |config: &mut Config| config.endpoints[0].users = vec![1000];
        let proxy = proxy().server("echo", legacy(|_| {})).config(guest).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("echo", json!({})).await;
        proxy.reload_exactly(|config| config.endpoints[0].users.clear()).await;
        caller.closed().await;
    });
}

#[test]
fn a_renamed_server_is_another_one_with_the_same_tools() {
    play(async {
        let proxy = proxy().server("before", legacy(|_| {})).start().await;
        let all = proxy.legacy(REVISION).connect("all").await;
        assert!(tools(&all).await.contains(&"before__add".to_owned()));
        proxy.teach("after", legacy(|_| {}));
        let changes = proxy.reload(|config| config.servers[0].name = "after".into()).await;
        assert_eq!((changes.added, changes.removed), (vec!["after".to_owned()], vec!["before".to_owned()]));
        told(&all).await;
        assert!(tools(&all).await.contains(&"after__add".to_owned()));
        assert_eq!(all.call("after__add", json!({"a": 1, "b": 1})).await.text(), "2");
    });
}

#[test]
fn servers_change_their_era_under_callers_of_both() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let (old, new) = (proxy.legacy(REVISION).connect("echo").await, proxy.modern().connect("echo").await);
        for caller in [&old, &new] {
            assert_eq!(caller.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
        }
        proxy.replace("echo", modern(|_| {})).await;
        for caller in [&old, &new] {
            assert_eq!(caller.call("whoami", json!({})).await.json()["era"], "modern");
        }
        proxy.replace("echo", legacy(|_| {})).await;
        for caller in [&old, &new] {
            assert_eq!(caller.call("whoami", json!({})).await.json()["era"], "legacy");
        }
    });
}

#[test]
fn status_says_which_config_is_in_force_and_which_was_refused() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        assert_eq!(proxy.status()["in_force"]["refused"], Value::Null);
        after(seconds(3)).await;
        proxy.mux.with(|mux| mux.refuse_config("line 3: no".into()));
        after(seconds(1)).await;
        let status = proxy.status();
        assert_eq!(status["in_force"]["refused"]["mistakes"], "line 3: no");
        assert!(status["in_force"]["age_ms"].as_u64() > status["in_force"]["refused"]["age_ms"].as_u64());
        proxy.reload(|config| config.digest = Some("abc".into())).await;
        let in_force = &proxy.status()["in_force"];
        assert_eq!((&in_force["digest"], &in_force["refused"]), (&json!("abc"), &Value::Null));
    });
}
