//! What becomes of calls that find every instance busy: they wait in turn and not for ever, or get an instance that is
//! there for a while, or are refused.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mcpool::config::{Server, WhenFull};
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::support::{
    Behaviour, Heard, Proxy, Script, after, elicitation, legacy, modern_script, moody, mute, play, proxy, seconds,
    settled,
};

const REVISION: &str = "2025-06-18";

/// A server of one instance that takes one call at a time.
async fn narrow(behaviour: Behaviour, set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        (server.concurrency, server.instances.max) = (1, 1);
        set(server);
    };
    proxy().server("echo", behaviour).set(set).start().await
}

fn overflowing(most: usize) -> impl FnOnce(&mut Server) {
    move |server| (server.when_full, server.instances.overflow) = (WhenFull::Overflow, most)
}

/// Which instances are temporary, in the order of their starts.
fn temporary(proxy: &Proxy) -> Vec<bool> {
    let mut all = proxy.instances("echo");
    all.sort_by_key(|instance| instance["id"].as_u64());
    all.iter().map(|instance| instance["temporary"] == true).collect()
}

#[test]
fn who_waits_is_refused_at_one_moment_even_if_it_had_to_look_for_another_place_meanwhile() {
    play(async {
        let proxy = narrow(legacy(|options| options.ask_roots = true), |server| {
            server.queue.timeout = seconds(20);
        })
        .await;
        let caller = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("echo").await;
        caller.call("echo", json!({})).await;
        let _busy = caller.begin("forget", json!({}));
        settled().await;
        let (clock, waiting) = (Instant::now(), caller.begin("echo", json!({})));
        after(seconds(15)).await;
        // It belongs to another kind of instance now.
        caller.has_roots(json!([{"uri": "file:///b"}]));
        caller.notify("notifications/roots/list_changed", json!({}));
        let refused = waiting.answer().await;
        assert_eq!((refused.code(), refused.reason()), (504, Some("queue_timeout")));
        assert!(clock.elapsed() >= seconds(20) && clock.elapsed() < seconds(21), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_caller_with_a_thousand_calls_waiting_delays_another_by_one_call() {
    play(async {
        let proxy = narrow(legacy(|_| {}), |server| {
            (server.queue.size, server.queue.timeout) = (2000, seconds(600));
        })
        .await;
        let greedy = proxy.legacy(REVISION).connect("echo").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let many: Vec<_> = (0..1001).map(|_| greedy.begin("slow", json!({"ms": 100}))).collect();
        settled().await;
        assert_eq!(proxy.server("echo")["queue"], 1000);
        for _ in 0..5 {
            let clock = Instant::now();
            modest.begin("slow", json!({"ms": 100})).answer().await;
            // Its own time, what is left of the one that runs, and at most one that is in front.
            assert!(clock.elapsed() <= Duration::from_millis(310), "it waited {:?}", clock.elapsed());
        }
        for call in &many {
            assert_eq!(call.answer().await.text(), "slept 100 ms in 1 steps");
        }
    });
}

#[test]
fn whoever_finds_no_room_gets_an_instance_that_is_gone_when_it_is_not_needed() {
    play(async {
        let proxy = narrow(legacy(|_| {}), overflowing(2)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let clock = Instant::now();
        let calls = [(); 4].map(|()| caller.begin("slow", json!({"ms": 1000})));
        settled().await;
        assert_eq!((temporary(&proxy), proxy.server("echo")["queue"].clone()), (vec![false, true, true], json!(1)));
        assert_eq!(proxy.server("echo")["overflow"], 2);
        for call in calls {
            assert_eq!(call.answer().await.text(), "slept 1000 ms in 1 steps");
        }
        assert!(clock.elapsed() < Duration::from_millis(2100), "after {:?}", clock.elapsed());
        settled().await;
        assert_eq!(temporary(&proxy), [false]);
        // The next flood gets as many.
        let calls = [(); 3].map(|()| caller.begin("slow", json!({"ms": 1000})));
        settled().await;
        assert_eq!(temporary(&proxy), [false, true, true]);
        for call in calls {
            call.answer().await;
        }
    });
}

#[test]
fn a_temporary_instance_whose_caller_left_before_it_was_ready_is_stopped_when_it_is() {
    play(async {
        let started = Rc::new(Cell::new(0));
        let slow_to_start = moody().on("initialize", move |it, say| {
            started.set(started.get() + 1);
            if started.get() == 1 {
                say.result(it, introduction());
            }
        });
        let proxy = narrow(slow_to_start.into(), overflowing(2)).await;
        let busy = proxy.legacy(REVISION).connect("echo").await;
        let leaving = proxy.legacy(REVISION).connect("echo").await;
        let running = busy.begin("late", json!({"ms": 60_000}));
        settled().await;
        leaving.begin("ok", json!({}));
        settled().await;
        assert_eq!(temporary(&proxy), [false, true]);
        leaving.hang_up().await;
        let opening = &proxy.process("echo", 1).got("initialize")[0];
        let answer = json!({"jsonrpc": "2.0", "id": opening["id"], "result": introduction()});
        proxy.process("echo", 1).say(&answer.to_string());
        settled().await;
        assert_eq!(temporary(&proxy), [false]);
        running.answer().await;
    });
}

fn introduction() -> Value {
    json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
}

#[test]
fn a_temporary_instance_is_not_kept_by_calls_for_which_another_has_room() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (2, 1))
            .set(overflowing(1))
            .start()
            .await;
        let (first, second) =
            (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        let early = [(); 2].map(|()| first.begin("slow", json!({"ms": 100})));
        settled().await;
        let _long = second.begin("slow", json!({"ms": 2000}));
        settled().await;
        assert_eq!(temporary(&proxy), [false, true]);
        for call in early {
            call.answer().await;
        }
        // It used the temporary one last, which has room and is still there.
        assert_eq!(second.instance().await, "echo-0");
        after(seconds(2)).await;
        assert_eq!(temporary(&proxy), [false]);
    });
}

#[test]
fn temporary_instances_that_die_make_room_for_others() {
    play(async {
        let proxy = narrow(moody().into(), overflowing(1)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let busy = caller.begin("late", json!({"ms": 10_000}));
        settled().await;
        for _ in 0..3 {
            assert_eq!(caller.call("die", json!({})).await.reason(), Some("server_died"));
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        }
        settled().await;
        assert_eq!(temporary(&proxy), [false]);
        assert_eq!(busy.answer().await.text(), "late");
    });
}

#[test]
fn a_pool_that_rejects_does_so_at_once_and_only_when_it_is_full() {
    play(async {
        let proxy = narrow(legacy(|_| {}), |server| {
            (server.when_full, server.instances.max) = (WhenFull::Reject, 2);
        })
        .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        // Two are on their way to two instances, one of which has to be started.
        let calls = [(); 2].map(|()| caller.begin("slow", json!({"ms": 1000})));
        let clock = Instant::now();
        let refused = caller.call("echo", json!({})).await;
        assert_eq!((refused.code(), refused.reason()), (503, Some("pool_exhausted")));
        settled().await;
        assert_eq!(caller.call("echo", json!({})).await.reason(), Some("pool_exhausted"));
        assert!(clock.elapsed() < Duration::from_millis(10), "after {:?}", clock.elapsed());
        for call in calls {
            assert_eq!(call.answer().await.text(), "slept 1000 ms in 1 steps");
        }
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        assert_eq!(proxy.server("echo")["exhausted"], 2);
    });
}

#[test]
fn a_temporary_instance_that_works_on_a_task_is_stopped_when_that_is_over() {
    play(async {
        let task = json!({"taskId": "task-1", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60_000});
        let working = moody().capable(json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}})).on(
            "tools/call",
            move |call, say| {
                if call.value["params"]["name"] != "hang" {
                    say.result(call, json!({"task": task}));
                }
            },
        );
        let proxy = narrow(working.into(), |server| {
            (server.instances.min, server.timeout.call) = (1, seconds(600));
            overflowing(1)(server);
        })
        .await;
        let caller = proxy.legacy("2025-11-25").connect("echo").await;
        let _busy = caller.begin("hang", json!({}));
        settled().await;
        let call = json!({"name": "x", "arguments": {}, "task": {"ttl": 60_000}});
        assert_eq!(caller.ask("tools/call", call).await.result()["task"]["taskId"], "task-1");
        after(seconds(50)).await;
        assert_eq!(temporary(&proxy), [false, true]);
        after(seconds(15)).await;
        assert_eq!(temporary(&proxy), [false]);
    });
}

/// A modern server that asks in every call but `late`, and answers what comes back.
fn asking() -> Script {
    let form = json!({"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}});
    let question = json!({"q": {"method": "elicitation/create", "params": form}});
    modern_script().on("tools/call", move |call, say| {
        let params = &call.value["params"];
        let done = json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]});
        if params["name"] == "late" {
            let (ms, id, say) = (params["arguments"]["ms"].as_u64().unwrap_or(0), call.id().clone(), say.clone());
            spawn_local(async move {
                after(Duration::from_millis(ms)).await;
                say.result(&Heard { value: json!({"id": id}) }, done);
            });
        } else if params.get("requestState").is_some() {
            say.result(call, done);
        } else {
            let asks = json!({"resultType": "input_required", "inputRequests": question, "requestState": "s"});
            say.result(call, asks);
        }
    })
}

#[test]
fn a_temporary_instance_stays_while_its_callers_person_thinks() {
    play(async {
        let proxy = narrow(asking().into(), overflowing(1)).await;
        let busy = proxy.legacy(REVISION).connect("echo").await;
        let asked = proxy.legacy(REVISION).with(elicitation()).connect("echo").await;
        let _long = busy.begin("late", json!({"ms": 50_000}));
        settled().await;
        let call = asked.begin("ask", json!({}));
        let ask = asked.asked("elicitation/create").await;
        after(seconds(20)).await;
        assert_eq!(temporary(&proxy), [false, true]);
        ask.answer(json!({"action": "accept", "content": {}}));
        assert_eq!(call.answer().await.text(), "done");
        assert_eq!((proxy.started("echo"), proxy.process("echo", 1).got("tools/call").len()), (2, 2));
        settled().await;
        assert_eq!(temporary(&proxy), [false]);
    });
}

#[test]
fn a_persons_time_is_not_taken_for_time_in_the_queue() {
    play(async {
        let proxy = narrow(asking().into(), |server| {
            (server.queue.timeout, server.recycle.idle) = (seconds(5), seconds(5));
        })
        .await;
        let busy = proxy.legacy(REVISION).connect("echo").await;
        let asked = proxy.legacy(REVISION).with(elicitation()).connect("echo").await;
        after(seconds(20)).await;
        assert_eq!(proxy.instances("echo").len(), 0);
        let call = asked.begin("ask", json!({}));
        let ask = asked.asked("elicitation/create").await;
        after(seconds(20)).await;
        proxy.process("echo", 1).crash().await;
        let _long = busy.begin("late", json!({"ms": 3000}));
        settled().await;
        ask.answer(json!({"action": "accept", "content": {}}));
        assert_eq!(call.answer().await.text(), "done");
    });
}

#[test]
fn with_a_queue_of_none_who_finds_all_busy_is_refused_and_who_finds_none_started_is_not() {
    play(async {
        let proxy = narrow(moody().into(), |server| {
            (server.queue.size, server.concurrency, server.recycle.idle) = (0, 2, seconds(5));
        })
        .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        for _ in 0..2 {
            let calls = [(); 3].map(|()| caller.begin("late", json!({"ms": 1000})));
            let [first, second, third] = calls;
            let refused = third.answer().await;
            assert_eq!((refused.code(), refused.reason()), (503, Some("pool_exhausted")), "{}", refused.raw);
            assert_eq!((first.answer().await.text(), second.answer().await.text()), ("late", "late"));
            after(seconds(20)).await;
            assert_eq!(proxy.instances("echo").len(), 0);
        }
    });
}

#[test]
fn calls_for_which_an_instance_starts_take_no_place_of_those_that_wait_for_a_busy_one() {
    play(async {
        let proxy = narrow(moody().into(), |server| {
            (server.queue.size, server.concurrency, server.recycle.idle) = (1, 4, seconds(5));
        })
        .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        after(seconds(20)).await;
        let calls: Vec<_> = (0..6).map(|_| caller.begin("late", json!({"ms": 1000}))).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.answer().await.reason().is_none());
        }
        assert_eq!(answers, [true, true, true, true, true, false]);
    });
}

#[test]
fn who_waits_has_one_deadline_whatever_is_started_meanwhile() {
    play(async {
        let proxy = narrow(moody().into(), |server| {
            (server.queue.timeout, server.timeout.start) = (seconds(12), seconds(10));
            server.breaker.failures = None;
        })
        .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let _busy = caller.begin("hang", json!({}));
        settled().await;
        let (clock, waiting) = (Instant::now(), caller.begin("ok", json!({})));
        after(seconds(11)).await;
        proxy.teach("echo", mute());
        proxy.process("echo", 0).crash().await;
        let refused = waiting.answer().await;
        assert_eq!((refused.code(), refused.reason()), (504, Some("queue_timeout")));
        assert!(clock.elapsed() < seconds(13), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_start_may_take_longer_than_the_patience_of_the_queue() {
    play(async {
        let slow = moody().on("initialize", |open, say| {
            let (open, say) = (open.value.clone(), say.clone());
            spawn_local(async move {
                after(seconds(5)).await;
                let revision = &open["params"]["protocolVersion"];
                let info = json!({"name": "slow", "version": "1"});
                let said = json!({"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": info});
                say.result(&Heard { value: open.clone() }, said);
            });
        });
        let proxy = narrow(moody().into(), |server| {
            (server.queue.timeout, server.recycle.idle) = (seconds(2), seconds(5));
        })
        .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        after(seconds(20)).await;
        proxy.teach("echo", slow.into());
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
    });
}
