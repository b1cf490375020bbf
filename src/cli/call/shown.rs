//! Called by `call`: a tool's result as a person reads it.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::plural::plural;
use crate::text::{line, lines};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    result_type: Option<String>,
    content: Option<Vec<Value>>,
    structured_content: Option<Box<RawValue>>,
    is_error: Option<bool>,
}

/// Prints a result: on stdout with success, on stderr with 1 if the tool says that it failed.
///
/// # Errors
/// In words for people: it is no tool result, or one that needs more than this command can give.
pub fn result(raw: &RawValue) -> Result<ExitCode, String> {
    let result = read(raw.get()).map_err(|error| format!("the result is no tool result: {error}"))?;
    let failed = result.is_error.unwrap_or_default();
    match result.result_type.as_deref() {
        None | Some("complete") => {}
        Some("input_required") => {
            return Err("the tool asks for input, which `mcpool call` cannot give; use an MCP host".into());
        }
        Some(other) => {
            return Err(format!("the result is of a kind that `mcpool call` does not know: {}", line(other)));
        }
    }
    let text = page(&result);
    let written = if failed {
        write(io::stderr(), rustix::termios::isatty(io::stderr()), &text)
    } else {
        write(io::stdout(), rustix::termios::isatty(io::stdout()), &text)
    };
    // Whoever closes their side has seen enough.
    if let Err(error) = written.and_then(|()| io::stdout().flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(format!("the tool was called, but its result cannot be written: {error}"));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(json: &str) -> serde_json::Result<ToolResult> {
    serde_json::from_str(json).or_else(|_| serde_json::from_str(&without_halves(json)))
}

/// JSON allows an escape that is half a character, as of a text that was cut off in its middle; no Rust text can hold it.
fn without_halves(json: &str) -> String {
    let unit = |at: usize| u16::from_str_radix(json.get(at + 2..at + 6)?, 16).ok();
    let (mut whole, mut rest) = (String::with_capacity(json.len()), 0);
    while let Some(at) = json[rest..].find('\\').map(|found| rest + found) {
        whole.push_str(&json[rest..at]);
        let escapes = |at: usize| json[at..].starts_with("\\u").then(|| unit(at)).flatten();
        let (text, length) = match escapes(at) {
            Some(0xd800..=0xdbff) if matches!(escapes(at + 6), Some(0xdc00..=0xdfff)) => (&json[at..at + 12], 12),
            Some(0xd800..=0xdfff) => ("\\ufffd", 6),
            // What is escaped may be of several bytes where this is no JSON.
            _ => (&json[at..at + 1], 1),
        };
        whole.push_str(text);
        rest = at + length;
        if length == 1 && json[rest..].starts_with('\\') {
            whole.push('\\');
            rest += 1;
        }
    }
    whole + &json[rest..]
}

fn page(result: &ToolResult) -> String {
    let content = result.content.as_deref().unwrap_or_default();
    let mut page: Vec<String> = content.iter().map(shown).collect();
    let has_text = content.iter().any(|block| block["type"] == "text");
    if let Some(structured) = result.structured_content.as_ref().filter(|_| !has_text) {
        page.push(pretty(structured.get()));
    }
    page.join("\n")
}

/// One block of content.
fn shown(block: &Value) -> String {
    let word = |key: &str| line(block[key].as_str().unwrap_or_default()).into_owned();
    match block["type"].as_str() {
        Some("text") => block["text"].as_str().unwrap_or_default().to_owned(),
        Some("image" | "audio") => format!("[{}, {}]", word("mimeType"), decoded(&block["data"])),
        Some("resource_link") => format!("[{} {}]", word("name"), word("uri")),
        Some("resource") => match block["resource"]["text"].as_str() {
            Some(text) => text.to_owned(),
            None => {
                let uri = line(block["resource"]["uri"].as_str().unwrap_or_default());
                format!("[{uri}, {}]", decoded(&block["resource"]["blob"]))
            }
        },
        _ => block.to_string(),
    }
}

/// How many bytes a Base64 text stands for.
fn decoded(base64: &Value) -> String {
    plural(base64.as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4), "byte")
}

/// Writes for a reader; a terminal gets nothing that does more than be seen.
fn write(mut out: impl Write, terminal: bool, text: &str) -> io::Result<()> {
    if terminal { writeln!(out, "{}", lines(text)) } else { writeln!(out, "{text}") }
}

/// JSON with line breaks and indents; numbers and strings stay as they were written.
fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped, mut opened) = (0_usize, false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in json.chars().filter(|c| !c.is_control()) {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c == ' ' {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        depth -= usize::from(closes && depth > 0);
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            '"' => quoted = true,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paged(json: &str) -> String {
        page(&read(json).unwrap())
    }

    #[test]
    fn what_is_null_is_left_out_and_half_a_character_is_shown_as_none() {
        let null =
            r#"{"content":[{"type":"text","text":"a"}],"isError":null,"structuredContent":null,"resultType":null}"#;
        assert_eq!(paged(null), "a");
        assert_eq!(paged(r#"{"content":null,"structuredContent":{"a":1}}"#), "{\n  \"a\": 1\n}");
        let halves = r#"{"content":[{"type":"text","text":"\ud83d\ude00 \ud83d \\ud83d \udc00\ud83d"}]}"#;
        assert_eq!(paged(halves), "\u{1f600} \u{fffd} \\ud83d \u{fffd}\u{fffd}");
    }

    #[test]
    fn text_is_text_and_the_rest_is_named() {
        let result = r#"{"content":[{"type":"text","text":"a\nb"},{"type":"image","mimeType":"image/png","data":"AAAAAA=="}],"structuredContent":{"a":1}}"#;
        assert_eq!(paged(result), "a\nb\n[image/png, 4 bytes]");
    }

    #[test]
    fn structured_content_is_shown_where_there_is_no_text() {
        let result = r#"{"content":[],"structuredContent":{"n": 12345678901234567890123,"l":[],"o":{},"d":[1,{"s":"a, \"b\": {c}\\"}]}}"#;
        let shown = "{\n  \"n\": 12345678901234567890123,\n  \"l\": [],\n  \"o\": {},\n  \"d\": [\n    1,\n    {\n      \"s\": \"a, \\\"b\\\": {c}\\\\\"\n    }\n  ]\n}";
        assert_eq!(paged(result), shown);
    }
}
