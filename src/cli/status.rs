//! `mcpool status`: asks the daemon on its admin socket what is there, and shows it to people or to programs.

mod page;
mod servers;
mod tables;
pub mod units;

use std::path::Path;

use serde_json::Value;

use super::{orders, print};
use crate::plural::plural;
use crate::text::line;
use page::{width, wrapped};
use servers::{changed, confined, failures, odd_items, sick, troubles};
use tables::{caller_table, instance_table, server_table};
use units::{age, bytes, count, rows, text};

/// What `mcpool status` prints.
///
/// # Errors
/// In words for people: no daemon runs, or it does not answer.
pub async fn run(directory: &Path, json: bool) -> Result<String, String> {
    let status = orders::ask(directory, "status").await?;
    if let Some(why) = status["error"].as_str() {
        return Err(why.to_owned());
    }
    Ok(if json { print::json(&status) } else { page(&status, width()) })
}

fn page(status: &Value, width: usize) -> String {
    let config = status["config"].as_str().map_or("no file".into(), line);
    let mut page =
        wrapped(&format!("mcpool {}, pid {}, config: {config}", text(&status["version"]), status["pid"]), width);
    if let Some(sockets) = status["sockets_dir"].as_str() {
        let catalogue = status["catalogue_dir"].as_str().map_or("nowhere".into(), line);
        page += &wrapped(&format!("Sockets: {}, catalogue: {catalogue}", line(sockets)), width);
    }
    page += &in_force(&status["in_force"]);
    if let Some(from) = status["environment"]["from"].as_str() {
        page += &wrapped(&format!("Variables of servers come from {}", line(from)), width);
    }
    let servers = rows(&status["servers"]);
    page += &format!("\n{}", server_table(servers, width));
    let disabled: Vec<_> = rows(&status["disabled"]).iter().map(text).collect();
    if !disabled.is_empty() {
        page += &wrapped(&format!("Disabled: {}", disabled.join(", ")), width);
    }
    page.extend(instance_table(servers, width).map(|table| format!("\n{table}")));
    let callers = rows(&status["callers"]);
    if !callers.is_empty() {
        page += &format!("\n{}", caller_table(callers, width));
        page += &more(callers.len() as u64, count(&status["callers_left_out"]));
    }
    let told = [
        audit(&status["audit"]),
        sick(servers),
        failures(servers),
        confined(servers),
        adopted(&status["strangers"]),
        room(&status["descriptors"]),
        shares(&status["shares"]),
        changed(servers),
        odd_items(servers),
        counted(status),
        saved(&status["sharing"]),
        totals(&status["totals"]),
    ];
    page + "\n" + &wrapped(&told.concat(), width)
}

/// How many callers the table leaves out, of so many that the daemon told of, and others.
fn more(told: u64, left_out: u64) -> String {
    let more = (told + left_out).saturating_sub(tables::SHOWN as u64);
    match (more, left_out) {
        (0, _) => String::new(),
        (more, 0) => format!("  and {more} more (see --json)\n"),
        (more, _) => format!("  and {more} more (--json has the first {told})\n"),
    }
}

/// Which config it is, and whether a later one was refused.
fn in_force(config: &Value) -> String {
    let since = |value: &Value| age(value["age_ms"].as_u64().unwrap_or(0));
    let mut lines = String::new();
    if let Some(digest) = config["digest"].as_str() {
        lines += &format!("In force for {}, digest {}\n", since(config), line(digest));
    }
    let keys: Vec<_> = rows(&config["needs_new_daemon"]).iter().filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        lines += &format!("These keys have changed and need a new daemon: {}\n", keys.join(", "));
    }
    let refused = &config["refused"];
    if let Some(mistakes) = refused["mistakes"].as_str() {
        lines += &format!("A later one was refused {} ago:\n", since(refused));
        mistakes.lines().for_each(|told| lines += &format!("  {}\n", line(told)));
    }
    lines
}

/// Who was left to the daemon and is let be.
fn adopted(strangers: &Value) -> String {
    let pids: Vec<_> = rows(strangers).iter().map(Value::to_string).collect();
    if pids.is_empty() {
        return String::new();
    }
    format!(
        "Processes that no server is known to have started lost their parents to mcpool, which lets them be: {}.\n",
        pids.join(", ")
    )
}

/// How much room there is for callers, if there is little.
fn room(descriptors: &Value) -> String {
    let count = |key: &str| descriptors[key].as_u64().unwrap_or(0);
    if count("callers") * 10 < count("room") * 8 || count("room") == 0 {
        return String::new();
    }
    let (room, there, limit) = (plural(count("room"), "caller"), count("callers"), &descriptors["limit"]);
    format!("There is room for {room}, and {there} came: raise the limit on open files, which is {limit}.\n")
}

/// What all clients share, if most of it is taken, and who has most.
fn shares(shares: &Value) -> String {
    let all = [
        ("in_flight", "calls that all clients may have in flight", "in_flight_total"),
        ("held", "calls whose clients may be away", "held_total"),
        ("memory_bytes", "memory for clients", "memory"),
    ];
    let mut told = String::new();
    for (key, what, limit) in all {
        let shown = |value| if key == "memory_bytes" { bytes(value) } else { count(value).to_string() };
        let (taken, most) = (&shares[key]["taken"], &shares[key]["limit"]);
        if count(most) > 0 && count(taken) >= count(most) / 10 * 8 {
            told += &format!("Of {} {what} (`limits.{limit}`) {} is taken.", shown(most), shown(taken));
            let of = if key == "memory_bytes" { "bytes" } else { key };
            let first = rows(&shares["largest"]).iter().max_by_key(|had| count(&had[of]));
            if let Some(had) = first.filter(|had| count(&had[of]) > 0) {
                let process = had["pid"].as_i64().map_or(String::new(), |pid| format!(", process {pid}"));
                told += &format!(" User {}{process} has most: {}.", count(&had["uid"]), shown(&had[of]));
            }
            told.push('\n');
        }
    }
    told
}

/// What the audit log lacks, if it lacks anything.
fn audit(audit: &Value) -> String {
    let (file, lost) = (text(&audit["file"]), count(&audit["lost"]));
    let mut told = String::new();
    if audit["writable"] == false {
        let meanwhile = if audit["required"] == true { "calls are refused" } else { "its lines are lost" };
        told += &format!("The audit log {file} cannot be written: {meanwhile} until it can be.\n");
    }
    if lost > 0 {
        told += &format!("The audit log {file} lacks {}.\n", plural(lost, "line"));
    }
    told
}

fn counted(status: &Value) -> String {
    let counters = &status["counters"];
    let (calls, callers) = (count(&counters["calls"]), count(&counters["callers"]));
    let mut line = format!("Since it started: {} of {}", plural(calls, "call"), plural(callers, "caller"));
    for (what, counts) in [("refused", &counters["refused"]), ("messages not delivered", &counters["dropped"])] {
        if let Some(counts) = counts.as_object().filter(|counts| !counts.is_empty()) {
            let reasons: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            line += &format!("; {what}: {}", reasons.join(", "));
        }
    }
    line + ".\n" + &troubles(rows(&status["servers"]))
}

fn saved(sharing: &Value) -> String {
    let processes = count(&sharing["processes"]);
    let now = match processes {
        0 => "no processes run".to_owned(),
        _ => format!("{} with {}", plural(processes, "process"), bytes(&sharing["memory"])),
    };
    match count(&sharing["processes_saved"]) {
        0 => format!("Sharing saves nothing at the moment: {now}.\n"),
        saved => format!(
            "Sharing saves {} and about {}: {now} instead of {}.\n",
            plural(saved, "process"),
            bytes(&sharing["memory_saved"]),
            sharing["processes_without"]
        ),
    }
}

/// What sharing has saved since the daemon started.
fn totals(totals: &Value) -> String {
    let of = |key: &str| count(&totals[key]);
    if of("starts_saved") == 0 {
        return String::new();
    }
    let (starts, saved) = (plural(of("starts"), "start"), plural(of("starts_saved"), "start"));
    let mut told = format!("Since it started sharing has saved {saved}: {starts} instead of {}.", of("starts_without"));
    let (callers, processes) = (plural(of("peak_callers"), "caller"), plural(of("peak_processes"), "process"));
    told += &format!(" At most {callers} at once, and {processes} instead of {}.", of("peak_processes_without"));
    let hours = of("memory_saved_byte_seconds") as f64 / f64::from(1 << 30) / 3600.0;
    if hours >= 0.01 {
        told += &format!(" Memory saved: {hours:.2} GiB for an hour.");
    }
    told + "\n"
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
        assert!(page(&json!({}), 80).contains("SERVER"));
        let caller = json!({ "client": "evil\u{1b}[2J", "pid": 7, "endpoint": "files" });
        let shown = page(
            &json!({
                "callers": vec![caller; 25],
                "servers": [{ "name": "files", "eras": ["legacy"], "instances": [{ "id": 3, "state": "ready", "age_ms": 1000 }] }],
                "sharing": { "processes": 1, "processes_without": 25, "processes_saved": 24 },
            }),
            80,
        );
        assert!(
            shown.contains("files 3") && shown.contains("and 5 more") && shown.contains("saves 24 processes"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn what_clients_share_is_told_once_most_of_it_is_taken_and_who_has_most() {
        let share = |calls: u64| {
            shares(&json!({
                "in_flight": { "taken": calls, "limit": 100 },
                "memory_bytes": { "taken": 1, "limit": 1 << 30 },
                "largest": [{ "uid": 7, "pid": null, "in_flight": 1, "bytes": 1 }, { "uid": 1000, "pid": 77, "in_flight": 85 }],
            }))
        };
        assert_eq!((share(79).as_str(), shares(&json!({})).as_str()), ("", ""));
        assert_eq!(
            share(90),
            "Of 100 calls that all clients may have in flight (`limits.in_flight_total`) 90 is taken. \
             User 1000, process 77 has most: 85.\n"
        );
    }

    #[test]
    fn keys_that_need_a_new_daemon_are_named() {
        let config = json!({ "needs_new_daemon": ["admin.metrics"] });
        assert!(in_force(&config).contains("need a new daemon: admin.metrics"));
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

    #[test]
    fn counts_have_their_plurals() {
        let counters = json!({ "calls": 1, "callers": 1 });
        assert_eq!(counted(&json!({ "counters": counters })), "Since it started: 1 call of 1 caller.\n");
        assert_eq!(saved(&json!({ "processes": 0 })), "Sharing saves nothing at the moment: no processes run.\n");
    }

    #[test]
    fn what_was_saved_in_all_is_told_though_nobody_is_there_any_more() {
        let told = totals(&json!({
            "starts": 1, "starts_without": 6, "starts_saved": 5, "peak_callers": 3, "peak_processes": 1,
            "peak_processes_without": 6, "memory_saved_byte_seconds": 3600_u64 << 30,
        }));
        assert_eq!(
            told,
            "Since it started sharing has saved 5 starts: 1 start instead of 6. At most 3 callers at once, and 1 process instead of 6. \
             Memory saved: 1.00 GiB for an hour.\n"
        );
        assert_eq!(totals(&json!({})), "");
    }

    #[test]
    fn a_page_fits_a_terminal_of_80_columns() {
        let instance = json!({
            "id": 12, "pid": 1_234_567, "state": "draining", "era": "legacy", "revision": "2025-06-18", "lease": "session",
            "callers": 1, "in_flight": 1, "calls": 100_000, "age_ms": 90_000_000, "memory": 512 << 20,
            "hosts": ["claude-code", "cursor-vscode"], "profile": { "capabilities": ["elicitation", "roots", "sampling"] },
        });
        let server = json!({
            "name": "a-server-with-a-long-name", "eras": ["legacy", "modern"], "callers": 12, "queue": 3, "processes": 4, "max": 4,
            "memory": 2_u64 << 30, "lease": { "kind": "session", "why": "known to keep state for its client" },
            "instances": [instance], "last_failure": { "what": "ended", "cause": "exit status: 3 ".repeat(20), "stderr": [] },
        });
        let caller = json!({ "client": "x".repeat(200), "pid": 1_234_567, "endpoint": "a-server-with-a-long-name",
            "revision": "2025-06-18", "in_flight": 1, "asks": 1, "held": 1 });
        let status = json!({ "servers": [server], "callers": [caller] });
        let shown = page(&status, 80);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        for told in ["claude-code, cursor-vscode", "elicitation, roots, sampling", "512.0 MiB", "known to keep state"] {
            assert!(shown.split_whitespace().collect::<Vec<_>>().join(" ").contains(told), "{told} in {shown}");
        }
        assert!(page(&status, 300).lines().any(|line| line.starts_with("INSTANCE") && line.ends_with("MEMORY")));
    }
}
