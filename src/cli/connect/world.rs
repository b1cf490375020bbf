//! A host and daemons that come and go around a carrier, with pipes that hold little and turns in random order: what is to be
//! true of every session, asked of many seeds. Time stands still; what could wait for ever is found because nothing moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use serde_json::{Value, json};

use super::carrier::Carrier;
use crate::error::Error;

/// What a pipe holds.
const PIPE: usize = 3000;
/// More turns than any session needs.
const TURNS: usize = 60_000;

#[derive(Default)]
struct Host {
    script: VecDeque<Value>,
    unwritten: VecDeque<u8>,
    read: Vec<u8>,
    /// Requests without an answer.
    waits: BTreeSet<u64>,
    answered: BTreeMap<u64, Value>,
    questions: BTreeSet<String>,
    /// While positive it reads nothing.
    busy: usize,
    ended: bool,
}

#[derive(Default)]
struct Daemon {
    read: Vec<u8>,
    unwritten: VecDeque<u8>,
    opened: bool,
    owes: Vec<Value>,
    asked: BTreeSet<String>,
}

struct World {
    rng: Rng,
    carrier: Carrier,
    host: Host,
    daemon: Option<Daemon>,
    pipes: [VecDeque<u8>; 4],
    /// What any daemon has seen.
    seen: BTreeSet<u64>,
    asks: u64,
    deaths: u32,
    /// The host is told that there is no daemon.
    refused: bool,
}

/// The pipes, each by who writes it or reads it.
const HOST_OUT: usize = 0;
const HOST_IN: usize = 1;
const DAEMON_OUT: usize = 2;
const DAEMON_IN: usize = 3;

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut script = VecDeque::from([
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        ]);
        let mut id = 0;
        let mut call = |rng: &mut Rng| {
            id += 1;
            let method = ["tools/call", "tools/list", "logging/setLevel", "resources/subscribe"][rng.usize(..4)];
            let uri = format!("u{}", rng.u8(..3));
            let size = if rng.u8(..8) == 0 { rng.usize(..9000) } else { rng.usize(..60) };
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"uri": uri, "level": "info", "fill": "x".repeat(size)}})
        };
        for _ in 0..rng.usize(5..60) {
            script.push_back(match rng.u8(..10) {
                0 => (0..rng.usize(1..4)).map(|_| call(&mut rng)).collect(),
                1 => json!("a stray line"),
                _ => call(&mut rng),
            });
        }
        let host = Host { script, ..Host::default() };
        let (pipes, seen) = (Default::default(), BTreeSet::new());
        let deaths = rng.u32(..5);
        World { rng, carrier: Carrier::default(), host, daemon: None, pipes, seen, asks: 0, deaths, refused: false }
    }

    fn run(mut self) {
        for turn in 0..TURNS {
            match self.rng.u8(..6) {
                0 => self.host_turn(),
                1 => self.host_reads(),
                2 => self.carrier_reads(),
                3 => self.carrier_writes(),
                4 => self.daemon_turn(),
                _ => self.fate(),
            }
            if self.host.ended && self.pipes[HOST_IN].is_empty() && self.carrier.is_over() && self.daemon.is_some() {
                assert!(self.host.waits.is_empty(), "over, and {:?} wait", self.host.waits);
                assert!(self.host.script.is_empty());
                assert!(turn > 10 && self.host.answered.contains_key(&0));
                return;
            }
        }
        panic!("it hangs: {:?} wait, {} unread", self.host.waits, self.carrier.to_host.waiting());
    }

    fn host_turn(&mut self) {
        let host = &mut self.host;
        // The session is opened before it is used.
        let opening = host.waits.contains(&0);
        if host.unwritten.is_empty() && !opening {
            match host.script.pop_front() {
                Some(Value::String(stray)) => host.unwritten.extend(format!("{stray}\n").bytes()),
                Some(said) => {
                    let all = if said.is_array() { said.as_array().cloned().unwrap() } else { vec![said.clone()] };
                    host.waits.extend(all.iter().filter_map(|one| one["id"].as_u64()));
                    host.unwritten.extend(format!("{said}\n").bytes());
                }
                None if !host.ended => {
                    host.ended = self.pipes[HOST_OUT].is_empty() && host.questions.is_empty();
                    if host.ended {
                        self.carrier.host_ended();
                    }
                }
                None => {}
            }
        }
        pour(&mut host.unwritten, &mut self.pipes[HOST_OUT], &mut self.rng);
    }

    fn host_reads(&mut self) {
        let host = &mut self.host;
        if host.busy > 0 {
            host.busy -= 1;
            return;
        }
        if self.rng.u8(..50) == 0 {
            host.busy = self.rng.usize(..400);
        }
        let read = take(&mut self.pipes[HOST_IN], &mut self.rng);
        host.read.extend(read);
        for line in lines(&mut host.read) {
            let line: Value = serde_json::from_slice(&line).expect("whole messages only");
            let all = if line.is_array() { line.as_array().cloned().unwrap() } else { vec![line] };
            for one in all {
                match (one["id"].as_u64(), one["method"].as_str()) {
                    (Some(id), None) => {
                        assert!(host.waits.remove(&id), "{id} is answered twice, or was never asked: {one}");
                        host.answered.insert(id, one);
                    }
                    (None, Some("notifications/cancelled")) => {
                        host.questions.remove(one["params"]["requestId"].as_str().unwrap());
                    }
                    (_, Some("roots/list")) => {
                        assert!(host.questions.insert(one["id"].as_str().unwrap().to_owned()));
                    }
                    (None, Some("notifications/progress")) => {}
                    _ => assert_eq!(one["error"]["code"], -32700, "{one}"),
                }
            }
        }
        if let Some(question) = host.questions.first().cloned().filter(|_| !host.ended && host.unwritten.is_empty()) {
            host.questions.remove(&question);
            host.unwritten.extend(format!("{}\n", json!({"jsonrpc": "2.0", "id": question, "result": {}})).bytes());
        }
    }

    fn carrier_reads(&mut self) {
        if self.carrier.wants_host() {
            let read = take(&mut self.pipes[HOST_OUT], &mut self.rng);
            self.carrier.host_said(&read);
        }
        if self.daemon.is_some() && self.carrier.wants_daemon() {
            let read = take(&mut self.pipes[DAEMON_OUT], &mut self.rng);
            self.carrier.daemon_said(&read).expect("the session is opened");
        }
    }

    fn carrier_writes(&mut self) {
        let room = (PIPE - self.pipes[HOST_IN].len()).min(self.rng.usize(1..PIPE));
        let next = self.carrier.to_host.next();
        let next = next[..next.len().min(room)].to_vec();
        let text = String::from_utf8_lossy(&next);
        let talk = text.find("notifications/progress");
        assert!(talk.is_none_or(|at| !text[at..].contains("\"result\"")), "progress and answer in one write: {text}");
        self.pipes[HOST_IN].extend(&next);
        self.carrier.to_host.wrote(next.len());
        if self.daemon.is_some() {
            let room = (PIPE - self.pipes[DAEMON_IN].len()).min(self.rng.usize(1..PIPE));
            let next = self.carrier.to_daemon.next();
            let next = next[..next.len().min(room)].to_vec();
            self.pipes[DAEMON_IN].extend(&next);
            self.carrier.to_daemon.wrote(next.len());
        }
    }

    fn daemon_turn(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        // As the real one: who leaves much unread is not read from.
        if daemon.unwritten.len() < 2 * PIPE {
            daemon.read.extend(take(&mut self.pipes[DAEMON_IN], &mut self.rng));
        }
        for line in lines(&mut daemon.read) {
            let line: Value = serde_json::from_slice(&line).expect("whole messages only");
            if line.is_array() {
                assert!(daemon.opened, "the session is not open: {line}");
                for one in line.as_array().unwrap() {
                    assert!(self.seen.insert(one["id"].as_u64().unwrap()), "sent twice: {one}");
                }
                daemon.owes.push(line);
                continue;
            }
            match (&line["id"], line["method"].as_str()) {
                (id, Some("initialize")) => {
                    assert!(!daemon.opened && (id.is_string() || id == 0), "opened twice");
                    daemon.owes.push(line);
                }
                (id, None) => assert!(daemon.asked.remove(id.as_str().unwrap()), "it never asked {id}"),
                (Value::Null, _) => assert!(daemon.opened),
                (id, Some(_)) => {
                    assert!(daemon.opened, "the session is not open: {line}");
                    assert!(id.is_string() || self.seen.insert(id.as_u64().unwrap()), "sent twice: {line}");
                    daemon.owes.push(line);
                }
            }
        }
        if !daemon.owes.is_empty() && self.rng.bool() {
            let owed = daemon.owes.swap_remove(self.rng.usize(..daemon.owes.len()));
            daemon.opened |= owed["method"] == "initialize";
            let fill = "y".repeat(self.rng.usize(..200));
            let reply = |one: &Value| json!({"jsonrpc": "2.0", "id": one["id"], "result": {"fill": fill}});
            let said = match owed.as_array() {
                Some(all) => all.iter().map(reply).collect(),
                None => reply(&owed),
            };
            daemon.unwritten.extend(format!("{said}\n").bytes());
        }
        if daemon.opened && self.rng.u8(..6) == 0 && self.asks < 40 {
            self.asks += 1;
            let progress =
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}});
            daemon.unwritten.extend(format!("{progress}\n").bytes());
            if !self.host.ended && !self.host.script.is_empty() {
                let id = format!("ask{}", self.asks);
                daemon
                    .unwritten
                    .extend(format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"})).bytes());
                daemon.asked.insert(id);
            }
        }
        pour(&mut daemon.unwritten, &mut self.pipes[DAEMON_OUT], &mut self.rng);
    }

    /// A daemon dies, or comes.
    fn fate(&mut self) {
        let dies = self.deaths > 0 && self.rng.u8(..100) == 0 && self.host.answered.contains_key(&0);
        if self.daemon.is_some() && dies {
            self.deaths -= 1;
            self.daemon = None;
            self.carrier.link_lost();
            self.pipes[DAEMON_IN].clear();
            self.pipes[DAEMON_OUT].clear();
        } else if self.daemon.is_none() && self.rng.u8(..20) == 0 {
            if !self.refused && self.host.answered.contains_key(&0) && self.rng.u8(..4) == 0 {
                self.refused = true;
                return self.carrier.refuse(Error::Unreachable("nobody listens".into()));
            }
            self.refused = false;
            self.daemon = Some(Daemon::default());
            self.carrier.linked();
        }
    }
}

fn take(pipe: &mut VecDeque<u8>, rng: &mut Rng) -> Vec<u8> {
    pipe.drain(..pipe.len().min(rng.usize(1..PIPE))).collect()
}

fn pour(from: &mut VecDeque<u8>, pipe: &mut VecDeque<u8>, rng: &mut Rng) {
    let room = (PIPE - pipe.len()).min(rng.usize(1..PIPE));
    pipe.extend(from.drain(..from.len().min(room)));
}

fn lines(read: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let whole: Vec<u8> = read.drain(..=end).collect();
    whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

#[test]
fn whatever_the_order_each_request_has_one_answer_and_nothing_goes_astray() {
    for seed in 0..200 {
        let told = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(told.is_ok(), "seed {seed}");
    }
}
