//! `mcpool call NAME TOOL JSON`: one tool call for a person, with its progress on stderr and its result on stdout.

mod bar;
mod shown;

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::client::failed;
use super::print::complain;
use super::reach;
use crate::config::place::Chosen;
use bar::Bar;

/// As shells have it for what was ended by SIGINT.
const INTERRUPTED: u8 = 130;
/// How long saying that a call is cancelled may take.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Arguments<'a> {
    name: &'a str,
    arguments: &'a RawValue,
}

/// Calls a tool and prints its result. Fails with 1 if the tool fails, with 130 after Ctrl-C.
///
/// # Errors
/// In words for people: the arguments are no JSON object, or the endpoint cannot be reached.
pub async fn run(chosen: &Chosen, endpoint: &str, tool: &str, json: &str) -> Result<ExitCode, String> {
    let arguments = object(json)?;
    let mut bar = Bar::new();
    let params = Arguments { name: tool, arguments };
    let opened = tokio::select! {
        opened = reach::session(chosen, endpoint) => opened?,
        Ok(()) = tokio::signal::ctrl_c() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let mut client = match opened {
        Ok(client) => client,
        Err(failure) => return failed(endpoint, failure),
    };
    let answer = tokio::select! {
        answer = client.request("tools/call", &params, |progress| bar.show(&progress)) => Some(answer),
        Ok(()) = tokio::signal::ctrl_c() => None,
    };
    bar.end();
    match answer {
        Some(Ok(result)) => shown::result(&result),
        Some(Err(failure)) => failed(endpoint, failure),
        None => {
            // Whoever does not take it learns from the closed connection.
            let _ = timeout(FAREWELL, client.cancel("interrupted")).await;
            complain("cancelled");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// The arguments as they were written, if they are a JSON object.
fn object(json: &str) -> Result<&RawValue, String> {
    let raw: &RawValue = serde_json::from_str(json).map_err(|error| misread(json, &error))?;
    let kind = match raw.get().as_bytes().first() {
        Some(b'{') => return Ok(raw),
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Err(format!("the arguments are {kind}; a tool takes an object, like '{{\"path\": \"/tmp\"}}'"))
}

/// What is wrong with the arguments, with a mark below the place.
fn misread(json: &str, error: &serde_json::Error) -> String {
    let line = json.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // Columns are counted in bytes from 1; the end of the input is one behind the last.
    let before = line.get(..error.column().saturating_sub(1)).unwrap_or(line).chars().count();
    format!("the arguments are not JSON: {error}\n  {line}\n  {}^", " ".repeat(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stay_as_they_were_written() {
        let json = r#"{"n": 123456789012345678901234567890, "n": 1.0}"#;
        assert_eq!(object(json).unwrap().get(), json);
        let params = Arguments { name: "echo", arguments: object(json).unwrap() };
        assert_eq!(serde_json::to_string(&params).unwrap(), format!(r#"{{"name":"echo","arguments":{json}}}"#));
    }

    #[test]
    fn wrong_arguments_are_shown_with_their_place() {
        assert_eq!(
            object("{\"é\": 1 \"b\": 2}").unwrap_err(),
            "the arguments are not JSON: expected `,` or `}` at line 1 column 10\n  {\"é\": 1 \"b\": 2}\n          ^"
        );
        assert!(object("[1]").unwrap_err().starts_with("the arguments are an array"));
        assert!(object("").is_err());
    }
}
