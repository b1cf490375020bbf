//! What a confined server cannot reach, tried by the server itself.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::Place;
use crate::family::{Caller, serving};

/// A server that tries `probes`, in a sandbox as the config has it. The interpreter is no part of the system everywhere.
fn confined(sandbox: &str, probes: &Value) -> Place {
    let tell = "import sys; print(sys.executable); print(sys.base_prefix)";
    let told = Command::new("python3").args(["-c", tell]).output().expect("python3").stdout;
    let told = String::from_utf8(told).expect("paths");
    let (python, prefix) = told.trim().split_once('\n').expect("two lines");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/binary/family.py");
    let sandbox = sandbox.replace("PYTHON", &format!("{prefix:?}, {script:?}"));
    let env = json!({ "PROBES": probes.to_string() });
    serving(&format!("command: {python:?}\n    args: [{script:?}]\n    env: {env}\n    sandbox: {sandbox}"))
}

async fn outcome(place: &Place) -> Value {
    Caller::new(place).await.told("reach").await
}

#[tokio::test]
async fn a_server_reaches_the_files_that_its_sandbox_names_and_no_others() {
    let outside = Place::new();
    let at = |name: &str| outside.home().join(name);
    for dir in ["read", "write", "neither"] {
        fs::create_dir(at(dir)).expect("made");
        fs::write(at(dir).join("file"), "precious").expect("written");
    }
    let sandbox = format!("{{ read: [PYTHON, {:?}], write: [{:?}] }}", at("read"), at("write"));
    let place = confined(
        &sandbox,
        &json!({
            "read it": ["read", at("read/file")],
            "list it": ["list", at("read")],
            "write to what may be read": ["write", at("read/file")],
            "empty what may be read": ["empty", at("read/file")],
            "write": ["write", at("write/new")],
            "read another": ["read", at("neither/file")],
            "read another on a way round": ["read", at("read/../neither/file")],
            "list another": ["list", at("neither")],
            "write another": ["write", at("neither/new")],
            "secrets of the system": ["read", "/etc/shadow"],
            "run programs": ["run", ["/bin/sh", "-c", "cat /etc/passwd > /dev/null"]],
            "have others read for it": ["run", ["/bin/cat", at("neither/file")]],
            "a place of its own": ["temporary", null],
            "signal a stranger": ["signal", std::process::id()],
            "environment of its parent": ["environment", null],
        }),
    );
    // What the daemon has for a place is none that the server reaches.
    let mut command = place.mcpool(&["serve"]);
    let _daemon = place.ready(command.env("TMPDIR", outside.home())).await;
    let outcome = outcome(&place).await;
    let refused: Vec<&str> = outcome
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(_, how)| *how != "reached")
        .map(|(what, _)| what.as_str())
        .collect();
    let mut expected = vec![
        "write to what may be read",
        "empty what may be read",
        "read another",
        "read another on a way round",
        "list another",
        "write another",
        "secrets of the system",
        "have others read for it",
        "signal a stranger",
        "environment of its parent",
    ];
    expected.sort_unstable();
    assert_eq!(refused, expected, "{outcome:#}");
    assert_eq!(fs::read_to_string(at("read/file")).expect("read"), "precious");
}

#[tokio::test]
async fn a_server_without_a_network_connects_to_nobody() {
    let (tcp, outside) = (TcpListener::bind("127.0.0.1:0").expect("a port"), Place::new());
    let path = outside.home().join("other.sock");
    let _unix = UnixListener::bind(&path).expect("a socket");
    let port = tcp.local_addr().expect("an address").port();
    let probes = json!({
        "tcp": ["tcp", port], "udp": ["udp", port], "unix": ["unix", path], "pair": ["pair", null],
        "child": ["run", ["bash", "-c", format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]],
    });
    for (sandbox, expected) in [
        ("{ network: none }", ["EACCES", "EACCES", "EACCES", "reached", "CalledProcessError"]),
        ("{ network: none, unix_sockets: true }", ["EACCES", "EACCES", "reached", "reached", "CalledProcessError"]),
        ("{ read: [/] }", ["reached", "reached", "EACCES", "reached", "reached"]),
    ] {
        let place = confined(sandbox, &probes);
        let _daemon = place.serve().await;
        let outcome = outcome(&place).await;
        let order = ["tcp", "udp", "unix", "pair", "child"].map(|what| outcome[what].as_str().unwrap_or_default());
        assert_eq!(order, expected, "in {sandbox}");
    }
}

#[tokio::test]
async fn a_preset_opens_no_home_in_which_the_program_lies_and_check_lists_what_it_opens() {
    let place = confined("{ preset: npx, read: [PYTHON] }", &json!({}));
    let secret = place.home().join("secret");
    fs::write(&secret, "precious").expect("written");
    let start = place.home().join("start.sh");
    let config = fs::read_to_string(place.config()).expect("a config");
    let python = config.lines().find_map(|line| line.trim().strip_prefix("command: ")).expect("a command").to_owned();
    fs::write(&start, format!("#!/bin/sh\nexec {python} \"$@\"\n")).expect("written");
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).expect("changed");
    let probes = json!({ "secret": ["read", secret], "list": ["list", place.home()] }).to_string();
    let config = config.replace(&python, &format!("{start:?}")).replace(r#""{}""#, &json!(probes).to_string());
    fs::write(place.config(), config).expect("written");
    let checked = place.mcpool(&["check"]).output().await.expect("it runs");
    let page = String::from_utf8_lossy(&checked.stdout).into_owned();
    let opened = page.lines().find_map(|line| line.trim().strip_prefix("for its program it reads: "));
    let mut opened = opened.unwrap_or_else(|| panic!("{page}")).split(", ");
    assert!(
        opened.any(|path| start.as_os_str() == path) && opened.all(|path| place.home().as_os_str() != path),
        "{page}"
    );
    let _daemon = place.serve().await;
    assert_eq!(outcome(&place).await, json!({ "secret": "EACCES", "list": "EACCES" }));
}

#[tokio::test]
async fn a_server_sends_to_no_socket_outside_through_a_pair_of_its_own() {
    let outside = Place::new();
    let path = outside.home().join("other.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("set");
    let probes = json!({ "datagram": ["datagrams", ["datagram", path]], "raw": ["datagrams", ["raw", path]] });
    for (sandbox, expected) in [
        ("{ network: none }", "EACCES"),
        ("{ read: [/] }", "EACCES"),
        ("{ network: none, unix_sockets: true }", "reached"),
    ] {
        let place = confined(sandbox, &probes);
        let _daemon = place.serve().await;
        assert_eq!(outcome(&place).await, json!({ "datagram": expected, "raw": expected }), "in {sandbox}");
        assert_eq!(socket.recv(&mut [0]).is_ok(), expected == "reached", "in {sandbox}");
    }
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_server_changes_how_nobody_but_itself_runs() {
    let other = std::process::id();
    let (by_id, by_user, io_priority, compare) = (0, 2, 251, 312);
    let probes = json!({
        "its limit": ["own limit", null],
        "its priority": ["priority", [by_id, 0]],
        "its processors": ["processors", 0],
        "its scheduler": ["scheduler", 0],
        "limit": ["limit", other],
        "priority": ["priority", [by_id, other]],
        "everybody's priority": ["priority", [by_user, 0]],
        "processors": ["processors", other],
        "scheduler": ["scheduler", other],
        "priority at disks": ["call", [io_priority, 1, other, 16388]],
        "everybody's at disks": ["call", [io_priority, 3, 0, 16388]],
        "comparison": ["call", [compare, other, other, 2, 0, 0]],
    });
    for sandbox in ["{ network: none }", "{ unix_sockets: true }", "{ read: [/] }"] {
        let place = confined(sandbox, &probes);
        let _daemon = place.serve().await;
        for (what, how) in outcome(&place).await.as_object().expect("an object") {
            assert_eq!(how, if what.starts_with("its") { "reached" } else { "EACCES" }, "{what} in {sandbox}");
        }
    }
}

#[tokio::test]
async fn a_process_of_a_server_takes_no_more_memory_than_it_may() {
    let place = confined("{ memory: 256MiB }", &json!({ "some": ["memory", 32 << 20], "much": ["memory", 512 << 20] }));
    let _daemon = place.serve().await;
    assert_eq!(outcome(&place).await, json!({ "some": "reached", "much": "MemoryError" }));
}

#[tokio::test]
async fn a_server_starts_no_more_processes_than_it_may() {
    let place = confined("{ processes: 8 }", &json!({ "a few": ["processes", 4], "many": ["processes", 40] }));
    let _daemon = place.serve().await;
    if rustix::process::getuid().is_root() {
        // The system counts everybody's processes but root's.
        let (_, refused) = Caller::opened(&place).await;
        let message = refused["error"]["message"].as_str().expect("an error");
        assert!(message.contains("`processes` cannot be held"), "{message}");
        assert_eq!(refused["error"]["code"], 503);
    } else {
        assert_eq!(outcome(&place).await, json!({ "a few": "reached", "many": "EAGAIN" }));
    }
}

#[tokio::test]
async fn a_server_whose_sandbox_cannot_be_held_is_not_started_and_says_why() {
    let place = serving("command: sh\n    sandbox: { read: [/no/such/place] }");
    let checked = place.mcpool(&["check"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(said.contains("warning: server `s` will not be started") && said.contains("/no/such/place"), "{said}");
    let _daemon = place.serve().await;
    let (_, refused) = Caller::opened(&place).await;
    let message = refused["error"]["message"].as_str().expect("an error");
    assert!(message.contains("its sandbox cannot be held") && message.contains("/no/such/place"), "{message}");
    assert_eq!(refused["error"]["data"]["mcpool"]["reason"], "start_failed");
}

#[tokio::test]
async fn a_server_in_a_sandbox_has_none_of_the_rights_of_root() {
    let outside = Place::new();
    let (mine, sealed) = (outside.home().join("mine"), outside.home().join("sealed"));
    for (file, mode) in [(&mine, 0o600), (&sealed, 0o000)] {
        fs::write(file, "precious").expect("written");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("changed");
    }
    let root = rustix::process::getuid().is_root();
    let probes = json!({ "rights": ["rights", null], "mine": ["read", mine], "own": ["own", mine], "sealed": ["read", sealed],
        "mount": ["run", ["mount", "-t", "tmpfs", "none", outside.home()]] });
    for sandbox in ["{ network: none }", "{ read: [/], unix_sockets: true }", "{ memory: 4GiB }"] {
        let place = confined(sandbox, &probes);
        let _daemon = place.serve().await;
        let outcome = outcome(&place).await;
        let left = ["CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm"].map(|set| format!("{set}:\t{:016x}", 0));
        let told = outcome["rights"].as_array().expect("a list");
        // Whoever has none cannot take them from what it is bounded by, and cannot gain them either.
        let counts = |line: &&Value| root || !line.as_str().is_some_and(|line| line.starts_with("CapBnd"));
        assert!(told.iter().filter(counts).all(|line| left.iter().any(|left| line == left)), "{outcome} in {sandbox}");
        let refused = ["mine", "own", "sealed", "mount"].map(|what| outcome[what].as_str().unwrap_or_default());
        assert_eq!(refused, ["reached", "EPERM", "EACCES", "CalledProcessError"], "in {sandbox}");
    }
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_server_reaches_nothing_that_processes_of_a_user_share_apart_from_files() {
    let (keyctl, add_key, shmget, shmat, msgget, semget, mq_open) = (250, 248, 29, 30, 68, 64, 240);
    let own_session = -3;
    let probes = json!({
        "keys": ["call", [keyctl, 0, own_session, 1]],
        "a key": ["call", [add_key, 0, 0, 0, 0, own_session]],
        "memory": ["call", [shmget, 0x1234, 100, 0o600]],
        "memory of others": ["call", [shmat, 0, 0, 0]],
        "messages": ["call", [msgget, 0x1234, 0o600]],
        "semaphores": ["call", [semget, 0x1234, 1, 0o600]],
        "a queue": ["call", [mq_open, 0, 0, 0, 0]],
    });
    for sandbox in ["{ network: none }", "{ read: [/], unix_sockets: true }"] {
        let place = confined(sandbox, &probes);
        let _daemon = place.serve().await;
        for (what, how) in outcome(&place).await.as_object().expect("an object") {
            assert_eq!(how, "EACCES", "{what} in {sandbox}");
        }
    }
}
