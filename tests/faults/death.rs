//! Servers that end while they are needed.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fault::{Scene, fault};
use crate::place::tell;

fn asked() -> Value {
    json!({ "what": "to answer" })
}

/// The call that ends the server is answered long before its time is up, and so is another that was there.
async fn a_call_ends_the_server(scene: &mut Scene) {
    let held = scene.caller.begin("hold", json!({})).await;
    let clock = Instant::now();
    assert_eq!(scene.caller.call("bad", asked()).await.failure(), (502, "server_died"));
    assert_eq!(scene.caller.answer(held).await.failure(), (502, "server_died"));
    assert!(clock.elapsed() < Duration::from_secs(5), "only after {:?}", clock.elapsed());
    assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
}

#[tokio::test]
async fn a_server_that_kills_itself_in_a_call_costs_what_was_in_flight() {
    fault("kills-itself").check(a_call_ends_the_server).await;
}

#[tokio::test]
async fn a_dead_server_is_noticed_though_its_child_holds_its_stdout() {
    fault("grandchild").check(a_call_ends_the_server).await;
}

#[tokio::test]
async fn a_server_that_closes_its_stdout_is_of_no_use_any_more() {
    fault("closes-stdout").check(a_call_ends_the_server).await;
}

#[tokio::test]
async fn a_modern_caller_is_told_of_a_death_in_the_same_way() {
    fault("kills-itself").modern().check(a_call_ends_the_server).await;
}

#[tokio::test]
async fn a_call_that_is_safe_to_repeat_outlives_its_server() {
    fault("kills-itself")
        .set("retry", json!({ "tools": ["bad"] }))
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
            scene.place.gets_well();
            assert_eq!(scene.caller.call("bad", asked()).await.text(), asked().to_string());
            assert_eq!(scene.place.bad()["retries"], 1);
        })
        .await;
}

#[tokio::test]
async fn a_server_that_exits_after_every_third_call_loses_at_most_the_fourth() {
    fault("exits-after 3")
        .check(async |scene| {
            let mut served = 0;
            for _ in 0..12 {
                let answer = scene.caller.call("echo", asked()).await;
                match answer.0["error"].is_null() {
                    true => served += 1,
                    false => assert_eq!(answer.failure(), (502, "server_died"), "{}", answer.0),
                }
            }
            assert!(served >= 9, "{served} of 12");
        })
        .await;
}

#[tokio::test]
async fn an_idle_server_that_is_killed_costs_no_call() {
    fault("none")
        .check(async |scene| {
            for _ in 0..3 {
                assert_eq!(scene.caller.call("echo", asked()).await.text(), asked().to_string());
                let pids = scene.place.pids();
                pids.iter().for_each(|pid| tell(*pid, Signal::KILL));
                crate::eventually("its end to be seen", || (scene.place.pids() != pids).then_some(())).await;
            }
        })
        .await;
}
