//! Called by the carrier: what the host is told in the place of a daemon that is gone, or that never got the line.

use std::collections::{BTreeMap, HashSet};

use super::{Ledger, elements};
use crate::cli::connect::glance::{Glance, glance};
use crate::error::Error;
use crate::wire::id::RawId;
use crate::wire::message::Message;
use crate::wire::skim::{self, Shape, Skim};

impl Ledger {
    /// The daemon is gone: what the host is told in its place. What it owes is answered with an error, but not what is
    /// among `unsent`, since not one byte of that was sent; what it asked is withdrawn.
    pub fn daemon_lost(&mut self, unsent: &HashSet<RawId>, error: &Error) -> Vec<Vec<u8>> {
        let error = match self.complaint.take() {
            Some(why) if *error == Error::DaemonLost => Error::Disconnected(why),
            _ => error.clone(),
        };
        let mut told = Vec::new();
        let mut batches: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for (id, waiting) in self.in_flight.extract_if(|id, _| !unsent.contains(id)) {
            for _ in 0..=waiting.more {
                let reply = error.reply(Some(&id));
                match waiting.batch {
                    Some(batch) => batches.entry(batch).or_default().push(reply),
                    None => told.push(reply),
                }
            }
        }
        // What is unsent is said, and noted, once more.
        self.in_flight.clear();
        told.extend(batches.into_values().filter_map(joined));
        told.extend(self.asks.drain().map(|id| {
            let params = format!(r#"{{"requestId":{}}}"#, id.as_str());
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#).into_bytes()
        }));
        self.ours.clear();
        self.talked = false;
        told
    }

    /// What the host is told in answer to a line that is sent to nobody.
    pub fn refuse(&mut self, line: &[u8], error: &Error) -> Option<Vec<u8>> {
        if Message::is_batch(line) {
            return joined(
                elements(line).iter().filter_map(|element| self.refuse_one(&glance(element)?, error)).collect(),
            );
        }
        match glance(line) {
            Some(seen) => {
                self.initialized |= seen.method == Some(b"notifications/initialized");
                self.refuse_one(&seen, error)
            }
            None => self.no_message(line),
        }
    }

    fn refuse_one(&mut self, seen: &Glance<'_>, error: &Error) -> Option<Vec<u8>> {
        seen.method?;
        match seen.id.map(RawId::new)? {
            Some(id) => Some(error.reply(Some(&id))),
            None => Some(self.told_nobody()),
        }
    }

    /// What the host is told of a request whose id is none.
    pub(super) fn told_nobody(&mut self) -> Vec<u8> {
        self.unaddressed = true;
        let why = "the id of a request is a text or a number; this one was left out, since no answer could be addressed to it";
        Error::InvalidRequest(why.into()).reply(None)
    }

    /// What the host is told of a line that is no message: those who wait for answers, as far as that can be found out.
    pub(super) fn no_message(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let error = Error::Parse("a line of the host is no JSON object, and was left out".into());
        let mut found = skim::messages(line);
        if found.is_empty() {
            found.push(Skim::default());
        }
        let told: Vec<_> = found.iter().filter_map(|skim| self.refused(skim, &error)).collect();
        (!told.is_empty()).then(|| told.join(&b"\n"[..]))
    }

    /// What the host is told of a last line that is cut off: those who wait for an answer to it, as far as they are known.
    pub fn cut_off(&mut self, line: &[u8]) -> Vec<Vec<u8>> {
        let error = Error::Parse("the input ended in the middle of this line".into());
        let begun = if Message::is_batch(line) { skim::messages(line) } else { vec![Skim::over(line)] };
        begun.iter().filter_map(|skim| self.refused(skim, &error)).collect()
    }

    /// What the host is told of a line that cannot be carried: nobody waits for an answer to an answer or a notification.
    pub fn refused(&mut self, skim: &Skim, error: &Error) -> Option<Vec<u8>> {
        match skim.shape() {
            Shape::Answer | Shape::Notification => None,
            Shape::Request | Shape::Empty | Shape::Nothing => {
                self.unaddressed |= skim.id().is_none();
                Some(error.reply(skim.id()))
            }
        }
    }
}

/// The answers to a batch, as one line; none if there are none.
fn joined(replies: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    (!replies.is_empty()).then(|| [b"[", replies.join(&b","[..]).as_slice(), b"]"].concat())
}
