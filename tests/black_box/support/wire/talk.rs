//! Judges the messages of one link in their order: which revision each belongs to follows from the handshake before
//! it, and what a result has to look like from the request that it answers.

use std::collections::HashMap;

use serde_json::Value;

use super::schema::{self, LAST_LEGACY, MODERN, Revision};
use super::{Peer, Way};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The conversation on one link.
pub struct Talk {
    peer: Peer,
    /// What `initialize` agreed on.
    negotiated: Option<&'static Revision>,
    /// Whether a request came with the `_meta` of the modern revision.
    modern: bool,
    /// The requests that wait for their answer, by what sort of peer sent them and by id.
    asked: HashMap<(bool, String), Asked>,
}

struct Asked {
    method: String,
    revision: &'static Revision,
    task: bool,
}

impl Talk {
    pub fn with(peer: Peer) -> Talk {
        Talk { peer, negotiated: None, modern: false, asked: HashMap::new() }
    }

    /// # Errors
    /// What the receiver's revision does not allow.
    pub fn hear(&mut self, way: Way, message: &Value) -> Result<(), String> {
        // The proxy is a server to its callers and a client to its servers.
        let by_server = (way == Way::Out) == (self.peer == Peer::Caller);
        if message["jsonrpc"] != "2.0" {
            return Err("no JSON-RPC 2.0".to_owned());
        }
        match (message.get("method").and_then(Value::as_str), message.get("id")) {
            (Some(method), Some(id)) => {
                is_id(id)?;
                self.request(by_server, method, id, message)
            }
            (Some(method), None) => self.notification(by_server, method, message),
            (None, id) => self.answer(by_server, id.unwrap_or(&Value::Null), message),
        }
    }

    fn request(&mut self, by_server: bool, method: &str, id: &Value, message: &Value) -> Result<(), String> {
        let params = &message["params"];
        let revision = self.revision_of(by_server, method, params);
        let task = params.get("task").is_some();
        self.asked.insert((by_server, id.to_string()), Asked { method: method.to_owned(), revision, task });
        follows(revision, by_server, method, message)
    }

    fn revision_of(&mut self, by_server: bool, method: &str, params: &Value) -> &'static Revision {
        let named = match method {
            "initialize" => &params["protocolVersion"],
            _ => &params["_meta"][VERSION],
        };
        let named = named.as_str().filter(|_| !by_server).and_then(schema::of);
        self.modern |= named.is_some_and(|named| named.name == MODERN && method != "initialize");
        match named {
            Some(named) if method != "initialize" || named.name != MODERN => named,
            _ => self.usual(),
        }
    }

    /// The revision of what does not say it.
    fn usual(&self) -> &'static Revision {
        let otherwise = if self.modern { MODERN } else { LAST_LEGACY };
        self.negotiated.or_else(|| schema::of(otherwise)).expect("a schema")
    }

    fn notification(&self, by_server: bool, method: &str, message: &Value) -> Result<(), String> {
        let legacy = follows(self.usual(), by_server, method, message);
        match schema::of(MODERN).filter(|_| self.modern && legacy.is_err()) {
            // A connection may have seen both eras.
            Some(modern) => follows(modern, by_server, method, message),
            None => legacy,
        }
    }

    fn answer(&mut self, by_server: bool, id: &Value, message: &Value) -> Result<(), String> {
        let asked = self.asked.remove(&(!by_server, id.to_string()));
        let revision = asked.as_ref().map_or_else(|| self.usual(), |asked| asked.revision);
        if let Some(error) = message.get("error") {
            return is_error(revision, id, error, message);
        }
        is_id(id)?;
        let result = message.get("result").ok_or("neither request, notification nor answer")?;
        // What nobody asked for is another test's matter.
        let Some(Asked { method, task, .. }) = asked else { return Ok(()) };
        if method == "initialize" {
            self.negotiated = result["protocolVersion"].as_str().and_then(schema::of);
        }
        let definition = match result["resultType"].as_str() {
            Some("input_required") if revision.name == MODERN => {
                if !["tools/call", "prompts/get", "resources/read"].contains(&method.as_str()) {
                    return Err(format!("asks in the middle of `{method}`"));
                }
                "InputRequiredResult".to_owned()
            }
            Some("task") if revision.name == MODERN => "Result".to_owned(),
            _ if task && revision.has("CreateTaskResult") => "CreateTaskResult".to_owned(),
            _ => revision.result(!by_server, &method),
        };
        let held = if method == "initialize" { self.negotiated.unwrap_or(revision) } else { revision };
        held.check(&definition, result)
    }
}

/// A request or notification is as its revision defines it.
fn follows(revision: &Revision, by_server: bool, method: &str, message: &Value) -> Result<(), String> {
    match revision.method(by_server, method) {
        Some(definition) => revision.check(definition, message),
        None if is_extension(revision, method) || !schema::is_method(method) => match message.get("params") {
            None | Some(Value::Object(_)) => Ok(()),
            Some(_) => Err("params that are no object".to_owned()),
        },
        None => {
            let side = if by_server { "server" } else { "client" };
            Err(format!("no {side} of {} says `{method}`", revision.name))
        }
    }
}

/// The tasks of the modern revision are an extension, whose schema is elsewhere.
fn is_extension(revision: &Revision, method: &str) -> bool {
    revision.name == MODERN && (method.starts_with("tasks/") || method == "notifications/tasks")
}

fn is_id(id: &Value) -> Result<(), String> {
    let whole = |number: &serde_json::Number| number.as_f64().is_some_and(|number| number.fract() == 0.0);
    match id {
        Value::String(_) => Ok(()),
        Value::Number(number) if whole(number) => Ok(()),
        _ => Err("an id that is neither text nor a whole number".to_owned()),
    }
}

fn is_error(revision: &Revision, id: &Value, error: &Value, message: &Value) -> Result<(), String> {
    let definition = match error["code"].as_i64() {
        Some(-32022) if revision.name == MODERN => "UnsupportedProtocolVersionError",
        Some(-32021) if revision.name == MODERN => "MissingRequiredClientCapabilityError",
        _ if revision.has("JSONRPCErrorResponse") => "JSONRPCErrorResponse",
        _ => "JSONRPCError",
    };
    if id.is_null() {
        // JSON-RPC 2.0 itself, section 5: null where no id could be read.
        let mut message = message.clone();
        message["id"] = Value::from(0);
        return revision.check(definition, &message);
    }
    revision.check(definition, message)
}
