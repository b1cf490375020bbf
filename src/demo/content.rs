//! Called by both demo servers: resources, prompts and completion, which they show beside their tools, and the pages of
//! a list.

use serde::Deserialize;
use serde_json::{Value, json};

use super::World;
use super::line::{Fault, Raw, parse};
use super::tools;

/// What the servers tell a model about themselves.
pub const INSTRUCTIONS: &str = "A server to try mcpool with. Its tools echo, wait, log, ask and fail on demand.";

const TEMPLATE: &str = "demo://note/{n}";
const TONES: [&str; 3] = ["formal", "friendly", "funny"];
const NAMES: [&str; 4] = ["Ada", "Alan", "Barbara", "Grace"];

/// The name and version of the servers. Not that of the process, which would make equal servers look different.
pub fn identity() -> Value {
    json!({ "name": "mcpool-demo", "version": env!("CARGO_PKG_VERSION") })
}

/// The answer to one of the four list methods, if `method` is one, for a client of that revision.
pub fn list(world: &World, method: &str, params: &Option<Raw>, revision: &str) -> Option<Result<Value, Fault>> {
    let (key, items) = match method {
        "tools/list" => {
            ("tools", tools::all(revision, world.extra.get()).map(|tool| tools::describe(tool, revision)).collect())
        }
        "resources/list" => ("resources", (1..=5 + u64::from(world.extra.get())).map(note).collect()),
        "resources/templates/list" => ("resourceTemplates", vec![template()]),
        "prompts/list" => ("prompts", prompts(world.extra.get())),
        _ => return None,
    };
    Some(page(world.options.page, key, items, params))
}

/// One page of a list; a cursor is the number of items before it.
pub fn page(size: usize, key: &str, items: Vec<Value>, params: &Option<Raw>) -> Result<Value, Fault> {
    #[derive(Deserialize)]
    struct Cursor {
        cursor: Option<String>,
    }
    let start = match parse::<Cursor>(params)?.cursor {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix("after-")
            .and_then(|count| count.parse().ok())
            .filter(|start| *start > 0 && *start < items.len() && size > 0)
            .ok_or_else(|| Fault::params(format!("Unknown cursor: {cursor}")))?,
    };
    let end = if size == 0 { items.len() } else { items.len().min(start + size) };
    let mut page = json!({ key: items[start..end] });
    if end < items.len() {
        page["nextCursor"] = json!(format!("after-{end}"));
    }
    Ok(page)
}

fn note(n: u64) -> Value {
    json!({
        "uri": format!("demo://note/{n}"),
        "name": format!("note-{n}"),
        "description": format!("Note number {n}"),
        "mimeType": "text/plain",
    })
}

fn template() -> Value {
    json!({ "uriTemplate": TEMPLATE, "name": "note", "description": "Any note", "mimeType": "text/plain" })
}

/// Whether there is a resource of that URI: notes from 1 to 1000.
pub fn exists(uri: &str) -> bool {
    let number = uri.strip_prefix("demo://note/").and_then(|n| n.parse::<u64>().ok());
    number.is_some_and(|n| (1..=1000).contains(&n) && uri == format!("demo://note/{n}"))
}

/// `resources/read`.
pub fn read(world: &World, uri: &str) -> Value {
    let touches = world.touches.borrow().get(uri).copied().unwrap_or_default();
    let text = format!("The note at {uri}, touched {touches} times.");
    json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": text }] })
}

fn prompts(extra: bool) -> Vec<Value> {
    let mut prompts = vec![
        json!({
            "name": "greet",
            "description": "Greets somebody",
            "arguments": [
                { "name": "name", "description": "Who is greeted", "required": true },
                { "name": "tone", "description": "How", "required": false },
            ],
        }),
        json!({ "name": "plain", "description": "Takes nothing" }),
    ];
    prompts.extend(extra.then(|| json!({ "name": "extra", "description": "Comes and goes with change_lists" })));
    prompts
}

/// `prompts/get`.
pub fn prompt(world: &World, params: &Option<Raw>) -> Result<Value, Fault> {
    #[derive(Deserialize)]
    struct Get {
        name: String,
        #[serde(default)]
        arguments: Value,
    }
    let Get { name, arguments } = parse(params)?;
    let text = match name.as_str() {
        "greet" => {
            let who = arguments["name"].as_str().ok_or_else(|| Fault::params("Missing argument: name"))?;
            let tone = arguments["tone"].as_str().unwrap_or("friendly");
            format!("Greet {who} in a {tone} tone.")
        }
        "plain" => "Say something plain.".to_owned(),
        "extra" if world.extra.get() => "Say something extra.".to_owned(),
        _ => return Err(Fault::params(format!("Unknown prompt: {name}"))),
    };
    Ok(json!({
        "description": format!("The prompt {name}"),
        "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
    }))
}

/// `completion/complete`.
pub fn complete(params: &Option<Raw>) -> Result<Value, Fault> {
    let params: Value = parse(params)?;
    let (reference, argument) = (&params["ref"], &params["argument"]);
    let (Some(about), Some(begun)) = (argument["name"].as_str(), argument["value"].as_str()) else {
        return Err(Fault::params("argument has a name and a value"));
    };
    let known: Vec<String> = match (reference["type"].as_str(), about) {
        (Some("ref/prompt"), "name") if reference["name"] == "greet" => NAMES.map(str::to_owned).into(),
        (Some("ref/prompt"), "tone") if reference["name"] == "greet" => TONES.map(str::to_owned).into(),
        (Some("ref/resource"), "n") if reference["uri"] == TEMPLATE => (1..=1000).map(|n| n.to_string()).collect(),
        (Some("ref/prompt" | "ref/resource"), _) => Vec::new(),
        _ => return Err(Fault::params("ref is a ref/prompt or a ref/resource")),
    };
    let fitting: Vec<_> = known.into_iter().filter(|value| value.starts_with(begun)).collect();
    let total = fitting.len();
    let values: Vec<_> = fitting.into_iter().take(100).collect();
    Ok(json!({ "completion": { "hasMore": total > values.len(), "total": total, "values": values } }))
}
