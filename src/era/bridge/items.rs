//! Called by `mux::lists` for every item that a caller is shown, and by `catalogue::index` for those that it keeps
//! ready: the item without what the caller's revision does not have. Most items are fine as they are.

use std::borrow::Cow;

use super::object::{Object, is_text};
use crate::era::modern;

/// An item of a list as a caller of `revision` may be shown it, if it may be; `list_member` is the list's name in its
/// result, and `bridged` says that the server speaks the other era.
pub fn fit_item<'a>(list_member: &str, item: &'a str, revision: &str, bridged: bool) -> Option<Cow<'a, str>> {
    if list_member != "tools" || !bridged {
        return Some(Cow::Borrowed(item));
    }
    let tool = Object::of(item);
    if revision == modern::REVISION {
        // It says whether a tool runs as a task, and tasks do not cross the eras.
        return match tool.raw("execution") {
            Some(execution) if demands(execution) => None,
            Some(_) => Some(without(tool, "execution")),
            None => Some(Cow::Borrowed(item)),
        };
    }
    Some(match tool.raw("outputSchema") {
        // Modern tools may return any JSON value, legacy ones objects.
        Some(schema) if !is_text(Object::of(schema).get("type"), "object") => without(tool, "outputSchema"),
        _ => Cow::Borrowed(item),
    })
}

/// Whether a legacy tool runs as a task or not at all (revision 2025-11-25, page "Tasks").
pub fn demands_a_task(tool: &str) -> bool {
    Object::of(tool).get("execution").is_some_and(demands)
}

fn demands(execution: &str) -> bool {
    is_text(Object::of(execution).get("taskSupport"), "required")
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
        assert_eq!(fit_item("tools", tool, "2026-07-28", true).unwrap(), fitting);
        assert!(matches!(fit_item("tools", tool, "2025-11-25", false), Some(Cow::Borrowed(_))));
        assert!(matches!(fit_item("prompts", tool, "2026-07-28", true), Some(Cow::Borrowed(_))));
        assert!(matches!(fit_item("tools", fitting, "2026-07-28", true), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn a_tool_that_is_nothing_but_a_task_is_not_shown_where_tasks_do_not_cross() {
        let tool = r#"{"name":"a","execution":{ "taskSupport" : "required" },"inputSchema":{}}"#;
        assert_eq!(fit_item("tools", tool, "2026-07-28", true), None);
        assert!(fit_item("tools", tool, "2025-11-25", false).is_some() && demands_a_task(tool));
        assert!(!demands_a_task(r#"{"name":"a","execution":{"taskSupport":"optional"}}"#));
    }

    #[test]
    fn an_output_that_is_no_object_has_no_schema_for_a_legacy_caller() {
        let tool = |schema: &str| format!(r#"{{"name":"a","outputSchema":{schema},"x":1}}"#);
        for schema in [r#"{"type":"array"}"#, "{}", r#"{"type":["object","null"]}"#, "true"] {
            let shown = fit_item("tools", &tool(schema), "2025-06-18", true).unwrap().into_owned();
            assert_eq!(shown, r#"{"name":"a","x":1}"#, "{schema}");
        }
        let object = tool(r#"{ "type" : "object" }"#);
        assert_eq!(fit_item("tools", &object, "2025-06-18", true).unwrap(), object);
    }
}
