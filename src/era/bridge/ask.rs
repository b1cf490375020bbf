//! Called by `mux` for what a server asks its client in the middle of a call: a request in the legacy era, a member of
//! `inputRequests` in the modern one (revision 2026-07-28, page "Multi Round-Trip Requests").

use super::capabilities::declares;
use super::object::{Object, is_object, is_text, quote};
use crate::wire::message::members;
use crate::wire::scan::is_read_as;

/// Where a question says whose it is, for programs.
const OWNER: &str = "mcpool/server";

/// Members of an ask's parameters that belong to the request that carries it and not to the question. A client that
/// is given `task` would answer with a task, and tasks do not cross the eras.
const OF_CARRIER: [&str; 3] = ["_meta", "task", "elicitationId"];

/// A legacy server's request as a value in `inputRequests`.
pub fn input_request(method: &str, params: Option<&str>) -> String {
    let method = quote(method);
    match params.map(|params| Object::of(params).without(&OF_CARRIER)) {
        Some(params) => format!(r#"{{"method":{method},"params":{params}}}"#),
        None => format!(r#"{{"method":{method}}}"#),
    }
}

/// The parameters of the legacy request that is made of a modern server's question. `elicitation_id` is only used
/// where the revision wants one: for a question that is answered on a web page.
pub fn legacy_params(method: &str, params: Option<&str>, elicitation_id: &str) -> String {
    let params = Object::of_member(params).without(&OF_CARRIER);
    if method == "elicitation/create" && is_text(params.get("mode"), "url") {
        return params.with("elicitationId", quote(elicitation_id)).to_string();
    }
    params.to_string()
}

/// A question that goes to a client of several servers: whose it is stands at the front of what people read, whatever
/// key a client may take for that.
fn fronted(params: &str, server: &str) -> String {
    let mut out = params.to_owned();
    let is = |key: &str| is_read_as(key.as_bytes(), b"message");
    let texts = members(params).into_iter().filter(|(key, value)| value.starts_with('"') && is(key));
    // From behind, so that places stay what they are.
    for (_, value) in texts.rev() {
        let start = value.as_ptr() as usize - params.as_ptr() as usize;
        out.insert_str(start + 1, &format!("[{server}] "));
    }
    out
}

/// The same for the legacy era, where programs find it too, in `_meta`; `token` stands for the server's own progress
/// token, if it has one.
pub fn signed(params: Option<&str>, server: &str, token: &str) -> String {
    let fronted = fronted(params.unwrap_or("{}"), server);
    let mut meta = Object::of_member(Object::of(&fronted).get("_meta")).with(OWNER, quote(server)).to_string();
    if Object::of(&meta).get("progressToken").is_some() {
        meta = Object::of(&meta).with("progressToken", token).to_string();
    }
    Object::of(&fronted).with("_meta", meta).to_string()
}

/// Several questions of a modern server, each with whose it is.
pub fn all_fronted(requests: &str, server: &str) -> String {
    let each = members(requests).into_iter().map(|(key, request)| {
        let params = Object::of(request).get("params").map(|params| fronted(params, server));
        let request =
            params.map_or_else(|| request.to_owned(), |it| Object::of(request).with("params", it).to_string());
        format!(r#""{key}":{request}"#)
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(","))
}

/// Whether a value in `inputRequests` asks for roots.
pub fn is_for_roots(request: &str) -> bool {
    is_text(Object::of(request).get("method"), "roots/list")
}

/// Whether a client with these capabilities takes asks of this kind at all.
pub fn takes(capabilities: &str, method: &str) -> bool {
    match method {
        "roots/list" => declares(capabilities, "roots"),
        "sampling/createMessage" => declares(capabilities, "sampling"),
        "elicitation/create" => declares(capabilities, "elicitation"),
        _ => false,
    }
}

/// Whether a client with these capabilities takes this ask.
pub fn declared(capabilities: &str, method: &str, params: Option<&str>) -> bool {
    let params = Object::of_member(params);
    let within = |name: &str| Object::of(capabilities).get(name).filter(|value| is_object(value)).map(str::to_owned);
    match method {
        "roots/list" => takes(capabilities, method),
        "sampling/createMessage" => within("sampling").is_some_and(|sampling| {
            let with_tools =
                ["tools", "toolChoice"].iter().any(|name| !matches!(params.get(name), None | Some("null")));
            !with_tools || declares(&sampling, "tools")
        }),
        "elicitation/create" => within("elicitation").is_some_and(|elicitation| match params.get("mode") {
            // Before there were modes there was only the form, and an empty object still means that.
            None => takes_forms(&elicitation),
            mode if is_text(mode, "form") => takes_forms(&elicitation),
            mode => is_text(mode, "url") && declares(&elicitation, "url"),
        }),
        _ => false,
    }
}

fn takes_forms(elicitation: &str) -> bool {
    declares(elicitation, "form") || !declares(elicitation, "url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_leaves_its_carrier_behind() {
        let params =
            r#"{"_meta":{"progressToken":1},"mode":"url","url":"https://a.example","elicitationId":"7","task":{}}"#;
        assert_eq!(
            input_request("elicitation/create", Some(params)),
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example"}}"#
        );
        assert_eq!(input_request("roots/list", None), r#"{"method":"roots/list"}"#);
    }

    #[test]
    fn a_question_says_whose_it_is_and_nothing_else_of_it_changes() {
        let params = r#"{"message": "Sure?", "x" : 1.0,"m\u0065ssage":"Sure!","_meta":{"mcpool/server":"good","progressToken":7}}"#;
        assert_eq!(
            signed(Some(params), "evil", "3"),
            r#"{"message":"[evil] Sure?","x":1.0,"m\u0065ssage":"[evil] Sure!","_meta":{"mcpool/server":"evil","progressToken":3}}"#
        );
        assert_eq!(signed(None, "evil", "3"), r#"{"_meta":{"mcpool/server":"evil"}}"#);
        assert_eq!(
            all_fronted(
                r#"{"a":{"method":"m","params":{"Message":"?","me\u017fsage":"!"}},"b":{"method":"roots/list"}}"#,
                "evil"
            ),
            r#"{"a":{"method":"m","params":{"Message":"[evil] ?","me\u017fsage":"[evil] !"}},"b":{"method":"roots/list"}}"#
        );
    }

    #[test]
    fn only_a_web_page_gets_an_elicitation_id() {
        let given = |params| legacy_params("elicitation/create", Some(params), "mcpool-1");
        assert_eq!(given(r#"{"mode":"url","x":1.0}"#), r#"{"mode":"url","x":1.0,"elicitationId":"mcpool-1"}"#);
        assert_eq!(given(r#"{"mode":"form"}"#), r#"{"mode":"form"}"#);
        assert_eq!(legacy_params("roots/list", None, "mcpool-1"), "{}");
        assert_eq!(
            legacy_params("sampling/createMessage", Some(r#"{"mode":"url","task":{}}"#), "x"),
            r#"{"mode":"url"}"#
        );
    }

    #[test]
    fn an_ask_goes_only_to_a_client_that_declared_it() {
        let (form, url) = (Some(r#"{"mode":"form"}"#), Some(r#"{"mode":"url"}"#));
        for (capabilities, method, params, takes) in [
            ("{}", "roots/list", None, false),
            (r#"{"roots":{}}"#, "roots/list", None, true),
            (r#"{"sampling":{}}"#, "sampling/createMessage", Some(r#"{"tools":null}"#), true),
            (r#"{"sampling":{}}"#, "sampling/createMessage", Some(r#"{"tools":[]}"#), false),
            (r#"{"sampling":{"tools":{}}}"#, "sampling/createMessage", Some(r#"{"toolChoice":{}}"#), true),
            (r#"{"sampling":{}}"#, "elicitation/create", form, false),
            (r#"{"elicitation":{}}"#, "elicitation/create", None, true),
            (r#"{"elicitation":{}}"#, "elicitation/create", form, true),
            (r#"{"elicitation":{}}"#, "elicitation/create", url, false),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", url, true),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", form, false),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, "elicitation/create", form, true),
            (r#"{"elicitation":{"form":{}}}"#, "elicitation/create", Some(r#"{"mode":"voice"}"#), false),
            (r#"{"roots":{},"ping":{}}"#, "ping", None, false),
        ] {
            assert_eq!(declared(capabilities, method, params), takes, "{capabilities} {method} {params:?}");
        }
    }
}
