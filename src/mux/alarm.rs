//! Started by `mux` once: the one timer, which runs `mux::sweep` when the earliest deadline may be over.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Handle;
use crate::clock::{self, Turn};
use crate::tasks;
use crate::wire::frame::Scratch;

/// Deadlines that lie closer together than this are looked at together.
const GRAIN: Duration = Duration::from_millis(10);

/// Waking so much later than was asked for, mcpool stood still: it was stopped, or its machine had no time for it.
const FREEZE: Duration = Duration::from_millis(500);
/// For how long nothing is read any more when everything is that came meanwhile, ...
const QUIET: Duration = Duration::from_millis(100);
/// ... and how long is waited for that.
const LONGEST: Duration = Duration::from_secs(2);

/// Runs the alarm of a multiplexer for as long as that lives.
pub fn keep(handle: &Handle) {
    let (mux, alarm) = (Rc::downgrade(&handle.0), handle.0.borrow().alarm.clone());
    let scratch = handle.0.borrow().scratch.clone();
    tasks::spawn("alarm", async move {
        loop {
            let next = alarm.due().await;
            if next.elapsed() >= FREEZE {
                tracing::info!(late = %clock::rounded(next.elapsed()), "stood still; what came meanwhile is read first");
                read_first(&scratch).await;
            }
            let Some(mux) = mux.upgrade() else { return };
            alarm.clear();
            let _turn = Turn::begin();
            mux.borrow_mut().turn(|mux| {
                if let Some(next) = mux.sweep(clock::now()) {
                    alarm.at(next.max(clock::now() + GRAIN));
                }
            });
        }
    });
}

/// Lets everybody read what has come. A deadline that passed while nothing could be read is not believed before that: the
/// answer may have been there in time.
async fn read_first(scratch: &Scratch) {
    let until = Instant::now() + LONGEST;
    loop {
        let before = scratch.read();
        sleep(QUIET).await;
        if scratch.read() == before || Instant::now() >= until {
            return;
        }
    }
}
