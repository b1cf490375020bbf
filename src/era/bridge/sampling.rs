//! Called by `mux::bridge` for what a modern server asks a legacy caller's model: messages as the caller's revision
//! has them ("Sampling" of each revision). Before 2025-11-25 a message held one block, and no tools.

use super::content::{array, audio, fit_all, fit_tool_result, lacks_audio, text_block};
use super::object::{Object, is_text, quote};
use crate::era::modern;
use crate::wire::message::{elements, unquote};

/// The parameters of an ask as a caller of `revision` knows them; `None` if they may stay as they are.
pub fn fit_ask(method: &str, params: &str, revision: &str) -> Option<String> {
    if method != "sampling/createMessage" || revision == modern::REVISION {
        return None;
    }
    let said = Object::of(params);
    let messages = fit_all(&elements(said.get("messages")?), |message, _| fit_message(message, revision))?;
    Some(Object::of(params).with("messages", array(&messages)).to_string())
}

fn lacks_tools(revision: &str) -> bool {
    revision < "2025-11-25"
}

fn fit_message(message: &str, revision: &str) -> Option<Vec<String>> {
    let said = Object::of(message);
    let content = said.get("content")?;
    let many = content.starts_with('[');
    let blocks = if many { elements(content) } else { vec![content] };
    let fitted = fit_all(&blocks, |block, _| fit_block(block, revision).map(|block| vec![block]));
    let with_content = |content: String| Object::of(message).with("content", content).to_string();
    if many && !lacks_tools(revision) {
        return fitted.map(|blocks| vec![with_content(array(&blocks))]);
    }
    let split = many.then(|| blocks.iter().map(|block| (*block).to_owned()).collect());
    fitted.or(split).map(|blocks: Vec<String>| blocks.into_iter().map(with_content).collect())
}

/// What takes the place of a block that a legacy revision lacks.
fn fit_block(block: &str, revision: &str) -> Option<String> {
    let said = Object::of(block);
    let text = |name: &str| said.get(name).and_then(unquote).unwrap_or_default();
    let words = match &*text("type") {
        "audio" if lacks_audio(revision) => audio(&said),
        "tool_use" if lacks_tools(revision) => {
            format!("Call {} of the tool {}: {}", text("id"), text("name"), said.get("input").unwrap_or("{}"))
        }
        "tool_result" if lacks_tools(revision) => {
            let what = if said.get("isError") == Some("true") { "Error" } else { "Result" };
            format!("{what} of the tool call {}: {}", text("toolUseId"), returned(&said))
        }
        "tool_result" => return fit_tool_result(block, revision),
        _ => return None,
    };
    Some(text_block(&quote(&words), said.get("annotations")))
}

/// What a tool returned, in words.
fn returned(result: &Object<'_>) -> String {
    let blocks = result.get("content").map(elements).unwrap_or_default();
    if blocks.is_empty() {
        return result.get("structuredContent").unwrap_or_default().to_owned();
    }
    let words = blocks.into_iter().map(|block| {
        let said = Object::of(block);
        match said.get("text").and_then(unquote) {
            Some(text) if is_text(said.get("type"), "text") => text.into_owned(),
            _ => format!("[{}]", said.get("type").and_then(unquote).unwrap_or_default()),
        }
    });
    words.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(content: &str, revision: &str) -> Option<String> {
        let params = format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"maxTokens":1.0}}"#);
        let fitting = fit_ask("sampling/createMessage", &params, revision)?;
        let messages = fitting.strip_prefix(r#"{"messages":["#)?.strip_suffix(r#"],"maxTokens":1.0}"#)?;
        Some(messages.to_owned())
    }

    const TEXT: &str = r#"{"type":"text","text":"a"}"#;
    const USE: &str = r#"{"type":"tool_use","id":"1","name":"add","input":{"n":1.0}}"#;
    const RETURNED: &str =
        r#"{"type":"tool_result","toolUseId":"1","content":[{"type":"text","text":"a"},{"type":"image"}]}"#;

    #[test]
    fn a_message_of_many_blocks_becomes_many() {
        let user = |text: &str| format!(r#"{{"role":"user","content":{{"type":"text","text":"{text}"}}}}"#);
        let (called, back) = (r#"Call 1 of the tool add: {\"n\":1.0}"#, r"Result of the tool call 1: a\n[image]");
        assert_eq!(
            fit(&format!("[{TEXT},{USE},{RETURNED}]"), "2025-06-18").unwrap(),
            [user("a"), user(called), user(back)].join(",")
        );
        assert_eq!(fit(USE, "2025-03-26").unwrap(), user(called));
        assert_eq!(fit(&format!("[{TEXT},{USE},{RETURNED}]"), "2025-11-25"), None);
        assert_eq!(fit(TEXT, "2024-11-05"), None);
    }

    #[test]
    fn sound_is_only_named_where_there_is_none() {
        let audio = r#"{"type":"audio","data":"AAAA","mimeType":"audio/wav"}"#;
        assert_eq!(
            fit(audio, "2024-11-05").unwrap(),
            r#"{"role":"user","content":{"type":"text","text":"Audio (audio/wav)"}}"#
        );
        assert_eq!(fit(audio, "2025-03-26"), None);
    }

    #[test]
    fn what_a_tool_returned_is_an_object_in_the_legacy_era() {
        let returned = r#"{"type":"tool_result","toolUseId":"1","content":[],"structuredContent":7}"#;
        let fitting = r#"{"type":"tool_result","toolUseId":"1","content":[{"type":"text","text":"7"}]}"#;
        assert_eq!(fit(returned, "2025-11-25").unwrap(), format!(r#"{{"role":"user","content":{fitting}}}"#));
        assert_eq!(
            fit(&format!("[{returned}]"), "2025-11-25").unwrap(),
            format!(r#"{{"role":"user","content":[{fitting}]}}"#)
        );
    }

    #[test]
    fn other_asks_stay_as_they_are() {
        assert_eq!(fit_ask("elicitation/create", r#"{"messages":[]}"#, "2024-11-05"), None);
        assert_eq!(fit_ask("sampling/createMessage", "{}", "2024-11-05"), None);
    }
}
