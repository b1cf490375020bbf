//! What a caller's connection hears: whether each answer, question and notification is one that is meant for it.

use serde_json::{Value, json};

use super::{Line, short};
use crate::asks::{answer_to, question};
use crate::expect::Expect;

impl Line {
    pub(super) fn take(&mut self, line: &str) {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Array(messages)) => messages.iter().for_each(|message| self.take_message(message)),
            Ok(message) => self.take_message(&message),
            Err(_) => self.wrong(&format!("heard what is no JSON: {}", short(line))),
        }
    }

    fn take_message(&mut self, message: &Value) {
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => self.asked(method, id, &message["params"]),
            (Some(method), None) => self.told(method, &message["params"]),
            (None, Some(id)) => self.answered(&id.to_string(), message),
            (None, None) => self.wrong(&format!("heard what is no message: {}", short(&message.to_string()))),
        }
    }

    fn answered(&mut self, id: &str, answer: &Value) {
        let Some(open) = self.open.remove(id) else {
            if self.cancelled.remove(id) {
                self.account.count("answers to cancelled requests");
                self.done.insert(id.to_owned());
            } else if self.done.contains(id) {
                self.wrong(&format!("a second answer to {id}: {}", short(&answer.to_string())));
            } else {
                self.wrong(&format!("an answer to nothing, {id}: {}", short(&answer.to_string())));
            }
            return;
        };
        self.done.insert(id.to_owned());
        if open.expect != Expect::Stream {
            let what =
                || format!("{} for {}, answered by {}", self.name, short(&open.said), short(&answer.to_string()));
            self.account.waited(open.since.elapsed(), what);
        }
        match open.expect.judge(answer, self.modern, &self.asking) {
            Ok(how) => {
                self.account.ended(&open.server, &how);
                self.heard_right += u64::from(how == "right");
                if how == "asked back"
                    && let Ok(request) = serde_json::from_str(&open.said)
                {
                    self.comebacks.push((request, answer["result"].clone(), open.expect, open.server));
                }
            }
            Err(why) => {
                self.account.ended(&open.server, "wrong");
                self.wrong(&format!("{why}: {} was answered by {}", short(&open.said), short(&answer.to_string())));
            }
        }
    }

    /// A server asks: about a call of ours, or somebody mixed something up.
    fn asked(&mut self, method: &str, id: &Value, params: &Value) {
        if method == "ping" {
            return self.say(json!({ "jsonrpc": "2.0", "id": id, "result": {} }).to_string());
        }
        let text = question(method, params);
        if !text.is_some_and(|text| self.asking.contains(text)) {
            return self.wrong(&format!("was asked about nothing of its own: {method} {}", short(&params.to_string())));
        }
        self.account.count("asks");
        if self.answers_asks {
            let result = answer_to(method, text.unwrap_or_default());
            self.say(json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string());
        }
    }

    fn told(&mut self, method: &str, params: &Value) {
        match method {
            "notifications/progress" => {
                self.account.count("progress");
                let token = params["progressToken"].as_str().unwrap_or_default();
                let Some(number) = token.strip_prefix(&format!("p-{}-", self.name)) else {
                    return self.wrong(&format!("heard the progress of somebody else: {params}"));
                };
                let own = |id: &str| id == number || id == format!("\"{}-{number}\"", self.name);
                let gone = self.cancelled.iter().any(|id| own(id));
                let open = self.open.iter_mut().find(|(id, _)| own(id));
                let progress = params["progress"].as_f64().unwrap_or(-1.0);
                match open {
                    Some((_, open)) if progress <= open.progress && open.server != "loud" => {
                        let last = open.progress;
                        self.wrong(&format!("progress went from {last} to {progress}"));
                    }
                    Some((_, open)) => open.progress = progress,
                    None if gone => {}
                    None => self.wrong(&format!("heard of progress after the answer: {params}")),
                }
            }
            "notifications/resources/updated" => {
                self.account.count("updates");
                let uri = params["uri"].as_str().unwrap_or_default();
                if !self.subscribed.contains(uri) {
                    self.wrong(&format!("heard of a resource that it did not subscribe to: {params}"));
                }
            }
            "notifications/message" => self.account.count("log lines"),
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => self.account.count("list changes"),
            "notifications/cancelled" | "notifications/subscriptions/acknowledged" => {}
            _ => self.wrong(&format!("heard a strange notification: {method} {params}")),
        }
    }
}
