//! Called by `mux::offer` and `mux::introduce`: how a peer of one era introduces itself in the other (revision
//! 2025-11-25, page "Lifecycle"; revision 2026-07-28, page "Discovery").
//!
//! The sets of capabilities are open, so that what is unknown stays. Only what one of the eras defines and the other
//! does not is left out.

use super::SERVER_INFO;
use super::object::{Object, is_object, quote};
use crate::era::{modern, nulls};
use crate::wire::message::members;
use crate::wire::scan::is_read_as;

/// A modern client's capabilities as a legacy server is told them.
pub fn client_to_legacy(capabilities: &str) -> String {
    // A server that thinks its client knows tasks may answer with one, and tasks do not cross the eras.
    Object::of(capabilities).without(&["extensions", "tasks"]).to_string()
}

/// A legacy client's capabilities as each request tells them to a modern server.
pub fn client_to_modern(capabilities: &str) -> String {
    let client = Object::of(capabilities).without(&["extensions", "tasks"]);
    // A modern client tells its roots when asked; there is no `listChanged`.
    let client = if client.get("roots").is_some() { client.with("roots", "{}") } else { client };
    client.to_string()
}

/// What becomes of a client's roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    AsDeclared,
    Not,
    /// mcpool itself knows them.
    Always,
}

/// A client's capabilities without roots and without being asked, as far as that is not wanted; none if that is what
/// they are, or if they are no object. Whatever a server may take for the same word goes too.
pub fn restrained(declared: &str, roots: Keep, asks: bool) -> Option<String> {
    // Taken apart as it stands: other readers take more for a number or a text than a parser of ours may.
    let before = members(declared);
    let (mut kept, mut known) = (before.clone(), false);
    kept.retain(|(key, value)| {
        let is = |word: &str| is_read_as(key.as_bytes(), word.as_bytes());
        match () {
            () if is("roots") => match roots {
                Keep::AsDeclared => true,
                Keep::Not => false,
                Keep::Always => (*key, *value) == ("roots", "{}") && !std::mem::replace(&mut known, true),
            },
            // A client with tasks is asked in them.
            () if ["sampling", "elicitation", "tasks"].into_iter().any(is) => asks,
            () => true,
        }
    });
    if roots == Keep::Always && !known {
        kept.push(("roots", "{}"));
    }
    let told = || kept.iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect::<Vec<_>>().join(",");
    (is_object(declared) && kept != before).then(|| format!("{{{}}}", told()))
}

/// A server's capabilities without those that a revision does not have.
fn server_for(capabilities: &str, revision: &str) -> String {
    let mut lacking = lacking(revision);
    if revision != modern::REVISION {
        lacking.push("extensions");
    }
    Object::of(capabilities).without(&lacking).to_string()
}

/// An `InitializeResult` of a legacy server as a legacy caller of this revision gets it. Extensions stay: hosts use
/// them between legacy peers too.
pub fn fit_introduction(initialize_result: &str, revision: &str) -> String {
    let said = Object::of(initialize_result);
    let capabilities = Object::of_member(said.get("capabilities"));
    let lacking = lacking(revision);
    if lacking.iter().all(|name| capabilities.get(name).is_none()) {
        return initialize_result.to_owned();
    }
    let fitting = capabilities.without(&lacking).to_string();
    Object::of(initialize_result).with("capabilities", fitting).to_string()
}

/// What servers of the other revisions may declare, and a revision does not have.
fn lacking(revision: &str) -> Vec<&'static str> {
    let mut lacking = Vec::new();
    if revision < "2025-03-26" {
        lacking.push("completions");
    }
    if revision != "2025-11-25" {
        lacking.push("tasks");
    }
    lacking
}

/// The `DiscoverResult` of a server that said this `InitializeResult`.
pub fn discover_result(initialize_result: &str) -> String {
    let said = Object::of(initialize_result);
    let info = named(said.get("serverInfo"), "unknown");
    let meta = Object::of_member(said.get("_meta")).with(SERVER_INFO, info).to_string();
    let capabilities = server_for(said.get("capabilities").unwrap_or("{}"), modern::REVISION);
    with_instructions(Object::of(initialize_result))
        .without(&["protocolVersion", "serverInfo"])
        .with("resultType", r#""complete""#)
        .with("supportedVersions", format!(r#"["{}"]"#, modern::REVISION))
        .with("capabilities", capabilities)
        .with("ttlMs", "0")
        .with("cacheScope", r#""private""#)
        .with("_meta", meta)
        .to_string()
}

/// The `InitializeResult` of a server that said this `DiscoverResult`, for a caller of a legacy revision. `name` is
/// what the server is called if it does not say so itself.
pub fn initialize_result(discover_result: &str, revision: &str, name: &str) -> String {
    let said = Object::of(discover_result);
    let info = named(Object::of_member(said.get("_meta")).get(SERVER_INFO), name);
    let meta = Object::of_member(said.get("_meta")).without(&[SERVER_INFO]);
    let capabilities = server_for(said.get("capabilities").unwrap_or("{}"), revision);
    let result = with_instructions(Object::of(discover_result))
        .without(&["resultType", "supportedVersions", "ttlMs", "cacheScope", "_meta"])
        .with("protocolVersion", quote(revision))
        .with("capabilities", capabilities)
        .with("serverInfo", info);
    if meta.is_empty() { result.to_string() } else { result.with("_meta", meta.to_string()).to_string() }
}

/// How a client names itself, as each request tells it to a modern server.
pub fn client_info(info: Option<&str>) -> String {
    named(info.map(nulls::without).as_deref(), "unknown")
}

/// How a peer names itself, with the two members that every revision demands.
fn named(info: Option<&str>, name: &str) -> String {
    let mut info = Object::of_member(info);
    for (member, instead) in [("name", name), ("version", "unknown")] {
        if !info.get(member).is_some_and(|value| value.starts_with('"')) {
            info = info.with(member, quote(instead));
        }
    }
    info.to_string()
}

/// An introduction without `instructions` that are no text: some servers write `null`.
fn with_instructions(said: Object<'_>) -> Object<'_> {
    let text = said.get("instructions").is_some_and(|text| text.starts_with('"'));
    if text { said } else { said.without(&["instructions"]) }
}

/// Whether a capability is declared in a set of them.
pub(super) fn declares(capabilities: &str, name: &str) -> bool {
    Object::of(capabilities).get(name).is_some_and(is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::era::legacy::REVISIONS;

    #[test]
    fn a_client_keeps_what_both_eras_know() {
        let modern = r#"{"sampling":{"tools":{}},"elicitation":{},"extensions":{"x/y":{}},"roots":{}}"#;
        assert_eq!(client_to_legacy(modern), r#"{"sampling":{"tools":{}},"elicitation":{},"roots":{}}"#);
        let legacy = r#"{"roots":{"listChanged":true},"tasks":{"list":{}},"experimental":{"a":{}}}"#;
        assert_eq!(client_to_modern(legacy), r#"{"roots":{},"experimental":{"a":{}}}"#);
        assert_eq!(client_to_modern("{}"), "{}");
    }

    #[test]
    fn a_client_that_may_not_be_asked_declares_nothing_of_it() {
        let all =
            r#"{"sampling":{},"Elicitation":{},"tasks":{},"r\u006fots":{"listChanged":true},"experimental":{"a":{}}}"#;
        let fewer = restrained(all, Keep::Not, false);
        assert_eq!(fewer.as_deref(), Some(r#"{"experimental":{"a":{}}}"#));
        let fixed = restrained(all, Keep::Always, false);
        assert_eq!(fixed.as_deref(), Some(r#"{"experimental":{"a":{}},"roots":{}}"#));
        // What not every parser takes is no way around it.
        let odd = r#"{"rootſ":{},"sampl\u0131ng":{},"roots":{},"roots":{},"x":1e400,"y":"\ud800"}"#;
        assert_eq!(restrained(odd, Keep::Not, false).as_deref(), Some(r#"{"x":1e400,"y":"\ud800"}"#));
        let told = restrained(odd, Keep::Always, true);
        assert_eq!(told.as_deref(), Some(r#"{"sampl\u0131ng":{},"roots":{},"x":1e400,"y":"\ud800"}"#));
        assert_eq!(told.and_then(|told| restrained(&told, Keep::Always, true)), None);
        assert_eq!(restrained("{}", Keep::Not, false), None);
        assert_eq!(restrained("[]", Keep::Always, false), None);
        assert_eq!(restrained(all, Keep::AsDeclared, true), None);
    }

    #[test]
    fn a_server_has_what_the_revision_has() {
        let all = r#"{"tools":{},"completions":{},"tasks":{},"extensions":{}}"#;
        assert_eq!(server_for(all, "2024-11-05"), r#"{"tools":{}}"#);
        assert_eq!(server_for(all, "2025-06-18"), r#"{"tools":{},"completions":{}}"#);
        assert_eq!(server_for(all, "2025-11-25"), r#"{"tools":{},"completions":{},"tasks":{}}"#);
        assert_eq!(server_for(all, "2026-07-28"), r#"{"tools":{},"completions":{},"extensions":{}}"#);
    }

    /// What a server may say of itself, with the same words missing or wrong.
    const SAID: [&str; 6] = [
        "{}",
        r#"{"capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"s","version":"1","title":"S"},"instructions":"Be kind."}"#,
        r#"{"serverInfo":{"version":"1"},"instructions":null,"_meta":{"a":1}}"#,
        r#"{"capabilities":{"extensions":{"x/y":{}}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"ttlMs":5}"#,
        r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":7}},"capabilities":null}"#,
        r#"{"_meta":[],"serverInfo":"s","capabilities":7}"#,
    ];

    fn is_implementation(info: &Value) -> bool {
        info["name"].is_string() && info["version"].is_string()
    }

    #[test]
    fn every_introduction_has_what_its_revision_demands() {
        for said in SAID {
            let discovered: Value = serde_json::from_str(&discover_result(said)).unwrap();
            assert_eq!(discovered["resultType"], "complete", "{said}");
            assert_eq!(discovered["supportedVersions"], serde_json::json!(["2026-07-28"]), "{said}");
            assert!(discovered["capabilities"].is_object() && discovered["ttlMs"].is_u64(), "{said}");
            assert_eq!(discovered["cacheScope"], "private", "{said}");
            assert!(is_implementation(&discovered["_meta"][SERVER_INFO]), "{said}");
            for revision in REVISIONS {
                let initialized: Value = serde_json::from_str(&initialize_result(said, revision, "time")).unwrap();
                assert_eq!(initialized["protocolVersion"], revision, "{said}");
                assert!(initialized["capabilities"].is_object(), "{said}");
                assert!(is_implementation(&initialized["serverInfo"]), "{said}");
                for foreign in ["resultType", "supportedVersions", "ttlMs", "cacheScope"] {
                    assert!(initialized.get(foreign).is_none(), "{said}");
                }
                assert!(initialized["capabilities"].get("extensions").is_none(), "{said}");
            }
        }
    }

    #[test]
    fn an_introduction_survives_the_way_there_and_back() {
        let back = initialize_result(&discover_result(SAID[1]), "2025-11-25", "time");
        let mut expected: Value = serde_json::from_str(SAID[1]).unwrap();
        expected["protocolVersion"] = "2025-11-25".into();
        assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), expected);
        assert!(initialize_result("{}", "2025-06-18", "time").contains(r#"{"name":"time","version":"unknown"}"#));
    }
}
