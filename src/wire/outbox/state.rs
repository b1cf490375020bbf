//! Kept by an outbox: the lines that wait in it, and how much room they take.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::news::News;
use super::topic::{Speaker, Topic};
use crate::wire::gauge::{SHORT, Weight};
use crate::wire::splice::Splice;

/// How many segments go into one write.
const VECTOR: usize = 16;
/// A peer for which no more waits is not behind: all news is said to it.
const KEEPS_UP: usize = 64 * 1024;
/// How much news may wait for one that is behind, by all speakers together.
const NEWS: usize = 4 << 20;
/// What is there at least beside the limit for short lines that must be said.
const BESIDE: usize = 1 << 20;

/// Lines on their way, and how the outbox stands.
pub struct State {
    ready: VecDeque<Segment>,
    tail: BytesMut,
    /// Bytes that are not written.
    pub bytes: usize,
    /// Bytes that were ever said, and those of them that were taken to be written.
    pub said: u64,
    pub taken: u64,
    /// Lines said since the last batch was taken.
    pub lines: usize,
    pub limit: usize,
    /// Bytes that are held elsewhere until they can be said.
    pub aside: usize,
    /// Nothing was read for a moment, though something waited.
    pub stuck: bool,
    pub end: End,
    /// The same bytes in the account of whoever they are kept for.
    pub weight: Option<Weight>,
    /// Of a peer that is behind.
    news: Option<Box<News>>,
}

enum Segment {
    Data(Bytes),
    /// What follows goes into a write of its own.
    Cut,
}

/// Whether more may be said.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    Open,
    /// Write what is there, then end.
    Closing,
    /// More gathered than the peer reads: it is lost.
    Overflown,
}

impl State {
    /// Nothing was said yet.
    pub fn new(limit: usize) -> State {
        let (ready, tail) = (VecDeque::new(), BytesMut::new());
        State {
            ready,
            tail,
            bytes: 0,
            said: 0,
            taken: 0,
            lines: 0,
            limit,
            aside: 0,
            stuck: false,
            end: End::Open,
            weight: None,
            news: None,
        }
    }

    /// Bytes that are not written, or held elsewhere.
    pub fn waiting(&self) -> usize {
        self.bytes + self.aside
    }

    /// Keeps the account in step with what waits.
    pub fn weigh(&mut self) {
        let bytes = self.bytes;
        self.weight.iter_mut().for_each(|weight| weight.becomes(bytes));
    }

    /// Whether a line of so many bytes may wait, too.
    pub fn fits(&self, bytes: usize) -> bool {
        let has_room = || self.weight.as_ref().is_none_or(|weight| weight.of().has_room(bytes));
        self.spares(bytes) && (self.waiting().max(bytes) <= SHORT || has_room())
    }

    /// Whether this peer may have a line of so many bytes wait, whatever is kept for others. However long it is, one may.
    pub fn spares(&self, bytes: usize) -> bool {
        self.waiting() == 0 || self.waiting() + bytes < self.limit
    }

    /// Whether there is no room even for what must be said.
    pub fn is_too_full(&self) -> bool {
        self.waiting() > self.limit + self.limit / 8 + BESIDE
    }

    /// Whether news is said now; otherwise it is kept for later, or lost.
    pub fn takes_news(&mut self, by: &Speaker, topic: Topic<'_>, splice: &Splice) -> bool {
        let size = splice.size() + 1;
        let all = NEWS.min(self.limit / 4);
        let fits = self.fits(size)
            && (self.keeps_up() || self.news.as_ref().map_or(size <= all, |news| news.fits(by, size, all)));
        match fits {
            true => self.heard(topic),
            false => {
                let news = self.news.get_or_insert_default();
                news.owe(by, topic.name(), || splice.to_bytes(), all / 4);
            }
        }
        fits
    }

    /// News of so many bytes was said.
    pub fn said_news(&mut self, by: &Speaker, bytes: usize) {
        if !self.keeps_up() {
            self.news.get_or_insert_default().said(by, bytes, self.said);
        }
    }

    /// What is kept of a topic is old.
    pub fn heard(&mut self, topic: Topic<'_>) {
        if let Some(news) = self.news.as_mut().filter(|news| news.owes())
            && let Some(name) = topic.name()
        {
            news.heard(&name);
        }
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.weigh();
        self.stuck = false;
        let written = self.said - self.bytes as u64;
        if let Some(news) = &mut self.news {
            news.written(written);
            if news.is_empty() {
                self.news = None;
            }
        }
    }

    /// Says what was kept, once there is room; how many bytes that are.
    pub fn say_what_is_kept(&mut self) -> usize {
        if !self.news.as_ref().is_some_and(|news| news.owes()) || !self.keeps_up() {
            return 0;
        }
        let before = self.bytes;
        for line in self.news.iter_mut().flat_map(|news| news.take()) {
            self.tail.extend_from_slice(&line);
            self.tail.extend_from_slice(b"\n");
            self.bytes += line.len() + 1;
            self.said += line.len() as u64 + 1;
            self.lines += 1;
        }
        self.weigh();
        self.bytes - before
    }

    fn keeps_up(&self) -> bool {
        self.waiting() <= KEEPS_UP.min(self.limit / 16)
    }

    /// Forgets what was not taken to be written; how many bytes that were.
    pub fn take_back(&mut self) -> usize {
        let bytes = (self.said - self.taken) as usize;
        self.ready.clear();
        self.tail.clear();
        self.news = None;
        (self.said, self.lines) = (self.taken, 0);
        self.bytes -= bytes;
        self.weigh();
        bytes
    }

    /// Whether everything that was said is taken.
    pub fn has_nothing_to_take(&self) -> bool {
        self.ready.is_empty() && self.tail.is_empty()
    }

    /// Makes room for so many bytes that are to be copied.
    pub fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Adds a copy.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.said += bytes.len() as u64;
        self.bytes += bytes.len();
    }

    /// Adds without copying.
    pub fn refer(&mut self, bytes: Bytes) {
        self.flush_tail();
        self.said += bytes.len() as u64;
        self.bytes += bytes.len();
        self.ready.push_back(Segment::Data(bytes));
    }

    /// Parts what was said from what is said later.
    pub fn cut(&mut self) {
        self.flush_tail();
        self.ready.push_back(Segment::Cut);
    }

    /// Takes what can be written now, up to the next cut.
    pub fn take(&mut self, batch: &mut VecDeque<Bytes>) {
        self.flush_tail();
        while batch.len() < VECTOR {
            match self.ready.pop_front() {
                Some(Segment::Data(bytes)) => {
                    self.taken += bytes.len() as u64;
                    batch.push_back(bytes);
                }
                Some(Segment::Cut) if batch.is_empty() => {}
                Some(Segment::Cut) | None => break,
            }
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail).freeze();
            self.ready.push_back(Segment::Data(tail));
        }
    }
}
