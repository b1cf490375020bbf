//! Called by `mux` for calls: what a request names, looked up in everything that a server was seen to offer to any kind
//! of client. Nothing here reads a list.

use std::rc::Rc;

use super::Catalogue;
use super::contents::Contents;
use super::kind::ListKind;

/// What stands behind a name that is shown on endpoints of several servers.
pub enum Behind<'a> {
    /// The server's own name.
    Real(std::borrow::Cow<'a, str>),
    /// Nothing, since it is left out for what is wrong with it.
    LeftOut(&'a str),
    /// Nothing that is known.
    Unknown,
}

impl Catalogue {
    /// What stands behind `SERVER__` and this.
    pub fn behind(&self, kind: ListKind, shown: &str) -> Behind<'_> {
        if let Some(real) = self.known(kind).find_map(|contents| contents.real(&self.name, shown)) {
            return Behind::Real(real);
        }
        self.why_left_out(kind, shown).map_or(Behind::Unknown, Behind::LeftOut)
    }

    /// Why something is not shown on endpoints of several servers although the server lists it.
    pub fn why_left_out(&self, kind: ListKind, shown: &str) -> Option<&str> {
        self.known(kind).find_map(|contents| contents.joined(&self.name).why_left_out(shown))
    }

    /// Whether the server shows a resource, or a template that keeps it from those behind.
    pub fn has_resource(&self, uri: &str) -> bool {
        let kind = ListKind::Resources;
        let shows = |contents: &Rc<Contents>| {
            contents.joined(&self.name).place(&self.name, kind, contents.index(), uri).is_some()
        };
        self.known(kind).any(shows) || self.known(ListKind::Templates).any(|them| them.joined(&self.name).claims(uri))
    }

    /// Whether a resource fits a template that the server shows.
    pub fn may_have_resource(&self, uri: &str) -> bool {
        self.known(ListKind::Templates).any(|them| them.joined(&self.name).covers(uri))
    }

    /// Whether the server says of a tool that it may be carried out twice. Told differently to different clients, it is
    /// believed to none.
    pub fn is_marked_safe(&self, tool: &str) -> bool {
        let mut told = self.known(ListKind::Tools).filter_map(|contents| contents.index().is_safe(tool)).peekable();
        told.peek().is_some() && told.all(|safe| safe)
    }

    /// Whether a tool may be one of the server's, as far as its lists are known.
    pub fn may_offer(&self, tool: &str) -> bool {
        let mut lists = self.known(ListKind::Tools).peekable();
        lists.peek().is_none() || lists.any(|contents| contents.index().has(tool))
    }

    /// What is known of a kind of list, whoever it was told; what was told to several stands there once if they came one
    /// after the other.
    fn known(&self, kind: ListKind) -> impl Iterator<Item = &Rc<Contents>> {
        let mut last: Option<&Rc<Contents>> = None;
        self.variants().filter_map(move |variant| {
            let contents = variant.list(kind)?.contents();
            let same = last.is_some_and(|last| Rc::ptr_eq(last, contents));
            last = Some(contents);
            (!same).then_some(contents)
        })
    }
}
