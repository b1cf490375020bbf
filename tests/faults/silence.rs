//! Servers that say nothing where they should.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::Caller;
use crate::fault::{Fault, fault};
use crate::place::Place;
use crate::{eventually, within};

fn asked() -> Value {
    json!({ "what": "to answer" })
}

/// With a short time for calls.
fn impatient(words: &str) -> Fault {
    fault(words).set("timeout", json!({ "call": "500ms", "stop": "200ms" })).set("probe", json!({ "failures": 3 }))
}

#[tokio::test]
async fn half_a_line_and_then_silence_costs_the_calls_and_then_the_instance() {
    impatient("half-a-line")
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.failure(), (504, "call_timeout"));
            let [stuck] = scene.place.pids()[..] else { panic!("one instance: {}", scene.place.bad()) };
            for _ in 0..2 {
                assert_eq!(scene.caller.call("echo", asked()).await.failure(), (504, "call_timeout"));
            }
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
            eventually("it to be replaced", || (!scene.place.pids().contains(&stuck)).then_some(())).await;
        })
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_in_a_call_is_replaced_by_its_failed_probes() {
    let probe = json!({ "every": "100ms", "timeout": "100ms", "failures": 3 });
    impatient("hangs")
        .set("probe", probe)
        .set("recycle", json!({ "idle": "6s" }))
        .check(async |scene| {
            assert_eq!(scene.caller.call("bad", asked()).await.failure(), (504, "call_timeout"));
            // Long before it would be stopped for being idle.
            let given_up = within(Duration::from_secs(5), || scene.place.pids().is_empty().then_some(())).await;
            assert!(given_up, "{}", scene.place.bad());
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
        })
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_is_found_out_though_nothing_else_happens() {
    let config = impatient("hangs").set("probe", json!({ "every": "200ms", "timeout": "100ms", "failures": 3 }));
    let place = Place::with_daemon(&config.set("recycle", json!({ "idle": "1h" })).server);
    let mut caller = Caller::legacy(&place.socket("bad")).await;
    assert_eq!(caller.call("bad", asked()).await.failure(), (504, "call_timeout"));
    let given_up = within(Duration::from_secs(6), || place.pids().is_empty().then_some(())).await;
    assert!(given_up, "{}", place.bad());
    place.ends().await;
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_and_harms_no_other() {
    impatient("none")
        .with_a_fellow()
        .check(async |scene| {
            for _ in 0..4 {
                let clock = Instant::now();
                assert_eq!(scene.caller.call("hold", asked()).await.failure(), (504, "call_timeout"));
                assert!(clock.elapsed() >= Duration::from_millis(500), "not before its time");
            }
            assert_eq!(scene.place.bad()["started"], 1, "it answers others");
        })
        .await;
}

#[tokio::test]
async fn a_server_that_ignores_ping_is_believed_to_live_if_it_lists() {
    let probe = json!({ "every": "100ms", "timeout": "200ms", "failures": 2 });
    fault("ignores-ping")
        .set("probe", probe)
        .set("recycle", json!({ "idle": "4s" }))
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
            let before = scene.place.pids();
            eventually("some probes", || {
                let bad = scene.place.bad();
                assert_eq!(bad["probes"]["missed"], 0, "{bad}");
                let answered = ["answered", "confirmed"].map(|outcome| bad["probes"][outcome].as_u64().unwrap_or(0));
                Some(answered.iter().sum::<u64>()).filter(|sent| *sent >= 6)
            })
            .await;
            assert_eq!(scene.place.pids(), before);
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
        })
        .await;
}

#[tokio::test]
async fn silence_on_discover_means_a_legacy_server() {
    fault("silent-on-discover")
        .modern()
        .set("timeout", json!({ "discover": "500ms", "stop": "200ms" }))
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
            assert_eq!(scene.place.bad()["eras"], json!(["legacy"]));
        })
        .await;
}
