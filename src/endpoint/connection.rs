//! Called by `daemon::doors` for each caller on a socket, and by the daemon for `serve --stdio`: reads a caller's
//! lines, answers those that are not messages, hands the rest to `mux`, and writes what is said to the caller.

use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use slotmap::Key;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout_at};

use crate::caller::endpoint::Endpoint;
use crate::caller::identity::Identity;
use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::key::CallerKey;
use crate::metrics::Metrics;
use crate::mux::Handle;
use crate::reply::Batch;
use crate::wire::frame::{Line, LineReader};
use crate::wire::gauge::Weight;
use crate::wire::half::Half;
use crate::wire::id::RawId;
use crate::wire::message::Message;
use crate::wire::outbox::{Bounds, Outbox};
use crate::wire::skim::{self, Shape};

/// A caller that leaves more than this unread is not read from until it reads.
const UNREAD: usize = 4 << 20;
/// How many messages of a batch are dealt with before others have their turn.
const TOGETHER: usize = 32;
/// How long a caller that keeps too much is not read from before what it says is refused, and after how long that is looked at
/// first: then after twice as long each time.
const NO_ROOM: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(10));
/// For how much there must be room before a caller is read from.
const READ: usize = 64 << 10;
/// How often a caller that says nothing more is looked at: at first, and when its calls take their time.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long a caller that is being left may take to read what was said to it last.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves one caller until it or mcpool ends. After the end of its input its last calls are answered still, each within
/// its own limits, until `left` says of its streams that it reads nothing more. Returns whether it took what was said to it,
/// up to the end.
pub async fn serve<R, W, L>(
    mux: Handle,
    endpoint: Rc<Endpoint>,
    who: impl Into<Identity>,
    reader: R,
    mut writer: W,
    left: L,
) -> bool
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    L: Fn(&R) -> bool,
{
    let identity: Identity = who.into();
    let (pid, uid, program) = (identity.pid, identity.uid, identity.program.clone());
    let (config, scratch, metrics) = mux.with(|mux| (mux.config.clone(), mux.scratch.clone(), mux.metrics.clone()));
    let bounds = Bounds { bytes: config.limits.outgoing, unread: Some(config.limits.unread) };
    let outbox = Outbox::counted(bounds, metrics.bytes.to_callers.clone());
    let Some(key) = mux.with(|mux| mux.connect(endpoint.clone(), outbox.clone(), identity)) else {
        tracing::warn!(pid, "refused a caller: the endpoint has as many as it may, or mcpool is ending");
        return false;
    };
    let caller = key.data().as_ffi();
    tracing::debug!(caller, pid, uid, endpoint = endpoint.name, program, "a caller came");
    let guard = HangUp { mux: mux.clone(), key };
    let share = mux.share_of(mux.with(|mux| mux.principal(key)));
    let mut session = Session {
        mux: mux.clone(),
        key,
        weight: share.bytes().weigh(0),
        skipped: false,
        outbox: outbox.clone(),
        lines: LineReader::new(reader, scratch, config.limits.message),
        half: None,
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
    match ended {
        Ended::Write(written) => written.is_ok(),
        // What was said last is worth a moment.
        _ => writing.await.is_ok(),
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
    half: Option<Half>,
    /// What is kept of a line that has begun.
    weight: Weight,
    /// Whether that line is read only to tell what it is, since there is no memory for it.
    skipped: bool,
    /// As it was when the caller connected.
    config: Rc<Config>,
    metrics: Rc<Metrics>,
}

impl<R: AsyncRead + Unpin> Session<R> {
    async fn read(&mut self, left: impl Fn(&R) -> bool) -> Ended {
        loop {
            while let Some(line) = self.lines.take() {
                self.half = None;
                self.keeps(0);
                if let Err(why) = self.take(line).await {
                    return Ended::Unaddressable(why);
                }
                self.catch_up().await;
                self.lines.give_way().await;
            }
            let held_up = self.half.is_some().then(clock::now);
            self.catch_up().await;
            self.keeps(self.lines.begun().len());
            if !self.skipped
                && !self.has_room()
                && !self.room_comes().await
                && !self.lines.begun().is_empty()
                && let Err(why) = self.skip()
            {
                return Ended::Unaddressable(why);
            }
            if let (Some(half), Some(since)) = (&mut self.half, held_up) {
                half.was_held_up(clock::now() - since);
            }
            let read = match self.half() {
                None => self.lines.fill().await,
                Some(half) => match timeout_at(half.until(), self.lines.fill()).await {
                    Ok(read) => read,
                    // What came in the meantime may be worth more time.
                    Err(_) if self.half.as_mut().is_some_and(Half::goes_on) => continue,
                    Err(_) => return Ended::HalfALine,
                },
            };
            match read {
                Ok(0) => {
                    // A whole message without a line end is one. No connection need be closed for what it is otherwise.
                    if let Some(rest) = self.lines.rest() {
                        let _ = self.take(rest).await;
                    }
                    // Of a caller that has left everything is given up in any case.
                    if !left(self.lines.inner()) {
                        self.mux.with(|mux| mux.input_ended(self.key));
                    }
                    // What comes at the end only is not in the memory of all those who stay.
                    Box::pin(self.linger(left)).await;
                    return Ended::Closed;
                }
                Ok(bytes) => {
                    self.metrics.bytes.from_callers.add(bytes as u64);
                    if let Some(half) = &mut self.half {
                        half.came(bytes);
                    }
                }
                Err(error) => return Ended::Read(error),
            }
        }
    }

    /// Keeps nothing more of the line that has begun than what is needed to refuse it; an error if it is a batch, of which
    /// each request would have to be refused.
    #[cold]
    fn skip(&mut self) -> Result<(), String> {
        if Message::is_batch(self.lines.begun()) {
            return self.unaddressable(&Error::MemoryFull { bytes: self.weight.of().now() });
        }
        self.lines.let_go();
        self.skipped = true;
        self.keeps(0);
        Ok(())
    }

    /// Notes how much is kept of a line that has begun.
    fn keeps(&mut self, bytes: usize) {
        if bytes != self.weight.bytes() {
            self.weight.becomes(bytes);
        }
    }

    /// Whether there is room for more of what the caller says. A line that has begun is given as much again as it has.
    fn has_room(&self) -> bool {
        self.weight.of().has_room(READ.max(self.lines.begun().len()))
    }

    /// Waits for a while until there is room for what the caller says; whether there is. Where more is kept than ever should
    /// be, what has come of a line is not kept meanwhile.
    #[cold]
    async fn room_comes(&self) -> bool {
        let (until, mut pause) = (clock::now() + NO_ROOM.0, NO_ROOM.1);
        while !self.has_room() {
            let is_pressed = self.weight.bytes() > 0 && self.weight.of().is_pressed();
            if is_pressed || clock::now() >= until {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(until.saturating_duration_since(clock::now()));
        }
        true
    }

    /// The line that has begun, if one has.
    fn half(&mut self) -> Option<&Half> {
        if !self.lines.in_a_line() {
            self.half = None;
            return None;
        }
        Some(self.half.get_or_insert_with(|| Half::begins(self.config.limits.line)))
    }

    /// Waits until the caller has read so much that more may be done for it.
    async fn catch_up(&self) {
        if !self.outbox.below(UNREAD.min(self.outbox.limit() / 2)).await {
            // The writer, which ends with it, says why.
            pending::<()>().await;
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

    /// Takes one line; an error if it is a request that cannot be answered. Nobody waits for an answer to anything else
    /// that is wrong with a line.
    async fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            // Behind a pointer, since few lines are one.
            Line::Whole(line) if Message::is_batch(&line) => Box::pin(self.take_batch(&line)).await,
            Line::Whole(line) => self.take_message(line, None),
            Line::TooLong(_, skim) if std::mem::take(&mut self.skipped) => {
                let error = Error::MemoryFull { bytes: self.weight.of().now() };
                self.refuse(&error, skim.id(), skim.shape(), "memory_full")
            }
            Line::TooLong(size, skim) => {
                let error = Error::TooLarge { server: None, size, limit: self.config.limits.message };
                self.refuse(&error, skim.id(), skim.shape(), "too_large")
            }
        }
    }

    fn take_message(&mut self, line: Bytes, batch: Option<&Rc<Batch>>) -> Result<(), String> {
        let malformed = match Message::read(line, self.config.limits.nesting) {
            Ok(message) => {
                self.mux.with(|mux| mux.received(self.key, message, batch.cloned()));
                return Ok(());
            }
            Err(malformed) => malformed,
        };
        let error = Error::malformed(malformed.code, malformed.why);
        if let Some(batch) = batch
            && matches!(malformed.shape, Shape::Request | Shape::Nothing)
        {
            self.metrics.refused(&error);
            batch.must_add(error.reply(malformed.id.as_ref()).into());
            return Ok(());
        }
        if malformed.id.is_none() && malformed.shape == Shape::Request && malformed.code == -32600 {
            // It has one that is none, under which nobody can wait.
            self.answer_nobody(&error);
            return Ok(());
        }
        self.refuse(&error, malformed.id.as_ref(), malformed.shape, "malformed")
    }

    /// Refuses a line that cannot be taken: whoever waits for an answer to it is told, if that is possible.
    fn refuse(&self, error: &Error, id: Option<&RawId>, shape: Shape, reason: &'static str) -> Result<(), String> {
        let asked = |id: &RawId| self.mux.with(|mux| mux.is_asked(self.key, id));
        match (id, shape) {
            (Some(id), Shape::Answer) => self.mux.with(|mux| mux.ask_lost(self.key, id, &error.to_string())),
            (Some(id), Shape::Empty) if asked(id) => {
                self.mux.with(|mux| mux.ask_lost(self.key, id, &error.to_string()));
            }
            (Some(_), _) | (None, Shape::Nothing) => {
                self.metrics.refused(error);
                self.outbox.line(&error.reply(id));
            }
            (None, Shape::Answer | Shape::Empty | Shape::Notification) => {
                tracing::debug!(reason, why = error.to_string(), "dropped a message of a caller");
                self.metrics.dropped(reason);
            }
            (None, Shape::Request) => return self.unaddressable(error),
        }
        Ok(())
    }

    async fn take_batch(&mut self, line: &Bytes) -> Result<(), String> {
        if !self.mux.with(|mux| mux.speaks_batches(self.key)) {
            let error = Error::InvalidRequest("batches exist only in revision 2025-03-26".into());
            return self.refuse_batch(&error, line);
        }
        match Message::batch(line, self.config.limits.nesting, self.config.limits.in_flight) {
            Err(fault) => self.refuse_batch(&Error::malformed(fault.code(), fault.to_string()), line),
            Ok(elements) if elements.is_empty() => {
                self.refuse(&Error::InvalidRequest("an empty batch".into()), None, Shape::Nothing, "malformed")
            }
            Ok(elements) => {
                let batch = Batch::new(self.outbox.clone());
                for (number, line) in elements.into_iter().enumerate() {
                    if number % TOGETHER == TOGETHER - 1 {
                        yield_now().await;
                    }
                    self.take_message(line, Some(&batch))?;
                }
                Ok(())
            }
        }
    }

    /// Refuses each request of a batch that is refused as a whole.
    fn refuse_batch(&self, error: &Error, line: &[u8]) -> Result<(), String> {
        let messages = skim::messages(line);
        if messages.len() == skim::MESSAGES {
            // There may be more than those.
            return self.unaddressable(error);
        }
        if messages.is_empty() {
            return self.refuse(error, None, Shape::Nothing, "malformed");
        }
        messages.iter().try_for_each(|message| self.refuse(error, message.id(), message.shape(), "malformed"))
    }

    /// Says an error to nobody in particular, as JSON-RPC has it.
    fn answer_nobody(&self, error: &Error) {
        self.metrics.refused(error);
        self.outbox.line(&error.reply(None));
    }

    /// Says an error to nobody in particular; then the connection is closed, because whoever waits for an answer to that
    /// line would wait for ever.
    fn unaddressable(&self, error: &Error) -> Result<(), String> {
        self.answer_nobody(error);
        Err(error.to_string())
    }
}
