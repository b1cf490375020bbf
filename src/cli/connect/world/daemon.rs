//! A daemon of the world: answers what it owes in any order, asks the host for its roots, and holds that nothing
//! reaches it before the session is open, twice, or out of order.

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;
use serde_json::{Value, json};

use super::pipe::{PIPE, Pipe, lines};

/// A daemon.
#[derive(Default)]
pub struct Daemon {
    number: u64,
    said: u64,
    read: Vec<u8>,
    pub unwritten: VecDeque<u8>,
    /// While positive it reads nothing.
    busy: usize,
    initializing: bool,
    opened: bool,
    owes: Vec<Value>,
    asked: BTreeSet<String>,
    asks: u64,
    /// It reads nothing any more; what it has said may be there still.
    pub dying: bool,
}

impl Daemon {
    pub fn new(number: u64) -> Daemon {
        Daemon { number, ..Daemon::default() }
    }

    /// Reads, unless it does something else. `seen` is the last request that any daemon has seen.
    pub fn reads(&mut self, pipe: &mut Pipe, seen: &mut u64, rng: &mut Rng) {
        if self.busy > 0 {
            self.busy -= 1;
            return;
        }
        if rng.u8(..60) == 0 {
            self.busy = rng.usize(..300);
        }
        // As the real one: who leaves much unread is not read from.
        if self.unwritten.len() < 2 * PIPE {
            self.read.extend(pipe.take(rng));
        }
        for line in lines(&mut self.read) {
            let line: Value = serde_json::from_slice(&line).expect("whole messages only");
            self.hears(line, seen);
        }
    }

    fn hears(&mut self, line: Value, seen: &mut u64) {
        let mut new = |id: &Value| {
            let id = id.as_u64().unwrap_or_else(|| panic!("not for a daemon: {line}"));
            assert!(id > *seen, "{id} was sent twice, or comes after {seen}");
            *seen = id;
        };
        match (&line["id"], line["method"].as_str()) {
            (id, Some("initialize")) => {
                assert!(!self.initializing && !self.opened && (id.is_string() || id == 0), "opened twice");
                self.initializing = true;
                self.owes.push(line);
            }
            (Value::Null, None) => {
                assert!(self.opened, "the session is not open: {line}");
                line.as_array().unwrap().iter().for_each(|one| new(&one["id"]));
                self.owes.push(line);
            }
            (id, None) => assert!(self.asked.remove(id.as_str().unwrap()), "it never asked {id}"),
            (Value::Null, Some("notifications/cancelled")) => {
                self.owes.retain(|owed| owed["id"] != line["params"]["requestId"]);
            }
            (Value::Null, _) => assert!(self.opened),
            (id, Some(_)) => {
                assert!(self.opened, "the session is not open: {line}");
                if !id.is_string() {
                    new(id);
                }
                self.owes.push(line);
            }
        }
    }

    /// Answers something, and asks something; `chatty` while it is worth it.
    pub fn says(&mut self, out: &mut Pipe, chatty: bool, rng: &mut Rng) {
        if !self.owes.is_empty() && rng.bool() {
            let owed = self.owes.swap_remove(rng.usize(..self.owes.len()));
            self.opened |= owed["method"] == "initialize";
            let fill = "y".repeat(if rng.u8(..8) == 0 { rng.usize(..9000) } else { rng.usize(..200) });
            let reply = |one: &Value| json!({"jsonrpc": "2.0", "id": one["id"], "result": {"fill": fill}});
            let said = owed.as_array().map_or_else(|| reply(&owed), |all| all.iter().map(reply).collect());
            self.say(said);
        }
        if self.initializing && chatty && self.asks < 10 && rng.u8(..6) == 0 {
            self.asks += 1;
            self.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}}));
            let id = format!("ask{}-{}", self.number, self.asks);
            self.say(json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
            self.asked.insert(id);
        }
        out.pour(&mut self.unwritten, rng);
    }

    /// Says a line, numbered. What the host cannot see need not be.
    fn say(&mut self, mut line: Value) {
        self.said += 1;
        let said = json!([self.number, self.said]);
        let first = if line.is_array() { &mut line[0] } else { &mut line };
        first["said"] = said;
        self.unwritten.extend(format!("{line}\n").bytes());
    }
}
