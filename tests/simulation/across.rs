//! Called by the model callers and servers when mcpool stands between the eras: whether what arrived is what was
//! said, but for what the eras themselves add and take away. Values are compared as text.

use mcpool::wire::message::{Message, member, members};
use mcpool::wire::scan::Field;
use serde_json::Value;

use super::world::ID;

/// What a modern request says about its caller in `_meta`.
const ABOUT_THE_CALLER: [&str; 4] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
];
/// What a modern result says about its server in `_meta`.
const ABOUT_THE_SERVER: &str = "io.modelcontextprotocol/serverInfo";
/// Members of modern results alone.
const OF_RESULTS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// Whether two requests are the same.
pub fn same_request(said: &str, got: &str) -> bool {
    let part = |line: &str, name| member(line, name).map(str::to_owned);
    let params = |line: &str| {
        let params = part(line, "params").unwrap_or_default();
        payload(&params, &["inputResponses", "requestState"], &ABOUT_THE_CALLER)
    };
    part(said, "method") == part(got, "method") && params(said) == params(got)
}

/// Whether two asks are the same, with or without what only legacy ones have.
pub fn same_ask(said: &str, method: Option<&str>, params: Option<&str>) -> bool {
    let own = ["task", "elicitationId"];
    let said = &said.replacen(ID, "0", 1);
    let parts = |params: Option<&str>| -> Vec<(String, String)> {
        let rest = payload(params.unwrap_or("{}"), &own, &[]).into_iter();
        // Among several servers whose it is stands at the front of what people read.
        let plain = |(key, value): (String, String)| match value.strip_prefix("\"[s").and_then(|it| it.split_once("] "))
        {
            Some((_, rest)) if key == "message" => (key, format!("\"{rest}")),
            _ => (key, value),
        };
        rest.filter(|(key, _)| !key.starts_with("_meta ")).map(plain).collect()
    };
    member(said, "method") == method && parts(member(said, "params")) == parts(params)
}

/// Whether an answer came across unchanged, to a caller of the modern era or not, to a call of `method`.
pub fn same_answer(said: &str, got: &str, modern: bool, method: &str) -> bool {
    match (member(said, "result"), member(got, "result"), member(said, "error"), member(got, "error")) {
        (Some(said), Some(got), None, None) => {
            let payload = |result| payload(result, &OF_RESULTS, &[ABOUT_THE_SERVER]);
            payload(said) == payload(got) && of_its_era(got, modern, method)
        }
        (None, None, Some(said), Some(got)) => same_error(said, got, modern, method),
        _ => false,
    }
}

fn same_error(said: &str, got: &str, modern: bool, method: &str) -> bool {
    let has_uri = member(said, "data").is_some_and(|data| member(data, "uri").is_some());
    let code = match (member(said, "code"), modern) {
        (Some("-32002"), true) => Some("-32602"),
        (Some("-32602"), false) if method == "resources/read" && has_uri => Some("-32002"),
        (code, _) => code,
    };
    member(got, "code") == code && payload(said, &["code"], &[]) == payload(got, &["code"], &[])
}

/// Whether a result has what its receiver's era requires, and nothing of the other (page "Caching" of 2026-07-28).
pub fn of_its_era(result: &str, modern: bool, method: &str) -> bool {
    let count = |name: &str| members(result).iter().filter(|(key, _)| *key == name).count();
    let meta = member(result, "_meta");
    let named = meta.map_or(0, |meta| members(meta).iter().filter(|(key, _)| *key == ABOUT_THE_SERVER).count());
    if !modern {
        return named == 0 && OF_RESULTS.iter().all(|name| count(name) == 0) && meta != Some("{}");
    }
    let cached = method.ends_with("/list") || matches!(method, "resources/read" | "server/discover");
    let complete = member(result, "resultType") == Some("\"complete\"");
    complete && count("resultType") == 1 && named == 1 && (!cached || count("ttlMs") == 1 && count("cacheScope") == 1)
}

/// Whether a result is an answer with questions as its era has them (page "Multi Round-Trip Requests").
pub fn of_its_era_held(result: &str) -> bool {
    let count = |name: &str| members(result).iter().filter(|(key, _)| *key == name).count();
    let meta = member(result, "_meta").unwrap_or("{}");
    member(result, "resultType") == Some("\"input_required\"")
        && ["resultType", "inputRequests", "requestState"].into_iter().all(|name| count(name) == 1)
        && member(meta, ABOUT_THE_SERVER).is_some()
}

/// Whether a client of these capabilities takes an ask.
pub fn declared(capabilities: &str, method: &str, params: &str) -> bool {
    let capabilities: Value = serde_json::from_str(capabilities).unwrap_or_default();
    let has = |path: &str| capabilities.pointer(path).is_some();
    match (method, member(params, "mode")) {
        ("elicitation/create", Some("\"url\"")) => has("/elicitation/url"),
        ("elicitation/create", _) => has("/elicitation/form") || capabilities["elicitation"] == serde_json::json!({}),
        ("sampling/createMessage", _) => has("/sampling"),
        ("roots/list", _) => has("/roots"),
        _ => false,
    }
}

/// What a client can be asked for at all, in a fixed order.
pub fn askable(capabilities: &str) -> Vec<&'static str> {
    ["sampling", "elicitation", "roots"].into_iter().filter(|name| member(capabilities, name).is_some()).collect()
}

/// The client that a modern request names.
pub fn client(request: &Message) -> Option<&str> {
    member(member(request.raw(Field::Meta)?, ABOUT_THE_CALLER[1])?, "name")
}

/// Members in order, those of `_meta` last, without the ones that belong to an era.
fn payload(object: &str, own: &[&str], own_meta: &[&str]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let mut rest = Vec::new();
    let mut meta = Vec::new();
    for part in members(object) {
        match part {
            ("_meta", inner) => {
                meta.extend(members(inner).iter().filter(|(key, _)| !own_meta.contains(key)).map(|part| {
                    let (key, value) = owned(part);
                    (format!("_meta {key}"), value)
                }));
            }
            (key, _) if own.contains(&key) => {}
            _ => rest.push(owned(&part)),
        }
    }
    rest.extend(meta);
    rest
}
