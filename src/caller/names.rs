//! Names on an endpoint of several servers: `SERVER__NAME`, within the 64 characters of `[A-Za-z0-9_-]` that
//! hosts accept. Pure functions; nothing is remembered, so a name means the same before and after a restart.

use std::borrow::Cow;
use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::caller::access::{Thing, allows};
use crate::catalogue::list::ListKind;
use crate::config::Access;
use crate::hex::hex;
use crate::wire::message::{member, unquote};

/// Between the server's name and the item's. Server names do not hold it.
const BETWEEN: &str = "__";
/// The longest name that hosts accept.
const LONGEST: usize = 64;
/// How much of a digest stands for what a name could not hold.
const DIGEST: usize = 8;

/// The name under which callers see an item of a server. What hosts would not accept, and what would be too
/// long, is replaced and told apart by a digest of the real name.
pub fn exposed(server: &str, real: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let whole = format!("{server}{BETWEEN}{real}");
    if whole.len() <= LONGEST && real.chars().all(plain) {
        return whole;
    }
    let digest = hex(&Sha256::digest(real.as_bytes()));
    let kept = LONGEST - server.len() - BETWEEN.len() - DIGEST - 1;
    let readable: String =
        real.chars().map(|character| if plain(character) { character } else { '_' }).take(kept).collect();
    format!("{server}{BETWEEN}{readable}_{}", &digest[..DIGEST])
}

/// The server's name and the rest of an exposed name.
pub fn split(exposed: &str) -> Option<(&str, &str)> {
    exposed.split_once(BETWEEN)
}

/// An item as a caller sees it: as it stands where its server is alone and nothing is named; under its exposed name, left
/// out if it may not be used, or if an earlier one has the same name or URI (`shown` remembers those).
pub fn shown<'a>(
    access: &Access,
    prefix: bool,
    server: &str,
    kind: ListKind,
    item: &'a str,
    shown: &mut HashSet<String>,
) -> Option<Cow<'a, str>> {
    if !prefix && access.named.is_none() {
        return Some(Cow::Borrowed(item));
    }
    if !kind.named() {
        let raw = member(item, kind.id()).unwrap_or_default();
        if access.named.is_some() {
            let uri = unquote(raw)?;
            let thing = if kind == ListKind::Resources { Thing::Resource(&uri) } else { Thing::Template(&uri) };
            if !allows(access, thing) {
                return None;
            }
        }
        if prefix && !shown.insert(raw.to_owned()) {
            return None;
        }
        return Some(Cow::Borrowed(item));
    }
    let raw = member(item, "name")?;
    let mut name = unquote(raw)?;
    if prefix {
        name = Cow::Owned(exposed(server, &name));
    }
    let thing = if kind == ListKind::Tools { Thing::Tool(&name) } else { Thing::Prompt(&name) };
    if !allows(access, thing) {
        return None;
    }
    if !prefix {
        return Some(Cow::Borrowed(item));
    }
    // Hosts that have to tell tools apart by name refuse all of them if two have the same.
    if !shown.insert(name.clone().into_owned()) {
        return None;
    }
    // The value is a slice of the item, so its place is the distance between the two.
    let start = raw.as_ptr() as usize - item.as_ptr() as usize;
    Some(Cow::Owned(format!("{}\"{name}\"{}", &item[..start], &item[start + raw.len()..])))
}

/// Whether a name fits a pattern in which `*` stands for anything. Patterns may be a server's, so this takes no
/// more than one pass: each part is found at its first place, which leaves the most to those behind it.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

/// Whether a URI fits a template (RFC 6570): each expression stands for anything, which is wider than the RFC
/// but decides only which server is asked.
pub fn fits_template(template: &str, uri: &str) -> bool {
    let mut pattern = String::new();
    let mut rest = template;
    while let Some((literal, behind)) = rest.split_once('{') {
        pattern.push_str(&literal.replace('*', ""));
        pattern.push('*');
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    pattern.push_str(rest);
    pattern.contains('*') && matches(&pattern, uri)
}

/// Whether an earlier server has a resource or a template: it shows the same one, or covers it by one of `templates`.
pub fn is_taken(kind: ListKind, item: &str, shown: &HashSet<String>, templates: &[String]) -> bool {
    if kind.named() {
        return false;
    }
    let raw = member(item, kind.id()).unwrap_or_default();
    let covered = |uri: &str| templates.iter().any(|template| claims(template, uri));
    shown.contains(raw) || !templates.is_empty() && unquote(raw).is_some_and(|uri| covered(&uri))
}

/// Whether a template keeps a URI from servers behind it: it fits, and says at least of which kind its URIs are.
pub fn claims(template: &str, uri: &str) -> bool {
    let start = template.split('{').next().unwrap_or_default();
    // Each resource of a list is held against each template, so what begins otherwise costs a comparison and no more.
    (uri.starts_with(start) || start.contains('*'))
        && start.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.trim_matches('/').is_empty())
        && fits_template(template, uri)
}

#[cfg(test)]
mod tests {
    use crate::caller::names::*;
    use crate::config::Grants;

    /// What may be used where these tools are named, or everything.
    fn access(tools: Option<&[&str]>) -> Access {
        let tools = tools.map(|tools| tools.iter().map(|tool| (*tool).to_owned()).collect());
        let grants = Grants { tools, ..Grants::default() };
        grants.access(grants.names_something())
    }

    #[test]
    fn names_stay_within_what_hosts_accept_and_are_told_apart() {
        assert_eq!(exposed("files", "read_file"), "files__read_file");
        let long = exposed("files", &"x".repeat(70));
        let other = exposed("files", &"x".repeat(71));
        assert_eq!((long.len(), other.len()), (64, 64));
        assert_ne!(long, other);
        assert_ne!(exposed("a", "b.c"), exposed("a", "b_c"));
        assert_ne!(exposed("a", "b.c"), exposed("a", "b/c"));
        assert!(exposed("a", "b.ü").bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert_eq!(split("files__a__b"), Some(("files", "a__b")));
    }

    #[test]
    fn an_item_is_renamed_and_nothing_else_of_it_changes() {
        let item = r#"{"description":"name", "name" : "a\u0062" ,"x":1.0}"#;
        let renamed = shown(&access(None), true, "s", ListKind::Tools, item, &mut HashSet::new()).unwrap();
        assert_eq!(renamed, r#"{"description":"name", "name" : "s__ab" ,"x":1.0}"#);
        assert_eq!(shown(&access(None), false, "s", ListKind::Tools, item, &mut HashSet::new()).unwrap(), item);
        let odd = r#"{"title":"no name"}"#;
        assert_eq!(shown(&access(None), false, "s", ListKind::Tools, odd, &mut HashSet::new()).unwrap(), odd);
        assert!(shown(&access(None), true, "s", ListKind::Tools, odd, &mut HashSet::new()).is_none());
        assert!(shown(&access(Some(&["*"])), false, "s", ListKind::Tools, odd, &mut HashSet::new()).is_none());
        assert!(shown(&access(Some(&["t__*"])), true, "s", ListKind::Tools, item, &mut HashSet::new()).is_none());
    }

    #[test]
    fn of_two_tools_with_one_name_the_first_is_shown_under_one_roof() {
        let (first, second) = (r#"{"name":"a","n":1}"#, r#"{"name":"\u0061","n":2}"#);
        let mut seen = HashSet::new();
        let mut under = |prefix, item| shown(&access(None), prefix, "s", ListKind::Tools, item, &mut seen).is_some();
        assert!(under(true, first) && !under(true, second));
        assert!(under(false, first) && under(false, second), "alone a server is shown as it is");
    }

    #[test]
    fn of_two_resources_with_one_uri_the_first_is_shown() {
        let mut seen = HashSet::new();
        let item = r#"{"uri":"a:b","name":"x"}"#;
        assert!(shown(&access(None), true, "s", ListKind::Resources, item, &mut seen).is_some());
        assert!(shown(&access(None), true, "t", ListKind::Resources, item, &mut seen).is_none());
    }

    #[test]
    fn patterns_and_templates() {
        assert!(matches("files__*", "files__read") && matches("*", "") && matches("a*c", "abbc"));
        assert!(matches(&"*".repeat(100_000), "x") && !matches(&"*x".repeat(1000), &"x".repeat(999)));
        assert!(!matches("files__*", "other__read") && !matches("a", "ab"));
        assert!(fits_template("demo://note/{n}", "demo://note/5") && !fits_template("demo://note/{n}", "demo://x"));
        assert!(!fits_template("demo://fixed", "demo://fixed"));
        assert!(claims("demo://note/{n}", "demo://note/5") && claims("urn:x:{+n}", "urn:x:5"));
        assert!(!claims("{+uri}", "demo://note/5") && !claims("demo://{+path}", "demo://note/5"));
    }
}
