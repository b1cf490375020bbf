//! Called by `status`: sentences about single servers: which refuse calls, fail, are confined, or list what is not
//! shown.

use serde_json::Value;

use super::units::{age, count, milliseconds, rows, text};
use crate::plural::plural;

/// A line for each breaker that is not closed, and each server that is left alone because it does not start.
pub fn sick(servers: &[Value]) -> String {
    let mut lines = String::new();
    for server in servers {
        let (name, breaker) = (text(&server["name"]), &server["breaker"]);
        lines += &standing(&format!("calls to {name}"), breaker);
        for tool in rows(&breaker["tools"]) {
            lines += &standing(&format!("calls of {} of {name}", text(&tool["tool"])), tool);
            lines += &refused(&format!("calls of {} of {name}", text(&tool["tool"])), tool);
        }
        lines += &refused(&format!("calls to {name}"), breaker);
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
pub fn confined(servers: &[Value]) -> String {
    let line = |server: &Value| {
        Some(format!(
            "{} is confined: {}.\n",
            text(&server["name"]),
            text(server.get("sandbox").filter(|sandbox| sandbox.is_string())?)
        ))
    };
    servers.iter().filter_map(line).collect()
}

/// A line for each client whose calls alone are refused.
fn refused(what: &str, breaker: &Value) -> String {
    let line = |client: &Value| {
        let who = match (&client["uid"], &client["pid"]) {
            (uid, Value::Null) => format!("a client of user {uid}"),
            (uid, pid) => format!("the client with pid {pid} (user {uid})"),
        };
        standing(&format!("{what} by {who}"), client)
    };
    rows(&breaker["clients"]).iter().map(line).collect()
}

fn standing(what: &str, breaker: &Value) -> String {
    let state = match breaker["state"].as_str() {
        Some("open") => format!("are refused for {}", milliseconds(breaker["retry_in_ms"].as_u64().unwrap_or(0))),
        Some("half_open") => "are refused but for one that tries".to_owned(),
        _ => return String::new(),
    };
    format!("Breaker: {what} {state}: {}.\n", text(&breaker["cause"]))
}

/// The tools that are not as they were approved.
pub fn changed(servers: &[Value]) -> String {
    let told = servers.iter().filter(|server| !rows(&server["pins"]["changed"]).is_empty()).map(|server| {
        let (name, pins) = (text(&server["name"]), &server["pins"]);
        let tools =
            rows(&pins["changed"]).iter().map(|tool| format!("{} ({})", text(&tool["tool"]), text(&tool["what"])));
        let meanwhile = if pins["pin"] == "refuse" { "they are refused" } else { "they are used all the same" };
        let tools = tools.collect::<Vec<_>>().join(", ");
        format!("Tools of {name} are not as they were approved: {tools}; {meanwhile}. See `mcpool approve {name}`.\n")
    });
    told.collect()
}

/// What servers list so that clients could not read it.
pub fn odd_items(servers: &[Value]) -> String {
    let told = servers.iter().filter(|server| !rows(&server["odd_items"]).is_empty()).map(|server| {
        let item = |odd: &Value| format!("{} {} {}", text(&odd["list"]), text(&odd["item"]), text(&odd["why"]));
        let items = rows(&server["odd_items"]).iter().map(item).collect::<Vec<_>>().join("; ");
        let name = text(&server["name"]);
        format!("Where several servers are shown, what is wrong in lists of {name} is left out: {items}.\n")
    });
    told.collect()
}

/// What happened to each server last, if anything did.
pub fn failures(servers: &[Value]) -> String {
    let told = servers.iter().filter(|server| server["last_failure"].is_object()).map(|server| {
        let (name, failure) = (text(&server["name"]), &server["last_failure"]);
        let what = match failure["what"].as_str() {
            Some("start") => "could not be started",
            Some("ended") => "ended by itself",
            Some("misbehaved") => "misbehaved",
            Some("deaf") => "did not read any more",
            _ => "did not answer any more",
        };
        let (ago, at) = (age(count(&failure["age_ms"])), text(&failure["at"]));
        let mut lines = format!("{name} {what} {ago} ago ({at}): {}\n", text(&failure["cause"]));
        for line in rows(&failure["stderr"]) {
            lines += &format!("    {}\n", text(line));
        }
        lines
    });
    told.collect()
}

/// A line for each server that had to be started again, or could not be.
pub fn troubles(servers: &[Value]) -> String {
    let told = servers.iter().filter_map(|server| {
        let stopped = &server["stopped"];
        let by_itself =
            ["ended", "misbehaved", "unresponsive"].iter().map(|reason| count(&stopped[reason])).sum::<u64>();
        let (failed, gave_way) = (count(&server["start_failures"]), count(&stopped["gives_way"]));
        let trips = count(&server["breaker"]["trips"]);
        let told: Vec<String> = [
            (by_itself, format!("{by_itself} ended by themselves or were given up")),
            (failed, format!("{failed} did not start")),
            (gave_way, format!("{gave_way} gave way to other kinds of clients")),
            (trips, format!("the breaker opened {}", plural(trips, "time"))),
        ]
        .into_iter()
        .filter_map(|(count, told)| (count > 0).then_some(told))
        .collect();
        let (name, started) = (text(&server["name"]), plural(count(&server["started"]), "instance"));
        (!told.is_empty()).then(|| format!("Of {started} of {name}: {}.\n", told.join(", ")))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_refused_at_the_moment_is_told_with_the_cause() {
        let tool = json!({ "tool": "pay", "state": "half_open", "cause": "a call ran out of time" });
        let alone = json!({ "uid": 7, "pid": 42, "state": "open", "retry_in_ms": 4_000, "cause": "it was slow" });
        let open = json!({ "state": "open", "retry_in_ms": 9_500, "cause": "it ended by itself", "tools": [tool], "clients": [alone] });
        let sick_one = json!({ "name": "files", "breaker": open, "backoff_ms": 250 });
        let well = json!({ "name": "git", "breaker": { "state": "closed", "cause": null, "tools": [] } });
        assert_eq!(
            sick(&[sick_one, well]),
            "Breaker: calls to files are refused for 9s: it ended by itself.\n\
             Breaker: calls of pay of files are refused but for one that tries: a call ran out of time.\n\
             Breaker: calls to files by the client with pid 42 (user 7) are refused for 4s: it was slow.\n\
             files is not started again for 250 ms.\n"
        );
    }

    #[test]
    fn the_last_failure_of_a_server_is_told_with_its_time_and_its_last_words() {
        let failure = json!({
            "at": "2026-11-27T12:00:00.000Z", "age_ms": 61_000, "what": "start", "cause": "no such\u{1b} file", "stderr": ["a", "b"],
        });
        assert_eq!(
            failures(&[json!({ "name": "bad", "last_failure": failure }), json!({ "name": "good" })]),
            "bad could not be started 1m 1s ago (2026-11-27T12:00:00.000Z): no such\\u{1b} file\n    a\n    b\n"
        );
    }

    #[test]
    fn troubles_have_their_plurals() {
        let server = json!({ "name": "bad", "started": 1, "start_failures": 1, "breaker": { "trips": 1 } });
        assert_eq!(troubles(&[server]), "Of 1 instance of bad: 1 did not start, the breaker opened 1 time.\n");
    }
}
