//! Called by `mux::bridge::across` and `mux::lists` for every answer that crosses the eras (revision 2026-07-28, pages
//! "Overview" and "Caching"; "Resources" of both eras for the code of a resource that is not there).

use super::SERVER_INFO;
use super::object::{Object, is_object};
use crate::wire::message::Message;
use crate::wire::scan::{Field, Span};
use crate::wire::splice::Splice;

/// A resource that is not there, in the legacy era.
const NOT_FOUND: &str = "-32002";
/// Invalid parameters; in the modern era also a resource that is not there.
const INVALID_PARAMS: &str = "-32602";

/// Makes a legacy server's result one for a modern caller, by edits that leave the payload where it is.
/// `server_info` is how the server names itself. `false` if the result is no object, so that nothing can be added.
pub fn to_modern(answer: &Message, method: &str, server_info: &str, splice: &mut Splice) -> bool {
    let Some(result) = answer.raw(Field::Result).filter(|result| is_object(result)) else { return false };
    let mut added = Vec::new();
    match answer.span(Field::ResultType).place() {
        Some(place) => splice.put(place, r#""complete""#),
        None => added.push(r#""resultType":"complete""#.to_owned()),
    }
    let meta = Object::of_member(answer.raw(Field::ResultMeta)).with(SERVER_INFO, server_info);
    match answer.span(Field::ResultMeta).place() {
        Some(place) => splice.put(place, meta.to_string()),
        None => added.push(format!(r#""_meta":{meta}"#)),
    }
    if method == "resources/read" {
        let said = Object::of(result);
        for (name, value) in [("ttlMs", "0"), ("cacheScope", r#""private""#)] {
            match said.raw(name) {
                None => added.push(format!(r#""{name}":{value}"#)),
                Some(null @ "null") => {
                    // It is a slice of the result, which is a slice of the line.
                    let offset = null.as_ptr() as usize - result.as_ptr() as usize;
                    let start = answer.span(Field::Result).start + offset as u32;
                    splice.put(Span { start, end: start + null.len() as u32 }, value);
                }
                Some(_) => {}
            }
        }
    }
    let mut text = added.join(",");
    let empty = result[1..].trim_ascii_start().starts_with('}');
    if !empty && !text.is_empty() {
        text.push(',');
    }
    let inside = answer.span(Field::Result).start + 1;
    splice.put(Span { start: inside, end: inside }, text);
    true
}

/// A modern server's result as a legacy caller knows it.
pub fn to_legacy(result: &str) -> String {
    let said = Object::of(result);
    let meta = Object::of_member(said.get("_meta")).without(&[SERVER_INFO]).to_string();
    let result = Object::of(result).without(&["resultType", "ttlMs", "cacheScope"]);
    let result = if meta == "{}" { result.without(&["_meta"]) } else { result.with("_meta", meta) };
    result.to_string()
}

/// A legacy server's error for a modern caller; `None` if it is the same there.
pub fn error_to_modern(error: &str) -> Option<String> {
    let said = Object::of(error);
    (said.get("code") == Some(NOT_FOUND)).then(|| said.with("code", INVALID_PARAMS).to_string())
}

/// A modern server's error for a legacy caller that called `method`; `None` if it is the same there.
pub fn error_to_legacy(error: &str, method: &str) -> Option<String> {
    let said = Object::of(error);
    let names_resource = Object::of_member(said.get("data")).get("uri").is_some();
    let not_found = method == "resources/read" && names_resource && said.get("code") == Some(INVALID_PARAMS);
    not_found.then(|| said.with("code", NOT_FOUND).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern(result: &str, method: &str) -> Option<String> {
        let line = format!(r#"{{"jsonrpc":"2.0","result":{result},"id":1}}"#);
        let answer = Message::read(line.into(), 64).unwrap();
        let mut splice = answer.splice();
        let fits = to_modern(&answer, method, r#"{"name":"s","version":"1"}"#, &mut splice);
        let line = String::from_utf8(splice.to_bytes().to_vec()).unwrap();
        let result = line.strip_prefix(r#"{"jsonrpc":"2.0","result":"#)?.strip_suffix(r#","id":1}"#)?;
        fits.then(|| result.to_owned())
    }

    const INFO: &str = r#""io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}"#;

    #[test]
    fn a_modern_result_says_what_it_is_and_whose() {
        let call = |result: &str| modern(result, "tools/call").unwrap();
        assert_eq!(call("{ }"), format!(r#"{{"resultType":"complete","_meta":{{{INFO}}} }}"#));
        assert_eq!(
            call(r#"{"content":[ 1.0 ]}"#),
            format!(r#"{{"resultType":"complete","_meta":{{{INFO}}},"content":[ 1.0 ]}}"#)
        );
        assert_eq!(
            call(r#"{"_meta":{"a":1},"resultType":"task"}"#),
            format!(r#"{{"_meta":{{"a":1,{INFO}}},"resultType":"complete"}}"#)
        );
        assert_eq!(
            call(r#"{"_meta":{"io.modelcontextprotocol/serverInfo":0,"a":1}}"#),
            format!(r#"{{"resultType":"complete","_meta":{{{INFO},"a":1}}}}"#)
        );
        assert_eq!(call(r#"{"_meta":null}"#), format!(r#"{{"resultType":"complete","_meta":{{{INFO}}}}}"#));
        assert_eq!(modern("[]", "tools/call"), None);
    }

    #[test]
    fn a_resource_is_not_to_be_cached_unless_it_says_so() {
        assert_eq!(
            modern(r#"{"contents":[],"ttlMs":5}"#, "resources/read").unwrap(),
            format!(r#"{{"resultType":"complete","_meta":{{{INFO}}},"cacheScope":"private","contents":[],"ttlMs":5}}"#)
        );
        assert!(modern("{}", "resources/read").unwrap().contains(r#""ttlMs":0,"cacheScope":"private"}"#));
        assert_eq!(
            modern(r#"{"cacheScope":null,"ttlMs": null,"resultType":null}"#, "resources/read").unwrap(),
            format!(r#"{{"_meta":{{{INFO}}},"cacheScope":"private","ttlMs": 0,"resultType":"complete"}}"#)
        );
    }

    #[test]
    fn a_legacy_result_has_nothing_of_the_modern_era() {
        let result = format!(
            r#"{{"resultType":"complete","content":[],"_meta":{{{INFO},"a":1}},"ttlMs":1,"cacheScope":"public"}}"#
        );
        assert_eq!(to_legacy(&result), r#"{"content":[],"_meta":{"a":1}}"#);
        assert_eq!(to_legacy(&format!(r#"{{"_meta":{{{INFO}}},"x": 1 }}"#)), r#"{"x":1}"#);
        assert_eq!(to_legacy("{}"), "{}");
    }

    #[test]
    fn a_missing_resource_has_each_era_s_code() {
        let legacy = r#"{"code":-32002,"message":"gone","data":{"uri":"a:b"}}"#;
        let modern = r#"{"code":-32602,"message":"gone","data":{"uri":"a:b"}}"#;
        assert_eq!(error_to_modern(legacy).as_deref(), Some(modern));
        assert_eq!(error_to_modern(modern), None);
        assert_eq!(error_to_legacy(modern, "resources/read").as_deref(), Some(legacy));
        assert_eq!(error_to_legacy(modern, "tools/call"), None);
        assert_eq!(error_to_legacy(r#"{"code":-32602,"message":"x"}"#, "resources/read"), None);
    }
}
