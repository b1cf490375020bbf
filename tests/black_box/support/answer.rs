//! What a caller got for a request, and the questions that tests have about it.

use std::time::Duration;

use serde_json::Value;

/// The terminal response to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The line as it came.
    pub raw: String,
    /// The same, parsed.
    pub value: Value,
}

impl Answer {
    /// The result; it must be one.
    #[track_caller]
    pub fn result(&self) -> &Value {
        self.value.get("result").unwrap_or_else(|| panic!("no result: {}", self.raw))
    }

    /// The text of a tool's result.
    #[track_caller]
    pub fn text(&self) -> &str {
        self.result()["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {}", self.raw))
    }

    /// The text of a tool's result, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|_| panic!("not JSON: {}", self.raw))
    }

    /// The code of the error; it must be one.
    #[track_caller]
    pub fn code(&self) -> i64 {
        self.value["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.raw))
    }

    /// The message of the error.
    #[track_caller]
    pub fn message(&self) -> &str {
        self.value["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {}", self.raw))
    }

    /// Why mcpool itself refused, if it did.
    pub fn reason(&self) -> Option<&str> {
        self.value["error"]["data"]["mcpool"]["reason"].as_str()
    }

    /// When it may be worth another try, which a refusal must say.
    #[track_caller]
    pub fn retry_after(&self) -> Duration {
        let ms = self.value["error"]["data"]["mcpool"]["retryAfterMs"].as_u64();
        Duration::from_millis(ms.unwrap_or_else(|| panic!("no time: {}", self.raw)))
    }

    /// The names of what a list holds, in its order.
    #[track_caller]
    pub fn names(&self) -> Vec<&str> {
        let lists = ["tools", "prompts", "resources", "resourceTemplates"];
        let list = lists.iter().find_map(|list| self.result()[list].as_array());
        let items = list.unwrap_or_else(|| panic!("no list: {}", self.raw));
        items.iter().filter_map(|item| item["name"].as_str()).collect()
    }
}
