//! What servers write to stderr, and what becomes of it.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::family::{Caller, place};
use crate::host::Host;

/// The log of a daemon whose server shouts its password, which `more` gives it.
async fn shouted(more: &str) -> String {
    let place = place("", more);
    let log = fs::File::create(place.home().join("log")).expect("a file");
    let mut daemon = place.mcpool(&["serve"]);
    daemon.env("PASSWORD", "hunter2hunter2");
    let mut daemon = daemon.stdout(Stdio::piped()).stderr(log).spawn().expect("it runs");
    let mut ready = String::new();
    let mut stdout = BufReader::new(daemon.stdout.take().expect("a pipe"));
    timeout(PATIENCE, stdout.read_line(&mut ready)).await.expect("not ready").expect("a line");
    let answer = Caller::new(&place).await.call("shout").await;
    assert!(answer["result"].is_object(), "{answer}");
    let pid = Pid::from_raw(daemon.id().expect("it runs").cast_signed()).expect("a pid");
    kill_process(pid, Signal::TERM).expect("told");
    assert!(timeout(PATIENCE, daemon.wait()).await.expect("it does not end").expect("it ended").success());
    fs::read_to_string(place.home().join("log")).expect("the log")
}

#[tokio::test]
async fn what_a_server_shouts_is_cut_counted_and_keeps_secrets() {
    let log = shouted("env: { PASSWORD: hunter2hunter2 }").await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("stderr=")).collect();
    assert!((100..400).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.contains("server=\"s\"") && line.contains("instance=1") && line.len() < 1300));
    assert!(lines[0].contains(r"line 0 \u{1b}[1m *** xxx") && lines[0].contains("[cut: "), "{}", lines[0]);
    assert!(log.contains("left_out=") && !log.contains("hunter2") && !log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn what_a_server_inherits_by_name_is_a_secret_too() {
    let log = shouted("inherit_env: [PASSWORD]").await;
    assert!(log.contains(r"line 0 \u{1b}[1m *** xxx") && !log.contains("hunter2"), "{log:.5000}");
}

#[tokio::test]
async fn a_host_that_does_not_read_the_log_keeps_nobody_waiting() {
    let place = place("", "");
    let mut host = Host::start_with(place.mcpool(&["serve", "--stdio", "s"]), Stdio::piped());
    host.open().await;
    // Each logs 100 KiB or more, which is more than a pipe holds.
    for _ in 0..3 {
        assert!(host.call("shout", json!({})).await["result"].is_object());
    }
    assert!(host.close().await.success());
}
