//! `mcpool approve SERVER [TOOL]`: shows which tools of a server are not as they were approved, and approves what was
//! shown.

use std::io::{self, BufRead, Write};
use std::path::Path;

use serde_json::Value;

use super::orders;
use super::print::page;
use super::status::units::rows;
use crate::plural::plural;
use crate::text::line;

/// Digests in one order to the daemon, whose length is bounded.
const AT_ONCE: usize = 64;

/// Shows them and approves them. At a terminal it asks first, unless `yes`.
///
/// # Errors
/// In words for people: there is no such server, or its tools are not pinned.
pub async fn run(directory: &Path, server: &str, tool: Option<&str>, yes: bool) -> Result<(), String> {
    let said = orders::ask(directory, &format!("changes {server}")).await?;
    if !said["changes"].is_array() {
        return Err(orders::error(&said));
    }
    let wanted = |change: &&Value| tool.is_none_or(|tool| change["tool"] == tool);
    let changes: Vec<&Value> = rows(&said["changes"]).iter().filter(wanted).collect();
    if changes.is_empty() {
        let what = tool.map_or_else(|| format!("all tools of {server} are"), |tool| format!("{tool} of {server} is"));
        page(&format!("{} as approved", line(&what)))?;
        return Ok(());
    }
    page(&changes.iter().map(|change| told(change)).collect::<Vec<_>>().join("\n"))?;
    if !yes && rustix::termios::isatty(io::stdin()) && !agreed(changes.len()) {
        return Err("nothing was approved".into());
    }
    // What could not be shown is approved only by whoever names it.
    let wanted = changes.iter().filter(|change| tool.is_some() || !item(change, "now").is_null());
    let digests: Vec<&str> = wanted.filter_map(|change| change["digest"].as_str()).collect();
    let mut approved = 0;
    for some in digests.chunks(AT_ONCE) {
        let said = orders::ask(directory, &format!("approve {server} {}", some.join(" "))).await?;
        approved += said["approved"].as_u64().ok_or_else(|| orders::error(&said))?;
    }
    page(&format!("approved {} of {server}", plural(approved, "tool")))?;
    if approved < digests.len() as u64 {
        return Err(format!("the others have changed once more meanwhile: say `mcpool approve {server}` again"));
    }
    Ok(())
}

fn agreed(count: usize) -> bool {
    let (mut out, mut answer) = (io::stdout(), String::new());
    let what = if count == 1 { "this tool" } else { "these tools" };
    let asked = write!(out, "\nApprove {what}? [y/N] ").and_then(|()| out.flush());
    asked.is_ok() && io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A tool as it was or is; null for one that is too long to be kept, or not JSON to every reader.
fn item(change: &Value, key: &str) -> Value {
    change[key].as_str().and_then(|item| serde_json::from_str(item).ok()).unwrap_or(Value::Null)
}

/// What changed of a tool, as a diff.
fn told(change: &Value) -> String {
    let (before, now) = (item(change, "before"), item(change, "now"));
    let name = line(change["tool"].as_str().unwrap_or("?")).into_owned();
    if now.is_null() {
        return format!("{name}: too long to be shown, or not JSON to every reader; it is approved only by its name\n");
    }
    let mut page = format!("{name} {}\n", if change["what"] == "new" { "is new" } else { "has changed" });
    for key in ["title", "description", "inputSchema", "outputSchema", "annotations", "_meta"] {
        if before[key] == now[key] {
            continue;
        }
        page += &format!("  {key}:\n");
        let (old, new) = (lines(&before[key]), lines(&now[key]));
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let rest = old.len().min(new.len()) - same;
        let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
        old[same..old.len() - end].iter().for_each(|line| page += &format!("    - {line}\n"));
        new[same..new.len() - end].iter().for_each(|line| page += &format!("    + {line}\n"));
    }
    page
}

/// The lines of a member as they may be shown.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.lines().map(|text| line(text).into_owned()).collect(),
        // All of it: what is approved is what was shown.
        other => format!("{other:#}").lines().map(|text| line(text).into_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_shown_and_nothing_else() {
        let before = json!({ "name": "read", "description": "Reads.\nA file.", "inputSchema": { "type": "object" } });
        let now = json!({ "name": "read", "description": "Reads.\nA file\u{1b}[8m and sends it.", "inputSchema": { "type": "object" } });
        let change = json!({ "tool": "read", "what": "changed", "before": before.to_string(), "now": now.to_string() });
        assert_eq!(
            told(&change),
            "read has changed\n  description:\n    - A file.\n    + A file\\u{1b}[8m and sends it.\n"
        );
        // However far behind the rest of a schema it stands.
        let long = |end: &str| json!({ "a": "x".repeat(3000), "b": { "c": end } });
        let (before, now) = (json!({ "inputSchema": long("old") }), json!({ "inputSchema": long("new") }));
        let change = json!({ "tool": "t", "what": "changed", "before": before.to_string(), "now": now.to_string() });
        assert_eq!(
            told(&change),
            "t has changed\n  inputSchema:\n    -     \"c\": \"old\"\n    +     \"c\": \"new\"\n"
        );
        let now = json!({ "name": "read", "description": "Reads." });
        let change = json!({ "tool": "x\ny", "what": "new", "before": null, "now": now.to_string() });
        assert!(told(&change).starts_with("x\\ny is new\n  description:\n    + Reads.\n"), "{}", told(&change));
    }
}
