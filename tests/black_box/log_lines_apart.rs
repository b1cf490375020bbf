//! Callers that listen to log lines get their calls where a line can only be about them, as far as there is room.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::logging::{MESSAGE, REVISION, level};
use crate::support::{Heard, Say, Script, after, legacy, modern, modern_script, play, proxy, script, seconds, settled};

#[test]
fn calls_whose_log_lines_are_listened_to_share_no_instance_where_there_is_room() {
    play(async {
        for behaviour in [modern(|_| {}), legacy(|_| {})] {
            let proxy = proxy().server("echo", behaviour).start().await;
            let (a, b) = (proxy.modern().logging("info"), proxy.modern().logging("info"));
            let (a, b) = (a.connect("echo").await, b.connect("echo").await);
            let plain = proxy.modern().connect("echo").await;
            plain.call("echo", json!({})).await.result();
            after(seconds(1)).await;
            let busy = a.begin("slow", json!({"ms": 5000}));
            settled().await;
            b.call("log", json!({"level": "error"})).await.result();
            assert_eq!(b.heard(MESSAGE).await["params"]["level"], "error");
            // Who does not listen is not beside who does either.
            let third = plain.instance().await;
            assert_eq!(proxy.started("echo"), 2);
            a.hears_nothing().await;
            busy.answer().await.result();
            assert_ne!(a.instance().await, third);
        }
    });
}

/// A server that opens like this, its second copy after three seconds, and that logs the `data` of a call in its middle. A
/// call with "long" data takes twenty seconds, any other one.
fn slow(server: Script, opening: &'static str, introduction: Value) -> Script {
    let started = Rc::new(Cell::new(0));
    let opens = move |it: &Heard, say: &Say| {
        let late = seconds(if started.replace(started.get() + 1) == 0 { 0 } else { 3 });
        let (id, say, introduction) = (it.id().clone(), say.clone(), introduction.clone());
        spawn_local(async move {
            after(late).await;
            say.line(&json!({"jsonrpc": "2.0", "id": id, "result": introduction}).to_string());
        });
    };
    let logs = |call: &Heard, say: &Say| {
        let (id, say) = (call.id().clone(), say.clone());
        let data = call.value["params"]["arguments"]["data"].clone();
        let half = if data == "long" { seconds(10) } else { seconds(1) / 2 };
        spawn_local(async move {
            after(half).await;
            say.notify(MESSAGE, json!({"level": "info", "data": data}));
            after(half).await;
            let result = json!({"resultType": "complete", "content": []});
            say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
        });
    };
    server.on(opening, opens).on("tools/call", logs)
}

#[test]
fn who_listens_beside_another_waits_for_an_instance_that_is_slow_to_start() {
    play(async {
        let introduction = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "logging": {}}, "ttlMs": 0, "cacheScope": "private"});
        let server = slow(modern_script(), "server/discover", introduction);
        let proxy = proxy().server("x", server.into()).start().await;
        let (a, b) = (proxy.modern().logging("info"), proxy.modern().logging("info"));
        let (a, b, plain) = (a.connect("x").await, b.connect("x").await, proxy.modern().connect("x").await);
        plain.call("x", json!({})).await.result();
        // Both find the instance talked about by somebody else.
        let _busy = plain.begin("x", json!({}));
        settled().await;
        let (first, second) = (a.begin("x", json!({"data": "a"})), b.begin("x", json!({"data": "b"})));
        for (caller, call, data) in [(&a, first, "a"), (&b, second, "b")] {
            assert_eq!(caller.heard(MESSAGE).await["params"]["data"], data);
            call.answer().await.result();
        }
        assert_eq!(proxy.dropped("owner_unknown"), 0);
    });
}

#[test]
fn who_listens_beside_anybody_waits_so_long_where_no_line_says_whose_it_is() {
    play(async {
        let introduction = json!({"protocolVersion": REVISION, "capabilities": {"tools": {}, "logging": {}}, "serverInfo": {"name": "n", "version": "1"}});
        let server =
            slow(script(), "initialize", introduction).on("logging/setLevel", |it, say| say.result(it, json!({})));
        let proxy = proxy().server("x", server.into()).start().await;
        let (listens, plain) = (proxy.legacy(REVISION).connect("x").await, proxy.legacy(REVISION).connect("x").await);
        level(&listens, "info").await;
        let _busy = plain.begin("x", json!({"data": "long"}));
        settled().await;
        let call = listens.begin("x", json!({"data": "own"}));
        assert_eq!(listens.heard(MESSAGE).await["params"]["data"], "own");
        call.answer().await.result();
    });
}

#[test]
fn a_session_with_a_level_listens_to_all_its_calls() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        level(&b, "info").await;
        let busy = a.begin("slow", json!({"ms": 5000}));
        settled().await;
        b.call("log", json!({"level": "error"})).await.result();
        assert_eq!(b.heard(MESSAGE).await["params"]["level"], "error");
        assert_eq!(proxy.started("echo"), 2);
        busy.answer().await.result();
        a.hears_nothing().await;
    });
}
