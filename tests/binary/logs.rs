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
