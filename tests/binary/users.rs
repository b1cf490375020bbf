//! Another system user: let in where an endpoint names it, to what the endpoint names, and nowhere else. Only root can
//! play somebody else, so that these tests do nothing for anybody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;
use tokio::process::Command;

use crate::daemon::Place;

/// A user whom the endpoint names, and one whom it does not.
const NAMED: u32 = 65534;
const STRANGER: u32 = 65533;

/// Opens, lists and calls over a socket; what comes back, a line each, or why nothing does.
const TALK: &str = r#"
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
try:
    s.connect(sys.argv[1])
    say = lambda **m: s.sendall((json.dumps(dict(m, jsonrpc="2.0")) + "\n").encode())
    say(id=1, method="initialize", params={"protocolVersion": "2025-06-18", "capabilities": {"roots": {}, "sampling": {}}, "clientInfo": {"name": "t", "version": "1"}})
    say(method="notifications/initialized")
    say(id=2, method="tools/list")
    say(id=3, method="tools/call", params={"name": "add", "arguments": {"a": 1, "b": 2}})
    say(id=4, method="tools/call", params={"name": "echo", "arguments": {}})
    say(id=5, method="resources/read", params={"uri": "file:///etc/shadow"})
    got = s.makefile()
    seen = set()
    while seen < {1, 2, 3, 4, 5}:
        line = got.readline()
        if not line:
            sys.exit("closed")
        print(line, end="")
        seen.add(json.loads(line).get("id"))
except OSError as error:
    sys.exit(type(error).__name__)
"#;

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A place whose `pub` lets a user in for one tool.
fn place() -> Place {
    let place = Place::new();
    let pub_ = format!("endpoints:\n  pub:\n    servers: [echo]\n    users: [{NAMED}]\n    tools: [add]\n");
    let config = fs::read_to_string(place.config()).expect("a config");
    fs::write(place.config(), config + &pub_).expect("written");
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o711)).expect("its own place");
    place
}

/// What a user gets on a socket, by id; or why nothing.
async fn talk(place: &Place, user: u32, socket: &str) -> Result<Vec<Value>, String> {
    let mut python = Command::new("python3");
    python.args(["-c", TALK]).arg(place.socket(socket)).uid(user).gid(user).current_dir("/");
    let output = python.output().await.expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        assert_eq!(said, "", "not one byte");
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let mut lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    lines.sort_by_key(|line| line["id"].as_u64());
    Ok(lines)
}

#[tokio::test]
async fn a_user_that_is_named_comes_in_for_what_is_named_and_another_gets_no_byte() {
    if !is_root() {
        return;
    }
    let place = place();
    let _daemon = place.serve().await;
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(place.sockets()), mode(place.socket("pub"))), (0o711, 0o666));
    for socket in ["admin", "echo", "new", "all"] {
        assert_eq!(mode(place.socket(socket)), 0o600, "{socket}");
    }
    let got = talk(&place, NAMED, "pub").await.expect("it comes in");
    let tools = got[1]["result"]["tools"].as_array().expect("tools");
    assert_eq!(tools.iter().map(|tool| tool["name"].as_str()).collect::<Vec<_>>(), [Some("add")]);
    assert_eq!(got[2]["result"]["content"][0]["text"], "3");
    assert_eq!((&got[3]["error"]["code"], &got[4]["error"]["code"]), (&403.into(), &403.into()));
    let refused = talk(&place, STRANGER, "pub").await.expect_err("it is turned away");
    assert!(["closed", "BrokenPipeError", "ConnectionResetError"].contains(&refused.as_str()), "{refused}");
    for socket in ["echo", "all", "admin"] {
        assert_eq!(talk(&place, NAMED, socket).await.err().as_deref(), Some("PermissionError"), "{socket}");
    }
    let listed = Command::new("ls").arg(place.sockets()).uid(NAMED).gid(NAMED).output().await.expect("ls runs");
    assert!(!listed.status.success(), "others see no names");
}

#[tokio::test]
async fn a_directory_that_is_there_is_opened_and_closed_as_the_config_says() {
    if !is_root() {
        return;
    }
    let place = place();
    let with = fs::read_to_string(place.config()).expect("a config");
    let without = with.replace(&format!("    users: [{NAMED}]\n"), "");
    fs::write(place.config(), &without).expect("written");
    let _daemon = place.serve().await;
    assert_eq!(talk(&place, NAMED, "pub").await.err().as_deref(), Some("PermissionError"));
    for (text, mode) in [(&with, 0o711), (&without, 0o700)] {
        fs::write(place.config(), text).expect("written");
        let reloaded = place.mcpool(&["reload"]).output().await.expect("it runs");
        assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
        assert_eq!(fs::metadata(place.sockets()).expect("there").permissions().mode() & 0o777, mode);
        assert_eq!(talk(&place, NAMED, "pub").await.is_ok(), mode == 0o711);
    }
}

#[tokio::test]
async fn what_a_process_could_do_is_explained_and_so_is_what_keeps_it_out() {
    if !is_root() {
        return;
    }
    let place = place();
    let mut sleeper =
        Command::new("sleep").arg("60").uid(NAMED).gid(NAMED).kill_on_drop(true).spawn().expect("it runs");
    let pid = sleeper.id().expect("a process").to_string();
    let check = async |args: &[&str]| {
        let output = place.mcpool(args).output().await.expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (fine, said) = check(&["check", "--as", &pid, "pub"]).await;
    assert!(fine && said.contains(&format!("`users` names {NAMED}")) && said.contains("tools      add"), "{said}");
    assert!(check(&["check", "--as", &pid, "echo"]).await.1.contains("gets no byte"));
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o700)).expect("its own place");
    let (_, said) = check(&["check"]).await;
    assert!(said.contains(&format!("user {NAMED} cannot reach its socket")), "{said}");
    sleeper.kill().await.expect("it ends");
}

#[tokio::test]
async fn nobody_but_root_looks_into_the_daemon_also_not_the_user_that_runs_it() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let binary = place.home().join("mcpool");
    fs::copy(env!("CARGO_BIN_EXE_mcpool"), &binary).expect("copied");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("for all");
    for path in [place.home(), &place.config()] {
        std::os::unix::fs::chown(path, Some(NAMED), Some(NAMED)).expect("given away");
    }
    let mut command = Command::new(&binary);
    command.args(["serve", "--config"]).arg(place.config()).env("HOME", place.home()).current_dir("/");
    let daemon = place.ready(command.uid(NAMED).gid(NAMED).kill_on_drop(true)).await;
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/environ")).expect("it runs").uid();
    let warden = crate::orphans::warden(daemon.pid()).expect("it has one");
    assert_eq!((owner(daemon.pid()), owner(warden)), (0, 0));
    let look = Command::new("cat").arg(format!("/proc/{}/environ", daemon.pid())).uid(NAMED).gid(NAMED).output().await;
    assert!(!look.expect("cat runs").status.success());
    // What may be looked into belongs to its user.
    let mut plain = Command::new("sleep").arg("600").uid(NAMED).gid(NAMED).kill_on_drop(true).spawn().expect("it runs");
    assert_eq!(owner(plain.id().expect("it runs")), NAMED);
    plain.kill().await.expect("killed");
}
