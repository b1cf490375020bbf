//! Called by the listener, and for stdio, with each caller's streams: reads its lines, refuses what is no
//! message, and hands the rest to the multiplexer; writes what is said to it.

use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use slotmap::Key;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::mux::Handle;
use crate::mux::access::Principal;
use crate::mux::callers::Endpoint;
use crate::reply::{Batch, CallerKey};
use crate::wire::frame::{Line, LineReader};
use crate::wire::message::{Malformed, Message};
use crate::wire::outbox::Outbox;

/// A caller that leaves more than this unread is not read from until it reads.
const UNREAD: usize = 4 << 20;
/// How often a caller that says nothing more is looked at: at first, and when its calls take their time.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long a caller that is being left may take to read what was said to it last.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves one caller until it or mcpool ends. After the end of its input its last calls are answered still, each within
/// its own limits, until `left` says of its streams that it reads nothing more.
pub async fn serve<R, W, L>(
    mux: Handle,
    endpoint: Rc<Endpoint>,
    who: impl Into<Principal>,
    reader: R,
    mut writer: W,
    left: L,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    L: Fn(&R) -> bool,
{
    let principal: Principal = who.into();
    let (pid, uid, program) = (principal.pid, principal.uid, principal.program.clone());
    let (config, scratch, metrics) = mux.with(|mux| (mux.config.clone(), mux.scratch.clone(), mux.metrics.clone()));
    let outbox = Outbox::counted(config.limits.outgoing, metrics.bytes.to_callers.clone());
    let Some(key) = mux.with(|mux| mux.connect(endpoint.clone(), outbox.clone(), principal)) else {
        tracing::warn!(pid, "refused a caller: the endpoint has as many as it may, or mcpool is ending");
        return;
    };
    let caller = key.data().as_ffi();
    tracing::debug!(caller, pid, uid, endpoint = endpoint.name, program, "a caller came");
    let guard = HangUp { mux: mux.clone(), key };
    let mut session = Session {
        mux: mux.clone(),
        key,
        outbox: outbox.clone(),
        lines: LineReader::new(reader, scratch, config.limits.message),
        config,
        metrics: metrics.clone(),
    };
    let writing = outbox.write_to(&mut writer, FAREWELL);
    tokio::pin!(writing);
    let ended = tokio::select! {
        biased;
        written = &mut writing => Ended::Write(written),
        ended = session.read(left) => ended,
    };
    match ended.fault() {
        Some(reason) => {
            tracing::warn!(caller, pid, endpoint = endpoint.name, reason, ?ended, "a caller is disconnected");
            metrics.callers_dropped.one(reason);
        }
        None => tracing::debug!(caller, pid, ?ended, "a caller left"),
    }
    drop(guard);
    outbox.close();
    if !matches!(ended, Ended::Write(_)) {
        // What was said last is worth a moment; there is nobody to tell if it was not enough.
        let _ = writing.await;
    }
}

/// Hangs up when dropped, however the session ends.
struct HangUp {
    mux: Handle,
    key: CallerKey,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        self.mux.with(|mux| mux.hang_up(self.key));
    }
}

/// Why a session ended.
#[derive(Debug)]
#[expect(dead_code, reason = "read by the log")]
enum Ended {
    /// The caller closed its side.
    Closed,
    /// The caller sent what cannot be addressed with an error.
    Unaddressable(String),
    /// Half a line, then silence.
    HalfALine,
    Read(io::Error),
    Write(io::Result<()>),
}

impl Ended {
    /// Why mcpool disconnects the caller, in a word, if it is mcpool that does.
    fn fault(&self) -> Option<&'static str> {
        match self {
            Ended::Unaddressable(_) => Some("unaddressable"),
            Ended::HalfALine => Some("half_a_line"),
            Ended::Write(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory => Some("does_not_read"),
            Ended::Write(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Some("does_not_leave"),
            Ended::Closed | Ended::Read(_) | Ended::Write(_) => None,
        }
    }
}

struct Session<R> {
    mux: Handle,
    key: CallerKey,
    outbox: Outbox,
    lines: LineReader<R>,
    /// As it was when the caller connected.
    config: Rc<Config>,
    metrics: Rc<Metrics>,
}

impl<R: AsyncRead + Unpin> Session<R> {
    async fn read(&mut self, left: impl Fn(&R) -> bool) -> Ended {
        loop {
            while let Some(line) = self.lines.take() {
                if let Err(why) = self.take(line) {
                    return Ended::Unaddressable(why);
                }
            }
            if !self.outbox.below(UNREAD).await {
                // The writer, which ends with it, says why.
                pending::<()>().await;
            }
            let read = if self.lines.in_a_line() {
                match timeout(self.config.limits.line, self.lines.fill()).await {
                    Ok(read) => read,
                    Err(_) => return Ended::HalfALine,
                }
            } else {
                self.lines.fill().await
            };
            match read {
                Ok(0) => {
                    // What comes at the end only is not in the memory of all those who stay.
                    Box::pin(self.linger(left)).await;
                    return Ended::Closed;
                }
                Ok(bytes) => self.metrics.bytes.from_callers.add(bytes as u64),
                Err(error) => return Ended::Read(error),
            }
        }
    }

    /// Waits until the last calls are answered, or the caller has left. What is not answered by then is cancelled.
    async fn linger(&self, left: impl Fn(&R) -> bool) {
        let mut pause = LOOK.0;
        while !self.mux.with(|mux| mux.is_served(self.key)) && !left(self.lines.inner()) {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// Takes one line; an error if nothing that was wrong with it can be told to anybody.
    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Whole(line) if Message::is_batch(&line) => self.take_batch(&line),
            Line::Whole(line) => self.take_message(line, None),
            Line::TooLong(size, skim) => {
                let error = Error::TooLarge { size, limit: self.config.limits.message };
                match skim.id() {
                    Some(id) if skim.is_answer() => self.mux.with(|mux| mux.ask_lost(self.key, id, &error.to_string())),
                    Some(id) => {
                        self.metrics.refused(&error);
                        self.outbox.line(&error.reply(Some(id)));
                    }
                    None => return self.unaddressable(&error),
                }
                Ok(())
            }
        }
    }

    fn take_message(&mut self, line: Bytes, batch: Option<&Rc<Batch>>) -> Result<(), String> {
        match Message::read(line, self.config.limits.nesting) {
            Ok(message) => {
                self.mux.with(|mux| mux.received(self.key, message, batch.cloned()));
                Ok(())
            }
            Err(Malformed { answer: true, why, id: Some(id), .. }) => {
                self.mux.with(|mux| mux.ask_lost(self.key, &id, &why));
                Ok(())
            }
            Err(malformed) => {
                let error = if malformed.code == -32700 {
                    Error::Parse(malformed.why)
                } else {
                    Error::InvalidRequest(malformed.why)
                };
                match (&malformed.id, batch) {
                    (id, Some(batch)) => batch.add(error.reply(id.as_ref()).into()),
                    (Some(id), None) => self.outbox.line(&error.reply(Some(id))),
                    (None, None) => return self.unaddressable(&error),
                }
                self.metrics.refused(&error);
                Ok(())
            }
        }
    }

    fn take_batch(&mut self, line: &Bytes) -> Result<(), String> {
        if !self.mux.with(|mux| mux.speaks_batches(self.key)) {
            return self.unaddressable(&Error::InvalidRequest("batches exist only in revision 2025-03-26".into()));
        }
        match Message::batch(line, self.config.limits.nesting, self.config.limits.in_flight) {
            Err(fault) => self.unaddressable(&Error::Parse(fault.to_string())),
            Ok(elements) if elements.is_empty() => self.unaddressable(&Error::InvalidRequest("an empty batch".into())),
            Ok(elements) => {
                let batch = Batch::new(self.outbox.clone(), self.config.limits.outgoing);
                elements.into_iter().try_for_each(|line| self.take_message(line, Some(&batch)))
            }
        }
    }

    /// Says an error to nobody in particular, as JSON-RPC has it; then the connection is closed, because whoever
    /// waits for an answer to that line would wait for ever.
    fn unaddressable(&self, error: &Error) -> Result<(), String> {
        self.metrics.refused(error);
        self.outbox.line(&error.reply(None));
        Err(error.to_string())
    }
}
