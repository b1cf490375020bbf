//! How `connect` and `serve --stdio` end, and what becomes of stdin and stdout, which are not theirs alone.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::PATIENCE;
use crate::connect::place;

/// How long a drain waits for what runs, as it is where the config does not say.
const DRAIN: Duration = Duration::from_secs(10);

const BOTH: [&[&str]; 2] = [&["connect", "s"], &["serve", "--stdio", "s"]];

#[tokio::test]
async fn what_was_asked_before_the_end_of_input_is_answered() {
    for command in BOTH {
        let place = place("");
        let mut host = place.host(command);
        host.open().await;
        host.request(json!(1), "tools/call", json!({ "name": "slow", "arguments": { "seconds": 3 } }));
        host.hush();
        assert_eq!(host.line().await["result"]["content"][0]["text"], "late", "{command:?}");
        assert_eq!(host.ended().await.code(), Some(0), "{command:?}");
    }
}

#[tokio::test]
async fn a_question_that_nobody_can_answer_any_more_is_not_waited_for() {
    for command in BOTH {
        let place = place("");
        let mut host = place.host(command);
        let mut opening = opening("2025-06-18");
        opening["params"]["capabilities"] = json!({ "roots": {} });
        host.say(&opening.to_string());
        assert_eq!(host.line().await["id"], 0);
        host.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        host.request(json!(1), "tools/call", json!({ "name": "roots", "arguments": {} }));
        assert_eq!(host.line().await["method"], "roots/list");
        let clock = Instant::now();
        host.hush();
        let answer = host.line().await.to_string();
        assert!(answer.contains("input has ended") && clock.elapsed() < Duration::from_secs(5), "{command:?} {answer}");
        assert_eq!(host.ended().await.code(), Some(0), "{command:?}");
    }
}

#[tokio::test]
async fn who_says_no_more_to_a_socket_has_its_answers_still() {
    let place = place("");
    let _daemon = place.serve().await;
    let mut stream = UnixStream::connect(place.socket("s")).expect("a socket");
    let info = json!({ "name": "host", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
    let opening = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let slow = json!({ "name": "slow", "arguments": { "seconds": 3 } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": slow });
    let said = spawn_blocking(move || {
        stream.write_all(format!("{opening}\n{call}\n").as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("half of it is closed");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("read to its end");
        said
    });
    let said = timeout(PATIENCE, said).await.expect("it does not end").expect("it is read");
    assert!(said.lines().count() == 2 && said.contains("late"), "{said}");
}

#[tokio::test]
async fn a_closed_output_is_the_end_whatever_stdin_does() {
    for command in BOTH {
        let place = place("");
        let mut host = place.host(command);
        host.open().await;
        host.call("length", json!({ "text": "" })).await;
        assert_eq!(host.deafen().await.code(), Some(0), "{command:?}");
    }
}

#[tokio::test]
async fn whoever_reads_no_more_ends_it_with_1_where_a_request_was_not_answered() {
    for command in BOTH {
        let place = place("");
        let mut host = place.host(command);
        host.open().await;
        host.request(json!(1), "tools/call", json!({ "name": "hang", "arguments": {} }));
        host.call("length", json!({ "text": "" })).await;
        let clock = Instant::now();
        assert_eq!(host.deafen().await.code(), Some(1), "{command:?}");
        // Nobody waits for what hangs, as at a drain.
        assert!(clock.elapsed() < DRAIN, "{command:?}");
    }
}

#[tokio::test]
async fn a_last_line_without_its_end_is_carried_out_if_whole_and_answered_if_cut_off() {
    let whole = r#"{"jsonrpc":"2.0","id":"last","method":"ping"}"#;
    let opening = opening("2025-03-26");
    for (last, id, code) in [
        (whole, json!("last"), json!(null)),
        (&whole[..whole.len() - 1], json!("last"), json!(-32700)),
        (r#"{"method":"tools/call","params":{"name":"x"},"id":"last","jsonrpc":"2.0"#, json!("last"), json!(-32700)),
        (
            r#"[{"jsonrpc":"2.0","id":"last","method":"ping"},{"jsonrpc":"2.0","method":"notifications/x","par"#,
            json!("last"),
            json!(-32700),
        ),
    ] {
        for command in BOTH {
            let (code_of, answers) = fed(command, &format!("{opening}\n{last}")).await;
            let of_last: Vec<_> = answers.iter().filter(|answer| answer["id"] == id).collect();
            assert_eq!(of_last.len(), 1, "{command:?} {last}: {answers:?}");
            assert_eq!((&of_last[0]["error"]["code"], code_of), (&code, Some(0)), "{command:?} {last}");
        }
    }
    // A batch without its line end is a batch.
    for command in BOTH {
        let (code, answers) = fed(command, &format!("{opening}\n[{whole}]")).await;
        let is_its = |answer: &Value| answer[0]["id"] == "last" && answer[0].get("result").is_some();
        assert!(answers.iter().any(is_its) && code == Some(0), "{command:?} {answers:?}");
    }
    // Whoever waits for this cannot be told; what is no request, nobody waits for.
    for (last, code, count) in [
        (r#"{"jsonrpc":"2.0","method":"ping","id":"#, 1, 2),
        (r#"{"jsonrpc":"2.0","method":"notifications/x","par"#, 0, 1),
    ] {
        let (ended, answers) = fed(&["connect", "s"], &format!("{opening}\n{last}")).await;
        assert_eq!((ended, answers.len()), (Some(code), count), "{answers:?}");
    }
}

fn opening(version: &str) -> Value {
    let info = json!({ "name": "host", "version": "1" });
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": info });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

/// Runs it on this input: its exit code, and what it said.
async fn fed(command: &[&str], input: &str) -> (Option<i32>, Vec<Value>) {
    let place = place("");
    let file = place.home().join("input");
    std::fs::write(&file, input).expect("written");
    let stdin = std::fs::File::open(file).expect("a file");
    let output = place.mcpool(command).stdin(stdin).output();
    let output = timeout(PATIENCE, output).await.expect("it does not end").expect("it ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[tokio::test]
async fn a_socket_needs_no_name() {
    let place = place("");
    let _daemon = place.serve().await;
    let socket = place.socket("s").display().to_string();
    let mut host = place.host(&["connect", "--socket", &socket]);
    host.open().await;
    assert_eq!(host.close().await.code(), Some(0));
    let told = place.mcpool(&["connect"]).output().await.expect("it runs");
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("<NAME>"), "{told:?}");
}

#[tokio::test]
async fn a_signal_ends_connect_at_once_and_what_is_in_flight_is_told() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = place("");
        let (mut host, mut idle) = (place.connect("s"), place.connect("s"));
        for one in [&mut host, &mut idle] {
            one.open().await;
        }
        host.request(json!(1), "tools/call", json!({ "name": "hang", "arguments": {} }));
        host.call("length", json!({ "text": "" })).await;
        for one in [&host, &idle] {
            one.signal(signal);
        }
        let answer = host.line().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(503)));
        assert_eq!((host.ended().await.code(), idle.ended().await.code()), (Some(0), Some(0)));
        place.until(|status| status["callers"].as_array().is_some_and(Vec::is_empty)).await;
    }
}

/// Opens a session over these descriptors, of which `ours` are the host's ends.
async fn opened(
    command: &[&str],
    theirs: [OwnedFd; 2],
    mut ours: (impl Write, impl Read + Send + 'static),
    while_open: impl FnOnce(),
) {
    let place = place("");
    let [stdin, stdout] = theirs;
    let mut child = place.mcpool(command).stdin(stdin).stdout(stdout).stderr(Stdio::null()).spawn().expect("it runs");
    let info = json!({ "name": "host", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
    let line = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    ours.0.write_all(format!("{line}\n").as_bytes()).expect("written");
    let reading = spawn_blocking(move || {
        let (mut said, mut byte) = (Vec::new(), [0]);
        while ours.1.read(&mut byte).expect("read") == 1 && byte != *b"\n" {
            said.push(byte[0]);
        }
        (serde_json::from_slice::<Value>(&said).expect("JSON"), ours.1)
    });
    let (said, reader) = timeout(PATIENCE, reading).await.expect("no answer").expect("read");
    assert_eq!(said["result"]["protocolVersion"], "2025-06-18");
    while_open();
    drop(ours.0);
    let ended = timeout(PATIENCE, child.wait()).await.expect("it does not end").expect("it ended");
    assert!(ended.success());
    drop(reader);
}

#[tokio::test]
async fn pipes_that_others_share_stay_as_they_are() {
    for command in BOTH {
        let ((their_in, to), (from, their_out)): ((PipeReader, PipeWriter), (PipeReader, PipeWriter)) =
            (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let theirs: [OwnedFd; 2] = [their_in.into(), their_out.into()];
        let shared = [theirs[0].try_clone().expect("shared"), theirs[1].try_clone().expect("shared")];
        let waits = move || {
            for fd in &shared {
                assert!(!fcntl_getfl(fd.as_fd()).expect("flags").contains(OFlags::NONBLOCK), "{command:?}");
            }
        };
        opened(command, theirs, (to, from), waits).await;
    }
}

#[tokio::test]
async fn stdin_and_stdout_may_be_sockets_or_one_of_them() {
    for command in BOTH {
        let (host, theirs) = UnixStream::pair().expect("a socket");
        let shared = theirs.try_clone().expect("shared");
        let (writer, reader) = (host.try_clone().expect("shared"), host);
        let closes = Closes(writer);
        let theirs = [theirs.try_clone().expect("shared").into(), theirs.into()];
        opened(command, theirs, (closes, reader), || {
            assert!(!fcntl_getfl(&shared).expect("flags").contains(OFlags::NONBLOCK), "{command:?}");
        })
        .await;
    }
}

/// A socket whose writing half is closed when it is dropped.
struct Closes(UnixStream);

impl Write for Closes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }
}

#[tokio::test]
async fn stdin_may_be_a_file() {
    for command in BOTH {
        let place = place("");
        let info = json!({ "name": "host", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        let opening = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let call = json!({ "name": "length", "arguments": { "text": "abc" } });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call });
        let file = place.home().join("input");
        std::fs::write(&file, format!("{opening}\n{call}\n")).expect("written");
        let stdin = std::fs::File::open(file).expect("a file");
        let output = place.mcpool(command).stdin(stdin).output();
        let output = timeout(PATIENCE, output).await.expect("it does not end").expect("it ended");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.lines().count() == 2 && said.contains("\"3\""), "{said}");
    }
}
