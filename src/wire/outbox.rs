//! Called by whoever has something to say to a peer: lines waiting to be written, bounded by bytes. Saying
//! never waits; [`Outbox::write_to`] runs beside it and writes what has gathered in as few calls as it can.

mod state;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::splice::{Piece, Splice};
use super::tally::Tally;
use state::{End, State};

/// A kept range from this size on is referred to, not copied.
const LARGE: usize = 16 * 1024;
/// By how much a line may be longer than it was with its replacements in it; if it is not enough, nothing is lost.
const LONGER: usize = 64;

/// The lines on their way to one peer. Clones share them.
#[derive(Clone)]
pub struct Outbox(Rc<Inner>);

struct Inner {
    state: RefCell<State>,
    wake: Notify,
    /// What is being written is not to be waited for as before.
    pressed: Notify,
    drained: Notify,
    /// Bytes written, if somebody wants to know.
    written: Option<Rc<Tally>>,
}

impl Outbox {
    /// An outbox that holds at most `limit` bytes.
    pub fn new(limit: usize) -> Outbox {
        Outbox::of(limit, None)
    }

    /// The same, counting the bytes that are written.
    pub fn counted(limit: usize, written: Rc<Tally>) -> Outbox {
        Outbox::of(limit, Some(written))
    }

    fn of(limit: usize, written: Option<Rc<Tally>>) -> Outbox {
        Outbox(Rc::new(Inner {
            state: RefCell::new(State::new(limit)),
            wake: Notify::new(),
            pressed: Notify::new(),
            drained: Notify::new(),
            written,
        }))
    }

    /// Says a received line with its replacements.
    pub fn splice(&self, splice: &Splice) {
        self.say(|state| {
            // Room for all of a short line at once, not for each piece anew.
            state.reserve(splice.line().len().min(LARGE) + LONGER);
            splice.each(|piece| match piece {
                Piece::Kept(range) if range.len() >= LARGE => state.refer(splice.line().slice(range)),
                Piece::Kept(range) => state.copy(&splice.line()[range]),
                Piece::Put(text) => state.copy(text.as_bytes()),
            });
        });
    }

    /// Says a line of mcpool's own.
    pub fn line(&self, text: &[u8]) {
        self.say(|state| {
            state.reserve(text.len() + 1);
            state.copy(text);
        });
    }

    /// What is said from now on goes into another write than what was said before.
    pub fn cut(&self) {
        let mut state = self.0.state.borrow_mut();
        if state.bytes > 0 {
            state.cut();
        }
    }

    /// How many bytes wait to be written.
    pub fn waiting(&self) -> usize {
        self.0.state.borrow().bytes
    }

    /// How many bytes have been said.
    pub fn said(&self) -> u64 {
        self.0.state.borrow().said
    }

    /// Whether not one byte of what was said after the first so many was taken to be written.
    pub fn kept_back(&self, after: u64) -> bool {
        self.0.state.borrow().taken <= after
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

    /// Waits until at most `bytes` wait to be written; false if that may never be, since the outbox was closed, has
    /// overflown, or has lost its writer.
    pub async fn below(&self, bytes: usize) -> bool {
        while self.waiting() > bytes {
            if self.0.state.borrow().end != End::Open {
                return false;
            }
            self.0.drained.notified().await;
        }
        true
    }

    /// Writes what is said until the outbox is closed, and then what is left, for as long as `farewell`.
    ///
    /// # Errors
    /// What the writer reports; `OutOfMemory` if the peer reads too slowly to keep, `TimedOut` if it does not read what
    /// was left.
    pub async fn write_to<W: AsyncWrite + Unpin>(&self, writer: &mut W, farewell: Duration) -> io::Result<()> {
        let (mut batch, mut busy) = (VecDeque::new(), false);
        let _gone = Gone(self);
        loop {
            match self.take(&mut batch, &mut busy) {
                End::Overflown => {
                    return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the peer does not read what it is sent"));
                }
                // Behind a pointer, since most that wait here are not closed.
                End::Closing => return Box::pin(self.write_rest(writer, batch, farewell)).await,
                End::Open if batch.is_empty() => {
                    self.0.wake.notified().await;
                    if busy {
                        // Who else has something to say in this round says it first, so that it goes into the same write.
                        tokio::task::yield_now().await;
                    }
                }
                End::Open => tokio::select! {
                    biased;
                    written = write(writer, &batch) => self.wrote(written?, &mut batch),
                    () = self.0.pressed.notified() => {}
                },
            }
        }
    }

    /// Writes what was said last.
    async fn write_rest<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        mut batch: VecDeque<Bytes>,
        patience: Duration,
    ) -> io::Result<()> {
        let rest = async {
            loop {
                self.take(&mut batch, &mut false);
                if batch.is_empty() {
                    return writer.flush().await;
                }
                self.wrote(write(writer, &batch).await?, &mut batch);
            }
        };
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read what was said last"));
        timeout(patience, rest).await.unwrap_or_else(late)
    }

    /// What is to be written next, and how the outbox stands; whether several lines came together.
    fn take(&self, batch: &mut VecDeque<Bytes>, busy: &mut bool) -> End {
        let mut state = self.0.state.borrow_mut();
        if batch.is_empty() {
            state.take(batch);
            if !batch.is_empty() {
                *busy = std::mem::take(&mut state.lines) > 1;
            }
        }
        state.end
    }

    fn wrote(&self, bytes: usize, batch: &mut VecDeque<Bytes>) {
        let mut rest = bytes;
        while let Some(front) = batch.front_mut().filter(|_| rest > 0) {
            let step = rest.min(front.len());
            front.advance(step);
            rest -= step;
            if front.is_empty() {
                batch.pop_front();
            }
        }
        self.0.state.borrow_mut().bytes -= bytes;
        self.0.written.iter().for_each(|tally| tally.add(bytes as u64));
        self.0.drained.notify_waiters();
    }

    fn say(&self, write: impl FnOnce(&mut State)) {
        let mut state = self.0.state.borrow_mut();
        if state.end != End::Open {
            return;
        }
        let was_empty = state.has_nothing_to_take();
        write(&mut state);
        state.copy(b"\n");
        state.lines += 1;
        if state.bytes > state.limit {
            state.end = End::Overflown;
            self.0.pressed.notify_one();
            self.0.drained.notify_waiters();
        }
        if was_empty || state.end == End::Overflown {
            self.0.wake.notify_one();
        }
    }
}

/// The writer, which may end in the middle: then nobody waits for what it would have written.
struct Gone<'a>(&'a Outbox);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let Outbox(inner) = self.0;
        let mut state = inner.state.borrow_mut();
        if state.end == End::Open {
            state.end = End::Closing;
        }
        inner.drained.notify_waiters();
    }
}

/// Writes once; the number of bytes.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, batch: &VecDeque<Bytes>) -> io::Result<usize> {
    let written = if let (Some(only), 1) = (batch.front(), batch.len()) {
        writer.write(only).await?
    } else {
        let slices: Vec<IoSlice<'_>> = batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
        writer.write_vectored(&slices).await?
    };
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_was_said_before_a_cut_is_written_alone() {
        let outbox = Outbox::new(1000);
        outbox.line(b"progress");
        outbox.cut();
        outbox.line(b"answer");
        outbox.line(b"more");
        let next = || {
            let mut batch = VecDeque::new();
            outbox.take(&mut batch, &mut false);
            batch.make_contiguous().concat()
        };
        assert_eq!((next(), next()), (b"progress\n".to_vec(), b"answer\nmore\n".to_vec()));
    }

    #[tokio::test]
    async fn large_pieces_are_written_whole_and_in_order() {
        let outbox = Outbox::new(1 << 20);
        let payload = Bytes::from("x".repeat(100_000));
        outbox.line(b"a");
        outbox.splice(&Splice::new(payload.clone()));
        outbox.line(b"b");
        outbox.close();
        let (mut near, mut far) = tokio::io::duplex(1000);
        let writing = async {
            outbox.write_to(&mut near, Duration::from_secs(1)).await.unwrap();
            drop(near);
        };
        let mut read = Vec::new();
        let (_, result) = tokio::join!(writing, far.read_to_end(&mut read));
        result.unwrap();
        assert_eq!(read, [b"a\n".as_slice(), &payload, b"\nb\n"].concat());
        assert_eq!(outbox.waiting(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_is_gone() {
        for how in ["closed", "overflown", "failed", "dropped"] {
            let outbox = Outbox::new(20);
            outbox.line(b"0123456789");
            let (mut near, far) = tokio::io::duplex(4);
            let writing = outbox.clone();
            let mut writing = Box::pin(async move { writing.write_to(&mut near, Duration::ZERO).await });
            let below = outbox.below(1);
            tokio::pin!(below);
            tokio::select! {
                biased;
                _ = &mut writing => panic!("nobody reads"),
                below = &mut below => panic!("it is not: {below}"),
                () = tokio::task::yield_now() => {}
            }
            match how {
                "closed" => outbox.close(),
                "overflown" => outbox.line(b"01234567890123456789"),
                "failed" => {
                    drop(far);
                    assert!(writing.as_mut().await.is_err());
                }
                _ => drop(writing),
            }
            assert!(!below.await, "{how}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let outbox = Outbox::new(10);
        outbox.line(b"0123456789");
        let error = outbox.write_to(&mut tokio::io::sink(), Duration::MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_last_is_waited_for_and_not_for_ever() {
        let outbox = Outbox::new(1000);
        outbox.line(b"0123456789");
        let (mut near, mut far) = tokio::io::duplex(4);
        let began = tokio::time::Instant::now();
        let closing = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            outbox.close();
            // What was on its way when it was closed goes on from there.
            let mut read = [0; 6];
            far.read_exact(&mut read).await.unwrap();
            read
        };
        let (written, read) = tokio::join!(outbox.write_to(&mut near, Duration::from_secs(2)), closing);
        assert_eq!((written.unwrap_err().kind(), &read), (io::ErrorKind::TimedOut, b"012345"));
        assert_eq!(began.elapsed(), Duration::from_secs(62));
        assert_eq!(outbox.waiting(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_keeps_what_it_was_given_is_not_waited_for_either() {
        let (near, _far) = tokio::io::duplex(4);
        let mut writer = tokio::io::BufWriter::new(near);
        let outbox = Outbox::new(1000);
        outbox.line(b"0123456789");
        outbox.close();
        let written = outbox.write_to(&mut writer, Duration::from_secs(2)).await;
        assert_eq!((written.unwrap_err().kind(), outbox.waiting()), (io::ErrorKind::TimedOut, 0));
    }
}
