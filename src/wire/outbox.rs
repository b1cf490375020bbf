//! Called by whatever has something to say to a peer: lines that wait to be written, bounded by bytes. Saying never
//! waits. A line that does not fit is treated by its kind: what must be said is said; an answer is refused, so that a
//! short error can be said in its place; news is dropped, or its newest kept. `write_to` runs beside it.

mod news;
mod state;
mod topic;
mod write;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::flow::Flow;
use super::gauge::Gauge;
use super::splice::{Piece, Splice};
use state::{End, State};
pub use topic::{Speaker, Topic};

/// A kept range from this size on is referred to, not copied.
const LARGE: usize = 16 * 1024;
/// By how much a line may be longer than it was with its replacements in it; if it is not enough, nothing is lost.
const LONGER: usize = 64;

/// The lines on their way to one peer. Clones share them.
#[derive(Clone)]
pub struct Outbox(Rc<Inner>);

/// How much may wait for a peer, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes that may wait. Short lines that must be said find room beyond that.
    pub bytes: usize,
    /// How long a peer may read nothing while something waits for it; for ever if `None`.
    pub unread: Option<Duration>,
}

struct Inner {
    state: RefCell<State>,
    wake: Notify,
    /// What is being written is not to be waited for as before.
    pressed: Notify,
    drained: Notify,
    unread: Option<Duration>,
    /// What all outboxes of this kind hold, if somebody wants to know.
    flow: Option<Rc<Flow>>,
}

impl Outbox {
    /// An outbox that holds at most `limit` bytes.
    pub fn new(limit: usize) -> Outbox {
        Outbox::of(Bounds { bytes: limit, unread: None }, None)
    }

    /// An outbox whose bytes are counted with those of its kind.
    pub fn counted(bounds: Bounds, flow: Rc<Flow>) -> Outbox {
        Outbox::of(bounds, Some(flow))
    }

    fn of(bounds: Bounds, flow: Option<Rc<Flow>>) -> Outbox {
        Outbox(Rc::new(Inner {
            state: RefCell::new(State::new(bounds.bytes)),
            wake: Notify::new(),
            pressed: Notify::new(),
            drained: Notify::new(),
            unread: bounds.unread,
            flow,
        }))
    }

    /// What waits to be written is kept for the holder of this gauge, from now on.
    pub fn weighs_on(&self, gauge: &Gauge) {
        let mut state = self.0.state.borrow_mut();
        let bytes = state.bytes;
        state.weight = Some(gauge.weigh(bytes));
    }

    /// Says a received line with its replacements, which must be said.
    pub fn splice(&self, splice: &Splice) {
        self.say(|state| put(state, splice));
    }

    /// Says a line of mcpool's own, which is short and must be said.
    pub fn line(&self, text: &[u8]) {
        self.say(|state| {
            state.reserve(text.len() + 1);
            state.copy(text);
        });
    }

    /// Says a line if there is room for it; whether there was. Where nothing is said any more, there is.
    pub fn answer(&self, splice: &Splice) -> bool {
        let fits = self.fits(splice.size());
        if fits {
            self.splice(splice);
        }
        fits
    }

    /// Says a line that asks the peer something, if it takes no room from the answers for which the peer waits; whether
    /// it did not.
    pub fn ask(&self, splice: &Splice) -> bool {
        let spares = {
            let state = self.0.state.borrow();
            state.end != End::Open || state.spares(state.limit / 2 + splice.size())
        };
        spares && self.answer(splice)
    }

    /// Says what may be lost. If its speaker has taken its share of the room, it is kept or dropped, and what is lost by that
    /// is counted with the speaker.
    pub fn news(&self, by: &Speaker, topic: Topic<'_>, splice: &Splice) {
        let mut state = self.0.state.borrow_mut();
        if state.end != End::Open {
            return;
        }
        if state.takes_news(by, topic, splice) {
            self.add(&mut state, |state| put(state, splice));
            state.said_news(by, splice.size() + 1);
        }
    }

    /// Nothing more is to be heard of a topic.
    pub fn settled(&self, topic: Topic<'_>) {
        self.0.state.borrow_mut().heard(topic);
    }

    /// Whether so many bytes more may wait.
    pub fn fits(&self, bytes: usize) -> bool {
        let state = self.0.state.borrow();
        state.end != End::Open || state.fits(bytes)
    }

    /// Keeps room for bytes that are held elsewhere until they can be said; whether there was as much.
    pub fn set_aside(&self, bytes: usize) -> bool {
        let mut state = self.0.state.borrow_mut();
        let fits = state.end != End::Open || state.fits(bytes);
        if fits {
            state.aside += bytes;
            self.0.flow.iter().for_each(|flow| flow.came(bytes));
        }
        fits
    }

    /// Gives room back that was kept.
    pub fn give_back(&self, bytes: usize) {
        self.0.state.borrow_mut().aside -= bytes;
        self.0.flow.iter().for_each(|flow| flow.lost(bytes));
    }

    /// What is said from now on goes into another write than what was said before.
    pub fn cut(&self) {
        let mut state = self.0.state.borrow_mut();
        if state.bytes > 0 {
            state.cut();
        }
    }

    /// How many bytes wait to be written, or are put aside for that.
    pub fn waiting(&self) -> usize {
        self.0.state.borrow().waiting()
    }

    /// How many bytes may wait.
    pub fn limit(&self) -> usize {
        self.0.state.borrow().limit
    }

    /// How many bytes have been said.
    pub fn said(&self) -> u64 {
        self.0.state.borrow().said
    }

    /// Whether not one byte of what was said after the first so many was taken to be written.
    pub fn kept_back(&self, after: u64) -> bool {
        self.0.state.borrow().taken <= after
    }

    /// Forgets what was not taken to be written, since it is said to somebody else.
    pub fn take_back(&self) {
        let bytes = self.0.state.borrow_mut().take_back();
        self.0.flow.iter().for_each(|flow| flow.lost(bytes));
    }

    /// Whether so much could be read by the peer that more should not be fetched for it yet. Of one that reads nothing that
    /// is not expected.
    pub fn is_behind(&self) -> bool {
        let state = self.0.state.borrow();
        state.end == End::Open && !state.stuck && state.bytes > state.limit / 4
    }

    /// Ends the writer once everything is written; what is said later is dropped.
    pub fn close(&self) {
        let mut state = self.0.state.borrow_mut();
        if state.end == End::Open {
            state.end = End::Closing;
        }
        self.0.wake.notify_one();
        self.0.pressed.notify_one();
        self.0.drained.notify_waiters();
    }

    /// Waits until the peer has read something, or is found to read nothing.
    pub async fn moved(&self) {
        self.0.drained.notified().await;
    }

    /// Waits until at most `bytes` wait to be written; false if that may never be, since the outbox was closed, has
    /// overflown, or has lost its writer.
    pub async fn below(&self, bytes: usize) -> bool {
        while self.0.state.borrow().bytes > bytes {
            if self.0.state.borrow().end != End::Open {
                return false;
            }
            self.moved().await;
        }
        true
    }

    fn say(&self, write: impl FnOnce(&mut State)) {
        let mut state = self.0.state.borrow_mut();
        if state.end == End::Open {
            self.add(&mut state, write);
        }
    }

    fn add(&self, state: &mut State, write: impl FnOnce(&mut State)) {
        let (was_empty, before) = (state.has_nothing_to_take(), state.bytes);
        write(state);
        state.copy(b"\n");
        state.lines += 1;
        self.0.flow.iter().for_each(|flow| flow.came(state.bytes - before));
        state.weigh();
        if state.is_too_full() {
            state.end = End::Overflown;
            self.0.pressed.notify_one();
            self.0.drained.notify_waiters();
        }
        if was_empty || state.end == End::Overflown {
            self.0.wake.notify_one();
        }
    }
}

fn put(state: &mut State, splice: &Splice) {
    // Room for all of a short line at once, not for each piece anew.
    state.reserve(splice.line().len().min(LARGE) + LONGER);
    splice.each(|piece| match piece {
        Piece::Kept(range) if range.len() >= LARGE => state.refer(splice.line().slice(range)),
        Piece::Kept(range) => state.copy(&splice.line()[range]),
        Piece::Put(text) => state.copy(text.as_bytes()),
    });
}

impl Drop for Inner {
    fn drop(&mut self) {
        let waiting = self.state.borrow().waiting();
        self.flow.iter().for_each(|flow| flow.lost(waiting));
    }
}

#[cfg(test)]
mod tests;
