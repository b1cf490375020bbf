//! Made once for each list, and asked by `catalogue::lookup` and `mux::lists`: how a name or an address in a call finds
//! its item without reading the list. The names that endpoints of several servers show are added when one of them shows
//! the list.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::kind::ListKind;
use super::legible::{Odd, oddities};
use super::names;
use super::templates::Templates;
use crate::era::Era;
use crate::era::bridge::items::demands_a_task;

use crate::wire::message::{member, unquote};

/// By a name or an address that a server chose. The keys of the hashes are drawn at random in each process.
type By<T> = HashMap<Box<str>, T, RandomState>;

/// The names of a list's items, or their addresses, with what is asked of each.
#[derive(Default)]
pub struct Index {
    items: By<Item>,
    double: Option<Box<str>>,
}

/// What is known of the items of one name.
struct Item {
    /// The place of the first.
    place: u32,
    /// Whether all say that a call of them may be carried out twice.
    safe: bool,
    /// Whether one of them runs as a task or not at all.
    task_only: bool,
}

impl Index {
    /// The index of these items.
    pub fn of<'a>(kind: ListKind, items: impl Iterator<Item = &'a str>) -> Index {
        let mut index = Index::default();
        for (place, item) in items.enumerate() {
            let Some(id) = member(item, kind.id()).and_then(unquote) else { continue };
            let tool = kind == ListKind::Tools;
            let (safe, task_only) = (tool && is_marked_safe(item), tool && demands_a_task(item));
            match index.items.get_mut(&*id) {
                None => drop(index.items.insert(id.into(), Item { place: place as u32, safe, task_only })),
                Some(known) => {
                    known.safe &= safe;
                    known.task_only |= task_only;
                    if index.double.is_none() && kind.named() {
                        index.double = Some(id.into());
                    }
                }
            }
        }
        index
    }

    /// Whether an item has this name or address.
    pub fn has(&self, id: &str) -> bool {
        self.items.contains_key(id)
    }

    /// Whether a tool says that it may be carried out twice; none if there is none of this name.
    pub fn is_safe(&self, tool: &str) -> Option<bool> {
        self.items.get(tool).map(|item| item.safe)
    }

    /// Whether a tool runs as a task or not at all.
    pub fn is_task_only(&self, tool: &str) -> bool {
        self.items.get(tool).is_some_and(|item| item.task_only)
    }

    /// A name that stands twice, of items that are told apart by it.
    pub fn double(&self) -> Option<&str> {
        self.double.as_deref()
    }
}

/// How a list is shown on endpoints of several servers. Names are those behind `SERVER__`.
pub struct Joined {
    /// The items that are not shown as they were written, in their order.
    odd: Vec<Odd>,
    /// Where what is shown under another name than its own stands, or under a name whose first item is not shown.
    renamed: By<u32>,
    /// Which of the odd ones would have had a name or an address, of those that are not shown.
    left_out: By<u32>,
    /// The templates that are shown.
    templates: Templates,
}

impl Joined {
    /// How `server` shows these items, which are those of `index`.
    pub fn of<'a>(
        (server, kind, era): (&str, ListKind, Era),
        index: &Index,
        items: impl Iterator<Item = &'a str> + Clone,
    ) -> Joined {
        let odd = oddities(kind, era, items.clone());
        let mut joined =
            Joined { odd, renamed: By::default(), left_out: By::default(), templates: Templates::default() };
        let (mut renamed, mut left_out, mut templates) = (By::default(), By::default(), Vec::new());
        let mut odd = joined.odd.iter().enumerate().peekable();
        for (place, item) in items.enumerate() {
            let odd = odd.next_if(|(_, odd)| odd.place() == place);
            let Some(id) = member(item, kind.id()).and_then(unquote) else { continue };
            let name = if kind.named() { names::behind_server(server, &id) } else { Cow::Borrowed(&*id) };
            if let Some((which, _)) = odd.filter(|(_, odd)| !odd.is_shown()) {
                left_out.entry((*name).into()).or_insert(which as u32);
                continue;
            }
            if kind == ListKind::Templates {
                templates.push(id);
                continue;
            }
            let first = |name: &str| index.items.get(name).map(|item| item.place as usize);
            if name == id && first(&id) == Some(place) {
                continue;
            }
            // Where another item has by itself the name that this one is given, the first of the two counts.
            let itself = first(&name).filter(|other| *other < place && joined.is_shown(*other));
            if itself.is_none_or(|_| kind.named() && !names::is_kept(server, &name)) {
                renamed.entry((*name).into()).or_insert(place as u32);
            }
        }
        joined.templates = Templates::of(templates.iter().map(|text| &**text));
        Joined { renamed, left_out, ..joined }
    }

    /// The items that are not shown as they were written, in their order.
    pub fn odd(&self) -> &[Odd] {
        &self.odd
    }

    fn is_shown(&self, place: usize) -> bool {
        self.odd.binary_search_by_key(&place, Odd::place).map_or(true, |found| self.odd[found].is_shown())
    }

    /// The place of the item that is shown under a name or an address, if one is.
    pub fn place(&self, server: &str, kind: ListKind, index: &Index, shown: &str) -> Option<usize> {
        if let Some(place) = self.renamed.get(shown) {
            return Some(*place as usize);
        }
        let place = index.items.get(shown)?.place as usize;
        (self.is_shown(place) && (!kind.named() || names::is_kept(server, shown))).then_some(place)
    }

    /// Why nothing is shown under a name or an address although it stands in the list, if it is for what is wrong with it.
    pub fn why_left_out(&self, shown: &str) -> Option<&str> {
        self.odd.get(*self.left_out.get(shown)? as usize)?.why()
    }

    /// Whether a template that is shown keeps an address from servers behind this one.
    pub fn claims(&self, uri: &str) -> bool {
        self.templates.claim(uri)
    }

    /// Whether an address fits a template that is shown.
    pub fn covers(&self, uri: &str) -> bool {
        self.templates.cover(uri)
    }
}

/// Whether a tool says that it may be carried out twice (revision 2025-03-26, page "Tools": annotations).
fn is_marked_safe(tool: &str) -> bool {
    let annotations = member(tool, "annotations").unwrap_or("{}");
    ["readOnlyHint", "idempotentHint"].iter().any(|hint| member(annotations, hint) == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = r#"{"name":"NAME","inputSchema":{"type":"object"}}"#;

    fn tools(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| TOOL.replace("NAME", name)).collect()
    }

    /// What is found under a name, by its place.
    fn found(items: &[String], shown: &str) -> Option<usize> {
        let items = items.iter().map(String::as_str);
        let index = Index::of(ListKind::Tools, items.clone());
        Joined::of(("s", ListKind::Tools, Era::Legacy), &index, items).place("s", ListKind::Tools, &index, shown)
    }

    #[test]
    fn a_tool_is_found_under_the_name_that_it_is_shown_under() {
        let items = tools(&["a", "b.c", "a"]);
        assert_eq!((found(&items, "a"), found(&items, "z"), found(&items, "b.c")), (Some(0), None, None));
        assert_eq!(found(&items, &names::behind_server("s", "b.c")), Some(1));
    }

    #[test]
    fn of_two_that_are_shown_under_one_name_the_first_counts() {
        let shortened = names::behind_server("s", "b.c").into_owned();
        for (first, second) in [("b.c", shortened.as_str()), (shortened.as_str(), "b.c")] {
            assert_eq!(found(&tools(&[first, second]), &shortened), Some(0), "{first}");
        }
    }

    #[test]
    fn what_is_not_shown_is_told_of_and_hides_no_other_of_its_name() {
        let items =
            [r#"{"name":"a","inputSchema":5}"#.to_owned(), r#"{"name":"b"}"#.to_owned(), TOOL.replace("NAME", "a")];
        assert_eq!((found(&items, "a"), found(&items, "b")), (Some(2), None));
        let items = items.iter().map(String::as_str);
        let index = Index::of(ListKind::Tools, items.clone());
        let joined = Joined::of(("s", ListKind::Tools, Era::Legacy), &index, items);
        assert!(joined.why_left_out("b").is_some() && joined.why_left_out("c").is_none());
    }

    #[test]
    fn a_tool_is_safe_if_all_of_its_name_say_so() {
        let marked = |name: &str, hint: &str| format!(r#"{{"name":"{name}","annotations":{{"{hint}":true}}}}"#);
        let items = [marked("a", "readOnlyHint"), marked("b", "idempotentHint"), TOOL.replace("NAME", "b")];
        let index = Index::of(ListKind::Tools, items.iter().map(String::as_str));
        assert_eq!(["a", "b", "c"].map(|tool| index.is_safe(tool)), [Some(true), Some(false), None]);
        assert_eq!(index.double(), Some("b"));
    }
}
