//! The binary itself, with real processes, sockets and signals: what hosts and operators do with it.

mod alerts;
mod connect;
mod crowded;
mod daemon;
mod ending;
mod environment;
mod family;
mod host;
mod inherited;
mod kin;
mod logs;
mod metrics;
mod orphans;
mod output;
mod people;
mod pinned;
mod places;
mod reload;
mod reopening;
mod said;
mod sandbox;
mod starts;
mod stderr;
mod strangers;
mod swept;
mod users;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use daemon::Place;
use host::Host;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_second_daemon_refuses_to_start_and_says_who_holds_the_sockets() {
    let place = Place::new();
    let first = place.serve().await;
    let second = place.mcpool(&["serve"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains(&format!("pid {}", first.pid())), "{said}");
    assert_eq!(place.status().await["pid"], first.pid(), "the first goes on");
}

#[tokio::test]
async fn the_socket_of_a_dead_daemon_is_replaced() {
    let place = Place::new();
    place.serve().await.kill().await;
    assert!(place.socket("echo").exists(), "a killed daemon leaves its sockets behind");
    let second = place.serve().await;
    assert_eq!(place.status().await["pid"], second.pid());
}

#[tokio::test]
async fn sockets_are_their_users_alone() {
    let place = Place::new();
    let _daemon = place.serve().await;
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(place.sockets()), 0o700);
    for socket in ["echo", "new", "all", "admin"] {
        assert_eq!(mode(place.socket(socket)), 0o600, "{socket}");
    }
}

#[tokio::test]
async fn ten_hosts_at_once_start_one_daemon_and_one_server() {
    let place = Place::new();
    let mut hosts: Vec<Host> = (0..10).map(|_| place.connect("echo")).collect();
    for host in &mut hosts {
        host.open().await;
    }
    for host in &mut hosts {
        assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    }
    let status = place.status().await;
    assert_eq!(status["callers"].as_array().map(Vec::len), Some(10), "all are with one daemon");
    assert_eq!(place.servers().await.len(), 1);
}

#[tokio::test]
async fn a_killed_daemon_costs_the_calls_in_flight_and_nothing_else() {
    let place = Place::new();
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let before = place.status().await["pid"].clone();
    let servers = place.servers().await;
    for id in [json!("a\"b"), json!(0)] {
        host.request(id, "tools/call", json!({"name": "forget", "arguments": {}}));
    }
    host.call("echo", json!({})).await;
    place.kill().await;
    let mut lost = [host.line().await, host.line().await];
    lost.sort_by_key(|answer| answer["id"].is_string());
    assert_eq!([&lost[0]["id"], &lost[1]["id"]], [&json!(0), &json!("a\"b")]);
    assert!(lost.iter().all(|answer| answer["error"]["code"] == 503), "{lost:?}");

    let told = host.call("whoami", json!({})).await;
    let told = told["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("not served again: {told}"));
    assert!(told.contains(r#""initializes":1"#) && told.contains(r#""protocolVersion":"2025-06-18""#), "{told}");
    assert_ne!(place.status().await["pid"], before);
    for server in servers {
        daemon::gone(server).await;
    }
}

#[tokio::test]
async fn a_daemon_outlives_the_process_group_of_the_host_that_started_it() {
    let place = Place::new();
    let mut host = place.connect("echo");
    host.open().await;
    let pid = place.status().await["pid"].clone();
    host.kill_group().await;
    let mut other = place.connect("echo");
    other.open().await;
    assert_eq!(place.status().await["pid"], pid);
}

#[tokio::test]
async fn a_host_that_is_gone_has_connect_end_and_its_calls_cancelled() {
    let place = Place::new();
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    host.request(json!("x"), "tools/call", json!({"name": "forget", "arguments": {}}));
    place.until(|status| status["servers"][0]["instances"][0]["in_flight"] == 1).await;
    assert_eq!(host.leave().await.code(), Some(1), "not everything was answered");
    let free = async {
        while place.status().await["servers"][0]["instances"][0]["in_flight"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, free).await.expect("the call was not cancelled");
}

#[tokio::test]
async fn a_told_daemon_ends_with_everything_that_it_started() {
    let place = Place::new();
    let mut daemon = place.serve().await;
    let (mut old, mut new) = (place.connect("echo"), place.connect("new"));
    old.open().await;
    old.call("echo", json!({})).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    new.request(json!(1), "tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 1}, "_meta": meta}));
    assert_eq!(new.line().await["result"]["content"][0]["text"], "2");
    // Without connect, which would start the daemon again.
    for host in [old, new] {
        assert!(host.close().await.success());
    }
    let servers = place.servers().await;
    assert_eq!(servers.len(), 2);
    assert!(daemon.terminate().await.success());
    for server in servers {
        daemon::gone(server).await;
    }
    assert!(!place.socket("echo").exists() && !place.socket("admin").exists());
}

#[tokio::test]
async fn one_caller_can_be_served_on_stdio_without_any_socket() {
    let place = Place::new();
    let mut host = place.host(&["serve", "--stdio", "echo"]);
    host.open().await;
    assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    assert!(!place.socket("echo").exists());
    assert!(host.close().await.success());
    let refused = place.mcpool(&["serve", "--stdio", "nowhere"]).stdin(Stdio::null()).output().await.expect("it runs");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("echo, new, all"), "it says what there is");
}

#[tokio::test]
async fn a_told_server_on_stdio_lets_its_calls_end() {
    let place = Place::new();
    let mut host = place.host(&["serve", "--stdio", "echo"]);
    host.open().await;
    host.request(json!("x"), "tools/call", json!({"name": "slow", "arguments": {"ms": 1000}}));
    // Answered behind the other one, which is therefore in flight by now.
    host.call("echo", json!({})).await;
    host.signal(Signal::TERM);
    assert_eq!(host.line().await["result"]["content"][0]["text"], "slept 1000 ms in 1 steps");
    assert_eq!(host.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_server_on_stdio_at_once_and_its_calls_are_answered() {
    let place = Place::new();
    let mut host = place.host(&["serve", "--stdio", "echo"]);
    host.open().await;
    host.request(json!("x"), "tools/call", json!({"name": "slow", "arguments": {"ms": 60_000}}));
    host.call("echo", json!({})).await;
    host.signal(Signal::TERM);
    let refused = async {
        let mut id = 1;
        // Once it drains it begins nothing new.
        loop {
            host.request(json!(id), "tools/call", json!({"name": "echo", "arguments": {}}));
            let answer = host.line().await;
            assert_eq!(answer["id"], id);
            if answer["error"]["code"] == 503 {
                return;
            }
            id += 1;
        }
    };
    timeout(PATIENCE, refused).await.expect("it does not drain");
    host.signal(Signal::INT);
    let answer = host.line().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("x"), &json!(503)));
    assert_eq!(host.ended().await.code(), Some(0));
}

#[tokio::test]
async fn check_tells_every_mistake_at_once() {
    let place = Place::new();
    let config = "servers:\n  a:\n    comand: x\n  b:\n    command: y\n    instances: { min: 5, max: 2 }\n    timeout: { call: soon }\nlimit: 3\n";
    fs::write(place.config(), config).expect("written");
    let checked = place.mcpool(&["check"]).output().await.expect("it runs");
    assert!(!checked.status.success());
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    for part in ["`command`", "`comand`", "`min` is 5", "call: soon", "limit", "`limits`", ":3:", ":7:", ":8:"] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[tokio::test]
async fn check_says_what_a_good_config_means() {
    let place = Place::new();
    let checked = place.mcpool(&["check"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("lease call") && said.contains("echo.sock"), "{said}");
    assert!(said.contains("not known: if it keeps state for its client, say `lease: session`"), "{said}");
}

#[tokio::test]
async fn check_start_opens_each_server_and_says_what_it_offers_or_why_it_cannot() {
    let place = Place::new();
    let opened = place.mcpool(&["check", "--start"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&opened.stdout).into_owned();
    assert!(opened.status.success() && said.contains("opened in") && said.contains(" tool"), "{said}");
    let bad = "servers: { bad: { command: sh, args: [-c, 'echo no luck >&2; exit 3'] } }";
    fs::write(place.config(), bad).expect("written");
    let refused = place.mcpool(&["check", "--start"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("cannot be opened") && said.contains("no luck"), "{said}");
}

#[tokio::test]
async fn connect_needs_nothing_of_the_environment() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpool"));
    command.env_clear().env("HOME", place.home()).env("PATH", "/usr/bin:/bin").arg("connect").arg("echo");
    command.arg("--config").arg(place.config());
    let mut host = Host::start(command);
    host.open().await;
    assert_eq!(host.call("echo", json!({})).await["result"]["content"][0]["text"], "{}");
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_with_those_that_are() {
    let place = Place::new();
    let refused = place.mcpool(&["connect", "ecco"]).stdin(Stdio::null()).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("echo, new, all"), "{said}");
}
