//! Instances are stopped when nobody needs them and replaced when they are worn out, and no caller notices.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mcpool::config::{LeaseChoice, Server};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Behaviour, Caller, Proxy, after, legacy, moody, play, proxy, script, seconds, settled, unstartable,
};

const REVISION: &str = "2025-06-18";

/// A server whose instances are not stopped for being idle.
async fn server(behaviour: Behaviour, set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        server.recycle.idle = seconds(1_000_000);
        set(server);
    };
    proxy().server("x", behaviour).set(set).start().await
}

async fn caller(proxy: &Proxy) -> Caller {
    proxy.legacy(REVISION).connect("x").await
}

fn calls_of(proxy: &Proxy, process: usize) -> usize {
    proxy.process("x", process).got("tools/call").len()
}

/// Makes a server have so many instances.
async fn grow(caller: &Caller, to: usize) {
    let calls: Vec<_> = (0..to).map(|_| caller.begin("slow", json!({"ms": 1000}))).collect();
    for call in calls {
        call.answer().await;
    }
}

#[test]
fn idle_instances_are_stopped_down_to_the_least() {
    play(async {
        let proxy = server(legacy(|_| {}), |server| {
            (server.instances.min, server.instances.max, server.concurrency) = (1, 3, 1);
            server.recycle.idle = seconds(300);
        })
        .await;
        let caller = caller(&proxy).await;
        grow(&caller, 3).await;
        after(seconds(250)).await;
        assert_eq!(proxy.instances("x").len(), 3);
        after(seconds(60)).await;
        assert_eq!(proxy.instances("x").len(), 1);
        after(seconds(3600)).await;
        assert_eq!((proxy.instances("x").len(), proxy.started("x")), (1, 3));
    });
}

#[test]
fn instances_of_the_same_age_do_not_end_together() {
    play(async {
        let proxy = server(legacy(|_| {}), |server| {
            (server.instances.max, server.concurrency) = (4, 1);
            server.recycle.age = Some(seconds(3600));
        })
        .await;
        let caller = caller(&proxy).await;
        grow(&caller, 4).await;
        after(seconds(44 * 60)).await;
        assert_eq!(proxy.instances("x").len(), 4);
        let mut ended = Vec::new();
        for minute in 45..=76 {
            after(seconds(60)).await;
            let left = proxy.instances("x").len();
            (left..4 - ended.len()).for_each(|_| ended.push(minute));
        }
        assert_eq!(ended.len(), 4);
        ended.dedup();
        assert!(ended.len() > 2, "they end together: {ended:?}");
    });
}

pub fn introduction() -> Value {
    json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
}

/// A server whose processes but for the first open only when the test says so.
fn reluctant() -> Behaviour {
    let started = Cell::new(0);
    let opens = move |it: &crate::support::Heard, say: &crate::support::Say| {
        started.set(started.get() + 1);
        if started.get() == 1 {
            say.result(it, introduction());
        }
    };
    moody().on("initialize", opens).into()
}

fn open(proxy: &Proxy, process: usize) {
    let process = proxy.process("x", process);
    let opening = &process.got("initialize")[0];
    process.say(&json!({"jsonrpc": "2.0", "id": opening["id"], "result": introduction()}).to_string());
}

/// One instance at all times and a second one beside it if need be; each serves three calls.
fn three_calls_each(server: &mut Server) {
    (server.instances.min, server.instances.max) = (1, 2);
    server.recycle.calls = Some(3);
}

#[test]
fn the_successor_is_there_before_the_old_one_leaves() {
    play(async {
        let proxy = server(reluctant(), three_calls_each).await;
        let caller = caller(&proxy).await;
        for _ in 0..3 {
            caller.call("ok", json!({})).await;
        }
        settled().await;
        assert_eq!(proxy.started("x"), 2, "it is replaced as soon as it has served its calls");
        let slow = caller.begin("late", json!({"ms": 20_000}));
        for _ in 0..5 {
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        }
        assert_eq!((calls_of(&proxy, 0), calls_of(&proxy, 1)), (9, 0));
        open(&proxy, 1);
        settled().await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!((calls_of(&proxy, 0), calls_of(&proxy, 1)), (9, 1));
        // What it had it brings to an end.
        assert_eq!(slow.answer().await.text(), "late");
        settled().await;
        assert_eq!((proxy.instances("x").len(), proxy.started("x")), (1, 2));
    });
}

#[test]
fn a_successor_that_cannot_be_started_leaves_the_old_one_in_service() {
    play(async {
        let proxy = server(moody().into(), three_calls_each).await;
        let caller = caller(&proxy).await;
        proxy.teach("x", unstartable());
        for _ in 0..3 {
            caller.call("ok", json!({})).await;
        }
        after(seconds(900)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(proxy.server("x")["breaker"]["state"], "closed");
        assert_eq!((proxy.started("x"), calls_of(&proxy, 0)), (1, 4));
        proxy.teach("x", moody().into());
        after(seconds(60)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!((proxy.instances("x").len(), calls_of(&proxy, 0), calls_of(&proxy, 1)), (1, 4, 1));
    });
}

#[test]
fn a_successor_that_never_opens_leaves_the_old_one_in_service() {
    play(async {
        let proxy = server(reluctant(), three_calls_each).await;
        let caller = caller(&proxy).await;
        for _ in 0..30 {
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
            after(seconds(20)).await;
        }
        assert_eq!(calls_of(&proxy, 0), 30);
        while !proxy.instances("x").iter().any(|instance| instance["state"] == "starting") {
            after(seconds(1)).await;
        }
        open(&proxy, proxy.started("x") - 1);
        after(seconds(1)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(calls_of(&proxy, 0), 30);
    });
}

#[test]
fn the_only_one_is_replaced_when_nobody_calls_or_after_a_while() {
    play(async {
        let proxy = server(moody().into(), |server| {
            (server.instances.min, server.instances.max) = (1, 1);
            server.recycle.age = Some(seconds(60));
            server.timeout.call = seconds(30);
        })
        .await;
        let caller = caller(&proxy).await;
        // Never without a call.
        let mut calls = Vec::new();
        for _ in 0..40 {
            calls.push(caller.begin("late", json!({"ms": 10_000})));
            after(seconds(5)).await;
        }
        for call in calls {
            assert_eq!(call.answer().await.text(), "late");
        }
        let busy = proxy.started("x");
        assert!((2..=4).contains(&busy), "{busy} were started");
        after(seconds(1000)).await;
        assert!(proxy.started("x") >= busy + 13, "{} were started", proxy.started("x"));
        assert_eq!(proxy.instances("x").len(), 1);
    });
}

#[test]
fn what_belongs_to_a_caller_for_its_session_is_not_replaced() {
    play(async {
        let proxy = server(moody().into(), |server| {
            server.lease = LeaseChoice::Session;
            (server.recycle.calls, server.recycle.age) = (Some(2), Some(seconds(60)));
        })
        .await;
        let caller = caller(&proxy).await;
        for _ in 0..10 {
            caller.call("ok", json!({})).await;
            after(seconds(60)).await;
        }
        assert_eq!((proxy.started("x"), calls_of(&proxy, 0)), (1, 10));
        caller.hang_up().await;
        settled().await;
        assert_eq!(proxy.instances("x").len(), 0);
    });
}

#[test]
fn subscriptions_move_to_the_successor() {
    play(async {
        let proxy = server(legacy(|_| {}), three_calls_each).await;
        let caller = caller(&proxy).await;
        caller.ask("resources/subscribe", json!({"uri": "demo://note/1"})).await.result();
        for _ in 0..3 {
            caller.call("echo", json!({})).await;
        }
        after(seconds(5)).await;
        assert_eq!(proxy.process("x", 1).got("resources/subscribe").len(), 1);
        assert_eq!(caller.instance().await, "x-1");
        caller.call("touch", json!({"uri": "demo://note/1"})).await;
        let updated = caller.heard("notifications/resources/updated").await;
        assert_eq!(updated["params"]["uri"], "demo://note/1");
    });
}

/// A server whose calls become tasks, which work for as long as they are kept.
fn with_tasks(started: Rc<Cell<usize>>) -> Behaviour {
    let task = |status: &str| json!({"taskId": "task-1", "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60_000});
    script()
        .capable(json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}}))
        .on("initialize", move |it, say| {
            started.set(started.get() + 1);
            let mut said = introduction();
            said["protocolVersion"] = json!("2025-11-25");
            said["capabilities"] = json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}});
            say.result(it, said);
        })
        .on("tools/call", move |call, say| say.result(call, json!({"task": task("working")})))
        .on("tasks/get", move |it, say| say.result(it, task("working")))
        .into()
}

#[test]
fn an_instance_that_works_on_a_task_is_not_replaced_before_that_is_over() {
    play(async {
        for max in [1, 2] {
            let started = Rc::new(Cell::new(0));
            let proxy = server(with_tasks(started.clone()), |server| {
                (server.instances.min, server.instances.max) = (1, max);
                server.recycle.calls = Some(1);
                server.probe.every = None;
            })
            .await;
            let caller = proxy.legacy("2025-11-25").connect("x").await;
            let call = json!({"name": "x", "arguments": {}, "task": {"ttl": 60_000}});
            assert_eq!(caller.ask("tools/call", call).await.result()["task"]["taskId"], "task-1");
            after(seconds(50)).await;
            caller.ask("tasks/get", json!({"taskId": "task-1"})).await.result();
            assert_eq!(proxy.process("x", 0).got("tasks/get").len(), 1);
            after(Duration::from_secs(20)).await;
            assert_eq!((started.get(), proxy.instances("x").len()), (2, 1));
        }
    });
}

#[test]
fn where_there_is_room_for_one_only_a_long_call_keeps_nobody_waiting_for_its_end() {
    play(async {
        let proxy = server(moody().into(), |server| {
            (server.instances.max, server.recycle.calls) = (1, Some(3));
            (server.timeout.call, server.timeout.max) = (seconds(200), seconds(200));
        })
        .await;
        let caller = caller(&proxy).await;
        let long = caller.begin("late", json!({"ms": 190_000}));
        for _ in 0..50 {
            let clock = Instant::now();
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
            assert!(clock.elapsed() <= seconds(16), "after {:?}", clock.elapsed());
            after(seconds(3)).await;
        }
        assert_eq!((long.answer().await.text(), proxy.started("x")), ("late", 1));
        after(seconds(5)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(proxy.started("x"), 2);
    });
}
