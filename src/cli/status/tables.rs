//! Called by `status`: its tables of servers, instances and callers.

use serde_json::Value;

use super::page::{Column, Row, table};
use super::units::{age, bytes, count, rows, text};

/// As many callers are shown; the rest are counted.
pub const SHOWN: usize = 20;

const SERVERS: [Column; 7] = [
    Column::words("SERVER", 0),
    Column::words("ERA", 2),
    Column::number("CALLERS", 0),
    Column::number("QUEUE", 1),
    Column::number("PROCESSES", 0),
    Column::number("MEMORY", 0),
    Column::words("LEASE", 3),
];
const INSTANCES: [Column; 10] = [
    Column::words("INSTANCE", 0),
    Column::words("PID", 0),
    Column::words("STATE", 0),
    Column::words("REVISION", 5),
    Column::words("LEASE", 6),
    Column::number("OWNERS", 4),
    Column::number("IN FLIGHT", 0),
    Column::number("CALLS", 3),
    Column::number("AGE", 7),
    Column::number("MEMORY", 8),
];
const CALLERS: [Column; 7] = [
    Column::words("CALLER", 0),
    Column::words("PID", 0),
    Column::words("ENDPOINT", 0),
    Column::words("REVISION", 3),
    Column::number("IN FLIGHT", 0),
    Column::number("ASKED", 1),
    Column::number("HELD", 2),
];

/// A line for each server.
pub fn server_table(servers: &[Value], width: usize) -> String {
    let rows = servers.iter().map(|server| {
        let eras: Vec<_> = rows(&server["eras"]).iter().filter_map(Value::as_str).collect();
        let lease = &server["lease"];
        let cells = vec![
            text(&server["name"]) + if server["retired"] == true { " (retired)" } else { "" },
            if eras.is_empty() { "not known yet".into() } else { eras.join(", ") },
            text(&server["callers"]),
            text(&server["queue"]),
            format!("{} of {}", server["processes"], server["max"]),
            bytes(&server["memory"]),
            format!("{} ({})", text(&lease["kind"]), text(&lease["why"])),
        ];
        Row { cells, below: Vec::new() }
    });
    table(&SERVERS, &rows.collect::<Vec<_>>(), width)
}

/// A line for each instance, with its server, and below it who uses it; nothing if there is none.
pub fn instance_table(servers: &[Value], width: usize) -> Option<String> {
    let instances =
        servers.iter().flat_map(|server| rows(&server["instances"]).iter().map(move |instance| (server, instance)));
    let rows: Vec<Row> = instances
        .map(|(server, instance)| {
            let cells = vec![
                format!("{} {}", text(&server["name"]), instance["id"]),
                text(&instance["pid"]),
                text(&instance["state"]),
                format!("{} {}", text(&instance["era"]), text(&instance["revision"])),
                text(&instance["lease"]),
                text(&instance["callers"]),
                text(&instance["in_flight"]),
                text(&instance["calls"]),
                age(count(&instance["age_ms"])),
                bytes(&instance["memory"]),
            ];
            Row { cells, below: profile(instance) }
        })
        .collect();
    (!rows.is_empty()).then(|| table(&INSTANCES, &rows, width))
}

/// What an instance was told about its clients, and who they are.
fn profile(instance: &Value) -> Vec<String> {
    let words = |value: &Value| rows(value).iter().map(text).collect::<Vec<_>>().join(", ");
    let (hosts, capabilities) = (words(&instance["hosts"]), words(&instance["profile"]["capabilities"]));
    let mut told = Vec::new();
    if !hosts.is_empty() {
        told.push(format!("for {hosts}"));
    }
    if !capabilities.is_empty() {
        told.push(format!("whose clients offer {capabilities}"));
    }
    told
}

/// A line for each of the first callers.
pub fn caller_table(callers: &[Value], width: usize) -> String {
    let rows = callers.iter().take(SHOWN).map(|caller| {
        let keys = ["client", "pid", "endpoint", "revision", "in_flight", "asks", "held"];
        Row { cells: keys.map(|key| text(&caller[key])).into(), below: Vec::new() }
    });
    table(&CALLERS, &rows.collect::<Vec<_>>(), width)
}
