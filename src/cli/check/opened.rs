//! `mcpool check --start`: opens each server as a daemon would, and lists what it offers, or says why it cannot be
//! opened. Each runs behind an `mcpool serve --stdio` of its own, which ends everything that it started.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::super::client::{Client, Failure, PERSON};
use crate::clock;
use crate::config::{Config, LeaseChoice, Server};
use crate::plural::plural;
use crate::pool::lease::signs;
use crate::text::line;

/// How many servers are opened at the same time: each may be a whole runtime.
const AT_ONCE: usize = 2;
/// How much longer than the start itself everything may take.
const LISTS: Duration = Duration::from_secs(60);
/// How long a server may take to end.
const GOODBYE: Duration = Duration::from_secs(20);
/// How many signs of state are listed for a server.
const SIGNS: usize = 5;

/// What each server said, a paragraph each in the order of the config; and whether all could be opened.
pub async fn all(file: &Path, config: &Config) -> (String, bool) {
    let (mut page, mut fine) = (String::new(), true);
    for servers in config.servers.chunks(AT_ONCE) {
        let found = match servers {
            [one, two] => {
                let (one, two) = tokio::join!(open(file, one), open(file, two));
                vec![one, two]
            }
            one => vec![open(file, &one[0]).await],
        };
        for (server, found) in servers.iter().zip(found) {
            fine &= found.is_ok();
            let said = found.unwrap_or_else(|why| format!("cannot be opened: {why}\n"));
            let _ = write!(page, "  {:<20} {said}", server.name);
        }
    }
    (page, fine)
}

async fn open(file: &Path, server: &Server) -> Result<String, String> {
    let (mut child, stdin, stdout) = start(file, server).map_err(|error| format!("cannot run mcpool: {error}"))?;
    let limit = server.timeout.start_max.max(server.timeout.start) + LISTS;
    let found = timeout(limit, look(server, stdin, stdout)).await;
    // Its stdin is closed by now, so it ends its server and itself.
    if timeout(GOODBYE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    match found {
        Ok(found) => found.map_err(|failure| failure.to_string()),
        Err(_) => Err(format!("it took longer than {}", clock::rounded(limit))),
    }
}

fn start(file: &Path, server: &Server) -> std::io::Result<(Child, ChildStdin, ChildStdout)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(file)
        .args(["serve", "--stdio", "--fresh", &server.name])
        .env("MCPOOL_LOG", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(stdin), Some(stdout)) => Ok((child, stdin, stdout)),
        _ => Err(std::io::Error::other("it has no pipes")),
    }
}

async fn look(server: &Server, stdin: ChildStdin, stdout: ChildStdout) -> Result<String, Failure> {
    let begun = Instant::now();
    let mut client = Client::open_any(stdout, stdin, PERSON).await?;
    let took = clock::rounded(begun.elapsed());
    let tools = listed(&mut client, "tools/list", "tools").await?;
    let prompts = listed(&mut client, "prompts/list", "prompts").await?;
    let resources = listed(&mut client, "resources/list", "resources").await?;
    let counts =
        [plural(tools.len(), "tool"), plural(prompts.len(), "prompt"), plural(resources.len(), "resource")].join(", ");
    let mut said = format!("opened in {took}: {counts}\n");
    let names: Vec<_> = tools.iter().filter_map(|tool| Some(line(tool["name"].as_str()?))).collect();
    if !names.is_empty() {
        let _ = writeln!(said, "  {:<20}   {}", "", names.join(", "));
    }
    if server.lease == LeaseChoice::Auto && server.known().is_none() {
        said += &signs_of(&tools);
    }
    Ok(said)
}

/// A list, or nothing where the server has no such list.
async fn listed(client: &mut Client<ChildStdout, ChildStdin>, method: &str, key: &str) -> Result<Vec<Value>, Failure> {
    match client.list(method, key).await {
        Err(Failure::Refused { code: -32601, .. }) => Ok(Vec::new()),
        list => list,
    }
}

/// What its tools say of state that it may keep for its client.
fn signs_of(tools: &[Value]) -> String {
    let text = |tool: &Value, key: &str| tool[key].as_str().unwrap_or_default().to_owned();
    let signs: Vec<String> = tools
        .iter()
        .filter_map(|tool| {
            let (name, about) = (text(tool, "name"), text(tool, "description"));
            Some(format!("`{}` tells of {}", line(&name), signs::sign(&name, &about)?))
        })
        .collect();
    if signs.is_empty() {
        return String::new();
    }
    let more = signs.len().saturating_sub(SIGNS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!(
        "  {:<20}   it may keep state for its client: {}{more}; if it does, say `lease: session`\n",
        "",
        signs[..signs.len().min(SIGNS)].join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn signs_of_state_are_told_with_what_to_do_and_not_without_end() {
        let many: Vec<Value> = (0..9).map(|n| json!({ "name": format!("navigate_{n}") })).collect();
        let said = signs_of(&many);
        assert!(said.contains("`navigate_0` tells of navigation") && said.contains("and 4 more"), "{said}");
        assert!(said.contains("say `lease: session`"), "{said}");
        assert_eq!(signs_of(&[json!({ "name": "read_file", "description": "Reads." }), json!({})]), "");
    }
}
