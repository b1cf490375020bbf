//! The log of a daemon that `connect` starts, and `mcpool logs`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::daemon::Place;
use crate::family::place;
use crate::said::run;

async fn logs(place: &Place, args: &[&str]) -> String {
    let said = run(place.mcpool(&[&["logs"], args].concat())).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

#[tokio::test]
async fn the_log_tells_of_the_daemon_before_too() {
    let place = place("", "");
    let none = place.mcpool(&["logs"]).output().await.expect("it runs");
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("there is no"));
    let mut host = place.connect("s");
    host.open().await;
    let first = place.status().await["pid"].clone();
    place.kill().await;
    host.call("family", json!({})).await;
    let second = place.status().await["pid"].clone();
    let told = logs(&place, &[]).await;
    let begins: Vec<&str> = told.lines().filter(|line| line.contains("listening")).collect();
    assert_eq!(begins.len(), 2, "{told}");
    assert!(begins[0].contains(&format!("pid={first}")) && begins[1].contains(&format!("pid={second}")), "{told}");
    assert_eq!(logs(&place, &["-n", "1"]).await.lines().count(), 1);
    let path = logs(&place, &["--path"]).await;
    assert_eq!(path.trim_end(), place.sockets().join("daemon.log").to_str().expect("UTF-8"));
}

#[tokio::test]
async fn the_log_says_which_process_of_which_user_a_caller_is_and_where_it_came_in() {
    let place = place("", "");
    let mut command = place.mcpool(&["connect", "s"]);
    command.env("MCPOOL_LOG", "debug");
    let mut host = crate::host::Host::start(command);
    host.open().await;
    host.call("family", json!({})).await;
    let caller = place.status().await["callers"][0].clone();
    let told = logs(&place, &[]).await;
    let came: Vec<&str> = told.lines().filter(|line| line.contains("a caller came")).collect();
    let user = rustix::process::getuid().as_raw();
    let all =
        [format!("pid={}", caller["pid"]), format!("uid={user}"), "endpoint=\"s\"".to_owned(), "caller=".to_owned()];
    assert!(came.iter().any(|line| all.iter().all(|part| line.contains(part))), "{all:?} in {told}");
}

#[tokio::test]
async fn what_two_servers_both_have_is_told_once_with_whose_is_not_shown() {
    let place = Place::new();
    let binary = env!("CARGO_BIN_EXE_mcpool");
    place.edit("  new:\n", &format!("  twin:\n    command: {binary:?}\n    args: [demo-server, legacy]\n  new:\n"));
    let mut host = place.connect("all");
    host.open().await;
    for id in 1..3 {
        host.request(json!(id), "resources/list", json!({}));
        while host.line().await["id"] != id {}
    }
    let told = logs(&place, &[]).await;
    let collisions: Vec<&str> = told.lines().filter(|line| line.contains("an earlier one has it")).collect();
    let one =
        |uri: &str| collisions.iter().filter(|line| line.contains("server=\"twin\"") && line.contains(uri)).count();
    assert_eq!((one("uri=\"demo://note/1\""), collisions.is_empty()), (1, false), "{told}");
}

#[tokio::test]
async fn a_log_that_has_become_long_is_turned_and_followed() {
    let place = place("", "");
    let mut host = place.connect("s");
    host.open().await;
    let mut follow = place.mcpool(&["logs", "-f", "-n", "1"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let log = place.sockets().join("daemon.log");
    timeout(PATIENCE, lines.next_line()).await.expect("nothing is shown").expect("read").expect("a line");
    let much = format!("{}\n", "x".repeat((1 << 20) - 1)).repeat(10);
    fs::OpenOptions::new().append(true).open(&log).expect("a log").write_all(much.as_bytes()).expect("a long one");
    host.call("shout", json!({})).await;
    let found = async {
        loop {
            let line = lines.next_line().await.expect("read").expect("it goes on");
            if line.contains("stderr=") {
                return;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("what comes is not shown");
    let (long, old) =
        (fs::metadata(&log).expect("a log"), fs::metadata(log.with_extension("log.1")).expect("an old one"));
    assert!(long.len() < 10 << 20 && old.len() >= 10 << 20, "{} {}", long.len(), old.len());
    follow.kill().await.expect("it ends");
}
