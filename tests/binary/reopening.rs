//! `connect` and daemons that do not get far: what a session is opened anew with, and what is told when that fails.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::daemon::Place;
use crate::host::Host;

/// A daemon of this test, whose every line is seen.
struct Stub(BufReader<UnixStream>);

impl Stub {
    fn of(listener: &UnixListener) -> Stub {
        let (stream, _) = listener.accept().expect("a caller");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Stub(BufReader::new(stream))
    }

    fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line:?}"))
    }

    fn says(&mut self, line: &Value) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    /// Opens the session; the id under which it was asked to.
    fn opens(&mut self) -> Value {
        let opening = self.hears();
        assert_eq!(opening["method"], "initialize");
        let result = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "stub", "version": "1" } });
        self.says(&json!({ "jsonrpc": "2.0", "id": opening["id"], "result": result }));
        opening["id"].clone()
    }

    fn answers(&mut self) -> Value {
        let asked = self.hears();
        self.says(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": {} }));
        asked
    }
}

fn listening(place: &Place) -> (UnixListener, Host) {
    let socket = place.home().join("stub.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let host = place.host(&["connect", "stub", "--socket", socket.to_str().expect("UTF-8")]);
    (listener, host)
}

async fn told<T: Send + 'static>(stub: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(PATIENCE, spawn_blocking(stub)).await.expect("nothing came").expect("it went well")
}

#[tokio::test]
async fn a_daemon_that_dies_while_the_session_is_opened_anew_is_followed_by_the_next() {
    let place = Place::new();
    let (listener, mut host) = listening(&place);
    let first = told(move || {
        let mut stub = Stub::of(&listener);
        stub.opens();
        assert_eq!(stub.hears()["method"], "notifications/initialized");
        assert_eq!(stub.answers()["method"], "logging/setLevel");
        (listener, stub)
    });
    let opened = async {
        host.open().await;
        host.request(json!(1), "logging/setLevel", json!({ "level": "info" }));
        assert!(host.line().await["result"].is_object());
    };
    let ((listener, first), ()) = tokio::join!(first, opened);
    // Nobody has seen this one when the daemon dies.
    drop(first);
    host.request(json!(2), "tools/list", json!({}));
    let last = told(move || {
        // One ends before it answers, one in the middle of its answer.
        for half in ["", "{\"jsonrpc\":\"2.0\",\"id\":\"mcpool-re"] {
            let mut stub = Stub::of(&listener);
            assert_eq!(stub.hears()["method"], "initialize");
            stub.0.get_mut().write_all(half.as_bytes()).expect("written");
        }
        let mut stub = Stub::of(&listener);
        assert!(stub.opens().as_str().is_some_and(|id| id.starts_with("mcpool-reopen-")));
        assert_eq!(stub.hears()["method"], "notifications/initialized");
        assert_eq!(stub.answers()["method"], "logging/setLevel");
        (stub.answers(), stub)
    });
    let (asked, _stub) = last.await;
    assert_eq!((&asked["id"], &asked["method"]), (&json!(2), &json!("tools/list")));
    // It went to the first daemon, or to the last: it was answered once.
    assert_eq!(host.line().await["id"], 2);
    assert_eq!(host.close().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_whose_id_is_none_costs_no_other_and_not_everything_was_answered() {
    for stray in [
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[7],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"tools/list"}"#,
        "DEBUG hello",
        r#"["#,
        r#"[]"#,
        r#"{"jsonrpc":"2.0","method":"ping""#,
    ] {
        let place = Place::new();
        let mut host = place.connect("echo");
        host.open().await;
        host.request(json!(1), "tools/call", json!({ "name": "slow", "arguments": { "ms": 300 } }));
        host.say(stray);
        let error = host.line().await;
        assert!(error["id"].is_null() && error["error"]["code"].as_i64().is_some_and(|code| code < -32000), "{error}");
        assert!(host.line().await["result"].is_object(), "{stray}");
        assert!(host.call("echo", json!({})).await["result"].is_object(), "{stray}");
        assert_eq!(host.close().await.code(), Some(1), "{stray}");
    }
}

#[tokio::test]
async fn each_message_of_a_line_that_is_none_is_answered() {
    let place = Place::new();
    let mut host = place.connect("echo");
    host.open().await;
    host.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    for id in [1, 2] {
        let line = host.line().await;
        assert_eq!((&line["id"], &line["error"]["code"]), (&json!(id), &json!(-32700)));
    }
    host.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#);
    assert_eq!(host.close().await.code(), Some(0), "all were answered under their ids");
}

#[tokio::test]
async fn a_line_above_the_limit_is_answered_and_what_it_was_decides_how_it_ends() {
    let place = Place::new();
    place.edit("sockets:", "limits: { max_message: 64KiB }\nsockets:");
    let fill = "x".repeat(100_000);
    for (line, id, code) in [
        (json!({ "jsonrpc": "2.0", "id": 7, "method": "ping", "params": { "fill": fill } }), json!(7), 0),
        (json!({ "jsonrpc": "2.0", "id": {}, "method": "ping", "params": { "fill": fill } }), Value::Null, 1),
    ] {
        let mut host = place.connect("echo");
        host.open().await;
        host.say(&line.to_string());
        assert_eq!(host.line().await["id"], id);
        assert_eq!(host.close().await.code(), Some(code), "{id}");
    }
}

#[tokio::test]
async fn the_last_batch_needs_no_line_end() {
    let place = Place::new();
    for (last, lines) in [(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 2), ("", 1)] {
        let file = place.home().join("input");
        let params = json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "host", "version": "1" } });
        let opening = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        std::fs::write(&file, format!("{opening}\n{last}")).expect("written");
        let input = std::fs::File::open(file).expect("a file");
        let output = timeout(PATIENCE, place.mcpool(&["connect", "echo"]).stdin(input).output());
        let output = output.await.expect("it does not end").expect("it ended");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.lines().count() == lines, "{said}");
    }
}
