//! While a breaker is half open, exactly one call tries whether the server works again, and nothing but that call
//! decides.

use std::time::Duration;

use mcpool::config::Server;
use serde_json::json;

use crate::breaker::{alone, called, caller, is, refused, server, state};
use crate::support::{Caller, Proxy, after, legacy, moody, play, sampling, seconds, settled};

const REVISION: &str = "2025-06-18";

/// Lets the breaker open for all, since the calls of two fail, and half open again.
async fn half_open(proxy: &Proxy, caller: &Caller, other: &Caller) {
    while state(proxy).0 == "closed" {
        caller.call("sick", json!({})).await;
        other.call("sick", json!({})).await;
    }
    let open = refused(caller, "ok").await;
    after(open.retry_after()).await;
    assert_eq!(state(proxy).0, "half_open");
}

#[test]
fn one_call_tries_while_others_are_refused_and_if_it_is_cancelled_the_next_one_tries() {
    play(async {
        let proxy = server(moody().into(), 1, |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        half_open(&proxy, &a, &b).await;
        let trial = a.begin("hang", json!({}));
        settled().await;
        assert!(refused(&b, "ok").await.retry_after() <= seconds(1));
        refused(&a, "ok").await;
        trial.cancel();
        settled().await;
        assert_eq!(b.call("ok", json!({})).await.text(), "ok");
        assert_eq!(state(&proxy), is("closed", 2));
        assert_eq!(called(&proxy), ["sick", "sick", "hang", "ok"]);
    });
}

#[test]
fn if_the_caller_of_the_trial_hangs_up_the_next_one_tries() {
    play(async {
        let proxy = server(moody().into(), 1, |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        half_open(&proxy, &a, &b).await;
        a.begin("hang", json!({}));
        settled().await;
        refused(&b, "ok").await;
        a.hang_up().await;
        assert_eq!(b.call("ok", json!({})).await.text(), "ok");
        assert_eq!(state(&proxy), is("closed", 2));
    });
}

#[test]
fn the_trial_may_start_an_instance_where_none_is_left() {
    play(async {
        let proxy = server(moody().into(), 2, |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        a.call("die", json!({})).await;
        b.call("die", json!({})).await;
        let open = refused(&b, "ok").await;
        assert_eq!(proxy.instances("moody").len(), 0);
        after(open.retry_after()).await;
        let trial = a.begin("late", json!({"ms": 500}));
        settled().await;
        refused(&b, "ok").await;
        assert_eq!(trial.answer().await.text(), "late");
        assert_eq!((state(&proxy), proxy.started("moody")), (is("closed", 1), 3));
    });
}

#[test]
fn a_trial_that_is_sent_again_does_not_pass_a_breaker_that_it_has_opened() {
    play(async {
        let proxy = server(moody().into(), 1, |server| server.retry.tools = [("die".to_owned(), 3)].into()).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        half_open(&proxy, &a, &b).await;
        refused(&a, "die").await;
        assert_eq!(called(&proxy), ["sick", "sick", "die"]);
        assert_eq!(state(&proxy), is("open", 3));
    });
}

#[test]
fn each_trial_that_fails_keeps_it_open_for_twice_as_long_up_to_a_bound() {
    play(async {
        let proxy = server(moody().into(), 1, |_| {}).await;
        let caller = caller(&proxy).await;
        for bounds in [7_500..=12_500, 15_000..=25_000, 30_000..=40_000, 30_000..=40_000] {
            caller.call("sick", json!({})).await;
            let wait = refused(&caller, "ok").await.retry_after();
            assert!(bounds.contains(&wait.as_millis()), "{wait:?} is not within {bounds:?}");
            after(wait).await;
        }
        assert_eq!(alone(&proxy), is("half_open", 4));
        caller.call("ok", json!({})).await;
        caller.call("sick", json!({})).await;
        assert!(refused(&caller, "ok").await.retry_after() <= Duration::from_millis(12_500));
    });
}

#[test]
fn what_was_sent_before_it_opened_does_not_decide_for_the_trial() {
    play(async {
        let proxy = server(moody().into(), 1, |server| {
            server.timeout.call = seconds(30);
            server.probe.failures = 100;
        })
        .await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        let c = caller(&proxy).await;
        let (first, of_other) = (a.begin("hang", json!({})), b.begin("hang", json!({})));
        after(seconds(14)).await;
        let second = a.begin("hang", json!({}));
        assert_eq!(first.answer().await.reason(), Some("call_timeout"));
        assert_eq!(of_other.answer().await.reason(), Some("call_timeout"));
        after(refused(&b, "ok").await.retry_after()).await;
        let trial = c.begin("late", json!({"ms": 8000}));
        assert_eq!(second.answer().await.reason(), Some("call_timeout"));
        assert_eq!(trial.answer().await.text(), "late");
        assert_eq!(state(&proxy), is("closed", 2));
    });
}

#[test]
fn a_trial_that_asks_its_caller_something_has_shown_that_the_server_works() {
    play(async {
        let proxy = server(legacy(|_| {}), 1, |_| {}).await;
        let asked = proxy.legacy(REVISION).with(sampling()).connect("moody").await;
        let other = caller(&proxy).await;
        for one in [&other, &caller(&proxy).await] {
            one.call("error", json!({"code": -32603, "message": "broken"})).await;
        }
        after(refused(&other, "echo").await.retry_after()).await;
        let trial = asked.begin("ask_sampling", json!({"prompt": "who?"}));
        let ask = asked.asked("sampling/createMessage").await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        ask.answer(crate::support::sample("me"));
        assert!(trial.answer().await.text().contains("me"));
        assert_eq!(state(&proxy), is("closed", 2));
    });
}

#[test]
fn a_caller_that_never_tells_its_roots_does_not_keep_others_from_trying() {
    play(async {
        let proxy = server(legacy(|options| options.ask_roots = true), 1, |_| {}).await;
        let other = caller(&proxy).await;
        let told = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("moody").await;
        told.call("echo", json!({})).await;
        for one in [&other, &caller(&proxy).await] {
            one.call("error", json!({"code": -32603, "message": "broken"})).await;
        }
        after(refused(&other, "echo").await.retry_after()).await;
        let silent = proxy.legacy(REVISION).with(json!({"roots": {"listChanged": true}})).connect("moody").await;
        let trial = silent.begin("echo", json!({}));
        silent.asked("roots/list").await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        assert_eq!(state(&proxy), is("closed", 2));
        assert_eq!(trial.answer().await.text(), "{}");
    });
}

async fn per_tool(failures: u32, set: impl FnOnce(&mut Server)) -> Proxy {
    server(moody().into(), failures, |server| {
        server.breaker.per_tool = true;
        set(server);
    })
    .await
}

#[test]
fn with_breakers_for_tools_a_sick_tool_leaves_the_others_alone() {
    play(async {
        let proxy = per_tool(2, |_| {}).await;
        let caller = caller(&proxy).await;
        for _ in 0..2 {
            assert_eq!(caller.call("sick", json!({})).await.code(), -32603);
        }
        let open = refused(&caller, "sick").await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(state(&proxy), is("closed", 0));
        let tool = &proxy.server("moody")["breaker"]["tools"][0];
        assert_eq!((&tool["tool"], &tool["clients"][0]["state"]), (&json!("sick"), &json!("open")));
        let (metrics, measured) = proxy.mux.with(|mux| (mux.metrics.clone(), mux.measure()));
        let text = metrics.exporter().render(&metrics, &measured);
        assert!(text.contains(r#"mcpool_tool_breakers{server="moody",state="open"} 1"#), "{text}");
        after(open.retry_after()).await;
        assert_eq!(caller.call("sick", json!({})).await.code(), -32603);
        assert!(refused(&caller, "sick").await.retry_after() >= seconds(15));
    });
}

#[test]
fn the_trial_of_a_tool_is_let_through_again_when_it_is_sent_again() {
    play(async {
        let proxy = per_tool(2, |server| {
            server.timeout.call = seconds(5);
            server.retry.tools = crate::retries::safe_tools(&["hang"]);
        })
        .await;
        let caller = caller(&proxy).await;
        for _ in 0..2 {
            assert_eq!(caller.call("hang", json!({})).await.reason(), Some("call_timeout"));
        }
        after(refused(&caller, "hang").await.retry_after()).await;
        let trial = caller.begin("hang", json!({}));
        settled().await;
        proxy.teach("moody", moody().on("tools/call", |call, say| say.text(call, "well")).into());
        proxy.process("moody", 0).crash().await;
        assert_eq!(trial.answer().await.text(), "well");
    });
}

#[test]
fn a_server_whose_trial_runs_out_of_time_stays_refused_though_tools_have_breakers() {
    play(async {
        let proxy = per_tool(1, |server| server.timeout.call = seconds(5)).await;
        let caller = caller(&proxy).await;
        caller.call("die", json!({})).await;
        after(refused(&caller, "ok").await.retry_after()).await;
        assert_eq!(caller.call("hang", json!({})).await.reason(), Some("call_timeout"));
        assert_eq!(alone(&proxy), is("open", 2));
        refused(&caller, "ok").await;
    });
}

#[test]
fn a_trial_that_reports_progress_has_shown_that_the_server_works() {
    play(async {
        let proxy = server(legacy(|_| {}), 1, |_| {}).await;
        let patient = caller(&proxy).await;
        let other = caller(&proxy).await;
        for one in [&other, &caller(&proxy).await] {
            one.call("error", json!({"code": -32603, "message": "broken"})).await;
        }
        after(refused(&other, "echo").await.retry_after()).await;
        let slow = json!({"name": "slow", "arguments": {"ms": 50_000, "steps": 10}, "_meta": {"progressToken": "p"}});
        let trial = patient.request("tools/call", slow);
        patient.heard("notifications/progress").await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        assert_eq!(state(&proxy), is("closed", 2));
        trial.answer().await.result();
    });
}

#[test]
fn what_a_server_offers_after_it_was_sick_is_looked_at() {
    play(async {
        let proxy = server(moody().into(), 1, |_| {}).await;
        let caller = caller(&proxy).await;
        caller.ask("tools/list", json!({})).await.result();
        proxy.teach(
            "moody",
            moody()
                .on("tools/list", |list, say| {
                    say.result(list, json!({"tools": [{"name": "new", "inputSchema": {"type": "object"}}]}));
                })
                .into(),
        );
        caller.call("die", json!({})).await;
        after(refused(&caller, "ok").await.retry_after()).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        caller.heard("notifications/tools/list_changed").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["new"]);
    });
}

#[test]
fn a_name_that_is_no_tool_has_no_breaker_of_its_own() {
    play(async {
        let sickly =
            moody().on("tools/call", |call, say| say.error(call, json!({"code": -32603, "message": "broken"})));
        let proxy = per_tool(2, |_| {}).await;
        proxy.teach("moody", sickly.into());
        let caller = caller(&proxy).await;
        caller.ask("tools/list", json!({})).await.result();
        for number in 0..2 {
            assert_eq!(caller.call(&format!("made up {number}"), json!({})).await.code(), -32603);
        }
        assert_eq!(alone(&proxy), is("open", 1));
    });
}
