//! The servers of the soak: which there are, the config that the daemon gets, and what calls to each may meet.

use std::path::Path;

use serde_json::{Value, json};

/// What a server can do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `mcpool demo-server`: all of the protocol.
    Demo,
    /// `soak server`: one tool, `echo`, and a bad habit.
    Habit,
}

/// One configured server.
pub struct Server {
    pub name: &'static str,
    pub kind: Kind,
    /// The era, or the habit.
    what: &'static str,
    /// What differs from the others' settings.
    set: &'static str,
}

const fn demo(name: &'static str, what: &'static str, set: &'static str) -> Server {
    Server { name, kind: Kind::Demo, what, set }
}

const fn habit(name: &'static str, set: &'static str) -> Server {
    Server { name, kind: Kind::Habit, what: name, set }
}

pub const SERVERS: &[Server] = &[
    demo("legacy", "legacy", r#"{"instances":{"max":3},"concurrency":8}"#),
    demo("modern", "modern", r#"{"instances":{"max":2},"concurrency":8}"#),
    demo("lone", "legacy", r#"{"lease":"session","instances":{"max":4},"queue":{"size":4,"timeout":"1s"}}"#),
    demo("spare", "modern", r#"{"instances":{"max":1,"overflow":2},"concurrency":2,"when_full":"overflow"}"#),
    habit("narrow", r#"{"instances":{"max":1},"concurrency":1,"when_full":"reject"}"#),
    habit("metered", r#"{"rate_limit":{"per_caller":"20/s","total":"100/s"},"recycle":{"idle":"1s","calls":50}}"#),
    habit("frail", r#"{"instances":{"max":3},"retry":{"tools":["echo"]}}"#),
    habit("mute", "{}"),
    habit("loud", "{}"),
    habit("stubborn", r#"{"recycle":{"idle":"500ms"}}"#),
];

/// The settings that all of them have: short times, so that a minute holds many lives.
fn common() -> Value {
    json!({
        "timeout": { "start": "6s", "discover": "3s", "call": "2s", "max": "6s", "ask": "2s", "hold": "1s", "stop": "1s" },
        "queue": { "size": 32, "timeout": "3s" },
        "recycle": { "idle": "1s", "age": "20s" },
        "probe": { "every": "2s", "timeout": "1s" },
        "breaker": { "failures": 5, "open": "300ms", "open_max": "1s" },
    })
}

/// The name of the variable that marks every process that a daemon of this soak starts, and what those start.
pub const MARK: &str = "MCPOOL_SOAK";

/// glibc keeps what was freed for later use; told to give it back, it shows what the daemon itself keeps.
pub const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536")];

/// The config in its `edition`: some servers are set otherwise in every other one.
pub fn config(directory: &Path, mcpool: &Path, soak: &Path, seed: u64, edition: u64) -> Value {
    let mark = directory.to_string_lossy();
    let mut servers = json!({});
    for server in SERVERS {
        let mut entry = common();
        let own: Value = serde_json::from_str(server.set).unwrap_or_default();
        merge(&mut entry, own);
        let (command, args) = match server.kind {
            Kind::Demo => (mcpool, json!(["demo-server", server.what])),
            Kind::Habit => (soak, json!(["server", server.what, "--seed", seed.to_string()])),
        };
        entry["command"] = json!(command);
        entry["args"] = args;
        entry["env"] = json!({ MARK: mark });
        // What the config names the daemon keeps.
        entry["inherit_env"] = json!(ALLOCATOR.map(|(name, _)| name));
        if edition % 2 == 1 {
            match server.name {
                // Started otherwise: its instances are replaced.
                "legacy" | "frail" => entry["env"]["EDITION"] = json!(edition.to_string()),
                // Treated otherwise: its instances stay.
                "modern" => entry["concurrency"] = json!(4),
                _ => {}
            }
        }
        servers[server.name] = entry;
    }
    json!({
        "servers": servers,
        "sockets": { "dir": directory },
        "catalogue": { "dir": directory.join("catalogue") },
        "limits": { "in_flight": 64, "outgoing": "32MiB", "line": "5s", "held": 64, "held_total": 64 },
        "admin": { "metrics": "127.0.0.1:0" },
        "drain": "2s",
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
