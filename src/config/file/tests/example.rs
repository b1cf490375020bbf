//! The example file, held to the keys that there are and to their defaults.

use std::collections::BTreeSet;

use super::mistakes;
use crate::config::{Config, Server};

const EXAMPLE: &str = include_str!("../../../../config/example.yaml");

#[test]
fn the_example_shows_the_defaults() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::parse(EXAMPLE, "example.yaml", &|_| None)?;
    assert_eq!(config, Config::of(vec![Server::new("files", "npx")]));
    assert_eq!(config.warnings(), Vec::<String>::new());
    Config::parse(include_str!("../../../../config/minimal.yaml"), "minimal.yaml", &|_| None)?;
    Ok(())
}

/// A line's key and indentation, if it has one and is no comment.
fn key(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start().len();
    let (key, _) = line[indent..].split_once(':')?;
    (!key.starts_with('#')).then_some((indent, key))
}

/// Each map of the example gets an unknown key; the mistake tells which keys there are; all of them must stand there.
#[test]
fn the_example_mentions_every_key() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let opens = |line: &&&str| key(line).is_some() && line.ends_with(':');
    let mut sections = 0;
    for at in
        std::iter::once(None).chain(lines.iter().enumerate().filter(|(_, line)| opens(line)).map(|(at, _)| Some(at)))
    {
        let indent = at.map_or(0, |at| key(lines[at]).map_or(0, |(indent, _)| indent + 2));
        let start = at.map_or(0, |at| at + 1);
        let within: BTreeSet<&str> = lines[start..]
            .iter()
            .filter_map(|line| key(line))
            .take_while(|(depth, _)| *depth >= indent)
            .filter_map(|(depth, key)| (depth == indent).then_some(key))
            .collect();
        let unknown = format!("{}zzzzzz: {{command: x, servers: [files]}}", " ".repeat(indent));
        let text = [&lines[..start], &[unknown.as_str()], &lines[start..]].concat().join("\n");
        let shown = mistakes(&text);
        // Maps of names take any key.
        let told = shown.split_once("unknown key `zzzzzz`").and_then(|(_, rest)| rest.split_once("help: known here: "));
        let Some((_, known)) = told else { continue };
        let known: BTreeSet<&str> =
            known.lines().next().unwrap_or_default().split(", ").filter(|key| *key != "mcpServers").collect();
        let name = at.map_or("the top", |at| lines[at].trim());
        assert!(known.is_subset(&within), "under {name} there should be {:?}", known.difference(&within));
        sections += 1;
    }
    // The top, a server and its nine sections, an endpoint, and seven sections of the daemon.
    assert_eq!(sections, 19);
    assert!(EXAMPLE.contains("mcpServers"));
}

/// Each key of the example that has a value, by its path, and the value. A key of a server or an endpoint goes without
/// its name.
fn keys() -> Vec<(String, &'static str)> {
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        let Some((indent, name)) = key(line) else { continue };
        above.retain(|(depth, _)| *depth < indent);
        above.push((indent, name));
        if let Some((_, value)) = line.split_once(": ") {
            let path = above.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(".");
            let named = ["servers.files.", "endpoints.files."].iter().find_map(|above| path.strip_prefix(above));
            keys.push((named.unwrap_or(&path).to_owned(), value.trim()));
        }
    }
    keys
}

#[test]
fn the_manual_tells_of_every_key_and_its_default() {
    let manual = include_str!("../../../../docs/config.md");
    for (path, default) in keys() {
        let row = format!("| `{path}` | {default} |");
        assert!(manual.lines().any(|line| line.starts_with(&row)), "docs/config.md has no row that begins with {row}");
    }
    let rows = manual.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, keys().len(), "docs/config.md tells of keys that there are not");
}
