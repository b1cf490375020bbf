//! Servers that do not start, or not as they should.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::fault::{Fault, fault, server};
use crate::place::BAD_SERVER;

/// With a short time for the start.
fn impatient(words: &str) -> Fault {
    fault(words).set("timeout", json!({ "start": "700ms", "discover": "500ms", "stop": "200ms" }))
}

/// The caller is told that the server could not be started, and how its message goes on.
async fn refuses(fault: Fault, with: &str) {
    fault
        .check(async |scene| {
            let refused = scene.caller.opened.take().expect("nobody could introduce the server");
            assert_eq!(refused.failure(), (503, "start_failed"), "{}", refused.0);
            assert!(refused.message().contains(with), "{}", refused.message());
            assert!(refused.0["error"]["data"]["mcpool"]["retryAfterMs"].is_u64(), "{}", refused.0);
        })
        .await;
}

#[tokio::test]
async fn a_command_that_is_missing_is_named_and_found_when_it_is_there() {
    let command = std::env::temp_dir().join(format!("mcpool-missing-{:08x}", fastrand::u32(..)));
    server(json!({ "command": command }))
        .check(async |scene| {
            let refused = scene.caller.opened.take().expect("nobody could introduce the server");
            assert_eq!(refused.failure(), (503, "start_failed"));
            assert!(refused.message().contains(&command.display().to_string()), "{}", refused.message());
            symlink(&*BAD_SERVER, &command).expect("a link");
        })
        .await;
    std::fs::remove_file(command).expect("removed");
}

#[tokio::test]
async fn an_exit_at_once_is_told_with_what_stderr_said() {
    refuses(fault("exits-at-once"), "cannot open the database: permission denied").await;
}

#[tokio::test]
async fn a_server_that_hangs_before_its_handshake_is_given_up() {
    refuses(impatient("hangs-at-once"), "").await;
}

#[tokio::test]
async fn a_server_that_never_answers_its_handshake_is_given_up() {
    refuses(impatient("mute"), "").await;
}

#[tokio::test]
async fn a_modern_caller_learns_of_a_silent_server_too() {
    impatient("mute")
        .modern()
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", json!({})).await.failure(), (503, "start_failed"));
        })
        .await;
}

#[tokio::test]
async fn a_server_that_starts_slowly_is_waited_for() {
    fault("slow-to-start 800")
        .check(async |scene| {
            assert_eq!(scene.caller.call("echo", json!({})).await.text(), "{}");
            assert_eq!(scene.place.bad()["started"], 1);
        })
        .await;
}

#[tokio::test]
async fn eight_seconds_are_not_too_long_for_a_start() {
    let clock = Instant::now();
    let slow = fault("slow-to-start 8000").set("timeout", json!({ "start": "20s", "stop": "200ms" }));
    slow.check(async |scene| {
        assert!(clock.elapsed() >= Duration::from_secs(8));
        assert_eq!(scene.caller.call("echo", json!({})).await.text(), "{}");
        assert_eq!(scene.place.bad()["started"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_fails_to_start_is_not_started_for_everyone_who_comes() {
    fault("exits-at-once")
        .check(async |scene| {
            for _ in 0..20 {
                let late = Caller::legacy(&scene.place.socket("bad")).await;
                let refused = late.opened.expect("it does not start");
                assert!(matches!(refused.failure(), (503, "start_failed" | "breaker_open")), "{}", refused.0);
                assert!(refused.message().contains("permission denied"), "{}", refused.message());
            }
            let started = scene.place.bad()["started"].as_u64().expect("a number");
            assert!(started <= 6, "{started} starts");
        })
        .await;
}
