//! Made by `mux::lists` page by page, and kept in the catalogue: one list of a server, and for how long it is believed.

use std::collections::HashSet;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::rc::Rc;

use bytestring::ByteString;
use foldhash::quality::RandomState;
use tokio::time::Instant;

use super::contents::Contents;
use super::items::Gathered;
pub use super::kind::ListKind;
use super::record::ListRecord;
use crate::clock;
use crate::era::Era;
use crate::wire::message::members;

/// The longest time in milliseconds that every client can hold.
const LONGEST: u64 = (1 << 53) - 1;
/// The longest cursor that a server is asked with, in bytes.
const LONGEST_CURSOR: usize = 64 << 10;

/// A list as it was fetched. What it holds is shared by its clones.
#[derive(Clone)]
pub struct List {
    contents: Rc<Contents>,
    /// What else stood in the result, as JSON members with leading commas.
    rest: ByteString,
    /// For how many milliseconds it is fresh, where the server says so.
    ttl: Option<u64>,
    /// It may be shown only to callers of the user it was fetched for.
    private: bool,
    uid: u32,
    /// None if it is remembered from before the daemon was started.
    fetched: Option<Instant>,
    /// It was announced to have changed.
    stale: bool,
}

impl List {
    /// The list of these pages, fetched now for a user.
    pub fn fetched(kind: ListKind, era: Era, pages: Pages, uid: u32) -> List {
        let Pages { items, rest, ttl, private, .. } = pages;
        let contents = Rc::new(Contents::new(kind, era, items.finish()));
        List { contents, rest: rest.into(), ttl, private, uid, fetched: Some(clock::now()), stale: false }
    }

    /// A list that was kept.
    pub fn kept(kind: ListKind, era: Era, record: ListRecord) -> List {
        let ListRecord { items, rest, ttl, private, uid, stale } = record;
        List { contents: Rc::new(Contents::new(kind, era, items)), rest, ttl, private, uid, fetched: None, stale }
    }

    /// What is to be kept of it.
    pub fn record(&self) -> ListRecord {
        let items = self.contents.items().clone();
        ListRecord {
            items,
            rest: self.rest.clone(),
            ttl: self.ttl,
            private: self.private,
            uid: self.uid,
            stale: self.stale,
        }
    }

    /// Its items, and what was found out of them.
    pub fn contents(&self) -> &Rc<Contents> {
        &self.contents
    }

    /// Its items as the server wrote them.
    pub fn items(&self) -> impl Iterator<Item = &str> + Clone {
        self.contents.items().iter()
    }

    /// What else stood in the result, as JSON members with leading commas.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// For how many milliseconds it is fresh from when it was fetched, where the server says so.
    pub fn ttl(&self) -> Option<u64> {
        self.ttl
    }

    /// When it was fetched; none if it is remembered from before the daemon was started.
    pub fn since(&self) -> Option<Instant> {
        self.fetched
    }

    /// Whether it was announced to have changed.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Notes that it was announced to have changed.
    pub fn outdate(&mut self) {
        self.stale = true;
    }

    /// Whether it may be shown to a user.
    pub fn is_for(&self, uid: u32) -> bool {
        !self.private || self.uid == uid
    }

    /// For how many milliseconds it is still fresh, where the server says so.
    pub fn fresh_for(&self) -> Option<u64> {
        let ttl = self.ttl?;
        Some(ttl.saturating_sub(self.fetched.map_or(ttl, |at| at.elapsed().as_millis() as u64)))
    }

    /// Whether another list holds the same items.
    pub fn same_items(&self, other: &List) -> bool {
        Rc::ptr_eq(&self.contents, &other.contents) || self.contents.is_like(&other.contents)
    }

    /// Holds what another list holds that is like it.
    pub fn share(&mut self, contents: &Rc<Contents>) {
        self.contents = contents.clone();
    }
}

/// The pages of a list that were read so far.
#[derive(Default)]
pub struct Pages {
    items: Gathered,
    rest: String,
    ttl: Option<u64>,
    private: bool,
    cursor: Option<Box<str>>,
    count: usize,
    /// Digests of the cursors and pages that were seen.
    seen: HashSet<u64, RandomState>,
    hasher: RandomState,
}

/// What is to be done after a page of a list was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// There is another one.
    More,
    /// That was the last.
    End,
    /// There would be more than may be.
    Cut,
}

impl Pages {
    /// How many items were kept.
    pub fn kept(&self) -> usize {
        self.items.kept()
    }

    /// The cursor of the next page, as JSON; none if there is none, or the first is to be asked for.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Reads a page out of a result. A server that comes back to a page or a cursor would be asked for ever.
    pub fn read(&mut self, kind: ListKind, result: &str, most: Most) -> Next {
        self.count += 1;
        let (mut items, mut cursor) = ("[]", None);
        for (name, value) in members(result) {
            match name {
                _ if name == kind.member() => items = value,
                // An empty one is how some servers say that there is no more; asked with it they begin anew.
                "nextCursor" => cursor = Some(value).filter(|cursor| cursor.len() > 2 && cursor.starts_with('"')),
                _ if value == "null" => {}
                "ttlMs" => {
                    let ttl = value.parse().unwrap_or(0).min(LONGEST);
                    self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
                }
                _ => {
                    self.private |= name == "cacheScope" && value == r#""private""#;
                    if self.count == 1 && self.rest.len() + name.len() + value.len() < most.bytes {
                        let _ = write!(self.rest, r#","{name}":{value}"#);
                    }
                }
            }
        }
        if items.contains('{') && !self.seen.insert(self.hasher.hash_one(items)) {
            return Next::End;
        }
        self.items.add(items, most.items, most.bytes.saturating_sub(self.rest.len()));
        if self.items.left_out() > 0 {
            return Next::Cut;
        }
        let Some(cursor) = cursor.filter(|cursor| self.seen.insert(self.hasher.hash_one(cursor))) else {
            return Next::End;
        };
        if self.count >= most.pages || cursor.len() > LONGEST_CURSOR {
            return Next::Cut;
        }
        self.cursor = Some(cursor.into());
        Next::More
    }
}

/// What a list may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub items: usize,
    pub bytes: usize,
    pub pages: usize,
}

#[cfg(test)]
mod tests {
    use crate::catalogue::list::*;

    const MOST: Most = Most { items: 100, bytes: 10_000, pages: 10 };

    fn page(result: &str) -> (Pages, Next) {
        let mut pages = Pages::default();
        let next = pages.read(ListKind::Tools, result, MOST);
        (pages, next)
    }

    #[test]
    fn a_page_keeps_what_else_the_result_held() {
        let (pages, next) =
            page(r#"{"ttlMs":5,"tools":[{"name":"a"} , 1],"nextCursor":"x","cacheScope":"private","_meta":{"k":1}}"#);
        assert_eq!(pages.rest, r#","cacheScope":"private","_meta":{"k":1}"#);
        assert_eq!((next, pages.cursor(), pages.ttl, pages.private), (Next::More, Some("\"x\""), Some(5), true));
        let list = List::fetched(ListKind::Tools, Era::Legacy, pages, 0);
        assert_eq!(list.items().collect::<Vec<_>>(), [r#"{"name":"a"}"#]);
        let (pages, next) = page(r#"{"ttlMs":null,"tools":null,"nextCursor":null,"cacheScope":null,"_meta":null}"#);
        assert!(pages.rest.is_empty() && !pages.private);
        assert_eq!((next, pages.ttl), (Next::End, None));
    }

    #[test]
    fn a_page_of_odd_members_is_the_last_and_old_at_once() {
        for (odd, ttl) in [("-1", 0), ("5.5", 0), (r#""9""#, 0), ("{}", 0), ("18446744073709551615", (1 << 53) - 1)] {
            let (pages, next) = page(&format!(r#"{{"tools":[],"ttlMs":{odd},"nextCursor":""}}"#));
            assert_eq!((next, pages.ttl), (Next::End, Some(ttl)), "{odd}");
        }
        for odd in ["{}", "5", r#""text""#, r#"{"a":{}}"#] {
            let (pages, next) = page(&format!(r#"{{"tools":{odd},"nextCursor":5}}"#));
            assert!(next == Next::End && pages.items.finish().is_empty(), "{odd}");
        }
    }

    #[test]
    fn a_list_ends_where_it_repeats_itself_or_is_too_long() {
        let mut pages = Pages::default();
        let mut read = |result: &str, most| pages.read(ListKind::Tools, result, most);
        assert_eq!(read(r#"{"tools":[],"nextCursor":"1"}"#, MOST), Next::More);
        assert_eq!(
            read(r#"{"tools":[],"nextCursor":"2"}"#, MOST),
            Next::More,
            "an empty one may be followed by others"
        );
        assert_eq!(read(r#"{"tools":[{"name":"a"}],"nextCursor":"3"}"#, MOST), Next::More);
        assert_eq!(read(r#"{"tools":[{"name":"b"}],"nextCursor":"1"}"#, MOST), Next::End, "a cursor again");
        assert_eq!(read(r#"{"tools":[{"name":"a"}],"nextCursor":"4"}"#, MOST), Next::End, "a page again");
        assert_eq!(read(r#"{"tools":[{"name":"c"}],"nextCursor":"5"}"#, Most { pages: 6, ..MOST }), Next::Cut);
        assert_eq!(read(r#"{"tools":[{"name":"d"}]}"#, Most { items: 3, ..MOST }), Next::Cut);
        let names: Vec<_> = pages.items.finish().iter().map(str::to_owned).collect();
        assert_eq!(names, ["a", "b", "c"].map(|name| format!(r#"{{"name":"{name}"}}"#)));
    }
}
