//! Called by `mux` for results on their way to a caller of an older revision than their server's: kinds of content
//! that the caller's revision lacks become kinds that it has ("Tools" and "Prompts" of each revision).

use super::object::{Object, is_object, is_text, quote};
pub use super::sampling::fit_ask;
use crate::era::legacy::lacks_content;
use crate::era::modern;
use crate::wire::message::{elements, unquote};

/// A result of `method` as a caller of `revision` knows it; `None` if it may stay as it is.
pub fn fit_result(method: &str, result: &str, revision: &str) -> Option<String> {
    match method {
        _ if revision == modern::REVISION => None,
        "tools/call" => fit_tool_result(result, revision),
        "prompts/get" if lacks_content(revision) => {
            let said = Object::of(result);
            let messages =
                fit_all(&elements(said.get("messages")?), |message, nth| fit_message(message, nth, revision))?;
            Some(Object::of(result).with("messages", array(&messages)).to_string())
        }
        _ => None,
    }
}

/// What a tool returned, in a result or told on in a sampling message, for a legacy caller.
pub(super) fn fit_tool_result(result: &str, revision: &str) -> Option<String> {
    let said = Object::of(result);
    // Modern tools may return any JSON value, legacy ones objects.
    let value = said.get("structuredContent").filter(|value| !is_object(value));
    let goes = value.is_some() || said.raw("structuredContent") == Some("null");
    if !goes && !lacks_content(revision) {
        return None;
    }
    let blocks = said.get("content").map(elements).unwrap_or_default();
    let content = match value {
        Some(value) if blocks.is_empty() => Some(vec![text_block(value, None)]),
        _ => fit_all(&blocks, |block, nth| fit_block(block, nth, revision)),
    };
    let fitting = match (goes, &content) {
        (false, None) => return None,
        (true, _) => Object::of(result).without(&["structuredContent"]),
        _ => Object::of(result),
    };
    Some(match content {
        Some(content) => fitting.with("content", array(&content)).to_string(),
        None => fitting.to_string(),
    })
}

/// A prompt's message, which holds one block: what takes two blocks takes two messages.
fn fit_message(message: &str, nth: usize, revision: &str) -> Option<Vec<String>> {
    let said = Object::of(message);
    let blocks = fit_block(said.get("content")?, nth, revision)?;
    Some(blocks.into_iter().map(|block| Object::of(message).with("content", block).to_string()).collect())
}

/// What takes the place of a block that a legacy revision lacks.
fn fit_block(block: &str, nth: usize, revision: &str) -> Option<Vec<String>> {
    let said = Object::of(block);
    if is_text(said.get("type"), "resource_link") && lacks_content(revision) {
        return Some(vec![text_block(&quote(&link(&said)), said.get("annotations"))]);
    }
    if is_text(said.get("type"), "audio") && lacks_audio(revision) {
        let uri = format!("mcpool:audio/{}", nth + 1);
        let text = format!("{}, attached as the resource {uri}", audio(&said));
        let mut resource = Object::default().with("uri", quote(&uri));
        for (name, of_audio) in [("mimeType", "mimeType"), ("blob", "data")] {
            resource = resource.with(name, said.get(of_audio).unwrap_or(r#""""#));
        }
        let block = Object::default().with("type", r#""resource""#).with("resource", resource.to_string());
        let block = annotated(block, said.get("annotations"));
        return Some(vec![text_block(&quote(&text), said.get("annotations")), block]);
    }
    None
}

/// Whether a revision has no sound.
pub(super) fn lacks_audio(revision: &str) -> bool {
    revision < "2025-03-26"
}

/// A sound in words.
pub(super) fn audio(block: &Object<'_>) -> String {
    format!("Audio ({})", block.get("mimeType").and_then(unquote).unwrap_or_default())
}

/// A link in words.
fn link(block: &Object<'_>) -> String {
    let text = |name: &str| block.get(name).and_then(unquote);
    let mut words = String::from("Resource");
    if let Some(name) = text("title").or_else(|| text("name")) {
        words += &format!(" {name}");
    }
    if let Some(kind) = text("mimeType") {
        words += &format!(" ({kind})");
    }
    words += &format!(": {}", text("uri").unwrap_or_default());
    if let Some(description) = text("description") {
        words += &format!("\n{description}");
    }
    words
}

/// A block of text. What is no JSON string already is shown as the JSON that it is.
pub(super) fn text_block(text: &str, annotations: Option<&str>) -> String {
    let text = if text.starts_with('"') { text.to_owned() } else { quote(text) };
    annotated(Object::default().with("type", r#""text""#).with("text", text), annotations)
}

fn annotated<'a>(block: Object<'a>, annotations: Option<&'a str>) -> String {
    match annotations {
        Some(annotations) => block.with("annotations", annotations).to_string(),
        None => block.to_string(),
    }
}

/// All elements, some replaced by others; `None` if none is. `fit` gets each with its place.
pub(super) fn fit_all(elements: &[&str], fit: impl Fn(&str, usize) -> Option<Vec<String>>) -> Option<Vec<String>> {
    let fitted: Vec<_> = elements.iter().enumerate().map(|(nth, element)| fit(element, nth)).collect();
    if fitted.iter().all(Option::is_none) {
        return None;
    }
    let kept = elements.iter().map(|element| vec![(*element).to_owned()]);
    Some(fitted.into_iter().zip(kept).flat_map(|(fitted, kept)| fitted.unwrap_or(kept)).collect())
}

/// Raw values as a raw array.
pub(super) fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = r#"{"type":"resource_link","uri":"a:b","name":"n","title":"T \"q\"","mimeType":"text/plain","description":"What","annotations":{"priority":1}}"#;
    const AUDIO: &str = r#"{"type":"audio","data":"AAAA","mimeType":"audio/wav"}"#;
    const LINK_TEXT: &str =
        r#"{"type":"text","text":"Resource T \"q\" (text/plain): a:b\nWhat","annotations":{"priority":1}}"#;
    const AUDIO_TEXT: &str = r#"{"type":"text","text":"Audio (audio/wav), attached as the resource mcpool:audio/2"}"#;
    const AUDIO_RESOURCE: &str =
        r#"{"type":"resource","resource":{"uri":"mcpool:audio/2","mimeType":"audio/wav","blob":"AAAA"}}"#;

    #[test]
    fn tool_results_have_only_blocks_that_the_revision_has() {
        let result = format!(r#"{{"content":[{LINK},{AUDIO},{{"type":"text","text":"x" }}],"isError":false}}"#);
        let fit = |revision| fit_result("tools/call", &result, revision);
        let last = r#"{"type":"text","text":"x" }],"isError":false}"#;
        assert_eq!(
            fit("2024-11-05").unwrap(),
            format!(r#"{{"content":[{LINK_TEXT},{AUDIO_TEXT},{AUDIO_RESOURCE},{last}"#)
        );
        assert_eq!(fit("2025-03-26").unwrap(), format!(r#"{{"content":[{LINK_TEXT},{AUDIO},{last}"#));
        assert_eq!((fit("2025-06-18"), fit("2026-07-28")), (None, None));
        assert_eq!(fit_result("tools/call", r#"{"content":[{"type":"text","text":"x"}]}"#, "2024-11-05"), None);
    }

    #[test]
    fn a_prompt_s_message_becomes_two_if_need_be() {
        let result =
            format!(r#"{{"messages":[{{"role":"user","content":{LINK}}},{{"content":{AUDIO},"role":"assistant"}}]}}"#);
        assert_eq!(
            fit_result("prompts/get", &result, "2024-11-05").unwrap(),
            format!(
                r#"{{"messages":[{{"role":"user","content":{LINK_TEXT}}},{{"content":{AUDIO_TEXT},"role":"assistant"}},{{"content":{AUDIO_RESOURCE},"role":"assistant"}}]}}"#
            )
        );
        assert_eq!(fit_result("prompts/get", &result, "2025-06-18"), None);
        assert_eq!(fit_result("resources/read", &result, "2024-11-05"), None);
    }

    #[test]
    fn structured_content_of_a_legacy_result_is_an_object() {
        let fit = |result, revision| fit_result("tools/call", result, revision);
        let (bare, with_text) = (r#"{"structuredContent":[1, 2.0]}"#, r#"{"content":[{}],"structuredContent":7}"#);
        assert_eq!(fit(bare, "2025-11-25").unwrap(), r#"{"content":[{"type":"text","text":"[1, 2.0]"}]}"#);
        assert_eq!(
            fit(r#"{"content":[],"structuredContent":"a\n"}"#, "2025-11-25").unwrap(),
            r#"{"content":[{"type":"text","text":"a\n"}]}"#
        );
        assert_eq!(fit(with_text, "2025-06-18").unwrap(), r#"{"content":[{}]}"#);
        assert_eq!(fit(with_text, "2026-07-28"), None);
        assert_eq!(fit(r#"{"content":[],"structuredContent":null}"#, "2025-06-18").unwrap(), r#"{"content":[]}"#);
        assert_eq!(fit(r#"{"content":[],"structuredContent":{}}"#, "2024-11-05"), None);
    }
}
