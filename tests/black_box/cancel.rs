//! What is cancelled is cancelled everywhere: upstream by the server's id, in the queue, and when its caller is
//! gone. What comes late is swallowed.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{Say, after, legacy, modern, play, proxy, script, seconds, settled};

#[test]
fn a_cancel_reaches_the_server_under_the_id_that_the_server_knows() {
    play(async {
        for modern_era in [false, true] {
            let server = if modern_era { modern(|_| {}) } else { legacy(|_| {}) };
            let proxy = proxy().server("echo", server).start().await;
            let client = if modern_era { proxy.modern() } else { proxy.legacy("2025-06-18") };
            let caller = client.connect("echo").await;
            let slow = caller.request_as(json!("mine"), "tools/call", json!({"name": "forget", "arguments": {}}));
            settled().await;
            slow.cancel();
            settled().await;
            let sent = proxy.got("echo", "tools/call").pop().expect("a call");
            let cancelled = proxy.got("echo", "notifications/cancelled").pop().expect("a cancel");
            assert_eq!(cancelled["params"]["requestId"], sent["id"]);
            assert_eq!(cancelled["params"]["reason"], "changed my mind");
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn only_the_call_that_was_cancelled_ends() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy("2025-06-18").connect("echo").await;
        let b = proxy.legacy("2025-06-18").connect("echo").await;
        let mine = a.request_as(json!(1), "tools/call", json!({"name": "slow", "arguments": {"ms": 50}}));
        let theirs = b.request_as(json!(1), "tools/call", json!({"name": "slow", "arguments": {"ms": 50}}));
        settled().await;
        mine.cancel();
        assert_eq!(theirs.answer().await.text(), "slept 50 ms in 1 steps");
        a.hears_nothing().await;
    });
}

#[test]
fn who_hangs_up_has_all_its_calls_cancelled_and_nobody_else() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let leaving = proxy.legacy("2025-06-18").connect("echo").await;
        let staying = proxy.legacy("2025-06-18").connect("echo").await;
        let theirs = staying.begin("slow", json!({"ms": 50}));
        for _ in 0..3 {
            leaving.begin("forget", json!({}));
        }
        settled().await;
        leaving.hang_up().await;
        let ids = |method| proxy.got("echo", method).into_iter();
        let forgotten: Vec<Value> = ids("tools/call")
            .filter(|call| call["params"]["name"] == "forget")
            .map(|call| call["id"].clone())
            .collect();
        let mut cancelled: Vec<Value> =
            ids("notifications/cancelled").map(|it| it["params"]["requestId"].clone()).collect();
        cancelled.sort_by_key(Value::as_u64);
        assert_eq!(cancelled, forgotten);
        assert_eq!(theirs.answer().await.text(), "slept 50 ms in 1 steps");
        assert_eq!(proxy.instances("echo")[0]["in_flight"], 0);
    });
}

#[test]
fn an_answer_to_a_cancelled_call_is_swallowed() {
    play(async {
        let deaf = script().on("notifications/cancelled", |cancel, say| {
            let id = &cancel.value["params"]["requestId"];
            say.line(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string());
        });
        let proxy = proxy().server("deaf", deaf.into()).start().await;
        let caller = proxy.legacy("2025-06-18").connect("deaf").await;
        let call = caller.begin("x", json!({}));
        settled().await;
        call.cancel();
        caller.hears_nothing().await;
        assert_eq!(proxy.dropped("late_answer"), 1);
        assert_eq!(proxy.dropped("unknown_id"), 0);
    });
}

#[test]
fn a_cancel_after_the_answer_means_nothing_to_anybody() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let call = caller.begin("echo", json!({}));
        call.answer().await;
        call.cancel();
        caller.notify("notifications/cancelled", json!({"requestId": "never sent"}));
        caller.notify("notifications/cancelled", json!({}));
        caller.hears_nothing().await;
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 0);
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn an_id_can_be_used_again_once_its_call_was_cancelled() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let first = caller.request_as(json!(1), "tools/call", json!({"name": "forget", "arguments": {}}));
        first.cancel();
        let second = caller.request_as(json!(1), "tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 1}}));
        assert_eq!(second.answer().await.text(), "2");
    });
}

#[test]
fn what_is_cancelled_while_it_waits_never_reaches_a_server() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (1, 1))
            .start()
            .await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let running = caller.begin("slow", json!({"ms": 50}));
        let waiting = caller.begin("add", json!({"a": 1, "b": 1}));
        settled().await;
        assert_eq!(proxy.server("echo")["queue"], 1);
        waiting.cancel();
        settled().await;
        assert_eq!(proxy.server("echo")["queue"], 0);
        running.answer().await;
        caller.hears_nothing().await;
        let tools: Vec<Value> =
            proxy.got("echo", "tools/call").into_iter().map(|call| call["params"]["name"].clone()).collect();
        assert_eq!(tools, ["slow"]);
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 0);
    });
}

#[test]
fn a_call_without_an_answer_is_answered_at_its_deadline_and_cancelled_upstream() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.timeout.call = seconds(5)).start().await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let answer = caller.call("forget", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (504, Some("call_timeout")));
        assert_eq!(answer.value["error"]["data"]["mcpool"]["server"], "echo");
        settled().await;
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 1);
        after(seconds(60)).await;
        caller.hears_nothing().await;
    });
}

#[test]
fn a_server_that_dies_answers_all_its_calls_at_once() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy("2025-06-18").connect("echo").await;
        let b = proxy.legacy("2025-06-18").connect("echo").await;
        let calls = [a.begin("forget", json!({})), a.begin("slow", json!({"ms": 500})), b.begin("forget", json!({}))];
        settled().await;
        let clock = tokio::time::Instant::now();
        assert_eq!(a.call("die", json!({})).await.reason(), Some("server_died"));
        for call in calls {
            let answer = call.answer().await;
            assert_eq!((answer.code(), answer.reason()), (502, Some("server_died")));
        }
        assert!(clock.elapsed() < seconds(1), "they waited {:?}", clock.elapsed());
        assert_eq!(b.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_server_cannot_cancel_what_a_caller_asked() {
    play(async {
        let ids = Rc::new(RefCell::new(None::<Value>));
        let seen = ids.clone();
        let odd = script().on("tools/call", move |call, say: &Say| {
            say.notify("notifications/cancelled", json!({"requestId": call.id()}));
            seen.replace(Some(call.id().clone()));
        });
        let proxy = proxy().server("odd", odd.into()).start().await;
        let caller = proxy.legacy("2025-06-18").connect("odd").await;
        let call = caller.begin("x", json!({}));
        caller.hears_nothing().await;
        let id = ids.borrow().clone().expect("a call");
        proxy.process("odd", 0).say(
            &json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "still"}]}})
                .to_string(),
        );
        assert_eq!(call.answer().await.text(), "still");
    });
}
