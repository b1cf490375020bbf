//! Each caller sets its own level and gets only what is provably about its calls.

use mcpool::config::Server;
use serde_json::json;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::support::{Caller, Heard, Script, after, legacy, modern, moody, play, proxy, script, seconds, settled};

pub const REVISION: &str = "2025-06-18";
pub const MESSAGE: &str = "notifications/message";

pub async fn level(caller: &Caller, level: &str) {
    caller.ask("logging/setLevel", json!({"level": level})).await.result();
}

#[test]
fn the_server_is_told_the_most_verbose_level_and_each_caller_gets_its_own() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let verbose = proxy.legacy(REVISION).connect("echo").await;
        let terse = proxy.legacy(REVISION).connect("echo").await;
        level(&terse, "error").await;
        level(&verbose, "debug").await;
        verbose.call("log", json!({"level": "debug", "count": 2})).await;
        for line in 1..=2 {
            assert_eq!(verbose.heard(MESSAGE).await["params"]["data"]["line"], line);
        }
        terse.call("log", json!({"level": "warning"})).await;
        terse.hears_nothing().await;
        terse.call("log", json!({"level": "error"})).await;
        assert_eq!(terse.heard(MESSAGE).await["params"]["level"], "error");
        verbose.hears_nothing().await;
        let told: Vec<_> =
            proxy.got("echo", "logging/setLevel").into_iter().map(|it| it["params"]["level"].clone()).collect();
        assert_eq!(told.last(), Some(&json!("debug")));
    });
}

#[test]
fn a_new_process_is_told_the_level_too() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        level(&caller, "debug").await;
        caller.call("echo", json!({})).await;
        proxy.process("echo", 0).crash().await;
        caller.call("log", json!({"level": "debug"})).await;
        caller.heard(MESSAGE).await;
    });
}

#[test]
fn a_line_that_may_be_about_several_callers_is_delivered_to_none() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let held = a.begin("slow", json!({"ms": 1000}));
        b.call("log", json!({"level": "error"})).await;
        a.hears_nothing().await;
        b.hears_nothing().await;
        assert_eq!(proxy.dropped("owner_unknown"), 1);
        held.answer().await;
    });
}

#[test]
fn a_level_that_is_none_is_refused() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.ask("logging/setLevel", json!({"level": "loud"})).await.code(), -32602);
        assert_eq!(caller.ask("logging/setLevel", json!({})).await.code(), -32602);
    });
}

#[test]
fn a_server_without_logging_says_so_itself() {
    play(async {
        let plain =
            script().on("logging/setLevel", |it, say| say.error(it, json!({"code": -32601, "message": "mine"})));
        let proxy = proxy().server("plain", plain.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("plain").await;
        let answer = caller.ask("logging/setLevel", json!({"level": "info"})).await;
        assert_eq!((answer.code(), answer.message()), (-32601, "mine"));
    });
}

#[test]
fn a_modern_caller_says_the_level_with_every_request() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let wanting = proxy.modern().logging("warning").connect("echo").await;
        let silent = proxy.modern().connect("echo").await;
        wanting.call("log", json!({"level": "error"})).await;
        assert_eq!(wanting.heard(MESSAGE).await["params"]["level"], "error");
        wanting.call("log", json!({"level": "info"})).await;
        silent.call("log", json!({"level": "emergency"})).await;
        wanting.hears_nothing().await;
        silent.hears_nothing().await;
    });
}

/// A server that logs, and that a test tells how to take a level.
fn logger() -> Script {
    moody().capable(json!({"tools": {}, "logging": {}}))
}

#[test]
fn levels_take_no_room_from_calls_and_tell_nothing_of_the_servers_health() {
    play(async {
        let set = |server: &mut Server| {
            (server.concurrency, server.instances.max) = (2, 1);
            server.timeout.call = seconds(5);
        };
        let proxy = proxy().server("x", logger().into()).set(set).start().await;
        let fickle = proxy.legacy(REVISION).connect("x").await;
        let other = proxy.legacy(REVISION).connect("x").await;
        fickle.call("ok", json!({})).await;
        for wanted in ["debug", "info", "error", "debug", "info", "error"] {
            level(&fickle, wanted).await;
        }
        let clock = Instant::now();
        assert_eq!(other.call("ok", json!({})).await.text(), "ok");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        assert_eq!(proxy.got("x", "logging/setLevel").len(), 1);
        after(seconds(60)).await;
        assert_eq!(other.call("ok", json!({})).await.text(), "ok");
        assert_eq!(proxy.started("x"), 1);
    });
}

#[test]
fn the_newest_level_is_told_when_the_last_one_was_taken() {
    play(async {
        let slow = logger().on("logging/setLevel", |set, say| {
            let (id, say) = (set.id().clone(), say.clone());
            spawn_local(async move {
                after(seconds(1)).await;
                say.result(&Heard { value: json!({"id": id}) }, json!({}));
            });
        });
        let proxy = proxy().server("x", slow.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        caller.call("ok", json!({})).await;
        for wanted in ["debug", "info", "notice", "error"] {
            level(&caller, wanted).await;
        }
        after(seconds(5)).await;
        let told = proxy.got("x", "logging/setLevel").into_iter().map(|it| it["params"]["level"].clone());
        assert_eq!(told.collect::<Vec<_>>(), ["debug", "error"]);
    });
}

/// A server that says a line about a call behind its answer.
fn chatty() -> Script {
    moody().capable(json!({"tools": {}, "logging": {}})).on(
        "tools/call",
        |call, say| match call.value["params"]["name"].as_str() {
            Some("busy") => {}
            _ => {
                say.text(call, "");
                say.notify(MESSAGE, json!({"level": "error", "data": "a secret"}));
                say.notify("notifications/odd", json!({"data": "a secret"}));
            }
        },
    )
}

#[test]
fn what_is_said_behind_an_answer_is_nobodys_who_has_calls_in_flight() {
    play(async {
        let proxy = proxy().server("x", chatty().into()).set(|server| server.instances.max = 1).start().await;
        let a = proxy.legacy(REVISION).connect("x").await;
        let b = proxy.legacy(REVISION).connect("x").await;
        let _busy = a.begin("busy", json!({}));
        settled().await;
        b.call("quick", json!({})).await.result();
        a.hears_nothing().await;
        b.hears_nothing().await;
        assert_eq!(proxy.dropped("owner_unknown"), 2);
    });
}
