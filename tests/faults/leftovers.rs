//! Servers that stay, and what they leave behind.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::fault::{Fault, fault};
use crate::place::{Place, tell};
use crate::{eventually, within};

/// How long after the end of the daemon with SIGKILL something of it may live. Promised are two seconds, on a machine
/// that has nothing else to do.
const OUTLIVES: Duration = Duration::from_secs(6);

/// Those that it takes more than the end of their input to end.
const CLINGING: [&str; 4] = ["ignores-sigterm", "wrapped", "grandchild", "stray"];

/// One call is served, and `processes` are there then. That they go when nobody calls any more is true of every fault.
async fn has(fault: Fault, processes: usize) {
    fault
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", json!({})).await.text(), "{}");
            let all = || Some(scene.place.processes()).filter(|all| all.len() == processes + 1);
            eventually("its processes", all).await;
        })
        .await;
}

#[tokio::test]
async fn a_server_that_ignores_the_end_of_input_and_sigterm_is_killed_with_its_child() {
    has(fault("ignores-sigterm"), 2).await;
}

#[tokio::test]
async fn a_wrapper_is_ended_with_what_it_wraps() {
    has(fault("wrapped"), 2).await;
}

#[tokio::test]
async fn a_child_that_a_server_leaves_behind_is_ended() {
    has(fault("grandchild"), 2).await;
}

#[tokio::test]
async fn children_that_left_the_group_and_the_session_are_ended() {
    has(fault("stray"), 3).await;
}

/// A place with a daemon and a clinging server that has been used, and what runs there.
async fn used(words: &str) -> (Place, Vec<String>) {
    let place = Place::with_daemon(&fault(words).server);
    let mut caller = Caller::legacy(&place.socket("bad")).await;
    assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    let wanted = if words == "stray" { 3 } else { 2 };
    let all = eventually("its processes", || Some(place.processes()).filter(|all| all.len() == wanted)).await;
    (place, all)
}

#[tokio::test]
async fn a_daemon_that_is_told_to_end_takes_everything_along() {
    for words in CLINGING {
        let (place, _) = used(words).await;
        place.ends().await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_takes_everything_along() {
    for words in CLINGING {
        let (place, all) = used(words).await;
        let clock = Instant::now();
        tell(place.daemon(), Signal::KILL);
        let gone = within(OUTLIVES, || place.processes().is_empty().then_some(())).await;
        assert!(gone, "{words}: of {all:?} still there: {:?}", place.processes());
        println!("{words}: gone {:?} after the daemon was killed", clock.elapsed());
    }
}

#[tokio::test]
async fn a_server_that_grows_is_replaced_without_a_call_failing() {
    let recycle = json!({ "idle": "1s", "memory": "100MiB" });
    fault("grows 40")
        .with_a_fellow()
        .set("recycle", recycle)
        .check(async |scene| {
            let clock = Instant::now();
            let mut calls = 0;
            while scene.place.bad()["started"] == 1 {
                assert_eq!(scene.caller.call("bad", json!({})).await.text(), "{}");
                calls += 1;
                assert!(
                    calls < 10 && clock.elapsed() < crate::PATIENCE,
                    "it was never replaced: {}",
                    scene.place.bad()
                );
                let young = || within(Duration::from_secs(2), || (scene.place.bad()["started"] != 1).then_some(()));
                if calls >= 3 && young().await {
                    break;
                }
            }
            assert!(calls >= 2, "not before it had grown");
            eventually("the old one to be gone", || (scene.place.pids().len() == 1).then_some(())).await;
            let memory = || scene.place.bad()["memory"].as_u64().filter(|memory| *memory < 100 << 20);
            eventually("the memory to be free", memory).await;
        })
        .await;
}
