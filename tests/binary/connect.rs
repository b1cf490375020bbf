//! `connect` between a host and a daemon of which either may be slow, say much, or die.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::daemon::Place;
use crate::family::serving;
use crate::host::Host;

/// A place with the server `s` of `stub.py`.
pub fn place(more: &str) -> Place {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binary/stub.py");
    serving(&format!("command: python3\n    args: {}\n    {more}", json!([script])))
}

fn call(host: &Host, id: u64, tool: &str, arguments: Value) {
    host.request(json!(id), "tools/call", json!({ "name": tool, "arguments": arguments }));
}

fn said(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer:.300}"))
}

/// The daemon of a place.
async fn daemon(place: &Place) -> Pid {
    let pid = place.status().await["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).expect("a daemon runs")
}

async fn open(host: &mut Host, version: &str, capabilities: Value) {
    let info = json!({ "name": "host", "version": "1" });
    let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": info });
    host.request(json!(0), "initialize", params);
    assert_eq!(host.line().await["result"]["protocolVersion"], version);
    host.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
}

#[tokio::test]
async fn much_both_ways_at_once_is_carried_and_nothing_waits_for_the_other() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    for id in 1..=11 {
        call(&host, id, "big", json!({ "n": 5_000_000 }));
    }
    let text = "y".repeat(9_900_000);
    for id in 101..=112 {
        call(&host, id, "length", json!({ "text": text }));
    }
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < 23 {
        let answer = host.line().await;
        answers.insert(answer["id"].as_u64().expect("an id"), said(&answer).len());
    }
    assert!(answers.iter().all(|(id, length)| *length == if *id < 100 { 5_000_000 } else { 7 }), "{answers:?}");
}

#[tokio::test]
async fn what_waits_for_a_daemon_that_dies_is_said_to_the_next_one() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    let first = daemon(&place).await;
    kill_process(first, Signal::STOP).expect("stopped");
    let text = "y".repeat(6_000_000);
    for id in 1..=3 {
        call(&host, id, "length", json!({ "text": text }));
    }
    // What follows is behind what the daemon does not read.
    call(&host, 4, "length", json!({ "text": "abc" }));
    kill_process(first, Signal::KILL).expect("killed");
    let mut answers = [Value::Null, Value::Null, Value::Null, Value::Null];
    for _ in 0..4 {
        let answer = host.line().await;
        let at = answer["id"].as_u64().expect("an id") as usize - 1;
        assert!(answers[at].is_null(), "answered twice: {answer}");
        answers[at] = answer;
    }
    assert_eq!(said(&answers[3]), "3");
    assert!(answers[..3].iter().all(|answer| answer["error"]["code"] == 503 || said(answer) == "6000000"));
}

#[tokio::test]
async fn a_host_that_does_something_else_for_a_while_loses_nothing() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    for id in 1..=12 {
        call(&host, id, "big", json!({ "n": 9_500_000 }));
    }
    // More than the daemon keeps for a caller that reads nothing, and than `connect` may have fetched by the time they come.
    place.until(|status| status["callers"][0]["in_flight"] == 0).await;
    for _ in 1..=12 {
        assert_eq!(said(&host.line().await).len(), 9_500_000);
    }
    assert!(host.call("length", json!({ "text": "" })).await["result"].is_object());
}

#[tokio::test]
async fn a_new_daemon_asks_the_host_for_its_roots_and_is_told() {
    let place = place("");
    let mut host = place.connect("s");
    open(&mut host, "2025-06-18", json!({ "roots": {} })).await;
    host.request(json!(1), "resources/subscribe", json!({ "uri": "file:///a" }));
    let mut roots = async |id: u64| {
        call(&host, id, "roots", json!({}));
        loop {
            let line = host.line().await;
            if line["method"] == "roots/list" {
                let roots = json!({ "roots": [{ "uri": "file:///home/me/project" }] });
                host.say(&json!({ "jsonrpc": "2.0", "id": line["id"], "result": roots }).to_string());
            } else if line["id"] == id {
                return said(&line).to_owned();
            }
        }
    };
    assert!(roots(2).await.contains("/home/me/project"));
    place.kill().await;
    assert!(roots(3).await.contains("/home/me/project"));
}

#[tokio::test]
async fn each_request_of_a_batch_is_answered_when_the_daemon_dies_and_when_input_ends() {
    let place = place("");
    let mut host = place.connect("s");
    open(&mut host, "2025-03-26", json!({})).await;
    let one = |id: u64, tool: &str, arguments: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } });
    host.say(&json!([one(1, "hang", json!({})), one(2, "hang", json!({}))]).to_string());
    call(&host, 3, "hang", json!({}));
    place.until(|status| status["callers"][0]["in_flight"] == 3).await;
    place.kill().await;
    let mut lost = Vec::new();
    while lost.len() < 3 {
        match host.line().await {
            Value::Array(answers) => lost.extend(answers),
            answer => lost.push(answer),
        }
    }
    lost.sort_by_key(|answer| answer["id"].as_u64());
    for (answer, id) in lost.iter().zip(1..) {
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(503)));
    }
    host.say(&json!([one(4, "slow", json!({ "seconds": 1 })), one(5, "length", json!({ "text": "" }))]).to_string());
    host.hush();
    let answers = host.line().await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
    assert_eq!(host.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_stray_line_of_the_host_costs_no_call() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    call(&host, 1, "slow", json!({ "seconds": 1 }));
    host.say("DEBUG hello");
    host.say(r#"DEBUG {"jsonrpc":"2.0","id":2,"method":"tools/list"}"#);
    let (stray, named) = (host.line().await, host.line().await);
    assert_eq!((&stray["id"], &stray["error"]["code"]), (&Value::Null, &json!(-32700)));
    assert_eq!((&named["id"], &named["error"]["code"]), (&json!(2), &json!(-32700)));
    assert_eq!(said(&host.line().await), "late");
}

#[tokio::test]
async fn a_request_whose_id_is_none_costs_no_call() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    call(&host, 1, "slow", json!({ "seconds": 1 }));
    for id in ["null", "{}"] {
        host.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
        let refused = host.line().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)));
    }
    assert_eq!(said(&host.line().await), "late");
    assert_eq!(said(&host.call("length", json!({ "text": "abc" })).await), "3");
}

#[tokio::test]
async fn hosts_ask_for_lists_in_a_burst_and_twice_and_cancel_what_was_answered() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    for (id, method) in (1..).zip(["tools/list", "prompts/list", "resources/list", "tools/list"]) {
        host.request(json!(id), method, json!({}));
    }
    let mut ids = Vec::new();
    for _ in 1..=4 {
        ids.push(host.line().await["id"].as_u64());
    }
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4)]);
    call(&host, 5, "length", json!({ "text": "abc" }));
    assert_eq!(said(&host.line().await), "3");
    host.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#);
    assert_eq!(said(&host.call("length", json!({ "text": "ab" })).await), "2", "and nothing was lost by it");
}

#[tokio::test]
async fn who_cannot_begin_tells_the_host_why() {
    let place = place("");
    let mut host = place.connect("nosuch");
    for (id, method) in [(1, "server/discover"), (2, "initialize")] {
        host.request(json!(id), method, json!({}));
        let answer = host.line().await;
        assert_eq!(answer["id"], id);
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains("nosuch") && message.contains("s, all"), "{message}");
    }
    assert_eq!(host.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_daemon_that_takes_its_time_is_waited_for_however_much_is_said_meanwhile() {
    let place = place("");
    let mut host = place.connect("s");
    host.open().await;
    place.kill().await;
    let text = "y".repeat(3_000_000);
    for id in 1..=4 {
        call(&host, id, "length", json!({ "text": text }));
    }
    for _ in 1..=4 {
        assert_eq!(said(&host.line().await), "3000000");
    }
}
