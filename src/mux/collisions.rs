//! Called where lists of several servers become one: what a later server has and an earlier one shows already is left
//! out, and the log says so once.

use std::cell::RefCell;
use std::collections::HashSet;

use super::lists::ListKind;
use crate::wire::message::{member, unquote};

/// How many are remembered; what is beyond that is not told.
const MOST: usize = 1000;
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
        let key = if kind == ListKind::Resources { "uri" } else { "uriTemplate" };
        let uri: String = member(item, key).and_then(unquote).unwrap_or_default().chars().take(LONGEST).collect();
        if told.insert((server.to_owned(), uri.clone())) {
            tracing::warn!(
                server,
                list = kind.member(),
                ?uri,
                "not shown among several servers: an earlier one has it"
            );
        }
    }
}
