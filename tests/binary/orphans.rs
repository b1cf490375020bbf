//! No process of a server outlives its instance, nor the daemon, however either of them ends.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{interval, timeout};

use crate::PATIENCE;
use crate::daemon::Place;

/// How long anything may be there after `kill -9` of the daemon: what the manual promises.
const PROMISED: Duration = Duration::from_secs(2);

/// Every way of leaving something behind.
const HABITS: [&str; 8] =
    ["", "child", "left", "lost", "bare", "deaf", "child left lost deaf", "child left lost bare deaf"];

/// A place with a server `s` of these habits.
fn place(habits: &str, more: &str) -> Place {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py");
    let args: Vec<String> = [script.to_string_lossy().into_owned()]
        .into_iter()
        .chain(habits.split_whitespace().map(str::to_owned))
        .collect();
    serving(&format!("command: python3\n    args: {}\n    {more}", json!(args)))
}

fn serving(server: &str) -> Place {
    let place = Place::new();
    let config = format!(
        "servers:\n  s:\n    era: legacy\n    timeout: {{ stop: 400ms }}\n    {server}\nsockets:\n  dir: {sockets:?}\ncatalogue:\n  dir: {cache:?}\n",
        sockets = place.sockets(),
        cache = place.home().join("cache"),
    );
    fs::write(place.config(), config).expect("written");
    place
}

/// A caller on the socket itself, so that nothing starts the daemon again.
struct Caller(BufReader<UnixStream>);

impl Caller {
    async fn new(place: &Place) -> Caller {
        let mut caller = Caller(BufReader::new(UnixStream::connect(place.socket("s")).await.expect("a socket")));
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        caller.request("initialize", params).await;
        caller
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.expect("written");
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
            assert!(read.expect("nothing came").expect("a line") > 0, "the connection was closed");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer.get("id").is_some() {
                return answer;
            }
        }
    }

    async fn call(&mut self, tool: &str) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": {} })).await
    }

    /// The server's process and all that it has started.
    async fn family(&mut self) -> Vec<u32> {
        let answer = self.call("family").await;
        let told = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(told).expect("a list of ids")
    }
}

/// What `/proc/PID/stat` says of a process: its state and its parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn children(of: u32) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == of)).collect()
}

fn warden(daemon: u32) -> Option<u32> {
    let is_warden = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("mcpool\0warden\0"))
    };
    children(daemon).into_iter().find(is_warden)
}

async fn until(patience: Duration, what: &str, is: impl Fn() -> bool) {
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
    for habits in HABITS.into_iter().filter(|habits| !habits.contains("bare")) {
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
    // What cannot be told from the second's is left until that ends too.
    let (bare, marked) = ended.split_last().expect("a family");
    gone(PATIENCE, marked, "the first").await;
    assert!(lives_on.iter().all(|pid| lives(*pid)));
    second.call("die").await;
    gone(PATIENCE, &lives_on, "the second").await;
    gone(PATIENCE, &[*bare], "the first").await;
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
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("descriptors").count();
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

#[tokio::test]
async fn what_a_server_shouts_is_cut_counted_and_keeps_secrets() {
    let place = place("", "env: { PASSWORD: hunter2hunter2 }");
    let log = fs::File::create(place.home().join("log")).expect("a file");
    let mut daemon = place.mcpool(&["serve"]);
    let mut daemon = daemon.stdout(Stdio::piped()).stderr(log).spawn().expect("it runs");
    let mut ready = String::new();
    let mut stdout = BufReader::new(daemon.stdout.take().expect("a pipe"));
    timeout(PATIENCE, stdout.read_line(&mut ready)).await.expect("not ready").expect("a line");
    let answer = Caller::new(&place).await.call("shout").await;
    assert!(answer["result"].is_object(), "{answer}");
    let pid = Pid::from_raw(daemon.id().expect("it runs").cast_signed()).expect("a pid");
    kill_process(pid, Signal::TERM).expect("told");
    assert!(timeout(PATIENCE, daemon.wait()).await.expect("it does not end").expect("it ended").success());
    let log = fs::read_to_string(place.home().join("log")).expect("the log");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("stderr=")).collect();
    assert!((100..400).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.contains("server=\"s\"") && line.contains("instance=1") && line.len() < 1300));
    assert!(lines[0].contains(r"line 0 \u{1b}[1m *** xxx") && lines[0].contains("[cut: "), "{}", lines[0]);
    assert!(log.contains("left_out=") && !log.contains("hunter2") && !log.contains('\u{1b}'), "{log}");
}
