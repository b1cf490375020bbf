//! What daemons, wardens and servers have of whoever started mcpool: nothing that was not meant for them.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::daemon::Place;
use crate::family::{Caller, place};
use crate::orphans::warden;

/// The soft limit of a line of `/proc/PID/limits`.
fn limit(pid: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit");
    line.split_whitespace().next().expect("a value").to_owned()
}

/// Starts a daemon as a careless host would: with a file open that it does not know of, and with no mask.
async fn carelessly(place: &Place) -> crate::daemon::Daemon {
    let mut shell = tokio::process::Command::new("sh");
    let precious = place.home().join("precious");
    fs::write(&precious, "").expect("written");
    let deaf = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2]); os.execvp(sys.argv[1], sys.argv[1:])";
    let script = format!(
        "exec 7<\"$1\"; umask 0; ulimit -S -n 150; ulimit -S -c 0; trap '' CHLD USR1 INT; shift; exec python3 -c '{deaf}' \"$@\""
    );
    shell.args(["-c", &script, "sh"]).arg(&precious).arg(env!("CARGO_BIN_EXE_mcpool"));
    shell.args(["serve", "--config"]).arg(place.config()).env("HOME", place.home()).kill_on_drop(true);
    place.ready(shell.stdin(Stdio::null())).await
}

#[tokio::test]
async fn a_daemon_and_its_servers_hear_the_signals_that_whoever_started_it_was_deaf_to() {
    let place = place("", "");
    let mut daemon = carelessly(&place).await;
    let state = Caller::new(&place).await.told("state").await;
    assert_eq!(state["deaf to"], json!({ "SigBlk": 0, "SigIgn": 0 }));
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_server_has_three_descriptors_and_the_limits_of_whoever_started_the_daemon() {
    let place = place("", "");
    let daemon = carelessly(&place).await;
    let state = Caller::new(&place).await.told("state").await;
    assert_eq!(state["descriptors"], json!([0, 1, 2]));
    assert_eq!([&state["files"], &state["core"]], [&json!(150), &json!(0)]);
    assert_eq!(state["umask"], 0o022, "nobody else writes what it makes");
    assert_eq!(state["no_new_privs"], "1");
    for pid in [daemon.pid(), warden(daemon.pid()).expect("a warden")] {
        // Shown to root alone.
        let holds = |name: &str| fs::read_link(format!("/proc/{pid}/fd/{name}")).unwrap_or_default();
        assert!(!holds("7").ends_with("precious"), "{pid} holds what the host had open");
        assert_eq!(limit(pid, "Max core file size"), "0");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
        assert!(status.contains("Umask:\t0077"), "{status}");
    }
}

#[tokio::test]
async fn a_server_may_gain_rights_only_if_the_config_says_so() {
    let place = place("", "new_privileges: true");
    let _daemon = place.serve().await;
    assert_eq!(Caller::new(&place).await.told("state").await["no_new_privs"], "0");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_the_path_that_was_searched() {
    let place = crate::family::serving("command: no-such-program\n    env: { PATH: \"/nowhere:/bin\" }");
    let _daemon = place.serve().await;
    let (_, refused) = Caller::opened(&place).await;
    let message = refused["error"]["message"].as_str().expect("an error");
    assert!(message.contains("cannot run `no-such-program`") && message.contains("/nowhere:/bin"), "{message}");
}
