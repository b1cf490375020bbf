//! Between the eras, when things happen at the same time or in an unlucky order: servers that refuse to be listened
//! to, that are slow on their first day, that change their era; callers that leave while something is on its way.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{
    Script, after, elicitation, everything, legacy, modern, modern_script, obliging, play, proxy, sampling, script,
    seconds,
};

const REVISION: &str = "2025-11-25";
const LISTEN: &str = "subscriptions/listen";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const NOTE: &str = "demo://note/1";

fn refusal() -> Value {
    json!({"code": -32601, "message": "Method not found"})
}

/// A modern server that answers calls.
fn new() -> Script {
    modern_script().on("tools/call", |call, say| {
        say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": "hi"}]}));
    })
}

/// Acknowledges a stream.
fn acknowledged(it: &crate::support::Heard, say: &crate::support::Say) {
    let granted = it.value["params"]["notifications"].clone();
    let params = json!({"_meta": {SUBSCRIPTION: it.id()}, "notifications": granted});
    say.notify("notifications/subscriptions/acknowledged", params);
}

#[test]
fn a_server_that_refuses_to_be_listened_to_is_not_asked_again_and_again() {
    play(async {
        let stern = new().on(LISTEN, |it, say| say.error(it, refusal()));
        let proxy = proxy().server("new", stern.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "hi");
        after(seconds(60)).await;
        let asked = proxy.got("new", LISTEN).len();
        assert!(asked <= 20, "asked {asked} times within a minute");
    });
}

#[test]
fn a_stream_that_ends_at_once_is_not_opened_again_and_again() {
    play(async {
        let short = new().on(LISTEN, |it, say| {
            acknowledged(it, say);
            say.result(it, json!({"resultType": "complete"}));
        });
        let proxy = proxy().server("new", short.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        caller.ask("resources/subscribe", json!({"uri": NOTE})).await.result();
        after(seconds(60)).await;
        let asked = proxy.got("new", LISTEN).len();
        assert!(asked <= 20, "asked {asked} times within a minute");
    });
}

#[test]
fn a_server_that_dies_of_being_listened_to_is_not_started_again_and_again() {
    play(async {
        let fragile = new().on(LISTEN, |_, _| std::panic::resume_unwind(Box::new("it crashed")));
        let proxy = proxy().server("new", fragile.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        let refused = caller.ask("resources/subscribe", json!({"uri": NOTE})).await;
        assert!(matches!(refused.code(), 500..=599), "{}", refused.raw);
        after(seconds(60)).await;
        let started = proxy.started("new");
        assert!(started <= 20, "started {started} times within a minute");
    });
}

#[test]
fn a_server_that_cannot_be_started_any_more_leaves_its_subscribers_in_peace() {
    play(async {
        let starts = Rc::new(Cell::new(0));
        let fails = new().on(LISTEN, acknowledged).on("server/discover", move |it, say| {
            starts.set(starts.get() + 1);
            if starts.get() > 1 {
                std::panic::resume_unwind(Box::new("it crashed"));
            }
            let capabilities = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
            say.result(it, json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private"}));
        });
        let proxy = proxy().server("new", fails.into()).server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        caller.ask("resources/subscribe", json!({"uri": NOTE})).await.result();
        after(seconds(5)).await;
        proxy.process("new", 0).crash().await;
        after(seconds(60)).await;
        assert!(proxy.started("new") <= 20, "{}", proxy.started("new"));
        assert!(matches!(caller.call("x", json!({})).await.code(), 500..=599));
        assert_eq!(proxy.legacy(REVISION).connect("echo").await.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn log_lines_out_of_the_blue_do_not_reach_a_modern_caller() {
    play(async {
        let chatty =
            script().capable(json!({"tools": {}, "logging": {}})).on("tools/call", |it, say| say.text(it, "hi"));
        let proxy = proxy().server("old", chatty.into()).start().await;
        let caller = proxy.modern().connect("old").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "hi");
        let said =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "!"}});
        proxy.process("old", proxy.started("old") - 1).say(&said.to_string());
        caller.hears_nothing().await;
    });
}

#[test]
fn the_process_that_asked_is_there_when_a_person_answers_late() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).set(|server| server.recycle.idle = seconds(10)).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        let ask = caller.asked("elicitation/create").await;
        after(seconds(60)).await;
        ask.answer(json!({"action": "accept", "content": {"answer": "late"}}));
        assert_eq!(call.answer().await.json()["content"]["answer"], "late");
        assert_eq!(proxy.started("new"), 1);
    });
}

#[test]
fn only_calls_that_may_be_asked_are_asked_for_roots() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let known = proxy.legacy(REVISION).with_roots(&["file:///known"]).connect("files").await;
        known.call("echo", json!({})).await.result();
        // One connection of both eras, with the same capabilities in each.
        let caller = proxy.modern().with(json!({"roots": {}})).connect("files").await;
        let info = json!({"name": "both", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": {"roots": {}}, "clientInfo": info});
        caller.send(&json!({"jsonrpc": "2.0", "id": 100, "method": "initialize", "params": params}).to_string());
        caller.line().await.result();
        caller.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        // It does not tell its roots, which it was asked for as the legacy client that it is too.
        let params = json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": ""}});
        let answer = caller.ask("completion/complete", params).await;
        assert_eq!(answer.result()["resultType"], "complete", "{}", answer.raw);
    });
}

#[test]
fn a_call_that_is_cancelled_while_its_questions_are_gathered_leaves_nothing() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().with(everything()).connect("old").await;
        caller.converse("ask_elicit", json!({"message": "first"}), obliging).await.result();
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        after(std::time::Duration::from_millis(10)).await;
        call.cancel();
        caller.hears_nothing().await;
        assert_eq!(proxy.status()["held"], 0);
        after(seconds(30)).await;
        for instance in proxy.instances("old") {
            assert_eq!((&instance["in_flight"], &instance["asks"]), (&json!(0), &json!(0)), "{instance}");
        }
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_question_that_is_withdrawn_before_it_was_put_is_not_put() {
    play(async {
        let fickle = script().on("tools/call", |call, say| {
            say.ask("q", "sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
            say.notify("notifications/cancelled", json!({"requestId": "q"}));
            say.ask("r", "sampling/createMessage", json!({"messages": [], "maxTokens": 2}));
            let _ = call;
        });
        let proxy = proxy().server("old", fickle.into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let first = caller.call("x", json!({})).await;
        assert_eq!(first.only_ask().1["params"]["maxTokens"], 2);
    });
}

#[test]
fn a_dead_server_under_the_roof_does_not_keep_anybody_from_listening() {
    play(async {
        let proxy = proxy()
            .server("dead", crate::support::unstartable())
            .server("mute", crate::support::mute())
            .server("old", legacy(|_| {}))
            .server("new", modern(|_| {}))
            .start()
            .await;
        let clock = tokio::time::Instant::now();
        let caller = proxy.modern().with(everything()).connect("all").await;
        caller.request_as(json!("l"), LISTEN, json!({"notifications": {"toolsListChanged": true}}));
        let granted = caller.heard("notifications/subscriptions/acknowledged").await["params"]["notifications"].clone();
        assert_eq!(granted, json!({"toolsListChanged": true}));
        assert!(clock.elapsed() < seconds(10), "after {:?}", clock.elapsed());
        for server in ["old", "new"] {
            caller.call(&format!("{server}__change_lists"), json!({})).await.result();
            assert_eq!(caller.heard("notifications/tools/list_changed").await["params"]["_meta"][SUBSCRIPTION], "l");
        }
    });
}
