//! `mcpool tools NAME`: what the tools of an endpoint are called, do and take.

use std::process::ExitCode;

use serde_json::Value;

use super::client::failed;
use super::orders;
use super::print::{complain, page};
use super::reach;
use super::running::Running;
use super::status::units::{rows, text};
use crate::config::place::Chosen;
use crate::text::line;

/// Prints them. Fails with 1 if they are not listed.
///
/// # Errors
/// In words for people: the endpoint cannot be reached.
pub async fn run(chosen: &Chosen, endpoint: &str) -> Result<ExitCode, String> {
    let listed = match reach::session(chosen, endpoint).await? {
        Ok(mut client) => client.list("tools/list", "tools").await,
        Err(failure) => Err(failure),
    };
    match listed {
        Ok(tools) if tools.is_empty() => page(&format!("{endpoint} has no tools"))?,
        Ok(tools) => page(&tools.iter().map(describe).collect::<Vec<_>>().join("\n"))?,
        Err(failure) => return failed(endpoint, failure),
    }
    // Who asks has what there is; that some is missing is worth a line, and no failure.
    if let Ok(running) = Running::find_any(chosen).await
        && let Ok(status) = orders::ask(&running.directory, "status").await
    {
        missing(&status, endpoint).iter().for_each(complain);
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each server of an endpoint that nothing is known of because it could not be started.
fn missing(status: &Value, endpoint: &str) -> Vec<String> {
    let shows = rows(&status["endpoints"]).iter().find(|known| known["name"] == endpoint);
    let names = shows.map_or(&[][..], |shows| rows(&shows["servers"]));
    let servers = rows(&status["servers"]).iter().filter(|server| names.contains(&server["name"]));
    let failed = servers.filter(|server| rows(&server["eras"]).is_empty() && server["last_failure"]["what"] == "start");
    let told = |server: &Value| {
        let (name, failure) = (text(&server["name"]), &server["last_failure"]);
        format!("{name} is missing: it could not be started: {}", text(&failure["cause"]))
    };
    failed.map(told).collect()
}

fn describe(tool: &Value) -> String {
    let mut page = format!("{}\n", line(tool["name"].as_str().unwrap_or("?")));
    if let Some(about) = tool["description"].as_str().or(tool["title"].as_str()).and_then(first_line) {
        page += &format!("    {about}\n");
    }
    let schema = &tool["inputSchema"];
    let Some(arguments) = schema["properties"].as_object().filter(|arguments| !arguments.is_empty()) else {
        return page;
    };
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name));
    let mut arguments: Vec<_> = arguments.iter().collect();
    arguments.sort_by_key(|(name, _)| !required(name));
    let width = arguments.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, argument) in arguments {
        let must = if required(name) { ", required" } else { "" };
        page += &format!("      {:<width$}  {}{must}", line(name), kind(schema, argument));
        if let Some(about) = argument["description"].as_str().and_then(first_line) {
            page += &format!("  {about}");
        }
        page += "\n";
    }
    page
}

/// The type of an argument in a few words.
fn kind(root: &Value, schema: &Value) -> String {
    let schema = match schema["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
        Some(target) => root.pointer(target).unwrap_or(schema),
        None => schema,
    };
    if let Some(values) = schema["enum"].as_array() {
        return join(values.iter().map(|value| line(&value.to_string()).into_owned()));
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        // One level is enough for a few words, and ends even if a schema refers to itself.
        return join(choices.iter().map(|choice| simple(&choice["type"])));
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" && schema["items"]["type"].is_string() => {
            format!("array of {}", simple(&schema["items"]["type"]))
        }
        kind => simple(kind),
    }
}

fn simple(kind: &Value) -> String {
    match kind {
        Value::String(kind) => line(kind).into_owned(),
        Value::Array(kinds) => join(kinds.iter().filter_map(Value::as_str).map(|kind| line(kind).into_owned())),
        _ => "any".into(),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" | ")
}

fn first_line(text: &str) -> Option<String> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    first.map(|first| line(first).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_told_by_name_purpose_and_arguments() {
        let tool = json!({
            "name": "read",
            "description": "\n  Reads a file.\u{1b}[2J\nAnd more.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Where it is" },
                    "head": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                    "mode": { "enum": ["text", "raw"] },
                    "lines": { "type": "array", "items": { "type": "integer" } },
                    "sort": { "$ref": "#/$defs/sort" },
                },
                "required": ["path"],
                "$defs": { "sort": { "type": ["string", "null"] } },
            },
        });
        let told = describe(&tool);
        assert!(told.starts_with("read\n    Reads a file.\\u{1b}[2J\n"), "{told}");
        assert!(told.contains("      path   string, required  Where it is\n"), "{told}");
        for line in
            ["head   integer | null", "mode   \"text\" | \"raw\"", "lines  array of integer", "sort   string | null"]
        {
            assert!(told.contains(line), "{line} in {told}");
        }
    }

    #[test]
    fn what_is_missing_on_an_endpoint_is_told() {
        let failure = json!({ "what": "start", "cause": "no such file" });
        let status = json!({
            "endpoints": [{ "name": "all", "servers": ["good", "bad"] }, { "name": "good", "servers": ["good"] }],
            "servers": [{ "name": "good", "eras": ["legacy"], "last_failure": failure }, { "name": "bad", "eras": [], "last_failure": failure }],
        });
        assert_eq!(missing(&status, "all"), ["bad is missing: it could not be started: no such file"]);
        assert!(missing(&status, "good").is_empty());
    }

    #[test]
    fn a_tool_without_arguments_takes_one_line() {
        assert_eq!(describe(&json!({ "name": "now", "inputSchema": { "type": "object" } })), "now\n");
    }
}
