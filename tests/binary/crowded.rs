//! A daemon with few descriptors and many who want some.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use crate::daemon::Place;
use crate::family::{Caller, serving};

const PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":\"mine\",\"method\":\"ping\"}\n";

/// A daemon with so many descriptors at most, and its log.
async fn limited(place: &Place, limit: u32) -> crate::daemon::Daemon {
    let log = place.home().join("log");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\" 2>\"$LOG\""), "sh", env!("CARGO_BIN_EXE_mcpool")]);
    shell.args(["serve", "--config"]).arg(place.config()).env("HOME", place.home()).env("LOG", log).kill_on_drop(true);
    place.ready(shell.stdin(Stdio::null())).await
}

pub fn connected(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("a socket");
    // Of a crowd that says nothing each one's turn to be refused takes a moment.
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    stream
}

#[tokio::test]
async fn a_crowd_keeps_neither_the_owner_nor_instances_out_and_each_of_it_is_told_so() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py");
    let place = serving(&format!("command: python3\n    args: [{script:?}]"));
    let _daemon = limited(&place, 64).await;
    let mut before = Caller::new(&place).await;
    let mut crowd: Vec<UnixStream> = (0..200).map(|_| connected(&place.socket("s"))).collect();
    // The last of them asks something, and is answered.
    let refused = crowd.last_mut().expect("a crowd");
    refused.write_all(PING).expect("written");
    let mut line = String::new();
    BufReader::new(&mut *refused).read_line(&mut line).expect("a line");
    let answer: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(answer["error"]["data"]["mcpool"]["reason"], "too_many_callers", "{answer}");
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("mine"), &json!(503)), "{answer}");
    let mut rest = String::new();
    assert_eq!(refused.read_to_string(&mut rest).unwrap_or(0), 0, "and let go");

    let status = place.status().await;
    let descriptors = &status["descriptors"];
    // The last tenth is for others than the crowd.
    let room = descriptors["room"].as_u64().expect("a number");
    let taken = (descriptors["limit"].as_u64(), descriptors["callers"].as_u64());
    assert_eq!(taken, (Some(64), Some(room - room / 10)), "{descriptors}");
    assert!(status["counters"]["callers_refused"].as_u64() > Some(100), "{}", status["counters"]);
    // There is room to start the server, which nobody had called yet.
    assert_eq!(before.family().await.len(), 1);
    let log = fs::read_to_string(place.home().join("log")).expect("a log");
    let said = log.lines().filter(|line| line.contains("room for more callers")).count();
    assert_eq!(said, 1, "once a minute:\n{log}");
    drop(crowd);
    place.until(|status| status["descriptors"]["callers"] == 1).await;
    assert_eq!(Caller::new(&place).await.family().await.len(), 1, "served again");
}

#[tokio::test]
async fn silent_ones_on_the_admin_socket_keep_nobody_from_asking() {
    let place = Place::new();
    let _daemon = limited(&place, 100).await;
    let _silent: Vec<UnixStream> = (0..30).map(|_| connected(&place.socket("admin"))).collect();
    let since = Instant::now();
    assert!(place.status().await["pid"].is_u64());
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
}
