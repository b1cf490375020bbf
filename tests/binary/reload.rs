//! The daemon is told to end, to restart a server, and to take another config, by signals, by commands and by the file.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{self, Place};
use crate::host::Host;
use crate::said::run;

/// Runs a command to its end; its output and exit code.
async fn mcpool(place: &Place, args: &[&str]) -> (String, String, Option<i32>) {
    let said = run(place.mcpool(args)).await;
    (said.out, said.err, said.code)
}

fn slow(ms: u64) -> Value {
    json!({ "name": "slow", "arguments": { "ms": ms } })
}

/// Whether a call is with the first server.
fn runs(status: &Value) -> bool {
    status["servers"][0]["instances"][0]["in_flight"] == 1
}

/// The answer to a request, after what is told of lists that changed.
async fn answer(host: &mut Host, id: &str) -> Value {
    loop {
        let line = host.line().await;
        if line["id"] == id {
            return line;
        }
    }
}

fn names(status: &Value) -> Vec<&str> {
    status["servers"].as_array().into_iter().flatten().filter_map(|server| server["name"].as_str()).collect()
}

#[tokio::test]
async fn a_told_daemon_lets_its_calls_end_and_makes_room_for_another_meanwhile() {
    let place = Place::new();
    let mut first = place.serve().await;
    let mut host = place.host(&["connect", "echo", "--socket", &place.socket("echo").display().to_string()]);
    host.open().await;
    host.request(json!("x"), "tools/call", slow(1500));
    place.until(runs).await;
    let servers = place.servers().await;
    first.signal(Signal::TERM);
    while place.socket("echo").exists() || place.socket("admin").exists() {
        tokio::task::yield_now().await;
    }
    host.request(json!("y"), "tools/call", slow(1));
    let refused = host.line().await;
    assert_eq!((&refused["id"], &refused["error"]["data"]["mcpool"]["reason"]), (&json!("y"), &json!("draining")));
    let second = place.serve().await;
    assert_eq!(place.status().await["pid"], second.pid());
    assert_eq!(host.line().await["result"]["content"][0]["text"], "slept 1500 ms in 1 steps");
    assert_eq!(first.ended().await.code(), Some(0));
    for server in servers {
        daemon::gone(server).await;
    }
    assert!(place.socket("echo").exists(), "the sockets are the second one's by now");
    assert_eq!(place.status().await["pid"], second.pid());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_its_calls_are_answered() {
    let place = Place::new();
    let mut daemon = place.serve().await;
    let mut host = place.host(&["connect", "echo", "--socket", &place.socket("echo").display().to_string()]);
    host.open().await;
    host.request(json!("x"), "tools/call", slow(60_000));
    place.until(runs).await;
    daemon.signal(Signal::TERM);
    while place.socket("admin").exists() {
        tokio::task::yield_now().await;
    }
    daemon.signal(Signal::INT);
    assert_eq!(host.line().await["error"]["code"], 503);
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn drain_waits_until_the_daemon_has_ended() {
    let place = Place::new();
    let mut daemon = place.serve().await;
    let mut host = place.host(&["connect", "echo", "--socket", &place.socket("echo").display().to_string()]);
    host.open().await;
    host.request(json!("x"), "tools/call", slow(700));
    place.until(runs).await;
    let (said, error, code) = mcpool(&place, &["drain"]).await;
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert!(said.starts_with("1 call running...\n") && said.ends_with("the daemon has ended\n"), "{said}");
    assert_eq!(host.line().await["result"]["content"][0]["text"], "slept 700 ms in 1 steps");
    assert_eq!(daemon.ended().await.code(), Some(0));
    let (_, error, code) = mcpool(&place, &["drain"]).await;
    assert!(error.contains("no daemon answers") && code == Some(1), "{error}");
}

#[tokio::test]
async fn a_host_stays_with_its_session_when_the_daemon_is_replaced() {
    let place = Place::new();
    let mut first = place.serve().await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let before = first.pid();
    assert_eq!(first.terminate().await.code(), Some(0));
    let told = host.call("whoami", json!({})).await;
    assert!(told["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("2025-06-18")), "{told}");
    assert_ne!(place.status().await["pid"], before);
}

#[tokio::test]
async fn hosts_come_and_go_on_while_one_daemon_ends_and_the_next_begins() {
    let place = Place::new();
    let mut busy = place.connect("echo");
    busy.open().await;
    busy.request(json!("x"), "tools/call", slow(1500));
    let before = place.until(runs).await["pid"].clone();
    let (said, mut came) = tokio::join!(mcpool(&place, &["drain"]), async {
        while place.socket("admin").exists() {
            tokio::task::yield_now().await;
        }
        let mut hosts: Vec<_> = (0..5).map(|_| place.connect("echo")).collect();
        for host in &mut hosts {
            host.open().await;
        }
        hosts
    });
    assert_eq!(said.2, Some(0), "{}", said.1);
    assert_eq!(busy.line().await["result"]["content"][0]["text"], "slept 1500 ms in 1 steps");
    came.push(busy);
    for host in &mut came {
        assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    }
    let status = place.status().await;
    assert_ne!(status["pid"], before);
    assert_eq!(status["callers"].as_array().map(Vec::len), Some(6), "all are with the new one");
}

#[tokio::test]
async fn endpoints_that_change_their_sockets_keep_listening() {
    let place = Place::new();
    let sockets = place.home().join("here");
    fs::create_dir_all(&sockets).expect("a directory");
    let (one, other) = (sockets.join("one.sock"), sockets.join("other.sock"));
    let endpoints = |echo: &std::path::Path, new: &std::path::Path| {
        format!(
            "endpoints: {{ echo: {{ servers: [echo], socket: {echo:?} }}, new: {{ servers: [new], socket: {new:?} }} }}\n"
        )
    };
    place.edit("sockets:\n", &(endpoints(&one, &other) + "sockets:\n"));
    let _daemon = place.serve().await;
    let mut host = place.host(&["connect", "echo", "--socket", &one.display().to_string()]);
    host.open().await;
    place.edit(&endpoints(&one, &other), &endpoints(&other, &one));
    let (_, error, code) = mcpool(&place, &["reload"]).await;
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    let mut swapped = place.host(&["connect", "echo", "--socket", &other.display().to_string()]);
    swapped.open().await;
    let told = swapped.call("whoami", json!({})).await.to_string();
    assert!(told.contains("legacy"), "{told}");
    place.edit(&endpoints(&other, &one), "");
    let (_, error, code) = mcpool(&place, &["reload"]).await;
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert!(!one.exists() && !other.exists() && place.socket("echo").exists());
    assert_eq!(swapped.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
}

#[tokio::test]
async fn restart_replaces_the_instances_of_one_server() {
    let place = Place::new();
    let _daemon = place.serve().await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let before = place.servers().await;
    let (said, error, code) = mcpool(&place, &["restart", "echo"]).await;
    assert_eq!((said.as_str(), error.as_str(), code), ("echo: replacing 1 instance\n", "", Some(0)));
    host.call("echo", json!({})).await;
    for server in &before {
        daemon::gone(*server).await;
    }
    let (_, error, code) = mcpool(&place, &["restart", "ecco"]).await;
    assert_eq!((error.as_str(), code), ("mcpool: no server is called \"ecco\"; there are: echo, new\n", Some(1)));
}

#[tokio::test]
async fn a_changed_file_is_put_in_force_by_itself() {
    let place = Place::new();
    let _daemon = place.serve().await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let before = place.status().await;
    place.edit("  new:\n", "  newer:\n");
    let status = place.until(|status| names(status) == ["echo", "newer"]).await;
    assert_ne!(status["in_force"]["digest"], before["in_force"]["digest"]);
    assert!(place.socket("newer").exists() && !place.socket("new").exists());
    assert_eq!(status["servers"][0]["instances"][0]["pid"], before["servers"][0]["instances"][0]["pid"]);
    let mut other = place.connect("newer");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    other.request(json!(1), "tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 1}, "_meta": meta}));
    assert_eq!(other.line().await["result"]["content"][0]["text"], "2");
}

#[tokio::test]
async fn a_file_with_mistakes_is_not_put_in_force_and_status_says_so() {
    let place = Place::new();
    let _daemon = place.serve().await;
    place.edit("  new:\n", "  new:\n    comand: x\n");
    let status = place.until(|status| status["in_force"]["refused"].is_object()).await;
    assert_eq!(names(&status), ["echo", "new"]);
    assert!(status["in_force"]["refused"]["mistakes"].as_str().is_some_and(|said| said.contains("comand")), "{status}");
    let (said, error, code) = mcpool(&place, &["status"]).await;
    assert!(said.contains("A later one was refused") && said.contains("comand: *"), "{said}{error}");
    assert_eq!(code, Some(0));
    let (said, error, code) = mcpool(&place, &["reload"]).await;
    assert!(said.is_empty() && error.contains("unknown key `comand`") && error.contains("did you mean"), "{error}");
    assert_eq!(code, Some(1));
    place.edit("    comand: x\n", "");
    place.until(|status| status["in_force"]["refused"].is_null()).await;
}

#[tokio::test]
async fn a_hangup_and_the_command_put_a_file_in_force_that_is_not_watched() {
    let place = Place::new();
    let config = fs::read_to_string(place.config()).expect("a config");
    fs::write(place.config(), config + "reload: false\n").expect("written");
    let daemon = place.serve().await;
    place.edit("  new:\n", "  newer:\n");
    daemon.signal(Signal::HUP);
    place.until(|status| names(status) == ["echo", "newer"]).await;
    place.edit("  newer:\n", "  newest:\n");
    let (said, error, code) = mcpool(&place, &["reload"]).await;
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert_eq!(said, "added: newest; removed: newer; servers as before: 1\n");
    let status = place.until(|status| names(status) == ["echo", "newest"]).await;
    assert_eq!(status["counters"]["reloads"], json!({"applied": 2}), "{status}");
    assert_eq!(names(&place.status().await), ["echo", "newest"]);
}

#[tokio::test]
async fn nothing_is_applied_if_a_socket_cannot_be_had() {
    let place = Place::new();
    let _daemon = place.serve().await;
    fs::create_dir_all(place.home().join("taken")).expect("a directory");
    let taken = place.home().join("taken/a.sock");
    let _other = std::os::unix::net::UnixListener::bind(&taken).expect("a socket");
    place.edit("sockets:\n", &format!("endpoints: {{ mine: {{ servers: [echo], socket: {taken:?} }} }}\nsockets:\n"));
    place.edit("  new:\n", "  newer:\n");
    let (_, error, code) = mcpool(&place, &["reload"]).await;
    assert!(error.contains("listened on by another program") && code == Some(1), "{error}");
    assert_eq!(names(&place.status().await), ["echo", "new"]);
    assert!(place.socket("new").exists() && !place.socket("newer").exists());
}

#[tokio::test]
async fn a_link_that_is_turned_is_noticed() {
    let place = Place::new();
    let home = place.home().to_owned();
    let text = fs::read_to_string(place.config()).expect("a config");
    for (version, text) in [("v1", text.clone()), ("v2", text.replace("  new:\n", "  newer:\n"))] {
        fs::create_dir_all(home.join(version)).expect("a directory");
        fs::write(home.join(version).join("mcpool.yaml"), text).expect("written");
    }
    fs::remove_file(place.config()).expect("removed");
    symlink("v1", home.join("data")).expect("a link");
    symlink("data/mcpool.yaml", place.config()).expect("a link");
    let _daemon = place.serve().await;
    symlink("v2", home.join("data.new")).expect("a link");
    fs::rename(home.join("data.new"), home.join("data")).expect("turned");
    place.until(|status| names(status) == ["echo", "newer"]).await;
    fs::write(home.join("v2/mcpool.yaml"), text).expect("written");
    place.until(|status| names(status) == ["echo", "new"]).await;
}

#[tokio::test]
async fn help_says_how_it_ends() {
    let place = Place::new();
    let (said, _, code) = mcpool(&place, &["serve", "--help"]).await;
    assert!(said.contains("Exit codes: 0 ") && said.contains("SIGHUP"), "{said}");
    assert_eq!(code, Some(0));
    assert_eq!(mcpool(&place, &["serve", "--no-such"]).await.2, Some(2));
    fs::write(place.config(), "servers: 3\n").expect("written");
    assert_eq!(mcpool(&place, &["serve"]).await.2, Some(1));
}

#[tokio::test]
async fn a_server_that_is_disabled_ends_and_its_endpoint_says_so_until_it_is_enabled_again() {
    let place = Place::new();
    let _daemon = place.serve().await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let servers = place.servers().await;
    place.edit("  new:\n", "    disabled: true\n  new:\n");
    let status = place.until(|status| status["disabled"] == json!(["echo"]) && names(status) == ["new"]).await;
    assert_eq!(status["servers"][0]["name"], "new");
    for server in servers {
        daemon::gone(server).await;
    }
    host.request(json!("off"), "tools/call", json!({ "name": "add", "arguments": {} }));
    let refused = answer(&mut host, "off").await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["data"]["mcpool"]["server"]),
        (&json!(403), &json!("echo"))
    );
    let told = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("server `echo` is disabled") && told.contains("`disabled: true`"), "{told}");
    let (out, _, code) = mcpool(&place, &["tools", "all"]).await;
    assert!(code == Some(0) && out.contains("new__add") && !out.contains("echo__"), "{out}");
    let (_, err, code) = mcpool(&place, &["tools", "echo"]).await;
    assert!(code == Some(1) && err.contains("is disabled"), "{err}");
    assert!(mcpool(&place, &["status"]).await.0.contains("Disabled: echo\n"));

    place.edit("    disabled: true\n", "");
    place.until(|status| names(status).len() == 2).await;
    host.request(json!("on"), "tools/call", json!({ "name": "add", "arguments": { "a": 1, "b": 2 } }));
    let served = answer(&mut host, "on").await;
    assert_eq!(served["result"]["content"][0]["text"], "3", "{served}");
}
