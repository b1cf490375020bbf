//! Called by the task of each peer: writes what has gathered in an outbox, in as few calls as it can, and finds out
//! whether the peer reads.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::Outbox;
use super::state::End;

/// For how long a peer that reads nothing is thought to go on in a moment.
const MOMENT: Duration = Duration::from_secs(10);

impl Outbox {
    /// Writes what is said until the outbox is closed, and then what is left, for as long as `farewell`.
    ///
    /// # Errors
    /// What the writer reports; `OutOfMemory` if the peer reads nothing, or too slowly to keep, `TimedOut` if it does not read
    /// what was left.
    pub async fn write_to<W: AsyncWrite + Unpin>(&self, writer: &mut W, farewell: Duration) -> io::Result<()> {
        let (mut batch, mut busy) = (VecDeque::new(), false);
        let _gone = Gone(self);
        loop {
            match self.take(&mut batch, &mut busy) {
                End::Overflown => return Err(does_not_read()),
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
                    () = self.reads_nothing() => return Err(does_not_read()),
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
    pub(super) fn take(&self, batch: &mut VecDeque<Bytes>, busy: &mut bool) -> End {
        let mut state = self.0.state.borrow_mut();
        if batch.is_empty() {
            let kept = state.say_what_is_kept();
            if kept > 0 {
                self.0.flow.iter().for_each(|flow| flow.came(kept));
            }
            state.take(batch);
            if !batch.is_empty() {
                *busy = std::mem::take(&mut state.lines) > 1;
            }
        }
        state.end
    }

    pub(super) fn wrote(&self, bytes: usize, batch: &mut VecDeque<Bytes>) {
        let mut rest = bytes;
        while let Some(front) = batch.front_mut().filter(|_| rest > 0) {
            let step = rest.min(front.len());
            front.advance(step);
            rest -= step;
            if front.is_empty() {
                batch.pop_front();
            }
        }
        self.0.state.borrow_mut().wrote(bytes);
        self.0.flow.iter().for_each(|flow| flow.wrote(bytes));
        self.0.drained.notify_waiters();
    }

    /// Waits until a peer has had its time in which it read nothing. Nothing is kept for that as long as it reads at once.
    async fn reads_nothing(&self) {
        let Some(unread) = self.0.unread else { return pending().await };
        let moment = MOMENT.min(unread / 2);
        Box::pin(sleep(moment)).await;
        self.0.state.borrow_mut().stuck = true;
        self.0.drained.notify_waiters();
        Box::pin(sleep(unread - moment)).await;
    }
}

fn does_not_read() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "the peer does not read what it is sent")
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
