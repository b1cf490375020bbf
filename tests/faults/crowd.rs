//! `kill -9` under fifty callers with four calls in flight each: every call has one answer, and it goes on.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::caller::{Answer, Caller};
use crate::place::{BAD_SERVER, Place, tell};
use crate::{PATIENCE, eventually};

const CALLERS: usize = 50;
const IN_FLIGHT: usize = 4;
/// What is promised, on a machine that has nothing else to do.
const BACK: Duration = Duration::from_secs(1);

/// A server that one instance of serves all.
fn shared() -> Value {
    json!({
        "command": *BAD_SERVER, "args": ["none"], "concurrency": 256, "instances": { "max": 1 },
        "timeout": { "stop": "200ms" }
    })
}

#[tokio::test]
async fn a_killed_server_costs_the_calls_in_flight_one_answer_each_and_is_back_soon() {
    let place = Place::with_daemon(&shared());
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(Caller::legacy(&place.socket("bad")).await);
    }
    let mut calls = Vec::new();
    for caller in &mut callers {
        for _ in 0..IN_FLIGHT {
            calls.push(caller.begin("hold", json!({})).await);
        }
    }
    let all = || (place.bad()["instances"][0]["in_flight"] == CALLERS * IN_FLIGHT).then_some(());
    eventually("all calls to be in flight", all).await;

    let clock = Instant::now();
    tell(place.pids()[0], Signal::KILL);
    let mut begun = calls.into_iter();
    for caller in &mut callers {
        for call in begun.by_ref().take(IN_FLIGHT) {
            assert_eq!(caller.answer(call).await.failure(), (502, "server_died"));
        }
    }
    println!("all {} calls answered after {:?}", CALLERS * IN_FLIGHT, clock.elapsed());
    assert_eq!(callers[0].call("echo", json!({})).await.text(), "{}");
    println!("served again after {:?} (promised: {BACK:?})", clock.elapsed());
    assert!(clock.elapsed() < 5 * BACK, "served again only after {:?}", clock.elapsed());
    for caller in &mut callers {
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        caller.is_even().await;
    }
    drop(callers);
    place.ends().await;
}

#[tokio::test]
async fn a_server_killed_again_and_again_under_a_crowd_answers_everything_once() {
    let place = Place::with_daemon(&shared());
    let mut crowd = JoinSet::new();
    for _ in 0..CALLERS {
        let socket = place.socket("bad");
        crowd.spawn(async move {
            let mut caller = Caller::legacy(&socket).await;
            let (mut served, mut lost) = (0, 0);
            while lost < 3 * IN_FLIGHT && served < 400 {
                let mut calls = Vec::new();
                for number in 0..IN_FLIGHT {
                    calls.push((caller.begin("echo", json!({ "number": number })).await, number));
                }
                for (call, number) in calls {
                    let answer = caller.answer(call).await;
                    match answer.0["error"].is_null() {
                        true => assert_eq!(answer.text(), json!({ "number": number }).to_string()),
                        false => assert_eq!(answer.failure(), (502, "server_died"), "{}", answer.0),
                    }
                    *(if answer.0["error"].is_null() { &mut served } else { &mut lost }) += 1;
                }
            }
            caller.is_even().await;
            (served, lost)
        });
    }
    for killed in 1..=3 {
        let served = || (place.bad()["started"] == killed).then(|| place.pids().first().copied()).flatten();
        let pid = eventually("an instance", served).await;
        eventually("it to serve", || place.bad()["instances"][0]["calls"].as_u64().filter(|calls| *calls > 200)).await;
        tell(pid, Signal::KILL);
    }
    let (mut served, mut lost) = (0, 0);
    while let Some(caller) = timeout(3 * PATIENCE, crowd.join_next()).await.expect("nobody waits for ever") {
        let caller = caller.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        (served, lost) = (served + caller.0, lost + caller.1);
    }
    println!("{served} calls served, {lost} lost with three killed instances");
    assert!(served > lost, "{served} served, {lost} lost");
    place.ends().await;
}

#[tokio::test]
async fn a_killed_daemon_costs_the_calls_in_flight_one_answer_each_and_is_back_soon() {
    let place = Place::new(&shared());
    let mut hosts: Vec<Host> = (0..CALLERS).map(|_| Host::start(&place)).collect();
    for host in &mut hosts {
        let info = json!({ "name": "host", "version": "1" });
        host.ask(0, "initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info }))
            .await;
        assert!(host.answers(1).await[0].0["error"].is_null());
        host.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        for id in 1..=IN_FLIGHT {
            host.ask(id, "tools/call", json!({ "name": "hold", "arguments": {} })).await;
        }
    }
    let all = || (place.bad()["instances"][0]["in_flight"] == CALLERS * IN_FLIGHT).then_some(());
    eventually("all calls to be in flight", all).await;
    let servers = place.processes();
    let daemon = place.status()["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");

    let clock = Instant::now();
    tell(daemon, Signal::KILL);
    for host in &mut hosts {
        let mut answers = host.answers(IN_FLIGHT).await;
        answers.sort_by_key(|answer| answer.0["id"].as_u64());
        for (answer, id) in answers.iter().zip(1..) {
            assert_eq!((&answer.0["id"], answer.failure()), (&json!(id), (503, "draining")));
        }
    }
    println!("all {} calls answered after {:?}", CALLERS * IN_FLIGHT, clock.elapsed());
    for host in &mut hosts {
        host.ask(100, "tools/call", json!({ "name": "echo", "arguments": {} })).await;
    }
    for (number, host) in hosts.iter_mut().enumerate() {
        let [answer] = &host.answers(1).await[..] else { panic!("one answer") };
        assert_eq!((&answer.0["id"], answer.text()), (&json!(100), "{}"));
        if number == 0 {
            println!("served again after {:?} (promised: {BACK:?})", clock.elapsed());
        }
    }
    let gone = || place.processes().iter().all(|process| !servers.contains(process)).then_some(());
    eventually("the servers of the killed daemon to be gone", gone).await;
    assert_ne!(place.status()["pid"], daemon);
    assert_eq!(place.status()["callers"].as_array().map(Vec::len), Some(CALLERS), "all are with one daemon");
}

/// A host with `mcpool connect` as its server.
struct Host {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Host {
    fn start(place: &Place) -> Host {
        let mut connect = place.mcpool("connect");
        connect.arg("bad").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Command::from(connect).kill_on_drop(true).spawn().expect("it runs");
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Host { _child: child, stdin, lines: BufReader::new(stdout).lines() }
    }

    async fn ask(&mut self, id: usize, method: &str, params: Value) {
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
    }

    async fn say(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.expect("connect reads");
    }

    /// The next answers. Whoever compares their ids sees that none came twice.
    async fn answers(&mut self, count: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        while answers.len() < count {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("no answer").expect("a line");
            let message: Value = serde_json::from_str(&line.expect("connect ended")).expect("JSON");
            if message["method"].is_null() {
                answers.push(Answer(message));
            }
        }
        answers
    }
}
