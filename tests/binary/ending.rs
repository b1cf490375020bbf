//! How `connect` and `serve --stdio` end, and what becomes of stdin and stdout, which are not theirs alone.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::connect::place;

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
        host.deafen().await;
    }
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
