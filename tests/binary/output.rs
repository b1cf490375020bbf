//! What becomes of what the commands print: on a terminal, on a full disk, for a reader that has read enough.

use std::fs;
use std::io::pipe;
use std::process::{Output, Stdio};

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::daemon::Place;

/// Every command that prints pages.
const PAGES: [&[&str]; 7] = [
    &["check"],
    &["status"],
    &["status", "--json"],
    &["tools", "echo"],
    &["call", "echo", "echo", "{}"],
    &["logs"],
    &["logs", "--path"],
];

/// A place with a daemon that was started by a host, and so has a log.
async fn place() -> Place {
    let place = Place::new();
    let mut host = place.connect("echo");
    host.open().await;
    assert!(host.close().await.success());
    place
}

async fn ended(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("it runs");
    timeout(PATIENCE, output.wait_with_output()).await.expect("it does not end").expect("it ended")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn on_a_full_disk_each_command_fails_and_says_so_in_one_line() {
    let place = place().await;
    for page in PAGES {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let output = ended(place.mcpool(page).stdout(full)).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{page:?}: {said}");
        assert!(said.contains("No space left on device") && said.lines().count() == 1, "{page:?}: {said}");
    }
}

#[tokio::test]
async fn on_a_full_disk_connect_ends_and_says_that_answers_are_lost() {
    let place = place().await;
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let (stdin, mut host) = pipe().expect("a pipe");
    let child = place.mcpool(&["connect", "echo"]).stdin(stdin).stdout(full).stderr(Stdio::piped()).spawn();
    std::io::Write::write_all(&mut host, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").expect("written");
    // Whoever holds stdin open keeps nobody.
    let output = timeout(PATIENCE, child.expect("it runs").wait_with_output()).await.expect("it does not end");
    let output = output.expect("it ended");
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("answers are lost") && said.lines().count() == 1,
        "{said}"
    );
    drop(host);
}

#[tokio::test]
async fn whoever_has_read_enough_is_told_nothing() {
    let place = place().await;
    for page in PAGES {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let output = ended(place.mcpool(page).stdout(writer)).await;
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{page:?}");
    }
}

/// What a command prints on a terminal until it ends.
async fn on_a_terminal(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> String {
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new("python3");
    command.args(["-c", spawn, env!("CARGO_BIN_EXE_mcpool")]).args(args).arg("--config").arg(place.config());
    command.env("HOME", place.home()).env_remove("NO_COLOR").envs(variables.iter().copied());
    text(&ended(command.stdout(Stdio::piped())).await.stdout)
}

/// Opens a session of a command on a terminal, types Ctrl-C, and ends with its exit code.
const TYPES: &str = r#"
import json, os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
os.write(terminal, (json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}) + "\n").encode())
seen = b""
while b"serverInfo" not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, b"\x03")
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[tokio::test]
async fn a_server_on_a_terminal_ends_with_ctrl_c() {
    let place = Place::new();
    let mut command = Command::new("python3");
    command.args(["-c", TYPES, env!("CARGO_BIN_EXE_mcpool"), "serve", "--stdio", "echo", "--config"]);
    let ended = ended(command.arg(place.config()).env("HOME", place.home()).stderr(Stdio::piped())).await;
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[tokio::test]
async fn the_log_has_colours_on_a_terminal_unless_it_is_told_not_to() {
    for (variables, colours) in [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("NO_COLOR", "")], true)] {
        let place = Place::new();
        // One that cannot listen logs nothing, so it has to live for a moment.
        let (said, _) = tokio::join!(on_a_terminal(&place, &["serve"], variables), async {
            place.until(|status| status["pid"].is_u64()).await;
            ended(place.mcpool(&["drain"]).stdout(Stdio::null())).await
        });
        assert!(said.contains("listening"), "{said}");
        assert_eq!(said.contains('\u{1b}'), colours, "{variables:?}: {said}");
    }
}

#[tokio::test]
async fn connect_tells_a_person_at_a_terminal_what_it_is() {
    let place = Place::new();
    // Nobody can type there, so it is one that ends by itself.
    let said = on_a_terminal(&place, &["connect", "ecco"], &[]).await;
    assert!(said.contains("mcpool tools ecco") && said.contains("echo, new, all"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("jsonrpc"), "{said}");
}

#[tokio::test]
async fn a_bad_filter_for_the_log_is_told_with_what_to_say_instead() {
    let place = Place::new();
    let checked = ended(place.mcpool(&["check"]).env("MCPOOL_LOG", "inof").stdout(Stdio::piped())).await;
    let said = text(&checked.stdout);
    assert!(checked.status.success() && said.contains("warning: MCPOOL_LOG=\"inof\" is ignored"), "{said}");
    assert!(said.contains("MCPOOL_LOG=info,"), "{said}");
    let fine = ended(place.mcpool(&["check"]).env("MCPOOL_LOG", "warn").stdout(Stdio::piped())).await;
    assert!(!text(&fine.stdout).contains("MCPOOL_LOG"));
    let log = fs::File::create(place.home().join("log")).expect("a file");
    let mut serving = place.mcpool(&["serve", "--stdio", "echo"]);
    let served = serving.env("MCPOOL_LOG", "inof").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status();
    assert!(timeout(PATIENCE, served).await.expect("it does not end").expect("it ended").success());
    let log = fs::read_to_string(place.home().join("log")).expect("the log");
    assert!(log.contains("WARN") && log.contains("is ignored") && log.contains("unset it"), "{log}");
}

#[tokio::test]
async fn a_socket_whose_path_is_too_long_is_told_by_every_command_that_needs_it() {
    let place = Place::new();
    let long = place.home().join("d".repeat(100));
    let config = json!({
        "servers": { "echo": { "command": "true" } }, "sockets": { "dir": long }, "catalogue": { "dir": place.home().join("cache") },
    });
    fs::write(place.config(), config.to_string()).expect("written");
    for args in [&["check"][..], &["serve"], &["connect", "echo"], &["tools", "echo"]] {
        let output = ended(place.mcpool(args).stdout(Stdio::null())).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("sockets.dir"), "{args:?}: {said}");
    }
}
