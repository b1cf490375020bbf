//! `mcpool status`: asks the daemon on its admin socket what is there, and shows it to people or to programs.

mod tables;
mod units;

use std::path::Path;

use serde_json::Value;

use super::{orders, print};
use crate::text::line;
use tables::{caller_table, instance_table, server_table};
use units::{age, bytes, milliseconds, rows, text};

/// What `mcpool status` prints.
///
/// # Errors
/// In words for people: no daemon runs, or it does not answer.
pub async fn run(directory: &Path, json: bool) -> Result<String, String> {
    let status = orders::ask(directory, "status").await?;
    Ok(if json { print::json(&status) } else { page(&status) })
}

fn page(status: &Value) -> String {
    let config = status["config"].as_str().unwrap_or("no file");
    let mut page = format!("mcpool {}, pid {}, config: {config}\n", text(&status["version"]), status["pid"]);
    page += &in_force(&status["in_force"]);
    let servers = rows(&status["servers"]);
    page += &format!("\n{}\n", server_table(servers));
    let instances =
        servers.iter().flat_map(|server| rows(&server["instances"]).iter().map(move |instance| (server, instance)));
    let disabled: Vec<_> = rows(&status["disabled"]).iter().map(text).collect();
    if !disabled.is_empty() {
        page += &format!("Disabled: {}\n", disabled.join(", "));
    }
    let table = instance_table(instances);
    if table.row_count() > 0 {
        page += &format!("\n{table}\n");
    }
    let callers = rows(&status["callers"]);
    if !callers.is_empty() {
        page += &format!("\n{}\n", caller_table(callers));
        if callers.len() > tables::SHOWN {
            page += &format!("  and {} more (see --json)\n", callers.len() - tables::SHOWN);
        }
    }
    page += &format!("\n{}{}", sick(servers), confined(servers));
    page += &adopted(&status["strangers"]);
    page += &room(&status["descriptors"]);
    page += &counted(status);
    page + &format!("{}\n", saved(&status["sharing"]))
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

/// A line for each breaker that is not closed, and each server that is left alone because it does not start.
fn sick(servers: &[Value]) -> String {
    let mut lines = String::new();
    for server in servers {
        let (name, breaker) = (text(&server["name"]), &server["breaker"]);
        lines += &standing(&format!("calls to {name}"), breaker);
        for tool in rows(&breaker["tools"]) {
            lines += &standing(&format!("calls of {} of {name}", text(&tool["tool"])), tool);
        }
        for lack in rows(&server["lacks"]) {
            lines += &format!("{name} cannot be started: {}.\n", text(lack));
        }
        if let Some(pause) = server["backoff_ms"].as_u64() {
            lines += &format!("{name} is not started again for {}.\n", milliseconds(pause));
        }
    }
    lines
}

/// A line for each server that is confined.
fn confined(servers: &[Value]) -> String {
    let line = |server: &Value| {
        Some(format!(
            "{} is confined: {}.\n",
            text(&server["name"]),
            text(server.get("sandbox").filter(|sandbox| sandbox.is_string())?)
        ))
    };
    servers.iter().filter_map(line).collect()
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
    format!(
        "There is room for {} callers, and {} are there: raise the limit on open files, which is {}.\n",
        count("room"),
        count("callers"),
        descriptors["limit"]
    )
}

fn standing(what: &str, breaker: &Value) -> String {
    let state = match breaker["state"].as_str() {
        Some("open") => format!("are refused for {}", milliseconds(breaker["retry_in_ms"].as_u64().unwrap_or(0))),
        Some("half_open") => "are refused but for one that tries".to_owned(),
        _ => return String::new(),
    };
    format!("Breaker: {what} {state}: {}.\n", text(&breaker["cause"]))
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
    fn who_is_refused_at_the_moment_is_told_with_the_cause() {
        let tool = json!({ "tool": "pay", "state": "half_open", "cause": "a call ran out of time" });
        let open = json!({ "state": "open", "retry_in_ms": 9_500, "cause": "it ended by itself", "tools": [tool] });
        let sick_one = json!({ "name": "files", "breaker": open, "backoff_ms": 250 });
        let well = json!({ "name": "git", "breaker": { "state": "closed", "cause": null, "tools": [] } });
        assert_eq!(
            sick(&[sick_one, well]),
            "Breaker: calls to files are refused for 9s: it ended by itself.\n\
             Breaker: calls of pay of files are refused but for one that tries: a call ran out of time.\n\
             files is not started again for 250 ms.\n"
        );
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
}
