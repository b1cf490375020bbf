//! How many processes there are, how they start and end, and how calls wait for them.

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};

use crate::support::{after, legacy, mute, play, proxy, sampling, script, seconds, settled, unstartable};

const REVISION: &str = "2025-06-18";

#[test]
fn ten_cold_callers_cause_one_initialize() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let opened = (0..10).map(|_| proxy.legacy(REVISION).connect("echo"));
        let callers = futures(opened).await;
        let calls: Vec<_> = callers.iter().map(|caller| caller.begin("add", json!({"a": 1, "b": 2}))).collect();
        for call in &calls {
            assert_eq!(call.answer().await.text(), "3");
        }
        assert_eq!(proxy.started("echo"), 1);
        assert_eq!(proxy.got("echo", "initialize").len(), 1);
    });
}

/// Runs them all at once.
async fn futures<T: 'static>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in all.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[test]
fn the_sixth_caller_does_not_wait_in_silence() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| {
                server.lease = LeaseChoice::Session;
                server.instances.max = 5;
                server.queue.timeout = seconds(20);
            })
            .start()
            .await;
        let mut callers = Vec::new();
        for _ in 0..5 {
            let caller = proxy.legacy(REVISION).connect("echo").await;
            caller.instance().await;
            callers.push(caller);
        }
        let sixth = proxy.legacy(REVISION).connect("echo").await;
        let clock = tokio::time::Instant::now();
        let answer = sixth.call("whoami", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (504, Some("queue_timeout")));
        assert!(clock.elapsed() >= seconds(20) && clock.elapsed() < seconds(21), "after {:?}", clock.elapsed());
        callers.pop().expect("a caller").hang_up().await;
        assert_eq!(sixth.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_drops_nothing_that_waits() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max, server.queue.size) = (1, 1, 2))
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let calls: Vec<_> = (0..4).map(|_| caller.begin("slow", json!({"ms": 10}))).collect();
        let refused = calls[3].answer().await;
        assert_eq!((refused.code(), refused.reason()), (503, Some("pool_exhausted")));
        for call in &calls[..3] {
            assert_eq!(call.answer().await.text(), "slept 10 ms in 1 steps");
        }
    });
}

#[test]
fn a_busy_pool_grows_up_to_its_bound_and_no_further() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (2, 3))
            .start()
            .await;
        let callers = futures((0..10).map(|_| proxy.legacy(REVISION).connect("echo"))).await;
        let calls: Vec<_> = callers.iter().map(|caller| caller.begin("slow", json!({"ms": 1000}))).collect();
        settled().await;
        let in_flight: Vec<Value> =
            proxy.instances("echo").iter().map(|instance| instance["in_flight"].clone()).collect();
        assert_eq!(in_flight, [2, 2, 2]);
        assert_eq!(proxy.server("echo")["queue"], 4);
        for call in &calls {
            call.answer().await;
        }
        assert_eq!(proxy.started("echo"), 3);
    });
}

#[test]
fn a_caller_with_many_calls_waiting_delays_another_by_one() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (1, 1))
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("echo").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let many: Vec<_> = (0..100).map(|_| greedy.begin("slow", json!({"ms": 10}))).collect();
        settled().await;
        let clock = tokio::time::Instant::now();
        modest.begin("slow", json!({"ms": 10})).answer().await;
        assert!(clock.elapsed() <= std::time::Duration::from_millis(31), "it waited {:?}", clock.elapsed());
        for call in &many {
            call.answer().await;
        }
    });
}

#[test]
fn an_idle_process_is_stopped_and_the_next_call_starts_another_that_is_initialised() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).set(|server| server.recycle.idle = seconds(60)).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("echo", json!({})).await;
        after(seconds(59)).await;
        assert_eq!(proxy.instances("echo").len(), 1);
        after(seconds(10)).await;
        assert_eq!(proxy.instances("echo").len(), 0);
        let told = caller.call("whoami", json!({})).await.json();
        assert_eq!((&told["instance"], &told["initializes"]), (&json!("echo-1"), &json!(1)));
        assert_eq!(proxy.process("echo", 1).got("notifications/initialized").len(), 1);
    });
}

#[test]
fn as_many_as_configured_stay_though_nobody_calls() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.instances.min = 1).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("echo", json!({})).await;
        after(seconds(3600)).await;
        assert_eq!((proxy.instances("echo").len(), proxy.started("echo")), (1, 1));
    });
}

#[test]
fn a_restarted_server_is_initialised_again() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        caller.call("echo", json!({})).await;
        proxy.process("echo", 0).crash().await;
        let told = caller.call("whoami", json!({})).await.json();
        assert_eq!((&told["instance"], &told["initializes"]), (&json!("echo-1"), &json!(1)));
        assert_eq!(told["capabilities"], sampling());
        assert_eq!(proxy.process("echo", 1).got("notifications/initialized").len(), 1);
    });
}

#[test]
fn a_server_that_cannot_be_started_says_why_and_when_to_try_again() {
    play(async {
        let proxy = proxy().server("broken", unstartable()).start().await;
        let (caller, answer) = proxy.legacy(REVISION).open("broken").await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.code(), answer.reason()), (503, Some("start_failed")));
        assert!(answer.message().contains("no such command"), "{}", answer.raw);
        assert!(answer.value["error"]["data"]["mcpool"]["retryAfterMs"].is_u64(), "{}", answer.raw);
        let again = caller.ask("initialize", json!({"protocolVersion": REVISION, "capabilities": {}})).await;
        assert_eq!(again.reason(), Some("start_failed"));
    });
}

#[test]
fn a_server_that_never_opens_is_given_up_in_time() {
    play(async {
        let proxy = proxy().server("mute", mute()).set(|server| server.timeout.start = seconds(15)).start().await;
        let clock = tokio::time::Instant::now();
        let (_caller, answer) = proxy.legacy(REVISION).open("mute").await;
        assert_eq!(answer.expect("an answer").reason(), Some("start_failed"));
        // Silence may mean that it is of the other era, so that is tried too.
        assert!(clock.elapsed() >= seconds(15) && clock.elapsed() < seconds(25), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_broken_server_harms_no_other() {
    play(async {
        let proxy =
            proxy().server("mute", mute()).server("broken", unstartable()).server("echo", legacy(|_| {})).start().await;
        let stuck = proxy.dial("mute");
        stuck.request("initialize", json!({"protocolVersion": REVISION, "capabilities": {}}));
        let clock = tokio::time::Instant::now();
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_caller_may_have_so_many_calls_in_flight_and_the_others_do_not_feel_it() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).into())
            .config(|config| config.limits.in_flight = 3)
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("quiet").await;
        let calls: Vec<_> = (0..4).map(|_| greedy.begin("x", json!({}))).collect();
        let refused = calls[3].answer().await;
        assert_eq!((refused.code(), refused.reason()), (429, Some("caller_overloaded")));
        calls[0].cancel();
        settled().await;
        greedy.begin("x", json!({}));
        greedy.hears_nothing().await;
    });
}
