//! Called by both demo servers: the list of tools, for `tools/list` and for the check of a call's name.

use serde_json::{Map, Value, json};

/// A tool as the list shows it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    pub name: &'static str,
    about: &'static str,
    /// Name, JSON type, whether it must be there.
    takes: &'static [(&'static str, &'static str, bool)],
    gives: Option<(&'static str, &'static str)>,
    harmless: bool,
    /// May take long: runs beside other requests and can be cancelled.
    pub waits: bool,
    /// Can run as a task.
    pub task: bool,
    era: Era,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Era {
    Both,
    Legacy,
}

const fn tool(name: &'static str, about: &'static str) -> Tool {
    Tool { name, about, takes: &[], gives: None, harmless: false, waits: false, task: false, era: Era::Both }
}

impl Tool {
    const fn takes(self, takes: &'static [(&'static str, &'static str, bool)]) -> Tool {
        Tool { takes, ..self }
    }

    const fn gives(self, name: &'static str, kind: &'static str) -> Tool {
        Tool { gives: Some((name, kind)), ..self }
    }

    const fn harmless(self) -> Tool {
        Tool { harmless: true, ..self }
    }

    const fn waits(self) -> Tool {
        Tool { waits: true, ..self }
    }

    const fn task(self) -> Tool {
        Tool { task: true, ..self }
    }

    const fn legacy(self) -> Tool {
        Tool { era: Era::Legacy, ..self }
    }
}

const EXTRA: Tool = tool("extra", "Is there only after an odd number of change_lists.").harmless();

const TOOLS: &[Tool] = &[
    tool("echo", "Gives its arguments back to the letter, as text and as structured content.").harmless(),
    tool("add", "Adds two numbers.")
        .takes(&[("a", "number", true), ("b", "number", true)])
        .gives("sum", "number")
        .harmless(),
    tool("whoami", "Tells what the server knows of its client, and which process it is.").harmless(),
    tool("slow", "Sleeps for `ms` milliseconds in `steps` steps, with progress.")
        .takes(&[("ms", "integer", true), ("steps", "integer", false), ("task", "boolean", false)])
        .harmless()
        .waits()
        .task(),
    tool("log", "Emits `count` log lines of a level.")
        .takes(&[("level", "string", true), ("count", "integer", false)])
        .harmless(),
    tool("ask_sampling", "Asks the client's model.").takes(&[("prompt", "string", true)]).waits(),
    tool("ask_elicit", "Asks the client's user to fill in a form.").takes(&[("message", "string", true)]).waits(),
    tool("ask_url", "Asks the client's user to visit a page.").waits(),
    tool("ask_roots", "Asks for the client's roots.").waits(),
    tool("ask_two", "Asks two things at once: of sampling, elicit, url, roots.")
        .takes(&[("kinds", "array", false)])
        .waits(),
    tool("ask_rounds", "Asks `n` times, one after the other.")
        .takes(&[("n", "integer", true), ("kind", "string", false)])
        .waits(),
    tool("ask_ping", "Pings the client.").waits().legacy(),
    tool("image", "Shows an image of one pixel.").harmless(),
    tool("fail", "Fails with a result that says so.").takes(&[("message", "string", false)]).harmless(),
    tool("error", "Fails with a JSON-RPC error of exactly these fields.")
        .takes(&[("code", "integer", true), ("message", "string", true), ("data", "any", false)])
        .harmless(),
    tool("change_lists", "Adds an extra tool, prompt and resource, or removes them, and announces it."),
    tool("touch", "Changes a resource and tells its subscribers.").takes(&[("uri", "string", true)]),
    tool("forget", "Never answers.").waits(),
    tool("die", "Ends the server in the middle of the call."),
];

/// The tools that a client of that revision sees, in order.
pub fn all(revision: &str, extra: bool) -> impl Iterator<Item = Tool> {
    let modern = revision > "2025-11-25";
    let extra = extra.then_some(EXTRA);
    TOOLS.iter().copied().filter(move |tool| !(modern && tool.era == Era::Legacy)).chain(extra)
}

/// A tool as that revision describes it.
pub fn describe(tool: Tool, revision: &str) -> Value {
    let legacy = revision <= "2025-11-25";
    let takes = tool.takes.iter().filter(|(name, ..)| !(legacy && *name == "task"));
    let properties: Map<_, _> = takes.clone().map(|(name, kind, _)| ((*name).to_owned(), schema(kind))).collect();
    let required: Vec<_> = takes.filter(|(.., must)| *must).map(|(name, ..)| name).collect();
    let mut shown = json!({
        "name": tool.name,
        "description": tool.about,
        "inputSchema": { "type": "object", "properties": properties, "required": required },
    });
    if revision >= "2025-03-26" {
        shown["annotations"] = json!({ "readOnlyHint": tool.harmless });
    }
    if revision >= "2025-06-18"
        && let Some((name, kind)) = tool.gives
    {
        let properties = Map::from_iter([(name.to_owned(), schema(kind))]);
        shown["outputSchema"] = json!({ "type": "object", "properties": properties, "required": [name] });
    }
    if revision == "2025-11-25" && tool.task {
        shown["execution"] = json!({ "taskSupport": "optional" });
    }
    shown
}

fn schema(kind: &str) -> Value {
    match kind {
        "any" => json!({}),
        "array" => json!({ "type": "array", "items": { "type": "string" } }),
        kind => json!({ "type": kind }),
    }
}
