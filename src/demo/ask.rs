//! Called by the tools of the demo servers: what they ask of a caller in the middle of a call, as either era puts it.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A question.
#[derive(Debug, Clone)]
pub enum Ask {
    Sampling { prompt: String },
    Elicit { message: String },
    Url { message: String },
    Roots,
    Ping,
}

/// The kinds of question that the tools `ask_two` and `ask_rounds` can be told to ask.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Sampling,
    Elicit,
    Url,
    Roots,
}

impl Kind {
    pub fn ask(self, text: String) -> Ask {
        match self {
            Kind::Sampling => Ask::Sampling { prompt: text },
            Kind::Elicit => Ask::Elicit { message: text },
            Kind::Url => Ask::Url { message: text },
            Kind::Roots => Ask::Roots,
        }
    }
}

impl Ask {
    pub fn method(&self) -> &'static str {
        match self {
            Ask::Sampling { .. } => "sampling/createMessage",
            Ask::Elicit { .. } | Ask::Url { .. } => "elicitation/create",
            Ask::Roots => "roots/list",
            Ask::Ping => "ping",
        }
    }

    /// The params in that revision. `elicitation` is the id that a URL elicitation has in 2025-11-25.
    pub fn params(&self, revision: &str, elicitation: Option<&str>) -> Option<Value> {
        match self {
            Ask::Sampling { prompt } => Some(json!({
                "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
                "maxTokens": 100,
            })),
            Ask::Elicit { message } => {
                let mut params = json!({
                    "message": message,
                    "requestedSchema": {
                        "type": "object",
                        "properties": { "answer": { "type": "string" } },
                        "required": ["answer"],
                    },
                });
                if revision >= "2025-11-25" {
                    params["mode"] = json!("form");
                }
                Some(params)
            }
            Ask::Url { message } => {
                let page = elicitation.unwrap_or("confirm");
                let mut params =
                    json!({ "mode": "url", "message": message, "url": format!("https://demo.invalid/{page}") });
                if let Some(id) = elicitation {
                    params["elicitationId"] = json!(id);
                }
                Some(params)
            }
            Ask::Roots | Ask::Ping => None,
        }
    }

    /// The capabilities that a client must have declared to be asked this.
    pub fn needs(&self) -> Value {
        match self {
            Ask::Sampling { .. } => json!({ "sampling": {} }),
            Ask::Elicit { .. } => json!({ "elicitation": { "form": {} } }),
            Ask::Url { .. } => json!({ "elicitation": { "url": {} } }),
            Ask::Roots => json!({ "roots": {} }),
            Ask::Ping => json!({}),
        }
    }

    /// Whether a client of these capabilities can be asked. An `elicitation` that names no mode stands for forms.
    pub fn fits(&self, capabilities: &RawValue) -> bool {
        let capabilities: Value = serde_json::from_str(capabilities.get()).unwrap_or_default();
        let elicitation = &capabilities["elicitation"];
        match self {
            Ask::Sampling { .. } => capabilities["sampling"].is_object(),
            Ask::Elicit { .. } => elicitation["form"].is_object() || elicitation == &json!({}),
            Ask::Url { .. } => elicitation["url"].is_object(),
            Ask::Roots => capabilities["roots"].is_object(),
            Ask::Ping => true,
        }
    }
}
