//! Questions of servers, each about the text that the call had in it, and their answers.

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

/// The answers to what a modern result asks, if all of it is about `text`.
pub fn responses(result: &Value, text: &str) -> Option<Value> {
    let mut responses = json!({});
    for (key, ask) in result["inputRequests"].as_object()? {
        let method = ask["method"].as_str()?;
        if question(method, &ask["params"]) != Some(text) {
            return None;
        }
        responses[key] = answer_to(method, text);
    }
    Some(responses)
}
