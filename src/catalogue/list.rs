//! The four lists and a page of one, as a server answered it.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::catalogue::legible::Odd;
use crate::era::bridge::items::demands_a_task;
use crate::wire::message::{elements, member, members, unquote};

/// The longest time in milliseconds that every client can hold.
const LONGEST: u64 = (1 << 53) - 1;

/// One of the lists that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl ListKind {
    pub const ALL: [ListKind; 4] = [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates];

    /// The list that a method asks for.
    pub fn of_method(method: &str) -> Option<ListKind> {
        ListKind::ALL.into_iter().find(|kind| kind.method() == method)
    }

    pub fn method(self) -> &'static str {
        match self {
            ListKind::Tools => "tools/list",
            ListKind::Prompts => "prompts/list",
            ListKind::Resources => "resources/list",
            ListKind::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources => "resources",
            ListKind::Templates => "resourceTemplates",
        }
    }

    /// The capability under which changes are announced.
    pub fn capability(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::Templates => "resources",
        }
    }

    /// The member by which an item is told apart from others.
    pub fn id(self) -> &'static str {
        match self {
            ListKind::Tools | ListKind::Prompts => "name",
            ListKind::Resources => "uri",
            ListKind::Templates => "uriTemplate",
        }
    }

    /// Whether items are told apart by name, which an endpoint of several servers prefixes.
    pub fn named(self) -> bool {
        matches!(self, ListKind::Tools | ListKind::Prompts)
    }
}

/// A list as it was fetched.
#[derive(Serialize, Deserialize)]
pub struct List {
    pub items: Vec<Box<RawValue>>,
    /// What else stood in the result, as JSON members with leading commas.
    pub rest: String,
    /// For how many milliseconds it is fresh, where the server says so.
    pub ttl: Option<u64>,
    /// It may be shown only to callers of the user it was fetched for.
    pub private: bool,
    pub uid: u32,
    #[serde(skip)]
    pub fetched: Option<Instant>,
    #[serde(skip)]
    pub stale: bool,
    /// The tools that run as tasks or not at all, once somebody wanted to know.
    #[serde(skip)]
    pub(crate) task_only: OnceCell<Vec<Box<str>>>,
    /// The names of its items, likewise: who calls is looked up in them.
    #[serde(skip)]
    pub(crate) known_names: OnceCell<HashSet<Box<str>>>,
    /// The items that are shown otherwise among several servers, once it was shown there.
    #[serde(skip)]
    pub(crate) odd: OnceCell<Vec<Odd>>,
    /// Whether the log has those.
    #[serde(skip)]
    pub(crate) told: Cell<bool>,
}

impl List {
    /// Whether it may be shown to a user.
    pub fn is_for(&self, uid: u32) -> bool {
        !self.private || self.uid == uid
    }

    /// The tools that run as tasks or not at all.
    pub fn task_only(&self) -> &[Box<str>] {
        self.task_only.get_or_init(|| {
            let demanding = self.items.iter().map(|item| item.get()).filter(|item| demands_a_task(item));
            demanding.filter_map(|item| Some(unquote(member(item, "name")?)?.into())).collect()
        })
    }

    /// Whether an item has this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    /// The names of its items.
    pub fn names(&self) -> &HashSet<Box<str>> {
        let named = || self.items.iter().filter_map(|item| Some(unquote(member(item.get(), "name")?)?.into()));
        self.known_names.get_or_init(|| named().collect())
    }

    /// The first name that stands twice, of items that are told apart by it.
    pub fn double(&self, kind: ListKind) -> Option<String> {
        let mut seen = HashSet::new();
        let names = self.items.iter().filter(|_| kind.named()).filter_map(|item| unquote(member(item.get(), "name")?));
        names.map(Cow::into_owned).find(|name| !seen.insert(name.clone()))
    }

    /// For how many milliseconds it is still fresh, where the server says so.
    pub fn fresh_for(&self) -> Option<u64> {
        let ttl = self.ttl?;
        Some(ttl.saturating_sub(self.fetched.map_or(ttl, |at| at.elapsed().as_millis() as u64)))
    }

    /// Whether another list holds the same items.
    pub fn same_items(&self, other: &List) -> bool {
        self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(one, two)| one.get() == two.get())
    }
}

/// A page of a list as a server answered it.
pub struct Page {
    pub(crate) items: Vec<Box<RawValue>>,
    pub(crate) rest: String,
    pub(crate) cursor: Option<String>,
    pub(crate) ttl: Option<u64>,
    pub(crate) private: bool,
}

impl Page {
    /// Whether it holds what another page held, so that nothing new is to be had behind it. An empty one may be followed
    /// by others.
    pub(crate) fn repeats(&self, before: &Page) -> bool {
        let same = || self.items.iter().zip(&before.items).all(|(one, two)| one.get() == two.get());
        !self.items.is_empty() && self.items.len() == before.items.len() && same()
    }
}

/// Reads a page out of a result.
pub(crate) fn read_page(kind: ListKind, result: &str) -> Page {
    let mut rest = String::new();
    for (name, value) in members(result) {
        if !(name == kind.member() || matches!(name, "nextCursor" | "ttlMs") || value == "null") {
            let _ = write!(rest, r#","{name}":{value}"#);
        }
    }
    let raw = |item: &str| RawValue::from_string(item.to_owned()).ok();
    Page {
        items: elements(member(result, kind.member()).unwrap_or("[]")).into_iter().filter_map(raw).collect(),
        rest,
        // An empty one is how some servers say that there is no more; asked with it they begin anew.
        cursor: member(result, "nextCursor")
            .filter(|cursor| cursor.len() > 2 && cursor.starts_with('"'))
            .map(str::to_owned),
        ttl: member(result, "ttlMs").filter(|ttl| *ttl != "null").map(|ttl| ttl.parse().unwrap_or(0).min(LONGEST)),
        private: member(result, "cacheScope") == Some(r#""private""#),
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::list::*;

    #[test]
    fn a_page_keeps_what_else_the_result_held() {
        let page = read_page(
            ListKind::Tools,
            r#"{"ttlMs":5,"tools":[{"name":"a"} , 1],"nextCursor":"x","cacheScope":"private","_meta":{"k":1}}"#,
        );
        assert_eq!(page.items.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#"{"name":"a"}"#, "1"]);
        assert_eq!(page.rest, r#","cacheScope":"private","_meta":{"k":1}"#);
        assert_eq!((page.cursor.as_deref(), page.ttl, page.private), (Some("\"x\""), Some(5), true));
        let nulls = r#"{"ttlMs":null,"tools":null,"nextCursor":null,"cacheScope":null,"_meta":null}"#;
        let page = read_page(ListKind::Tools, nulls);
        assert!(page.items.is_empty() && page.rest.is_empty() && !page.private);
        assert_eq!((page.cursor, page.ttl), (None, None));
    }

    #[test]
    fn a_page_of_odd_members_is_the_last_and_old_at_once() {
        for (odd, ttl) in [("-1", 0), ("5.5", 0), (r#""9""#, 0), ("{}", 0), ("18446744073709551615", (1 << 53) - 1)] {
            let page = read_page(ListKind::Tools, &format!(r#"{{"tools":[],"ttlMs":{odd},"nextCursor":""}}"#));
            assert_eq!((page.cursor, page.ttl), (None, Some(ttl)), "{odd}");
        }
        for odd in ["{}", "5", r#""text""#, r#"{"a":{}}"#] {
            assert!(
                read_page(ListKind::Tools, &format!(r#"{{"tools":{odd},"nextCursor":5}}"#)).items.is_empty(),
                "{odd}"
            );
        }
    }
}
