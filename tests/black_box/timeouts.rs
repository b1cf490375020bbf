//! Nothing takes for ever: what runs out of time is answered, and an instance that lets everything run out of time is
//! not used any more.

use mcpool::config::Server;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Behaviour, Caller, Proxy, after, legacy, moody, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

async fn echo(set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        server.timeout.call = seconds(5);
        server.breaker.failures = None;
        set(server);
    };
    proxy().server("echo", legacy(|_| {})).set(set).start().await
}

async fn runs_out_of_time(caller: &Caller) {
    assert_eq!(caller.call("forget", json!({})).await.reason(), Some("call_timeout"));
}

/// A server that answers calls, if it likes, and nothing that only asks whether it is there.
fn quiet() -> Behaviour {
    moody().on("ping", |_, _| {}).on("tools/list", |_, _| {}).into()
}

#[test]
fn an_instance_that_answers_none_of_three_calls_is_replaced() {
    play(async {
        let proxy = echo(|_| {}).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        for _ in 0..3 {
            assert_eq!(caller.instance().await, "echo-0");
        }
        for _ in 0..3 {
            runs_out_of_time(&caller).await;
        }
        settled().await;
        assert_eq!(proxy.instances("echo").len(), 0);
        assert_eq!(caller.instance().await, "echo-1");
    });
}

#[test]
fn an_instance_is_asked_when_a_call_ran_out_of_time() {
    play(async {
        let proxy = proxy().server("x", quiet()).set(|server| server.timeout.call = seconds(5)).start().await;
        let (a, b) = (proxy.legacy(REVISION).connect("x").await, proxy.legacy(REVISION).connect("x").await);
        assert_eq!(b.call("ok", json!({})).await.text(), "ok");
        for missed in 1..=2 {
            assert_eq!(a.call("hang", json!({})).await.reason(), Some("call_timeout"));
            after(seconds(11)).await;
            assert_eq!(proxy.instances("x")[0]["missed"], missed);
        }
        assert_eq!(a.call("hang", json!({})).await.reason(), Some("call_timeout"));
        after(seconds(11)).await;
        assert_eq!(b.call("ok", json!({})).await.text(), "ok");
        assert_eq!(proxy.started("x"), 2);
    });
}

#[test]
fn one_client_ends_no_instance_for_others_however_many_of_its_calls_run_out_of_time() {
    play(async {
        let proxy = echo(|_| {}).await;
        let (greedy, modest) =
            (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        for _ in 0..10 {
            runs_out_of_time(&greedy).await;
            assert_eq!(modest.instance().await, "echo-0");
        }
    });
}

#[test]
fn without_a_word_in_the_config_a_call_has_five_minutes_and_with_progress_an_hour() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let four = caller.begin("slow", json!({"ms": 240_000}));
        assert_eq!(four.answer().await.text(), "slept 240000 ms in 1 steps");
        let clock = Instant::now();
        assert_eq!(caller.call("forget", json!({})).await.reason(), Some("call_timeout"));
        assert_eq!(clock.elapsed().as_secs(), 300);
        let fifty = caller.begin_telling(json!(1), "slow", json!({"ms": 3_000_000, "steps": 50}));
        assert_eq!(fifty.answer().await.text(), "slept 3000000 ms in 50 steps");
    });
}

#[test]
fn one_that_answers_now_and_then_is_kept() {
    play(async {
        let proxy = echo(|_| {}).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        for _ in 0..4 {
            runs_out_of_time(&caller).await;
            runs_out_of_time(&caller).await;
            assert_eq!(caller.instance().await, "echo-0");
        }
    });
}

#[test]
fn what_runs_on_an_instance_that_says_nothing_comes_to_its_end_and_then_it_goes_on() {
    play(async {
        let proxy = proxy()
            .server("x", quiet())
            .set(|server| {
                server.timeout.call = seconds(60);
                (server.probe.every, server.probe.failures) = (Some(seconds(10)), 2);
            })
            .start()
            .await;
        let (patient, other) = (proxy.legacy(REVISION).connect("x").await, proxy.legacy(REVISION).connect("x").await);
        let slow = patient.begin("late", json!({"ms": 50_000}));
        after(seconds(40)).await;
        assert_eq!(proxy.instances("x")[0]["state"], "draining");
        assert_eq!(other.call("ok", json!({})).await.text(), "ok");
        assert_eq!((proxy.started("x"), proxy.got("x", "tools/call").len()), (2, 2));
        assert_eq!(slow.answer().await.text(), "late");
        settled().await;
        assert_eq!(proxy.instances("x").iter().filter(|one| one["state"] == "ready").count(), 2);
        assert_eq!(proxy.server("x")["breaker"]["state"], "closed");
    });
}

#[test]
fn an_answer_that_comes_after_the_time_is_over_is_swallowed() {
    play(async {
        let late = script().on("notifications/cancelled", |cancel, say| {
            let id = &cancel.value["params"]["requestId"];
            say.line(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string());
        });
        let proxy = proxy().server("late", late.into()).set(|server| server.timeout.call = seconds(5)).start().await;
        let caller = proxy.legacy(REVISION).connect("late").await;
        assert_eq!(caller.call("x", json!({})).await.reason(), Some("call_timeout"));
        caller.hears_nothing().await;
        assert_eq!((proxy.dropped("late_answer"), proxy.dropped("unknown_id")), (1, 0));
    });
}

#[test]
fn an_answer_that_is_there_already_is_read_before_a_time_out_is_believed() {
    play(async {
        let silent = || script().on("tools/call", |_, _| {});
        let proxy = proxy().server("x", silent().into()).set(|server| server.timeout.call = seconds(5)).start().await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        let call = caller.begin("x", json!({}));
        settled().await;
        let id = proxy.got("x", "tools/call")[0]["id"].clone();
        proxy.process("x", 0).say(
            &json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "there"}]}})
                .to_string(),
        );
        // mcpool is stopped before it reads that, and goes on when the time is long over.
        tokio::time::advance(seconds(60)).await;
        assert_eq!(call.answer().await.text(), "there");
        let hangs = caller.begin("x", json!({}));
        settled().await;
        tokio::time::advance(seconds(60)).await;
        assert_eq!(hangs.answer().await.reason(), Some("call_timeout"));
    });
}

#[test]
fn progress_gives_a_call_more_time_but_not_without_end() {
    play(async {
        let proxy = echo(|server| server.timeout.max = seconds(12)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let silent = caller.begin("slow", json!({"ms": 10_000, "steps": 10})).answer().await;
        assert_eq!(silent.reason(), Some("call_timeout"), "without a token there is no progress");
        assert!(
            silent.message().contains("within 5s") && silent.message().contains("`timeout.call` is 5s"),
            "{}",
            silent.raw
        );
        let slow = caller.begin_telling(json!(1), "slow", json!({"ms": 10_000, "steps": 10}));
        assert_eq!(slow.answer().await.text(), "slept 10000 ms in 10 steps");
        let clock = Instant::now();
        let endless = caller.begin_telling(json!(2), "slow", json!({"ms": 60_000, "steps": 60})).answer().await;
        assert_eq!(endless.reason(), Some("call_timeout"));
        assert!(
            endless.message().contains("within 12s") && endless.message().contains("`timeout.max` is 12s"),
            "{}",
            endless.raw
        );
        assert!(clock.elapsed() >= seconds(12) && clock.elapsed() < seconds(13), "after {:?}", clock.elapsed());
        settled().await;
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 2);
    });
}

#[test]
fn a_wait_in_the_queue_is_not_charged_to_the_call() {
    play(async {
        let proxy = echo(|server| (server.concurrency, server.instances.max) = (1, 1)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let calls = [(); 4].map(|()| caller.begin("slow", json!({"ms": 4000})));
        let clock = Instant::now();
        for call in calls {
            assert_eq!(call.answer().await.text(), "slept 4000 ms in 1 steps");
        }
        assert!(clock.elapsed() >= seconds(16), "after {:?}", clock.elapsed());
        after(seconds(10)).await;
        caller.hears_nothing().await;
    });
}

#[test]
fn an_instance_that_is_given_up_gets_none_of_those_that_wait() {
    play(async {
        let proxy = echo(|server| {
            (server.instances.max, server.concurrency) = (1, 1);
            server.probe.failures = 1;
        })
        .await;
        let (silent, waiting) =
            (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        let lost = silent.begin("forget", json!({}));
        settled().await;
        assert_eq!(waiting.instance().await, "echo-1");
        assert_eq!(lost.answer().await.reason(), Some("call_timeout"));
    });
}

#[test]
fn an_instance_that_answers_only_when_it_is_asked_is_replaced_if_all_who_use_it_wait_in_vain() {
    play(async {
        let proxy = echo(|_| {}).await;
        let (a, b) = (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        assert_eq!((a.instance().await, b.instance().await), ("echo-0".to_owned(), "echo-0".to_owned()));
        for one in [&a, &b, &a] {
            runs_out_of_time(one).await;
        }
        assert_eq!(b.instance().await, "echo-1");
    });
}

#[test]
fn a_call_that_is_sent_again_has_no_more_time_than_once() {
    play(async {
        let proxy = proxy()
            .server("x", moody().into())
            .set(|server| {
                (server.timeout.call, server.timeout.max) = (seconds(10), seconds(10));
                server.retry.tools = crate::retries::safe_tools(&["hang"]);
            })
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        let clock = Instant::now();
        let call = caller.begin("hang", json!({}));
        after(seconds(8)).await;
        proxy.process("x", 0).crash().await;
        assert_eq!(call.answer().await.reason(), Some("call_timeout"));
        assert_eq!(proxy.got("x", "tools/call").len(), 2);
        assert!(clock.elapsed() < seconds(11), "after {:?}", clock.elapsed());
    });
}
