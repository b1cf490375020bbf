//! The host of the world: says what stands in its script, and holds that each request has one answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use serde_json::{Value, json};

use super::pipe::{Pipe, lines};

/// A host.
#[derive(Default)]
pub struct Host {
    script: VecDeque<String>,
    unwritten: VecDeque<u8>,
    read: Vec<u8>,
    /// Requests without an answer.
    pub waits: BTreeSet<u64>,
    /// Requests that it does not wait for any more.
    given_up: BTreeSet<u64>,
    answered: BTreeMap<u64, Value>,
    questions: BTreeSet<String>,
    /// Lines that nobody can answer under an id, so far, and how often that was said.
    pub strays: (usize, usize),
    /// While positive it reads nothing.
    busy: usize,
    pub ended: bool,
    /// The last that a daemon said: the daemon's number and the line's.
    heard: (u64, u64),
    /// Its last message has no line end.
    cut_short: bool,
}

impl Host {
    pub fn new(rng: &mut Rng) -> Host {
        let open =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}});
        let opened = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let mut script = VecDeque::from([open.to_string(), opened.to_string()]);
        let (mut id, mut single) = (0, Vec::new());
        let mut call = |rng: &mut Rng| {
            id += 1;
            let method = ["tools/call", "tools/list", "logging/setLevel", "resources/subscribe"][rng.usize(..4)];
            let uri = format!("u{}", rng.u8(..3));
            let fill = "x".repeat(if rng.u8(..8) == 0 { rng.usize(..9000) } else { rng.usize(..60) });
            let params = json!({"uri": uri, "level": "info", "fill": fill});
            (id, json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
        };
        for _ in 0..rng.usize(5..60) {
            script.push_back(match rng.u8(..12) {
                0 => (0..rng.usize(1..4)).map(|_| call(rng).1).collect::<Value>().to_string(),
                1 => ["a stray line", r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#][rng.usize(..2)].to_owned(),
                2 if !single.is_empty() => {
                    let id: u64 = single[rng.usize(..single.len())];
                    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
                        .to_string()
                }
                _ => {
                    let (id, call) = call(rng);
                    single.push(id);
                    call.to_string()
                }
            });
        }
        Host { script, cut_short: rng.bool(), ..Host::default() }
    }

    /// Whether the session was opened.
    pub fn is_open(&self) -> bool {
        self.answered.contains_key(&0)
    }

    /// Whether it has said everything.
    pub fn has_said_all(&self) -> bool {
        self.script.is_empty()
    }

    /// Says the next line, as far as it fits; whether that was the last of all.
    pub fn says(&mut self, out: &mut Pipe, rng: &mut Rng) -> bool {
        // The session is opened before it is used.
        if self.unwritten.is_empty() && !self.waits.contains(&0) {
            if let Some(line) = self.script.pop_front() {
                self.note(&line);
                self.cut_short &= !self.script.is_empty() || !line.starts_with('a');
                let end = if self.script.is_empty() && self.cut_short { "" } else { "\n" };
                self.unwritten.extend(format!("{line}{end}").bytes());
            } else if !self.ended && out.is_empty() && rng.bool() {
                // Answers may be on their way, and questions open.
                self.ended = true;
                return true;
            }
        }
        out.pour(&mut self.unwritten, rng);
        false
    }

    fn note(&mut self, line: &str) {
        let Ok(said) = serde_json::from_str::<Value>(line) else { return self.strays.0 += 1 };
        if said["method"] == "notifications/cancelled" {
            let id = said["params"]["requestId"].as_u64().unwrap();
            if self.waits.remove(&id) {
                self.given_up.insert(id);
            }
            return;
        }
        self.strays.0 += usize::from(said["id"].is_array());
        let all = if let Value::Array(all) = said { all } else { vec![said] };
        self.waits.extend(all.iter().filter_map(|one| one["id"].as_u64()));
    }

    /// Reads, unless it does something else.
    pub fn reads(&mut self, pipe: &mut Pipe, rng: &mut Rng) {
        if self.busy > 0 {
            self.busy -= 1;
            return;
        }
        if rng.u8(..50) == 0 {
            self.busy = rng.usize(..400);
        }
        self.read.extend(pipe.take(rng));
        for line in lines(&mut self.read) {
            let line: Value = serde_json::from_slice(&line).expect("whole messages only");
            let said = line.get("said").or_else(|| line.get(0)?.get("said"));
            if let Some(said) = said.map(|said| (said[0].as_u64().unwrap(), said[1].as_u64().unwrap())) {
                assert!(said > self.heard, "out of order: {said:?} after {:?}", self.heard);
                self.heard = said;
            }
            let all = if let Value::Array(all) = line { all } else { vec![line] };
            all.into_iter().for_each(|one| self.hears(one));
        }
        // Whoever says no more answers nothing.
        if self.ended || !self.unwritten.is_empty() || self.has_said_all() && self.cut_short {
            return;
        }
        if let Some(question) = self.questions.pop_first() {
            let answer = json!({"jsonrpc": "2.0", "id": question, "result": {}});
            self.unwritten.extend(format!("{answer}\n").bytes());
        }
    }

    fn hears(&mut self, one: Value) {
        match (one["id"].as_u64(), one["method"].as_str()) {
            (Some(id), None) => {
                let due = self.waits.remove(&id) || self.given_up.remove(&id);
                assert!(due, "{id} is answered twice, or was never asked: {one}");
                self.answered.insert(id, one);
            }
            (None, Some("notifications/cancelled")) => {
                self.questions.remove(one["params"]["requestId"].as_str().unwrap());
            }
            (_, Some("roots/list")) => {
                assert!(self.questions.insert(one["id"].as_str().unwrap().to_owned()), "asked twice: {one}");
            }
            (None, Some("notifications/progress")) => {}
            _ => {
                assert!(one["id"].is_null() && one["error"]["code"].as_i64().unwrap() <= -32600, "{one}");
                self.strays.1 += 1;
            }
        }
    }
}
