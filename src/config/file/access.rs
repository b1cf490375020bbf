//! Who may do what on an endpoint, as written. Called by `file/endpoint.rs` for each endpoint.

use crate::config::diagnostic::quoted;
use crate::config::fields::Fields;
use crate::config::yaml::Node;
use crate::config::{Grants, Roots, Rule, Who};

/// Methods that another key decides, each with that key.
const DECIDED: [(&str, &str); 7] = [
    ("tools/call", "tools"),
    ("prompts/get", "prompts"),
    ("resources/read", "resources"),
    ("resources/subscribe", "resources"),
    ("resources/unsubscribe", "resources"),
    ("completion/complete", "prompts` and `resources"),
    ("subscriptions/listen", "resources"),
];
/// The most callers and calls that a rule may allow.
const MANY: usize = 1_000_000;

/// What an endpoint, or a rule of it, says of access.
pub(super) fn grants(fields: &mut Fields<'_>) -> Grants {
    let tools = patterns(fields, "tools", "the name of a tool", "write `[read_file, \"list_*\"]`");
    let prompts = patterns(fields, "prompts", "the name of a prompt", "write `[summary, \"review_*\"]`");
    let resources = patterns(fields, "resources", "a URI", "write `[\"docs://handbook/*\"]`");
    let methods = patterns(fields, "methods", "a method", "write `[vendor/status]`");
    for method in methods.iter().flatten() {
        if let Some((_, key)) = DECIDED.iter().find(|(decided, _)| decided == method) {
            let message = format!("`{method}` is decided by `{key}`, not by `methods`");
            fields.contradiction(["methods", "methods"], &message, &format!("name what may be used under `{key}`"));
        }
    }
    let asks = fields.entry("asks").is_some().then(|| fields.truth("asks", false));
    Grants { tools, prompts, resources, methods, roots: roots(fields), asks }
}

/// The rules for some of an endpoint's callers.
pub(super) fn rules(fields: &mut Fields<'_>) -> Vec<Rule> {
    let nodes = fields.list("callers").unwrap_or_default();
    nodes.iter().map(|node| rule(Fields::new(fields.notes, node.place, node))).collect()
}

fn rule(mut fields: Fields<'_>) -> Rule {
    let who = Who {
        uids: ids(&mut fields, "uid", "a user id like 1000", "`id -u NAME` tells it"),
        gids: ids(&mut fields, "gid", "a group id like 1000", "`id -g NAME` tells it"),
        programs: patterns(&mut fields, "program", "the path of a program", "write `/usr/bin/editor`"),
        cgroups: patterns(&mut fields, "cgroup", "a control group", "`cat /proc/PID/cgroup` tells it"),
    };
    if who == Who::default() {
        fields.notes.mistake(
            fields.place,
            "a rule for nobody in particular",
            "say whom it is for: `uid`, `gid`, `program` or `cgroup`; what holds for all others stands in the endpoint",
        );
    }
    for path in who.programs.iter().flatten().filter(|path| !path.starts_with(['/', '*'])) {
        let message = format!("{} is no path of a program", quoted(path));
        fields.contradiction(["program", "program"], &message, "write it from `/` on, or begin it with `*`");
    }
    let grants = grants(&mut fields);
    let limit = |fields: &mut Fields<'_>, key| fields.entry(key).is_some().then(|| fields.count(key, 1, 1..=MANY));
    let mut limits = fields.section("limits");
    let (callers, in_flight) = (limit(&mut limits, "callers"), limit(&mut limits, "in_flight"));
    limits.finish();
    fields.finish();
    Rule { who, grants, callers, in_flight }
}

/// A list of ids, or one.
pub(super) fn ids(fields: &mut Fields<'_>, key: &'static str, what: &str, help: &str) -> Option<Vec<u32>> {
    let nodes = one_or_more(fields, key)?;
    let mut ids = Vec::new();
    for node in nodes {
        match node.text().and_then(|text| text.parse().ok()) {
            Some(id) => ids.push(id),
            None => fields.expected(what, node, help, ()),
        }
    }
    Some(ids)
}

/// A list of patterns, or one.
fn patterns(fields: &mut Fields<'_>, key: &'static str, what: &str, help: &str) -> Option<Vec<String>> {
    let nodes = one_or_more(fields, key)?;
    let mut patterns = Vec::new();
    for node in nodes {
        match node.text() {
            Some(text) if !text.is_empty() => patterns.push(text.to_owned()),
            _ => fields.expected(what, node, help, ()),
        }
    }
    Some(patterns)
}

fn one_or_more<'t>(fields: &mut Fields<'t>, key: &'static str) -> Option<&'t [Node]> {
    match &fields.entry(key)?.node {
        node if node.text().is_some() => Some(std::slice::from_ref(node)),
        _ => fields.list(key),
    }
}

/// `client`, or a list of absolute paths and URIs.
fn roots(fields: &mut Fields<'_>) -> Option<Roots> {
    let node = &fields.entry("roots")?.node;
    match node.text() {
        Some("client") => return Some(Roots::Client),
        Some("none") => return Some(Roots::Withheld),
        Some(_) => {
            return fields.expected("`client`, `none` or a list", node, "write `[/srv/docs]` for fixed ones", None);
        }
        None => {}
    }
    let texts = fields.texts("roots")?;
    let mut uris = Vec::new();
    for text in texts {
        match uri(&text) {
            Some(uri) => uris.push(uri),
            None => {
                let message = format!("{} is no root", quoted(&text));
                fields.contradiction(
                    ["roots", "roots"],
                    &message,
                    "write an absolute path, or a URI like `file:///srv`",
                );
            }
        }
    }
    Some(Roots::Fixed(uris))
}

/// A root as servers are told it.
fn uri(text: &str) -> Option<String> {
    if !text.starts_with('/') {
        let (scheme, rest) = text.split_once("://")?;
        let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let fits = plain && !scheme.is_empty() && !rest.is_empty() && !text.contains(|c: char| c <= ' ');
        return fits.then(|| text.to_owned());
    }
    let mut uri = String::from("file://");
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(uri)
}
