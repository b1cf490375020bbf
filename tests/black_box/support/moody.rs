//! A server whose tools do what they are called, for tests of what mcpool makes of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::script::{Heard, Say, Script, script};

/// A server with these tools: `ok` answers; `sick` answers with an internal error, and `wrong` with the error `code`;
/// `fail` says in its result that it failed; `hang` never answers; `late` answers after `ms`; `die` ends the process.
pub fn moody() -> Script {
    script().on("tools/call", act).on("tools/list", |list, say| say.result(list, tools()))
}

fn act(call: &Heard, say: &Say) {
    let arguments = &call.value["params"]["arguments"];
    match call.value["params"]["name"].as_str().unwrap_or_default() {
        "hang" => {}
        "die" => say.crash(),
        "sick" => say.error(call, json!({ "code": -32603, "message": "something broke" })),
        "wrong" => say.error(call, json!({ "code": arguments["code"], "message": "you are wrong" })),
        "fail" => say.result(call, json!({ "content": [{ "type": "text", "text": "no" }], "isError": true })),
        "late" => {
            let (ms, id, say) = (arguments["ms"].as_u64().unwrap_or(0), call.id().clone(), say.clone());
            spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                say.text(&Heard { value: json!({ "id": id }) }, "late");
            });
        }
        name => say.text(call, name),
    }
}

/// The list of a few tools, two of which say that they may be called twice.
pub fn tools() -> Value {
    let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
    let mut all = ["ok", "reading", "steady", "writing", "denying"].map(tool);
    all[1]["annotations"] = json!({ "readOnlyHint": true });
    all[2]["annotations"] = json!({ "readOnlyHint": false, "idempotentHint": true });
    all[4]["annotations"] = json!({ "readOnlyHint": false, "idempotentHint": false });
    json!({ "tools": all })
}

/// A server that can do everything, and that ends in the middle of the first so many requests of callers.
pub fn fragile(times: u32) -> Script {
    let left = Rc::new(Cell::new(times));
    let survives = move |say: &Say| match left.get() {
        0 => {}
        left_now => {
            left.set(left_now - 1);
            say.crash();
        }
    };
    let answers = |method: &'static str, answer: fn(&Heard) -> Value| {
        let survives = survives.clone();
        (method, move |it: &Heard, say: &Say| {
            survives(say);
            say.result(it, answer(it));
        })
    };
    let deeds = [
        answers("tools/call", |it| json!({ "content": [{ "type": "text", "text": it.value["params"]["name"] }] })),
        answers("resources/read", |it| json!({ "contents": [{ "uri": it.value["params"]["uri"], "text": "read" }] })),
        answers("prompts/get", |_| json!({ "messages": [] })),
        answers("completion/complete", |_| json!({ "completion": { "values": [] } })),
        answers("x/list", |_| json!({})),
        answers("x/do", |_| json!({})),
    ];
    let able = script()
        .capable(json!({ "tools": {}, "resources": {}, "prompts": {}, "completions": {} }))
        .on("tools/list", |list, say| say.result(list, tools()));
    deeds.into_iter().fold(able, |script, (method, deed)| script.on(method, deed))
}
