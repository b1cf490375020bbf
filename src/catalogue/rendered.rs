//! Called by `mux::lists`: one page of a list as a caller gets it, put together from the lists of one or several
//! servers.

use std::fmt::Write;

use crate::catalogue::kind::ListKind;

/// How many bytes are left for what stands around the items: the envelope, a cursor, a time, and what a translation adds.
const AROUND: usize = 4096;

/// A page that is being put together: as much as fits into one message, because many hosts read the first page only.
pub(crate) struct Rendered {
    items: String,
    /// How many items came before this one, and how many were on earlier pages.
    index: usize,
    from: usize,
    /// Where the next page starts.
    next: Option<usize>,
    /// How many bytes of items there may be.
    room: usize,
}

impl Rendered {
    /// A page that starts behind so many items, in a message of at most `limit` bytes.
    pub(crate) fn from(from: usize, limit: usize) -> Rendered {
        Rendered { items: String::new(), index: 0, from, next: None, room: limit.saturating_sub(AROUND) }
    }

    /// Whether what comes belongs to later pages.
    pub(crate) fn is_full(&self) -> bool {
        self.next.is_some()
    }

    /// Leaves so many bytes for something besides the items.
    pub(crate) fn leave_room(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// Adds an item, if it belongs to this page.
    pub(crate) fn add(&mut self, item: &str) {
        self.index += 1;
        if self.index <= self.from || self.next.is_some() {
            return;
        }
        if !self.items.is_empty() && self.items.len() + 1 + item.len() > self.room {
            self.next = Some(self.index - 1);
            return;
        }
        let comma = if self.items.is_empty() { "" } else { "," };
        let _ = write!(self.items, "{comma}{item}");
    }

    /// The whole result: `cursor` makes one for the page that starts behind so many items, `rest` are further members,
    /// each behind a comma.
    pub(crate) fn finish(
        self,
        kind: ListKind,
        cursor: impl FnOnce(usize) -> String,
        fresh_ms: Option<u64>,
        rest: &str,
    ) -> String {
        let next = self.next.map(|next| format!(r#","nextCursor":"{}""#, cursor(next))).unwrap_or_default();
        let ttl = fresh_ms.map(|ttl| format!(r#","ttlMs":{ttl}"#)).unwrap_or_default();
        format!(r#"{{"{}":[{}]{next}{ttl}{rest}}}"#, kind.member(), self.items)
    }
}

/// For how long the lists on a page are fresh, in milliseconds: as long as the one that is the first to be old.
#[derive(Default)]
pub(crate) struct Freshness {
    pub(crate) least: Option<u64>,
}

impl Freshness {
    pub(crate) fn add(&mut self, fresh_ms: Option<u64>) {
        if let Some(more) = fresh_ms {
            self.least = Some(self.least.map_or(more, |least| least.min(more)));
        }
    }
}
