//! Called by `mux::lists` for every item that a caller is shown: an item without what the caller's revision does
//! not have. Most items are fine as they are.

use std::borrow::Cow;

use super::object::{Object, is_text};
use crate::era::modern;

/// An item of a list as a caller of `revision` may be shown it; `list_member` is the list's name in its result, and
/// `bridged` says that the server speaks the other era.
pub fn fit_item<'a>(list_member: &str, item: &'a str, revision: &str, bridged: bool) -> Cow<'a, str> {
    if list_member != "tools" || !bridged {
        return Cow::Borrowed(item);
    }
    let tool = Object::of(item);
    if revision == modern::REVISION {
        // It says whether a tool runs as a task, and tasks do not cross the eras.
        return if tool.get("execution").is_some() { without(tool, "execution") } else { Cow::Borrowed(item) };
    }
    match tool.get("outputSchema") {
        // Modern tools may return any JSON value, legacy ones objects.
        Some(schema) if !is_text(Object::of(schema).get("type"), "object") => without(tool, "outputSchema"),
        _ => Cow::Borrowed(item),
    }
}

fn without<'a>(tool: Object<'_>, member: &str) -> Cow<'a, str> {
    Cow::Owned(tool.without(&[member]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_lose_what_the_other_era_does_not_have() {
        let tool = r#"{"name":"a","execution":{"taskSupport":"optional"},"inputSchema":{"type":"object"}}"#;
        let fitting = r#"{"name":"a","inputSchema":{"type":"object"}}"#;
        assert_eq!(fit_item("tools", tool, "2026-07-28", true), fitting);
        assert!(matches!(fit_item("tools", tool, "2025-11-25", false), Cow::Borrowed(_)));
        assert!(matches!(fit_item("prompts", tool, "2026-07-28", true), Cow::Borrowed(_)));
        assert!(matches!(fit_item("tools", fitting, "2026-07-28", true), Cow::Borrowed(_)));
    }

    #[test]
    fn an_output_that_is_no_object_has_no_schema_for_a_legacy_caller() {
        let tool = |schema: &str| format!(r#"{{"name":"a","outputSchema":{schema},"x":1}}"#);
        for schema in [r#"{"type":"array"}"#, "{}", r#"{"type":["object","null"]}"#, "true"] {
            assert_eq!(fit_item("tools", &tool(schema), "2025-06-18", true), r#"{"name":"a","x":1}"#, "{schema}");
        }
        let object = tool(r#"{ "type" : "object" }"#);
        assert_eq!(fit_item("tools", &object, "2025-06-18", true), object);
    }
}
