//! What an answer may be.

use std::collections::HashSet;

use serde_json::{Value, json};

/// What a caller expects of the answer to one request. An error of mcpool's own may come in place of any of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// A result, whatever is in it.
    Anything,
    /// A result whose first text is exactly this.
    Text(String),
    /// A result in which this stands somewhere.
    Holds(String),
    /// A result that says that the tool failed.
    Failed,
    /// An error with this code, of the server or of mcpool.
    Code(i64),
    /// Nothing but an error of mcpool's own: the server never answers.
    Refusal,
    /// The answer to a question that holds this text, with the same text in it; the question may be part of the result.
    Asked(String),
    /// The end of a stream, some time.
    Stream,
}

/// The codes of mcpool's own errors.
const OWN: [i64; 6] = [403, 413, 429, 502, 503, 504];

impl Expect {
    /// How the request ended, in a word or two; `own` is what its caller asked with.
    ///
    /// # Errors
    /// Why it should not have been answered so.
    pub fn judge(&self, answer: &Value, modern: bool, own: &HashSet<String>) -> Result<String, String> {
        if answer["jsonrpc"] != "2.0" || answer.get("result").is_some() == answer.get("error").is_some() {
            return Err("no valid answer".into());
        }
        match (answer.get("error"), &answer["result"]) {
            (Some(error), _) => self.judge_error(error),
            (None, result) => self.judge_result(result, modern, own),
        }
    }

    fn judge_error(&self, error: &Value) -> Result<String, String> {
        let code = error["code"].as_i64().unwrap_or_default();
        let message = error["message"].as_str().unwrap_or_default();
        if OWN.contains(&code) {
            let reason = error["data"]["mcpool"]["reason"].as_str().ok_or("an error of mcpool's without a reason")?;
            return Ok(reason.to_owned());
        }
        match self {
            Expect::Code(expected) if *expected == code => Ok("right".into()),
            // Not in the caller's revision, behind a server of the other era.
            Expect::Asked(_) if code == -32021 => Ok("right".into()),
            // The call that was held is over: its server died, or its time was up.
            _ if code == -32602 && message.contains("requestState") => Ok("came back too late".into()),
            _ => Err("an unexpected error".into()),
        }
    }

    fn judge_result(&self, result: &Value, modern: bool, own: &HashSet<String>) -> Result<String, String> {
        let right = || Ok("right".to_owned());
        let kind = &result["resultType"];
        if modern && *kind == "input_required" {
            let asked = super::asks::responses(result, own).is_some();
            return if asked { Ok("asked back".into()) } else { Err("a question about something else".into()) };
        }
        if modern && *kind != "complete" {
            return Err("a modern answer that is not complete".into());
        }
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        let failed = result["isError"] == json!(true);
        match self {
            Expect::Text(expected) if text == expected && !failed => right(),
            Expect::Holds(expected) if result.to_string().contains(expected) => right(),
            Expect::Failed if failed => right(),
            // What asks in mid-call is refused where it is unclear whom it means, or not answered.
            Expect::Asked(_) if failed && text.contains("failed: ") => Ok("ask refused".into()),
            // Not in the caller's revision.
            Expect::Asked(_) if failed && text.contains("cannot be asked") => right(),
            Expect::Asked(expected) if text.contains(expected) => right(),
            Expect::Anything | Expect::Stream => right(),
            _ => Err("a wrong result".into()),
        }
    }
}
