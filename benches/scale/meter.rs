//! Processor time of this thread, with what callers and servers take of it kept apart.
use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::{Effort, Result};

thread_local! {
    static PEERS: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What this thread has spent on the multiplexer.
pub fn spent() -> Duration {
    cpu().saturating_sub(PEERS.get())
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Work of a caller or a server.
pub struct OfPeer<F>(pub Pin<Box<F>>);

/// Marks work as that of a caller or a server.
pub fn of_peer<F: Future>(work: F) -> OfPeer<F> {
    OfPeer(Box::pin(work))
}

impl<F: Future> Future for OfPeer<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = cpu();
        let polled = self.0.as_mut().poll(context);
        PEERS.set(PEERS.get() + cpu().saturating_sub(before));
        polled
    }
}

/// What one message costs, in microseconds: after a few for warmth, as many as give a steady figure, or as time allows.
pub async fn message(effort: Effort, mut send: impl AsyncFnMut() -> Result) -> Result<f64> {
    const MOST: u32 = 500;
    let began = Instant::now();
    for _ in 0..20 {
        send().await?;
        if began.elapsed() > effort.patience / 10 {
            break;
        }
    }
    let (began, before) = (Instant::now(), spent());
    for count in 1..=MOST {
        send().await?;
        if count == MOST || began.elapsed() > effort.patience {
            return Ok((spent() - before).as_secs_f64() * 1e6 / f64::from(count));
        }
    }
    unreachable!("the last one returns")
}

/// The time that a row may take to be set up.
pub struct Patience(Instant, Duration);

impl Patience {
    pub fn new(effort: Effort) -> Self {
        Patience(Instant::now(), effort.patience)
    }

    /// To be asked between steps: ends a row that takes too long.
    pub fn check(&self, done: usize) -> Result {
        if self.0.elapsed() > self.1 {
            return Err(format!("gave up after {done} in {:?}", self.1).into());
        }
        Ok(())
    }
}

/// The longest time, in milliseconds, that the multiplexer keeps everybody from going on while `work` is done. Time passes
/// meanwhile, a little with each look, so that what is due is done.
pub async fn pause(work: impl Future<Output = Result>) -> Result<f64> {
    let mut work = std::pin::pin!(work);
    let mut last = spent();
    let mut longest = Duration::ZERO;
    loop {
        let done = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        let now = spent();
        longest = longest.max(now - last);
        last = now;
        if let Poll::Ready(done) = done {
            return done.map(|()| longest.as_secs_f64() * 1e3);
        }
    }
}
