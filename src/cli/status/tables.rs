//! The tables of `mcpool status`.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use super::units::{age, bytes, rows, text};

/// As many callers are shown; the rest are counted.
pub const SHOWN: usize = 20;

/// A line for each server.
pub fn server_table(servers: &[Value]) -> Table {
    let mut table = table(["SERVER", "ERA", "CALLERS", "QUEUE", "PROCESSES", "MEMORY", "LEASE"], 2..6);
    for server in servers {
        let eras: Vec<_> = rows(&server["eras"]).iter().filter_map(Value::as_str).collect();
        let lease = &server["lease"];
        table.add_row([
            text(&server["name"]) + if server["retired"] == true { " (retired)" } else { "" },
            if eras.is_empty() { "not known yet".into() } else { eras.join(", ") },
            text(&server["callers"]),
            text(&server["queue"]),
            format!("{} of {}", server["processes"], server["max"]),
            bytes(&server["memory"]),
            format!("{} ({})", text(&lease["kind"]), text(&lease["why"])),
        ]);
    }
    table
}

/// A line for each instance, with its server.
pub fn instance_table<'a>(instances: impl Iterator<Item = (&'a Value, &'a Value)>) -> Table {
    let heads = ["INSTANCE", "PID", "STATE", "REVISION", "LEASE", "CALLERS", "IN FLIGHT", "CALLS", "AGE", "MEMORY"];
    let mut table = table(heads, 5..10);
    for (server, instance) in instances {
        table.add_row([
            format!("{} {}", text(&server["name"]), instance["id"]),
            text(&instance["pid"]),
            text(&instance["state"]),
            format!("{} {}", text(&instance["era"]), text(&instance["revision"])),
            text(&instance["lease"]),
            text(&instance["callers"]),
            text(&instance["in_flight"]),
            text(&instance["calls"]),
            age(instance["age_ms"].as_u64().unwrap_or(0)),
            bytes(&instance["memory"]),
        ]);
    }
    table
}

/// A line for each of the first callers.
pub fn caller_table(callers: &[Value]) -> Table {
    let mut table = table(["CALLER", "PID", "ENDPOINT", "REVISION", "IN FLIGHT", "ASKED", "HELD"], 4..7);
    for caller in callers.iter().take(SHOWN) {
        table.add_row(
            ["client", "pid", "endpoint", "revision", "in_flight", "asks", "held"].map(|key| text(&caller[key])),
        );
    }
    table
}

/// A table without lines whose columns of numbers stand to the right.
fn table<const N: usize>(heads: [&str; N], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 2 }, 0));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
