//! Servers that do not start, with real programs: what whoever waits is told, and who is served when it takes long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::daemon::Place;
use crate::host::Host;

const MCPOOL: &str = env!("CARGO_BIN_EXE_mcpool");

/// A place with these servers, which have a second to start.
fn place(servers: &[(&str, Value)]) -> Place {
    let place = Place::new();
    let mut all = json!({});
    for (name, server) in servers {
        all[name] = server.clone();
        if server.get("timeout").is_none() {
            all[name]["timeout"] = json!({ "start": "1s", "discover": "500ms", "stop": "200ms" });
        }
    }
    let config = json!({
        "servers": all, "sockets": { "dir": place.sockets() }, "catalogue": { "dir": place.home().join("cache") }, "drain": "1s",
    });
    fs::write(place.config(), config.to_string()).expect("written");
    place
}

/// A server that a shell runs.
fn shell(script: &str) -> Value {
    json!({ "command": "sh", "args": ["-c", script.replace("SERVER", &format!("{MCPOOL} demo-server legacy"))] })
}

fn file(path: &Path, text: &str, mode: u32) -> Value {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    json!({ "command": path })
}

/// What is answered to a host's opening.
async fn opening(place: &Place, server: &str) -> (Host, Value) {
    let mut host = place.connect(server);
    let info = json!({ "name": "host", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
    host.request(json!(0), "initialize", params);
    let answer = host.line().await;
    (host, answer)
}

async fn refusal(place: &Place, server: &str) -> String {
    let (_host, answer) = opening(place, server).await;
    assert_eq!(answer["error"]["data"]["mcpool"]["reason"], "start_failed", "{answer}");
    answer["error"]["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn what_keeps_a_program_from_being_run_is_told() {
    let bare = Place::new();
    let at = |name: &str| bare.home().join(name);
    fs::create_dir(at("folder")).expect("made");
    let missing = json!({ "command": "no-such-program", "env": { "PATH": "/nowhere:/usr/bin" } });
    let cwd = json!({ "command": "sh", "cwd": at("no/such") });
    let cases = [
        ("folder", json!({ "command": at("folder") }), "is a directory"),
        ("plain", file(&at("plain"), "#!/bin/sh\n", 0o644), "chmod +x"),
        ("orphan", file(&at("orphan"), "#!/no/such/python\n", 0o755), "`/no/such/python`"),
        ("missing", missing, "/nowhere:/usr/bin"),
        ("gone", json!({ "command": at("gone") }), "there is no file"),
        ("cwd", cwd, "`cwd`"),
        ("zero", file(&at("zero"), "#!/bin/sh\nexit 0\n", 0o755), "ended before it opened: exit status: 0"),
    ];
    let place = place(&cases.clone().map(|(name, server, _)| (name, server)));
    let _daemon = place.serve().await;
    for (name, _, words) in cases {
        let told = refusal(&place, name).await;
        assert!(told.contains(words), "{name}: {told}");
    }
}

#[tokio::test]
async fn a_question_without_a_line_end_is_shown() {
    let asks =
        "echo 'Need to install some-server' >&2; printf 'Ok to proceed? (y) ' >&2; read answer; read answer; sleep 60";
    let place = place(&[("s", shell(asks))]);
    let _daemon = place.serve().await;
    let told = refusal(&place, "s").await;
    for words in
        ["within 1s (`timeout.start`)", "Need to install some-server | Ok to proceed? (y)", "wait for an answer"]
    {
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn a_download_that_takes_longer_goes_on_and_serves_the_next_host() {
    let begun = Place::new();
    let slow = format!(
        "echo x >> {}/starts; for i in 1 2 3 4 5 6 7 8; do printf \"\\r$i of 8\" >&2; sleep 0.4; done; exec SERVER",
        begun.home().display()
    );
    let place = place(&[("s", shell(&slow))]);
    let _daemon = place.serve().await;
    let clock = Instant::now();
    let told = refusal(&place, "s").await;
    assert!(clock.elapsed() < Duration::from_millis(2500), "after {:?}", clock.elapsed());
    assert!(told.contains("still starting") && told.contains("`timeout.start`") && told.contains(" of 8"), "{told}");
    let served = async {
        loop {
            let (mut host, answer) = opening(&place, "s").await;
            if answer["result"].is_object() {
                return host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"].clone();
            }
            assert!(answer["error"]["message"].to_string().contains("still starting"), "{answer}");
        }
    };
    assert_eq!(tokio::time::timeout(crate::PATIENCE, served).await.expect("it is never there"), "3");
    assert_eq!(fs::read_to_string(begun.home().join("starts")).expect("it was started"), "x\n");
}

#[tokio::test]
async fn a_launcher_that_leaves_its_server_behind_is_refused_at_its_start_and_later() {
    let behind = |wait: &str| shell(&format!("exec 3<&0; SERVER <&3 & {wait} exit 0"));
    let place = place(&[("at-once", behind("")), ("later", behind("sleep 1;"))]);
    let _daemon = place.serve().await;
    for _ in 0..3 {
        let told = refusal(&place, "at-once").await;
        assert!(told.contains("`exec`") && told.contains("exit status: 0"), "{told}");
        sleep(Duration::from_millis(600)).await;
    }
    let (mut host, answer) = opening(&place, "later").await;
    assert!(answer["result"].is_object(), "{answer}");
    let lost = host.call("forget", json!({})).await;
    assert_eq!(lost["error"]["code"], 502, "{lost}");
    assert!(lost["error"]["message"].to_string().contains("`exec`"), "{lost}");
}

#[tokio::test]
async fn after_a_freeze_what_has_come_is_read_before_a_time_out_is_believed() {
    let mut server = shell("exec SERVER");
    server["timeout"] = json!({ "call": "2s", "stop": "200ms" });
    let place = place(&[("s", server)]);
    let daemon = place.serve().await;
    let mut host = place.connect("s");
    host.open().await;
    host.call("echo", json!({})).await;
    let meta = json!({"progressToken": 1});
    host.request(
        json!("x"),
        "tools/call",
        json!({"name": "slow", "arguments": {"ms": 1000, "steps": 10}, "_meta": meta}),
    );
    // The server has it, and is at work.
    assert_eq!(host.line().await["method"], "notifications/progress");
    daemon.signal(Signal::STOP);
    sleep(Duration::from_secs(3)).await;
    daemon.signal(Signal::CONT);
    let answer = loop {
        let line = host.line().await;
        if line["id"] == "x" {
            break line;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "slept 1000 ms in 10 steps", "{answer}");
}
