//! `mcpool status`: asks the daemon on its admin socket what is there, and shows it to people or to programs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use super::orders;
use super::print::plain;
use crate::config::Config;

/// As many callers are shown; the rest are counted.
const SHOWN: usize = 20;

/// What `mcpool status` prints.
///
/// # Errors
/// In words for people: no daemon runs, or it does not answer.
pub async fn run(config: &Config, json: bool) -> Result<String, String> {
    let status = orders::ask(config, "status").await?;
    Ok(if json { status.to_string() } else { page(&status) })
}

fn page(status: &Value) -> String {
    let config = status["config"].as_str().unwrap_or("no file");
    let mut page = format!("mcpool {}, pid {}, config: {config}\n", text(&status["version"]), status["pid"]);
    page += &in_force(&status["in_force"]);
    if status["draining"] == true {
        page += "It is ending: nothing new is begun.\n";
    }
    let servers = rows(&status["servers"]);
    page += &format!("\n{}\n", server_table(servers));
    let instances =
        servers.iter().flat_map(|server| rows(&server["instances"]).iter().map(move |instance| (server, instance)));
    let table = instance_table(instances);
    if table.row_count() > 0 {
        page += &format!("\n{table}\n");
    }
    let callers = rows(&status["callers"]);
    if !callers.is_empty() {
        page += &format!("\n{}\n", caller_table(callers));
        if callers.len() > SHOWN {
            page += &format!("  and {} more (see --json)\n", callers.len() - SHOWN);
        }
    }
    page += &format!("\n{}", counted(status));
    page + &format!("{}\n", saved(&status["sharing"]))
}

/// Which config it is, and whether a later one was refused.
fn in_force(config: &Value) -> String {
    let since = |value: &Value| age(value["age_ms"].as_u64().unwrap_or(0));
    let mut lines = String::new();
    if let Some(digest) = config["digest"].as_str() {
        lines += &format!("In force for {}, digest {}\n", since(config), plain(digest));
    }
    let refused = &config["refused"];
    if let Some(mistakes) = refused["mistakes"].as_str() {
        lines += &format!("A later one was refused {} ago:\n", since(refused));
        mistakes.lines().for_each(|line| lines += &format!("  {}\n", plain(line)));
    }
    lines
}

fn server_table(servers: &[Value]) -> Table {
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

fn instance_table<'a>(instances: impl Iterator<Item = (&'a Value, &'a Value)>) -> Table {
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

fn caller_table(callers: &[Value]) -> Table {
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

fn counted(status: &Value) -> String {
    let counters = &status["counters"];
    let mut line = format!("Since it started: {} calls of {} callers", counters["calls"], counters["callers"]);
    for (what, counts) in [("refused", &counters["refused"]), ("messages not delivered", &counters["dropped"])] {
        if let Some(counts) = counts.as_object().filter(|counts| !counts.is_empty()) {
            let reasons: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            line += &format!("; {what}: {}", reasons.join(", "));
        }
    }
    line + ".\n" + &troubles(rows(&status["servers"]))
}

/// A line for each server that had to be started again, or could not be.
fn troubles(servers: &[Value]) -> String {
    let told = servers.iter().filter_map(|server| {
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let stopped = &server["stopped"];
        let by_itself =
            ["ended", "misbehaved", "unresponsive"].iter().map(|reason| count(&stopped[reason])).sum::<u64>();
        let (failed, trips) = (count(&server["start_failures"]), count(&server["breaker"]["trips"]));
        let told: Vec<String> = [
            (by_itself, format!("{by_itself} ended by themselves or were given up")),
            (failed, format!("{failed} did not start")),
            (trips, format!("the breaker opened {trips} times")),
        ]
        .into_iter()
        .filter_map(|(count, told)| (count > 0).then_some(told))
        .collect();
        let name = text(&server["name"]);
        (!told.is_empty()).then(|| format!("Of {} instances of {name}: {}.\n", server["started"], told.join(", ")))
    });
    told.collect()
}

fn saved(sharing: &Value) -> String {
    let plural = if sharing["processes"] == 1 { "" } else { "es" };
    let now = format!("{} process{plural} with {}", sharing["processes"], bytes(&sharing["memory"]));
    match sharing["processes_saved"].as_u64() {
        None | Some(0) => format!("Sharing saves nothing at the moment: {now}."),
        Some(count) => format!(
            "Sharing saves {count} process{} and about {}: {now} instead of {}.",
            if count == 1 { "" } else { "es" },
            bytes(&sharing["memory_saved"]),
            sharing["processes_without"]
        ),
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

fn bytes(value: &Value) -> String {
    let bytes = value.as_u64().unwrap_or(0) as f64;
    match bytes {
        0.0 => "-".into(),
        _ if bytes < 1024.0 * 1024.0 => format!("{:.0} KiB", bytes / 1024.0),
        _ if bytes < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        _ => format!("{:.2} GiB", bytes / 1024.0 / 1024.0 / 1024.0),
    }
}

fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_told_in_human_units() {
        assert_eq!(
            [512 << 10, 3 << 20, 5 << 30].map(|size: u64| bytes(&json!(size))),
            ["512 KiB", "3.0 MiB", "5.00 GiB"]
        );
        assert_eq!([5_000, 61_000, 7_260_000, 90_000_000].map(age), ["5s", "1m 1s", "2h 1m", "1d 1h"]);
    }

    #[test]
    fn a_page_shows_everything_even_of_a_daemon_that_says_little() {
        assert!(page(&json!({})).contains("SERVER"));
        let caller = json!({ "client": "evil\u{1b}[2J", "pid": 7, "endpoint": "files" });
        let shown = page(&json!({
            "callers": vec![caller; 25],
            "servers": [{ "name": "files", "eras": ["legacy"], "instances": [{ "id": 3, "state": "ready", "age_ms": 1000 }] }],
            "sharing": { "processes": 1, "processes_without": 25, "processes_saved": 24 },
        }));
        assert!(
            shown.contains("files 3") && shown.contains("and 5 more") && shown.contains("saves 24 processes"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn what_went_wrong_is_told_and_nothing_else() {
        let calm = json!({ "name": "calm", "started": 4, "stopped": { "idle": 4 }, "start_failures": 0 });
        let sick = json!({ "name": "sick", "started": 5, "stopped": { "ended": 2, "idle": 1 }, "start_failures": 2 });
        let counters = json!({ "calls": 9, "callers": 2, "refused": { "server_died": 3 }, "dropped": {} });
        assert_eq!(
            counted(&json!({ "counters": counters, "servers": [calm, sick] })),
            "Since it started: 9 calls of 2 callers; refused: 3 server_died.\n\
             Of 5 instances of sick: 2 ended by themselves or were given up, 2 did not start.\n"
        );
    }
}
