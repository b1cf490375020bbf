//! Whom the daemon knows as a server's: those it does not serve, those it ends, and those it lets be.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;

use crate::PATIENCE;
use crate::daemon::Place;
use crate::family::{Caller, place, serving};
use crate::orphans::{lives, until, warden};

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py")
}

/// The environment that a daemon was started with, which is shown to root alone: nobody else looks into a daemon.
fn environment(daemon: u32) -> Option<String> {
    match fs::read(format!("/proc/{daemon}/environ")) {
        Ok(environment) => Some(String::from_utf8_lossy(&environment).into_owned()),
        Err(error) => {
            assert!(!rustix::process::getuid().is_root(), "{error}");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            None
        }
    }
}

#[tokio::test]
async fn a_server_calls_nobody_behind_the_daemon_that_runs_it() {
    for (may, expected) in [
        ("", ["forbidden 7", "forbidden 7", "refused"]),
        ("may_call: [all]", ["forbidden 7", "served", "refused"]),
        ("may_call: [s, admin]", ["served", "forbidden 7", "served"]),
    ] {
        let place = serving("command: python3");
        let sockets = ["s", "all", "admin"].map(|name| place.socket(name));
        let probes = json!({ "s": ["ask", sockets[0]], "all": ["ask", sockets[1]], "admin": ["ask", sockets[2]],
            "orphan": ["orphan asks", sockets[1]] });
        let env = json!({ "PROBES": probes.to_string() });
        place.edit(
            "command: python3",
            &format!("command: python3\n    args: [{:?}]\n    env: {env}\n    {may}", script()),
        );
        let _daemon = place.serve().await;
        let outcome = Caller::new(&place).await.told("reach").await;
        assert_eq!(["s", "all", "admin"].map(|name| outcome[name].as_str().unwrap_or_default()), expected, "{may:?}");
        assert_eq!(outcome["orphan"], "forbidden 7", "an orphan, which descends from nobody that may, {may:?}");
    }
}

#[tokio::test]
async fn a_server_of_one_daemon_calls_nobody_behind_another_and_gives_it_no_orders() {
    let other = place("", "");
    let mut other_daemon = other.serve().await;
    let probes = json!({ "s": ["ask", other.socket("s")], "admin": ["ask", other.socket("admin")],
        "orphan": ["orphan asks", other.socket("s")] });
    let env = json!({ "PROBES": probes.to_string() });
    let place =
        serving(&format!("command: python3\n    args: [{:?}]\n    env: {env}\n    may_call: [s, admin]", script()));
    let _daemon = place.serve().await;
    // Whether or not a server of its own runs.
    for _ in 0..2 {
        let outcome = Caller::new(&place).await.told("reach").await;
        assert_eq!([&outcome["s"], &outcome["orphan"]], ["forbidden 7", "forbidden 7"]);
        let said = outcome["admin"].as_str().expect("an error");
        assert!(said.contains("started by a server of another mcpool"), "{said}");
        Caller::new(&other).await.family().await;
    }
    assert!(other_daemon.terminate().await.success());
}

#[tokio::test]
async fn a_process_that_a_server_tagged_from_outside_is_not_ended_with_it() {
    for killed in [false, true] {
        // Another each time: whoever bears a tag cannot be given a higher one.
        let mut sleep = Command::new("sleep");
        let mut stranger = sleep.arg("600").process_group(0).kill_on_drop(true).spawn().expect("it runs");
        let probes = json!({ "tag": ["tag", stranger.id()] });
        let env = json!({ "PROBES": probes.to_string() });
        let place = serving(&format!("command: python3\n    args: [{:?}, child]\n    env: {env}", script()));
        let mut daemon = place.serve().await;
        let mut caller = Caller::new(&place).await;
        assert_eq!(caller.told("reach").await["tag"], "reached");
        let family = caller.family().await;
        if killed {
            let warden = warden(daemon.pid()).expect("a warden");
            daemon.kill().await;
            until(PATIENCE, "the end of the warden", || !lives(warden)).await;
        } else {
            assert!(daemon.terminate().await.success());
        }
        until(PATIENCE, "the end of the server", || !family.iter().any(|pid| lives(*pid))).await;
        assert_eq!(stranger.try_wait().expect("a child"), None, "killed: {killed}");
    }
}

#[tokio::test]
async fn a_server_is_a_host_of_its_own_daemon_only_where_its_config_says_so() {
    for may in ["", "may_call: [s]"] {
        let place = serving("command: python3");
        let connect = json!([env!("CARGO_BIN_EXE_mcpool"), "connect", "--config", place.config(), "s"]);
        let env = json!({ "CONNECT": connect.to_string(), "HOME": place.home() });
        place.edit(
            "command: python3",
            &format!("command: python3\n    args: [{:?}]\n    env: {env}\n    {may}", script()),
        );
        let _daemon = place.serve().await;
        let answer = Caller::new(&place).await.told("connect").await;
        assert_eq!(answer["id"], 1, "{answer}");
        let refusal = answer["error"]["message"].as_str();
        assert_eq!(
            refusal.is_some_and(|message| message.contains("write `may_call: [s]`")),
            may.is_empty(),
            "{answer}"
        );
        assert_eq!(answer["result"].is_object(), !may.is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn a_process_that_no_server_started_outlives_them_all_and_is_shown() {
    let place = place("", "");
    let (fifo, told) = (place.home().join("fifo"), place.home().join("pid"));
    // As the script of a container does: something in the background, and then the daemon in its own place.
    let script = "mkfifo \"$1\"; (read x < \"$1\"; setsid sleep 600 & echo $! > \"$2.new\"; mv \"$2.new\" \"$2\") & shift 2; exec \"$@\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash"]).arg(&fifo).arg(&told).arg(env!("CARGO_BIN_EXE_mcpool"));
    shell.args(["serve", "--config"]).arg(place.config()).env("HOME", place.home()).kill_on_drop(true);
    let mut daemon = place.ready(shell.stdin(Stdio::null())).await;
    let mut caller = Caller::new(&place).await;
    let family = caller.family().await;
    fs::write(&fifo, "now\n").expect("told");
    until(PATIENCE, "the stranger", || told.exists()).await;
    let stranger: u32 = fs::read_to_string(&told).expect("read").trim().parse().expect("a pid");
    caller.call("die").await;
    until(PATIENCE, "the end of the server", || !lives(family[0])).await;
    let status = place.until(|status| status["strangers"] == json!([stranger])).await;
    assert!(lives(stranger), "{status}");
    let page = String::from_utf8(place.mcpool(&["status"]).output().await.expect("it runs").stdout).expect("text");
    assert!(page.contains(&format!("lets them be: {stranger}")), "{page}");
    assert!(daemon.terminate().await.success());
    assert!(lives(stranger), "it outlives the daemon too");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(stranger.cast_signed()).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
}

#[tokio::test]
async fn a_daemon_that_a_server_starts_is_not_ended_with_the_server() {
    let inner = Place::new();
    let connect = json!([env!("CARGO_BIN_EXE_mcpool"), "connect", "--config", inner.config(), "echo"]);
    let env = json!({ "CONNECT": connect.to_string(), "HOME": inner.home(), "SECRET": "s3cret" });
    let outer = serving(&format!("command: python3\n    args: [{:?}]\n    env: {env}", script()));
    let mut daemon = outer.serve().await;
    let mut caller = Caller::new(&outer).await;
    let opened = caller.told("connect").await;
    assert!(opened["result"]["serverInfo"].is_object(), "{opened}");
    let pid = inner.status().await["pid"].as_u64().expect("a pid") as u32;
    if let Some(environment) = environment(pid) {
        assert!(!environment.contains("MCPOOL_INSTANCE") && !environment.contains("s3cret"), "{environment:?}");
    }
    caller.call("die").await;
    Caller::new(&outer).await.family().await;
    assert_eq!(inner.status().await["pid"], pid, "it goes on");
    assert!(daemon.terminate().await.success());
    assert_eq!(inner.status().await["pid"], pid, "it goes on still");
}

#[tokio::test]
async fn a_daemon_keeps_the_variables_that_its_config_asks_for_and_no_others() {
    let place = place("", "env: { TOLD: \"${env:ASKED_FOR}\" }\n    inherit_env: [PASSED_ON]");
    let mut command = place.mcpool(&["serve"]);
    command.env("ASKED_FOR", "1").env("PASSED_ON", "2").env("OTHERS_SECRET", "3");
    let daemon = place.ready(&mut command).await;
    if let Some(environment) = environment(daemon.pid()) {
        assert!(environment.contains("ASKED_FOR=1") && environment.contains("PASSED_ON=2"), "{environment:?}");
        assert!(!environment.contains("OTHERS_SECRET"), "{environment:?}");
    }
    let state = Caller::new(&place).await.told("state").await;
    let names = state["environment"].to_string();
    assert!(names.contains("TOLD") && names.contains("PASSED_ON") && !names.contains("OTHERS_SECRET"), "{names}");
}

/// Opens as many connections as it gets, and says nothing on them.
const FLOOD: &str = "
import os, socket, time
kept = []
while True:
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect(os.environ['SOCKET'])
        kept.append(one)
    except OSError:
        time.sleep(0.005)
    del kept[:-900]
";

#[tokio::test]
async fn a_server_that_knocks_without_end_keeps_nobody_else_out() {
    let place = serving("command: python3");
    let script = place.home().join("flood.py");
    fs::write(&script, FLOOD).expect("written");
    let env = json!({ "SOCKET": place.socket("all") });
    place.edit("command: python3", &format!("command: python3\n    args: [{script:?}]\n    env: {env}"));
    let _daemon = place.serve().await;
    let mut host = crate::crowded::connected(&place.socket("s"));
    let params =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let begins = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    writeln!(host, "{begins}").expect("written");
    place.until(|status| status["counters"]["callers_refused"].as_u64() > Some(50)).await;
    let since = Instant::now();
    let mut other = crate::crowded::connected(&place.socket("all"));
    other.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n").expect("written");
    let mut answer = String::new();
    BufReader::new(other).read_line(&mut answer).expect("a line");
    assert!(answer.contains("\"result\""), "{answer}");
    assert!(since.elapsed() < Duration::from_secs(3), "it took {:?}", since.elapsed());
}
