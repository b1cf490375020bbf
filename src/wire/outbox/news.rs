//! Called by the outbox of a peer that is behind: what waits for it that may be lost, by speaker, and the newest of
//! what found no room.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::topic::Speaker;

/// How many topics are kept the newest message of.
const TOPICS: usize = 64;

/// What may be lost.
#[derive(Default)]
pub struct News {
    /// In the order in which they are written.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    by: SmallVec<[(Speaker, usize); 2]>,
    owed: Vec<Owed>,
    owed_bytes: usize,
}

/// A message that waits to be written.
struct Waiting {
    /// How much will have been written when it is.
    until: u64,
    bytes: usize,
    by: Speaker,
}

/// A message that is said when there is room.
struct Owed {
    topic: String,
    line: Bytes,
    by: Speaker,
}

impl News {
    /// Whether a message fits into the share of `by`, with so many bytes for all. The share is as much as there is room left
    /// for others, so that who says much leaves as much to whoever comes next.
    pub fn fits(&self, by: &Speaker, bytes: usize, most: usize) -> bool {
        let own = self.by.iter().find(|(other, _)| Rc::ptr_eq(other, by)).map_or(0, |(_, bytes)| *bytes);
        own + bytes <= most.saturating_sub(self.bytes)
    }

    /// A message waits, and will have been written when so much has been.
    pub fn said(&mut self, by: &Speaker, bytes: usize, until: u64) {
        match self.by.iter_mut().find(|(other, _)| Rc::ptr_eq(other, by)) {
            Some((_, own)) => *own += bytes,
            None => self.by.push((by.clone(), bytes)),
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting { until, bytes, by: by.clone() });
    }

    /// So much has been written.
    pub fn written(&mut self, until: u64) {
        while self.waiting.front().is_some_and(|first| first.until <= until) {
            let Some(first) = self.waiting.pop_front() else { return };
            self.bytes -= first.bytes;
            if let Some(place) = self.by.iter().position(|(other, _)| Rc::ptr_eq(other, &first.by)) {
                self.by[place].1 -= first.bytes;
                if self.by[place].1 == 0 {
                    self.by.swap_remove(place);
                }
            }
        }
    }

    /// There is no room for a message: it is kept in the place of an older one on the same topic, if it has one and that is
    /// little in all, and is lost otherwise.
    pub fn owe(&mut self, by: &Speaker, topic: Option<String>, line: impl FnOnce() -> Bytes, most: usize) {
        let Some(topic) = topic else { return by.one() };
        self.heard(&topic);
        let line = line();
        if self.owed.len() == TOPICS || self.owed_bytes + line.len() > most {
            return by.one();
        }
        self.owed_bytes += line.len();
        self.owed.push(Owed { topic, line, by: by.clone() });
    }

    /// A topic is over, or its newest message was said: the one that is kept is lost.
    pub fn heard(&mut self, topic: &str) {
        if let Some(place) = self.owed.iter().position(|owed| owed.topic == topic) {
            let old = self.owed.remove(place);
            self.owed_bytes -= old.line.len();
            old.by.one();
        }
    }

    /// Takes what is kept, the oldest first.
    pub fn take(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        self.owed_bytes = 0;
        std::mem::take(&mut self.owed).into_iter().map(|owed| owed.line)
    }

    /// Whether something is kept to be said later.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether there is nothing to know any more.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.owed.is_empty()
    }
}
