//! Called where lists of several servers become one: what a later server has and an earlier one shows already is left
//! out, and so is what clients could not read; the log says so once.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::catalogue::kind::ListKind;
use crate::catalogue::legible::Told;
use crate::wire::message::{member, unquote};

/// How many are remembered; what is beyond that is not told.
const MOST: usize = 1000;
/// How many items of one list are told.
const MOST_OF_ONE: usize = 20;
/// How much of a URI is told.
const LONGEST: usize = 200;

/// Those that the log tells of.
#[derive(Default)]
pub struct Collisions(RefCell<HashSet<(String, String)>>);

impl Collisions {
    /// Tells of one, unless it was told.
    pub fn tell(&self, server: &str, kind: ListKind, item: &str) {
        let mut told = self.0.borrow_mut();
        if told.len() >= MOST {
            return;
        }
        let uri: String = member(item, kind.id()).and_then(unquote).unwrap_or_default().chars().take(LONGEST).collect();
        if told.insert((server.to_owned(), uri.clone())) {
            tracing::warn!(server, list = kind.member(), uri, "not shown among several servers: an earlier one has it");
        }
    }

    /// Tells of the items of a list that clients could not read, each unless it was told.
    pub fn tell_odd<'a>(&self, server: &str, kind: ListKind, odd: impl Iterator<Item = Told<'a>>) {
        let (mut told, mut more) = (self.0.borrow_mut(), 0);
        for (place, Told { item, why, left_out }) in odd.enumerate() {
            // One server does not use up what there is for all.
            if place >= MOST_OF_ONE || told.len() >= MOST {
                more += 1;
            } else if told.insert((server.to_owned(), format!("{} {item}: {why}", kind.member()))) {
                let what = if left_out { "is left out" } else { "is shown without what is wrong" };
                tracing::warn!(
                    server,
                    list = kind.member(),
                    item,
                    why,
                    "an item {what} where several servers are shown: clients that check lists would refuse them all"
                );
            }
        }
        if more > 0 && told.insert((server.to_owned(), kind.member().to_owned())) {
            tracing::warn!(server, list = kind.member(), more, "of its items are left out or changed likewise");
        }
    }
}
