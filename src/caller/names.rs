//! Called by `mux` where lists are shown: an item as a caller sees it. Items that its endpoint does not name, or whose
//! name another server has already, are left out.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::caller::access::{Thing, allows};
use crate::catalogue::index::Joined;
use crate::catalogue::list::ListKind;
pub use crate::catalogue::names::{exposed, matches, split};
use crate::config::Access;
use crate::wire::message::{member, unquote};

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

/// Whether an earlier server has a resource or a template: it shows the same one, or covers it by one of `templates`.
pub fn is_taken(kind: ListKind, item: &str, shown: &HashSet<String>, templates: &[&Joined]) -> bool {
    if kind.named() {
        return false;
    }
    let raw = member(item, kind.id()).unwrap_or_default();
    let covered = |uri: &str| templates.iter().any(|earlier| earlier.claims(uri));
    shown.contains(raw) || !templates.is_empty() && unquote(raw).is_some_and(|uri| covered(&uri))
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
}
