//! No process of a server outlives its instance, nor the daemon, however either of them ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::PATIENCE;
use crate::family::{Caller, place, serving};

/// How long anything may be there after `kill -9` of the daemon: what the manual promises.
const PROMISED: Duration = Duration::from_secs(2);

/// Every way of leaving something behind.
const HABITS: [&str; 8] =
    ["", "child", "left", "lost", "bare", "deaf", "child left lost deaf", "child left lost bare deaf"];

/// What `/proc/PID/stat` says of a process: its state and its parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn children(of: u32) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == of)).collect()
}

pub fn warden(daemon: u32) -> Option<u32> {
    let is_warden = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("mcpool\0warden\0"))
    };
    children(daemon).into_iter().find(is_warden)
}

pub async fn until(patience: Duration, what: &str, is: impl Fn() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    let wait = async {
        while !is() {
            ticks.tick().await;
        }
    };
    timeout(patience, wait).await.unwrap_or_else(|_| panic!("not within {patience:?}: {what}"));
}

async fn gone(patience: Duration, family: &[u32], whose: &str) {
    until(patience, &format!("the end of {family:?} of {whose:?}"), || !family.iter().any(|pid| lives(*pid))).await;
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a pid"), Signal::KILL).expect("killed");
}

#[tokio::test]
async fn nothing_is_alive_two_seconds_after_the_daemon_was_killed() {
    for habits in HABITS {
        let place = place(habits, "");
        let daemon = place.serve().await;
        let mut family = Caller::new(&place).await.family().await;
        assert_eq!(family.len(), 1 + habits.split_whitespace().filter(|habit| *habit != "deaf").count());
        family.extend(warden(daemon.pid()));
        assert!(family.iter().all(|pid| lives(*pid)), "{family:?} of {habits:?}");
        daemon.kill().await;
        gone(PROMISED, &family, habits).await;
    }
}

#[tokio::test]
async fn nothing_is_alive_after_the_daemon_was_told_to_end() {
    for habits in HABITS {
        let place = place(habits, "");
        let mut daemon = place.serve().await;
        let mut family = Caller::new(&place).await.family().await;
        let warden = warden(daemon.pid()).expect("a warden");
        assert!(daemon.terminate().await.success());
        let left: Vec<u32> = family.iter().copied().filter(|pid| lives(*pid)).collect();
        assert_eq!(left, [0; 0], "of {habits:?}, after the daemon said that it has ended");
        family.push(warden);
        gone(PROMISED, &family, habits).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_takes_its_family_with_it() {
    for habits in HABITS {
        let place = place(habits, "");
        let daemon = place.serve().await;
        let mut caller = Caller::new(&place).await;
        let family = caller.family().await;
        // Whatever holds its stdout keeps nobody waiting.
        assert_eq!(caller.call("die").await["error"]["code"], 502, "{habits:?}");
        gone(PATIENCE, &family, habits).await;
        assert_ne!(caller.family().await, family, "another has taken its place");
        no_zombies(daemon.pid()).await;
    }
}

#[tokio::test]
async fn one_servers_orphans_are_not_anothers() {
    let place = place("lost bare", "lease: session");
    let _daemon = place.serve().await;
    let (mut first, mut second) = (Caller::new(&place).await, Caller::new(&place).await);
    let (ended, lives_on) = (first.family().await, second.family().await);
    first.call("die").await;
    gone(PATIENCE, &ended, "the first").await;
    assert!(lives_on.iter().all(|pid| lives(*pid)));
    second.call("die").await;
    gone(PATIENCE, &lives_on, "the second").await;
}

#[tokio::test]
async fn wrappers_end_with_what_they_wrap() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py");
    let wrapped = format!("sh -c 'python3 {} child; true'; true", script.display());
    for killed in [true, false] {
        let place = serving(&format!("command: sh\n    args: {}", json!(["-c", wrapped])));
        let mut daemon = place.serve().await;
        let mut family = Caller::new(&place).await.family().await;
        let servers = place.servers().await;
        assert!(servers.len() == 1 && !family.contains(&servers[0]), "the wrapper is the server's first process");
        let instance = place.status().await["servers"][0]["instances"][0].clone();
        assert_eq!(instance["process_tree"], 4, "sh, sh, python3, sleep: {instance}");
        family.extend(servers);
        if killed {
            daemon.kill().await;
        } else {
            assert!(daemon.terminate().await.success());
        }
        gone(PROMISED, &family, "the wrapper").await;
    }
}

#[tokio::test]
async fn memory_is_that_of_the_whole_family_wherever_it_went() {
    let place = place("child left lost", "");
    let _daemon = place.serve().await;
    let mut caller = Caller::new(&place).await;
    let family = caller.family().await;
    let instance = place.status().await["servers"][0]["instances"][0].clone();
    assert_eq!(instance["process_tree"], family.len(), "{instance}");
    assert!(instance["memory"].as_u64() > Some(1_000_000), "{instance}");
}

#[tokio::test]
async fn a_killed_warden_is_replaced_and_told_everything() {
    let place = place("child left deaf", "");
    let daemon = place.serve().await;
    let family = Caller::new(&place).await.family().await;
    for _ in 0..2 {
        let first = warden(daemon.pid()).expect("a warden");
        kill(first);
        until(PATIENCE, "another warden", || warden(daemon.pid()).is_some_and(|pid| pid != first)).await;
    }
    daemon.kill().await;
    gone(PROMISED, &family, "a family with its third warden").await;
}

#[tokio::test]
async fn a_caller_on_stdio_has_a_warden_too() {
    let place = place("child left deaf", "");
    let mut host = place.host(&["serve", "--stdio", "s"]);
    host.open().await;
    let answer = host.call("family", json!({})).await;
    let told = answer["result"]["content"][0]["text"].as_str().expect("text");
    let family: Vec<u32> = serde_json::from_str(told).expect("a list of ids");
    host.kill_group().await;
    gone(PROMISED, &family, "a host").await;
}

#[tokio::test]
async fn nothing_is_left_of_instances_that_came_and_went() {
    let place = place("child left lost", "recycle: { idle: 10ms }");
    let daemon = place.serve().await;
    // Told by the daemon itself, into which nobody else looks.
    let open = || place.asked().and_then(|status| status["descriptors"]["open"].as_u64()).expect("a number");
    let mut caller = Caller::new(&place).await;
    let mut first = None;
    for _ in 0..=20 {
        let family = caller.family().await;
        gone(PATIENCE, &family, "an idle server").await;
        no_zombies(daemon.pid()).await;
        // The streams of the last one may be closed a moment later.
        let before = *first.get_or_insert_with(open);
        until(PATIENCE, "descriptors are closed", || open() <= before).await;
    }
}

async fn no_zombies(daemon: u32) {
    let zombies = || children(daemon).into_iter().any(|pid| matches!(stat(pid), Some(('Z', _))));
    until(PATIENCE, "zombies are buried", || !zombies()).await;
}
