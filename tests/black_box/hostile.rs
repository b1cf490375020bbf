//! Callers that mean harm, or do harm without meaning it: what one of them sends costs it its own calls, and the
//! next caller finds everything as it should be.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Say, legacy, modern, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

fn initialize(capabilities: Value) -> Value {
    json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}})
}

#[test]
fn capabilities_that_no_revision_knows_are_refused_before_a_server_sees_them() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        for known in ["roots", "sampling", "elicitation"] {
            let caller = proxy.dial("echo");
            assert_eq!(caller.ask("initialize", initialize(json!({known: true}))).await.code(), -32602);
        }
        assert_eq!(proxy.started("echo"), 0);
        let next = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(next.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn an_initialize_that_the_server_refuses_is_not_held_against_the_next_caller() {
    play(async {
        let picky = script()
            .on("initialize", |it, say| match it.value["params"]["capabilities"].get("experimental") {
                Some(_) => say.error(it, json!({"code": -32602, "message": "not this"})),
                None => say.result(
                    it,
                    json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "picky", "version": "1"}}),
                ),
            })
            .on("tools/call", |call, say| say.text(call, "here"));
        let proxy = proxy().server("picky", picky.into()).start().await;
        let (_bad, refused) = proxy.legacy(REVISION).with(json!({"experimental": {"x": {}}})).open("picky").await;
        assert_eq!(refused.expect("an answer").reason(), Some("start_failed"));
        let clock = Instant::now();
        let next = proxy.legacy(REVISION).connect("picky").await;
        assert_eq!(next.call("x", json!({})).await.text(), "here");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_batch_of_a_hundred_thousand_is_refused_and_the_neighbours_go_on() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let neighbour = proxy.legacy("2025-03-26").connect("echo").await;
        let caller = proxy.legacy("2025-03-26").connect("echo").await;
        let pings: Vec<String> =
            (0..100_000).map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)).collect();
        caller.send(&format!("[{}]", pings.join(",")));
        let refused = caller.line().await;
        assert_eq!((refused.value["id"].clone(), refused.value["error"].is_object()), (Value::Null, true));
        caller.closed().await;
        caller.hears_nothing().await;
        assert_eq!(*neighbour.ask("ping", json!({})).await.result(), json!({}));
    });
}

#[test]
fn callers_that_leave_before_the_server_is_ready_leave_no_process_reserved_for_them() {
    play(async {
        // Answers `initialize` only when the test says so.
        let ready = Rc::new(Cell::new(false));
        let unanswered: Rc<RefCell<Vec<(Value, Say)>>> = Rc::default();
        let opened = |request: &Value| {
            let about = json!({"protocolVersion": request["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "slow", "version": "1"}});
            json!({"jsonrpc": "2.0", "id": request["id"], "result": about}).to_string()
        };
        let (is_ready, waiting) = (ready.clone(), unanswered.clone());
        let slow = script()
            .on("initialize", move |it, say| match is_ready.get() {
                true => say.line(&opened(&it.value)),
                false => waiting.borrow_mut().push((it.value.clone(), say.clone())),
            })
            .on("tools/call", |call, say| say.text(call, "here"));
        let proxy = proxy()
            .server("slow", slow.into())
            .set(|server| (server.lease, server.instances.max) = (LeaseChoice::Session, 2))
            .start()
            .await;
        for revision in ["2024-11-05", "2025-03-26"] {
            let caller = proxy.dial("slow");
            caller.request("initialize", json!({"protocolVersion": revision, "capabilities": {}}));
            settled().await;
            caller.hang_up().await;
        }
        ready.set(true);
        unanswered.borrow_mut().drain(..).for_each(|(request, say)| say.line(&opened(&request)));
        settled().await;
        let clock = Instant::now();
        let third = proxy.legacy(REVISION).connect("slow").await;
        assert_eq!(third.call("x", json!({})).await.text(), "here");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
    });
}

#[test]
fn where_there_are_no_servers_there_are_no_tools() {
    play(async {
        let proxy = proxy().start().await;
        let old = proxy.legacy(REVISION).connect("all").await;
        let new = proxy.modern().connect("all").await;
        for caller in [&old, &new] {
            assert_eq!(caller.ask("tools/list", json!({})).await.result()["tools"], json!([]));
        }
    });
}

#[test]
fn a_caller_of_a_new_kind_need_not_tell_its_roots_before_it_is_introduced() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let first = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        first.instance().await;
        let clock = Instant::now();
        let other = proxy.legacy("2025-11-25").with_roots(&["file:///b"]).connect("files").await;
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        for (caller, uri) in [(&first, "file:///a"), (&other, "file:///b")] {
            caller.call("echo", json!({})).await;
            let told = caller.call("whoami", json!({})).await.json();
            assert_eq!(told["roots"]["roots"], json!([{"uri": uri}]));
        }
    });
}

#[test]
fn many_kinds_of_callers_do_not_make_mcpool_forget_what_the_server_is() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        for kind in 0..17 {
            let capabilities = json!({"experimental": {"kind": {"number": kind}}});
            let caller = proxy.modern().with(capabilities).connect("echo").await;
            assert!(caller.ask("tools/list", json!({})).await.names().contains(&"echo"));
        }
        let caller = proxy.modern().connect("echo").await;
        let discovered = caller.ask("server/discover", json!({})).await;
        assert_eq!(discovered.result()["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(proxy.started("echo"), 1);
    });
}

#[test]
fn a_caller_that_fills_the_queue_keeps_nobody_else_out() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max, server.queue.size) = (1, 1, 256))
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("echo").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let many: Vec<_> = (0..300).map(|_| greedy.begin("slow", json!({"ms": 10}))).collect();
        settled().await;
        assert_eq!(proxy.server("echo")["queue"], 256);
        let clock = Instant::now();
        assert_eq!(modest.call("slow", json!({"ms": 10})).await.text(), "slept 10 ms in 1 steps");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        let mut refused = 0;
        for call in &many {
            let answer = call.answer().await;
            assert!(matches!(answer.reason(), None | Some("pool_exhausted")), "{}", answer.raw);
            refused += usize::from(answer.reason().is_some());
        }
        assert_eq!(refused, 300 - 256, "one ran, one made room");
    });
}

#[test]
fn what_was_unsubscribed_does_not_count() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).config(|config| config.limits.subscriptions = 5).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let note = |number: usize| json!({"uri": format!("demo://note/{number}")});
        for _ in 0..10 {
            caller.ask("resources/subscribe", note(1)).await.result();
            caller.ask("resources/unsubscribe", note(1)).await.result();
        }
        caller.ask("resources/subscribe", note(1)).await.result();
        caller.call("touch", note(1)).await;
        assert_eq!(caller.heard("notifications/resources/updated").await["params"]["uri"], "demo://note/1");
    });
}

#[test]
fn notifications_that_a_server_does_not_read_take_no_room_from_calls() {
    play(async {
        let proxy = proxy().server("x", script().deaf_after("tools/call").into()).start().await;
        let talker = proxy.legacy(REVISION).connect("x").await;
        let other = proxy.legacy(REVISION).connect("x").await;
        let _unread = talker.begin("anything", json!({}));
        settled().await;
        let hint = json!({"text": "x".repeat(1 << 20)});
        (0..12).for_each(|_| talker.notify("notifications/x/hint", hint.clone()));
        settled().await;
        assert!(proxy.dropped("not_read") >= 8, "{}", proxy.status()["counters"]["dropped"]);
        let _call = other.begin("anything", json!({}));
        settled().await;
        assert_eq!((proxy.started("x"), proxy.server("x")["queue"].clone()), (1, json!(0)));
    });
}
