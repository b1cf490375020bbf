//! Questions of servers, each about the text that the call had in it, and their answers.

use std::collections::HashSet;

use serde_json::{Value, json};

/// What a question is about: the text that the call had in it.
pub fn question<'a>(method: &str, params: &'a Value) -> Option<&'a str> {
    match method {
        "elicitation/create" => params["message"].as_str(),
        "sampling/createMessage" => params["messages"][0]["content"]["text"].as_str(),
        _ => None,
    }
}

/// An answer to a question, with its text in it.
pub fn answer_to(method: &str, text: &str) -> Value {
    match method {
        "elicitation/create" => json!({ "action": "accept", "content": { "answer": text } }),
        _ => json!({ "role": "assistant", "content": { "type": "text", "text": text }, "model": "none" }),
    }
}

/// The answers to what a modern result asks, if all of it is about what the caller asked with. A legacy server names no call
/// in its question: of several calls of one caller the oldest brings it, and the answer goes to the right one.
pub fn responses(result: &Value, own: &HashSet<String>) -> Option<Value> {
    let mut responses = json!({});
    for (key, ask) in result["inputRequests"].as_object()? {
        let method = ask["method"].as_str()?;
        let text = question(method, &ask["params"]).filter(|text| own.contains(*text))?;
        responses[key] = answer_to(method, text);
    }
    Some(responses)
}
