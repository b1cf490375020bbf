//! Servers that say what they should not, or not as they should.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::eventually;
use crate::fault::fault;
use crate::place::tell;

fn asked() -> Value {
    json!({ "what": "to answer" })
}

fn answered() -> String {
    asked().to_string()
}

#[tokio::test]
async fn garbage_before_and_between_messages_is_dropped() {
    fault("garbage")
        .with_a_fellow()
        .check(async |scene| {
            for _ in 0..3 {
                assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            }
            assert!(scene.place.dropped("malformed") >= 6 * 7, "{}", scene.place.status()["counters"]);
            assert_eq!(scene.place.bad()["started"], 1);
        })
        .await;
}

#[tokio::test]
async fn a_result_of_32_mib_becomes_an_error_and_its_server_goes_on() {
    fault("large 32")
        .set("timeout", json!({ "start": "10s", "call": "60s", "stop": "200ms" }))
        .with_a_fellow()
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.failure(), (413, "too_large"));
            assert_eq!(scene.caller.call("echo", asked()).await.text(), answered());
            assert_eq!(scene.place.bad()["started"], 1);
        })
        .await;
}

#[tokio::test]
async fn a_flood_of_notifications_drowns_nobody() {
    fault("floods 20000")
        .with_a_fellow()
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            assert!(scene.place.dropped("progress_unwanted") >= 5000, "{}", scene.place.status()["counters"]);
        })
        .await;
}

#[tokio::test]
async fn a_flood_on_stderr_is_read_and_costs_nobody_anything() {
    fault("floods-stderr 20000")
        .with_a_fellow()
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            assert_eq!(scene.caller.call("echo", asked()).await.text(), answered());
        })
        .await;
}

#[tokio::test]
async fn a_second_answer_is_dropped() {
    fault("answers-twice")
        .with_a_fellow()
        .check(async |scene| {
            for _ in 0..5 {
                assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            }
            scene.caller.is_even().await;
            eventually("it to be counted", || (scene.place.dropped("unknown_id") == 5).then_some(())).await;
        })
        .await;
}

#[tokio::test]
async fn an_answer_to_nothing_goes_to_nobody() {
    for modern in [false, true] {
        let fault = fault("unknown-id").with_a_fellow();
        let fault = if modern { fault.modern() } else { fault };
        fault
            .check(async |scene| {
                assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
                assert!(scene.caller.heard_so_far().await.is_empty());
                // `null` is no id that an answer could have.
                assert_eq!((scene.place.dropped("unknown_id"), scene.place.dropped("malformed")), (4, 1));
            })
            .await;
    }
}

#[tokio::test]
async fn answers_out_of_order_find_their_calls() {
    fault("out-of-order 20")
        .with_a_fellow()
        .check(async |scene| {
            let mut calls = Vec::new();
            for _ in 0..20 {
                calls.push(scene.caller.begin("bad", json!({})).await);
            }
            for (place, call) in calls.into_iter().enumerate() {
                assert_eq!(scene.caller.answer(call).await.text(), place.to_string());
            }
        })
        .await;
}

/// How many tools a caller is shown.
async fn tools(caller: &mut Caller) -> usize {
    let list = caller.request("tools/list", json!({})).await;
    caller.answer(list).await.0["result"]["tools"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn lists_that_change_are_told_of_and_listed_anew() {
    fault("changes-lists")
        .with_a_fellow()
        .tells_all(&["notifications/tools/list_changed"])
        .check(async |scene| {
            assert_eq!(tools(&mut scene.caller).await, 4);
            for expected in [5, 4] {
                assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
                scene.caller.heard("notifications/tools/list_changed").await;
                assert_eq!(tools(&mut scene.caller).await, expected);
            }
        })
        .await;
}

#[tokio::test]
async fn lists_that_differ_in_a_new_process_are_told_of_too() {
    fault("changes-lists")
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            scene.caller.heard("notifications/tools/list_changed").await;
            assert_eq!(tools(&mut scene.caller).await, 5);
            scene.place.pids().into_iter().for_each(|pid| tell(pid, Signal::KILL));
            eventually("its end to be seen", || scene.place.pids().is_empty().then_some(())).await;
            assert_eq!(scene.caller.call("echo", asked()).await.text(), answered());
            scene.caller.heard("notifications/tools/list_changed").await;
            assert_eq!(tools(&mut scene.caller).await, 4);
        })
        .await;
}

#[tokio::test]
async fn questions_to_nobody_are_refused() {
    fault("asks-nobody")
        .check(async |scene| {
            // A server that only ever had one client means that one.
            let mut another = Caller::legacy(&scene.place.socket("bad")).await;
            assert_eq!(another.call("echo", asked()).await.text(), answered());
            drop(another);
            assert_eq!(scene.caller.call("bad", asked()).await.text(), answered());
            // What it is told is written before the call.
            assert_eq!(scene.caller.call("refused", json!({})).await.text(), "3");
            assert!(scene.caller.heard_so_far().await.is_empty());
        })
        .await;
}
