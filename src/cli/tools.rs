//! `mcpool tools NAME`: what the tools of an endpoint are called, do and take.

use std::path::Path;

use serde_json::Value;

use super::client::{Client, PERSON};
use super::print::plain;
use super::reach;
use crate::config::Config;

/// What `mcpool tools` prints.
///
/// # Errors
/// In words for people: the endpoint cannot be reached or does not list its tools.
pub async fn list(file: &Path, config: &Config, endpoint: &str) -> Result<String, String> {
    let (reader, writer) = reach::endpoint(file, config, endpoint).await?.into_split();
    let told = |failure| format!("{endpoint}: {failure}");
    let mut client = Client::open_any(reader, writer, PERSON).await.map_err(told)?;
    let tools = client.list("tools/list", "tools").await.map_err(told)?;
    if tools.is_empty() {
        return Ok(format!("{endpoint} has no tools\n"));
    }
    Ok(tools.iter().map(describe).collect::<Vec<_>>().join("\n"))
}

fn describe(tool: &Value) -> String {
    let mut page = format!("{}\n", plain(tool["name"].as_str().unwrap_or("?")));
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
        page += &format!("      {:<width$}  {}{must}", plain(name), kind(schema, argument));
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
        return join(values.iter().map(|value| plain(&value.to_string())));
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
        Value::String(kind) => plain(kind),
        Value::Array(kinds) => join(kinds.iter().filter_map(Value::as_str).map(plain)),
        _ => "any".into(),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" | ")
}

fn first_line(text: &str) -> Option<String> {
    text.lines().map(plain).map(|line| line.trim().to_owned()).find(|line| !line.is_empty())
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
        assert!(told.starts_with("read\n    Reads a file.[2J\n"), "{told}");
        assert!(told.contains("      path   string, required  Where it is\n"), "{told}");
        for line in
            ["head   integer | null", "mode   \"text\" | \"raw\"", "lines  array of integer", "sort   string | null"]
        {
            assert!(told.contains(line), "{line} in {told}");
        }
    }

    #[test]
    fn a_tool_without_arguments_takes_one_line() {
        assert_eq!(describe(&json!({ "name": "now", "inputSchema": { "type": "object" } })), "now\n");
    }
}
