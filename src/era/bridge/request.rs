//! Called by `mux` where a caller's request goes to a server of the other era: the request in that server's words
//! (revision 2026-07-28, pages "Overview" and "Multi Round-Trip Requests").

use super::object::{Object, quote};
pub use super::salient::salient;
use crate::era::level::Level;
use crate::era::modern::{self, CLIENT_INFO, SUBSCRIPTION_ID};
use crate::wire::message::Message;
use crate::wire::scan::Field;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// What every modern request says in its `_meta`, and a legacy one in the handshake or not at all.
const OF_ERA: [&str; 4] = [VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL];

/// How a modern request brings the answers that it was asked for.
pub(super) const OF_RETRY: [&str; 2] = ["inputResponses", "requestState"];

/// A modern caller's request as a legacy server takes it.
pub fn to_legacy(request: &Message) -> String {
    let Some(raw) = request.raw(Field::Params) else { return line(request, None) };
    let params = Object::of(raw).without(&OF_RETRY);
    let meta = Object::of_member(request.raw(Field::Meta)).without(&OF_ERA);
    let params = if meta.is_empty() { params.without(&["_meta"]) } else { params.with("_meta", meta.to_string()) };
    line(request, Some(params))
}

/// A legacy caller's request as a modern server takes it; `capabilities` are the caller's in modern words.
pub fn to_modern(request: &Message, client_info: &str, capabilities: &str, level: Option<Level>) -> String {
    let mut meta = Object::of_member(request.raw(Field::Meta))
        .without(&OF_ERA)
        .with(VERSION, quote(modern::REVISION))
        .with(CLIENT_INFO, client_info)
        .with(CLIENT_CAPABILITIES, capabilities);
    if let Some(level) = level {
        meta = meta.with(LOG_LEVEL, quote(level.as_str()));
    }
    // The legacy era has no such parameters; the server would take them for answers to what it did not ask.
    let params = Object::of_member(request.raw(Field::Params)).without(&OF_RETRY).with("_meta", meta.to_string());
    line(request, Some(params))
}

/// A modern request once more, now with what its server asked for: `responses` by the server's keys, which are
/// escaped as they stand in JSON, and the raw `requestState` that came with the questions.
pub fn retry(request: &Message, responses: &[(String, String)], state: Option<&str>) -> String {
    let mut params = Object::of_member(request.raw(Field::Params)).without(&OF_RETRY);
    if !responses.is_empty() {
        let responses: Vec<String> = responses.iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
        params = params.with("inputResponses", format!("{{{}}}", responses.join(",")));
    }
    if let Some(state) = state {
        params = params.with("requestState", state);
    }
    line(request, Some(params))
}

/// What a modern stream says, as a legacy session hears it: without the id of the stream (revision 2026-07-28, page
/// "Subscriptions").
pub fn without_stream(notification: &Message) -> String {
    let params = Object::of_member(notification.raw(Field::Params));
    let meta = Object::of_member(notification.raw(Field::Meta)).without(&[SUBSCRIPTION_ID]);
    let params = if meta.is_empty() { params.without(&["_meta"]) } else { params.with("_meta", meta.to_string()) };
    line(notification, Some(params))
}

/// The line of a request with other parameters; whatever else stands in it stays.
fn line(request: &Message, params: Option<Object<'_>>) -> String {
    let line = request.splice().to_bytes();
    let line = String::from_utf8_lossy(&line);
    match params {
        Some(params) => Object::of(&line).with("params", params.to_string()).to_string(),
        None => line.into_owned(),
    }
}

/// What is wrong with a request that no server could carry out, so that it is worth no question.
pub fn malformed(request: &Message) -> Option<&'static str> {
    match request.method().as_ref() {
        "tools/call" | "prompts/get" if request.text(Field::Name).is_none() => Some("`name` must be a text"),
        "tools/call" | "prompts/get" => {
            let fits = |arguments: &str| arguments.starts_with('{') || arguments == "null";
            let wrong = request.raw(Field::Arguments).is_some_and(|arguments| !fits(arguments));
            wrong.then_some("`arguments` must be an object")
        }
        "resources/read" if request.text(Field::Uri).is_none() => Some("`uri` must be a text"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_server_could_carry_out_is_malformed() {
        let fault = |method: &str, params: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            malformed(&Message::read(line.into(), 16).unwrap())
        };
        for (method, params) in [
            ("tools/call", r#"{"arguments":{}}"#),
            ("tools/call", r#"{"name":"echo","arguments":"text"}"#),
            ("prompts/get", r#"{"name":7}"#),
            ("resources/read", "{}"),
        ] {
            assert!(fault(method, params).is_some(), "{method} {params}");
        }
        for (method, params) in [
            ("tools/call", r#"{"name":"echo"}"#),
            ("tools/call", r#"{"name":"echo","arguments":{"a":1}}"#),
            ("prompts/get", r#"{"name":"p","arguments":null}"#),
            ("resources/read", r#"{"uri":"a:b"}"#),
            ("completion/complete", "{}"),
        ] {
            assert_eq!(fault(method, params), None, "{method} {params}");
        }
    }

    fn request(params: &str) -> Message {
        let line = format!(r#"{{"params":{params},"jsonrpc":"2.0","method":"tools/call","id":"a\"0"}}"#);
        Message::read(line.into(), 64).unwrap()
    }

    fn with_params(params: &str) -> String {
        format!(r#"{{"params":{params},"jsonrpc":"2.0","method":"tools/call","id":"a\"0"}}"#)
    }

    #[test]
    fn a_legacy_server_is_not_told_of_the_modern_era() {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"info""#;
        let modern = request(&format!(
            r#"{{"_meta":{meta},"progressToken":1.0}},"name":"x","arguments":{{"n": 1e2 }},"requestState":"s"}}"#
        ));
        assert_eq!(
            to_legacy(&modern),
            with_params(r#"{"_meta":{"progressToken":1.0},"name":"x","arguments":{"n": 1e2 }}"#)
        );
        let bare = request(&format!(r#"{{"_meta":{meta}}},"inputResponses":{{}}}}"#));
        assert_eq!(to_legacy(&bare), with_params("{}"));
        let none = Message::read(r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#.into(), 64).unwrap();
        assert_eq!(to_legacy(&none), r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#);
    }

    #[test]
    fn a_session_hears_what_a_stream_says_without_its_id() {
        let said = |meta: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{{meta}"uri":"a:b","n":1.0}}}}"#);
            Message::read(line.into(), 64).unwrap()
        };
        let tag = r#""io.modelcontextprotocol/subscriptionId":7"#;
        let plain = r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"a:b","n":1.0}}"#;
        assert_eq!(without_stream(&said(&format!(r#""_meta":{{{tag}}},"#))), plain);
        let kept = without_stream(&said(&format!(r#""_meta":{{{tag},"k":1}},"#)));
        assert_eq!(kept, r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"k":1},"uri":"a:b","n":1.0}}"#);
    }

    #[test]
    fn a_modern_server_is_told_in_every_request() {
        let told = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#;
        let modern = |legacy: &Message, level| to_modern(legacy, r#"{"name":"c"}"#, r#"{"roots":{}}"#, level);
        let legacy = request(
            r#"{"name":"x","_meta":{"progressToken":"t","io.modelcontextprotocol/protocolVersion":"forged","a":1}}"#,
        );
        assert_eq!(
            modern(&legacy, Some(Level::Notice)),
            with_params(&format!(
                r#"{{"name":"x","_meta":{{"progressToken":"t","a":1,{told},"io.modelcontextprotocol/logLevel":"notice"}}}}"#
            ))
        );
        let none = Message::read(r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#.into(), 64).unwrap();
        assert_eq!(
            modern(&none, None),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{{{told}}}}}}}"#)
        );
        assert_eq!(modern(&request(r#"{"_meta":7}"#), None), with_params(&format!(r#"{{"_meta":{{{told}}}}}"#)));
    }

    #[test]
    fn a_retry_brings_these_answers_and_no_earlier_ones() {
        let asked = request(r#"{"name":"x","inputResponses":{"old":{}},"requestState":"old","arguments":{}}"#);
        let responses = [(r#"a\"b"#.to_owned(), r#"{"action":"accept"}"#.to_owned()), ("c".into(), "{}".into())];
        assert_eq!(
            retry(&asked, &responses, Some(r#""\u0041""#)),
            with_params(
                r#"{"name":"x","arguments":{},"inputResponses":{"a\"b":{"action":"accept"},"c":{}},"requestState":"\u0041"}"#
            )
        );
        assert_eq!(retry(&asked, &[], None), with_params(r#"{"name":"x","arguments":{}}"#));
    }
}
