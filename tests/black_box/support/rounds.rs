//! A caller of either era that is asked in the middle of a call: by a request of the server's where it is a legacy
//! one, in the answer to its own request where it is a modern one.

use serde_json::{Map, Value, json};

use super::caller::{Caller, Pending};
use super::{Answer, merge};

impl Answer {
    /// The questions of an answer that is none yet, with the keys of their answers; in no order.
    #[track_caller]
    pub fn asks(&self) -> Vec<(String, Value)> {
        assert_eq!(self.result()["resultType"], "input_required", "{}", self.raw);
        let asks = self.result()["inputRequests"].as_object().unwrap_or_else(|| panic!("no questions: {}", self.raw));
        asks.iter().map(|(key, ask)| (key.clone(), ask.clone())).collect()
    }

    /// The only question, and the key of its answer.
    #[track_caller]
    pub fn only_ask(&self) -> (String, Value) {
        let mut asks = self.asks();
        assert_eq!(asks.len(), 1, "{}", self.raw);
        asks.remove(0)
    }

    /// What has to come back with the answers.
    #[track_caller]
    pub fn state(&self) -> &str {
        self.result()["requestState"].as_str().unwrap_or_else(|| panic!("no state: {}", self.raw))
    }

    /// The answers to its questions, found by method and params.
    #[track_caller]
    pub fn answers(&self, find: impl Fn(&str, &Value) -> Value) -> Value {
        let found = |(key, ask): (String, Value)| {
            let answer = find(ask["method"].as_str().expect("a method"), &ask["params"]);
            (key, answer)
        };
        Value::Object(self.asks().into_iter().map(found).collect::<Map<_, _>>())
    }
}

impl Caller {
    /// Comes back with answers to what `first` asked, in a request of that method and those params.
    pub fn come_back(&self, method: &str, mut params: Value, first: &Answer, answers: Value) -> Pending<'_> {
        merge(&mut params, &json!({ "inputResponses": answers, "requestState": first.state() }));
        self.request(method, params)
    }

    /// The same for a tool.
    pub fn retry(&self, tool: &str, arguments: Value, first: &Answer, answers: Value) -> Pending<'_> {
        self.come_back("tools/call", json!({ "name": tool, "arguments": arguments }), first, answers)
    }

    /// Calls a tool and answers whatever is asked until it is done.
    pub async fn converse(&self, tool: &str, arguments: Value, find: impl Fn(&str, &Value) -> Value) -> Answer {
        let mut pending = self.begin(tool, arguments.clone());
        loop {
            let answer = self.hear(&pending, &find).await;
            if answer.value["result"]["resultType"] != "input_required" {
                return answer;
            }
            pending = self.retry(tool, arguments.clone(), &answer, answer.answers(&find));
        }
    }

    /// The answer to a request, while requests to this caller are answered.
    async fn hear(&self, pending: &Pending<'_>, find: &impl Fn(&str, &Value) -> Value) -> Answer {
        loop {
            let line = self.wait("a question or an answer", |line| {
                let question = line.get("method").is_some() && line.get("id").is_some();
                question || (line.get("method").is_none() && line["id"] == pending.id)
            });
            let line = line.await;
            let Some(method) = line.value["method"].as_str() else { return line };
            let answer = find(method, &line.value["params"]);
            self.send(&json!({ "jsonrpc": "2.0", "id": line.value["id"], "result": answer }).to_string());
        }
    }
}

/// What a person or a model answers: a text that says what was asked, so that nobody else's can be taken for it.
pub fn obliging(method: &str, params: &Value) -> Value {
    match method {
        "sampling/createMessage" => sample(params["messages"][0]["content"]["text"].as_str().unwrap_or_default()),
        "elicitation/create" if params["mode"] == "url" => json!({ "action": "accept" }),
        "elicitation/create" => json!({ "action": "accept", "content": { "answer": params["message"] } }),
        "roots/list" => json!({ "roots": [{ "uri": "file:///mine" }] }),
        _ => json!({}),
    }
}

/// The answer to a sampling ask, with that text.
pub fn sample(text: &str) -> Value {
    json!({ "role": "assistant", "content": { "type": "text", "text": text }, "model": "test", "stopReason": "endTurn" })
}
