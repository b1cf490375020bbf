//! What waits in an outbox.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// How many segments go into one write.
const VECTOR: usize = 16;

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
    pub end: End,
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
        State { ready, tail, bytes: 0, said: 0, taken: 0, lines: 0, limit, end: End::Open }
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
