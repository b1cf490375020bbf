//! A client that stops reading for a while, or for good: it is waited for or disconnected, and owed no more than others.
//! What it hears at last is too late to be held to any time, but each answer is still its own, and comes once.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Kind, Message};
use mcpool::wire::scan::Field;
use tokio::io::{BufReader, DuplexStream, Lines, ReadHalf};
use tokio::time::{sleep, timeout};

use super::{BOUND, Caller, What};
use crate::simulation::world::mark;

/// No answer to a `ping` is shorter, in bytes.
const SHORTEST: usize = 30;
/// The most that a connection holds beside the outbox, in bytes.
const BETWEEN: usize = 200_000;
/// How long a line may take to be written, unless nobody reads it.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a client reads from.
pub type Incoming = Lines<BufReader<ReadHalf<DuplexStream>>>;

/// What comes twice comes within this time.
const PAUSE: Duration = Duration::from_secs(5);

impl Caller {
    /// Goes on calling and does not read what comes.
    pub(super) async fn stall(self: &Rc<Caller>) {
        self.world.note(&self.name(), "reads no more");
        let began = self.world.now();
        self.stalled.set(true);
        self.world.stalled.borrow_mut().insert(self.no);
        self.stops_reading.notify_one();
        for _ in 0..self.roll(20) {
            let _ = timeout(PATIENCE, self.act()).await;
            self.rest(50).await;
        }
        if self.roll(2) == 0 {
            self.world.count("callers that never read again");
            return self.be_left().await;
        }
        self.world.count("callers that do not read for a while");
        self.rest(30_000).await;
        let _ = timeout(PATIENCE, self.act()).await;
        let (since, unread) = (self.world.now() - began, self.world.config().limits.unread);
        if self.cut.get() && since < unread && self.is_served() {
            self.world.fault(format!("{} was left after {since:?}, though it has {unread:?}", self.name()));
        }
        self.world.note(&self.name(), "reads on");
        self.late.set(true);
        self.reads_on.notify_one();
    }

    /// Asks for more than the connection holds, and goes on to read nothing: it is left after its time.
    async fn be_left(&self) {
        for _ in 0..BETWEEN / SHORTEST {
            if self.cut.get() {
                break;
            }
            let line = self.request(What::Nothing, "ping", "{}", None);
            if timeout(PATIENCE, self.say(line)).await.is_err() {
                // Half of it may be written.
                break;
            }
        }
        sleep(self.world.config().limits.unread + PATIENCE).await;
        let _ = timeout(PATIENCE, self.say(String::new())).await;
        match self.cut.get() {
            true => self.world.count("callers that were left because they did not read"),
            // What is to end anyway may take a while longer for that.
            false if !self.is_served() => {}
            false => self.world.fault(format!("{} reads nothing, and is not left", self.name())),
        }
    }

    /// Reads the next line, as soon as it reads at all.
    pub(super) async fn next_line(&self, lines: &mut Incoming) -> std::io::Result<Option<String>> {
        let line = tokio::select! {
            biased;
            () = self.stops_reading.notified() => None,
            line = lines.next_line() => Some(line),
        };
        if let Some(line) = line {
            return line;
        }
        self.reads_on.notified().await;
        lines.next_line().await
    }

    /// A line that was not read in time.
    pub(super) fn hear_late(&self, line: &str) {
        if self.torn.get() {
            // Only the last line before it was hung up on may be cut short.
            self.world.fault(format!("{} got half a line before {line}", self.name()));
        }
        let whole = line.to_owned().into();
        let parts = match line.starts_with('[') {
            true => Message::batch(&whole, 1000, 10_000).unwrap_or_default(),
            false => vec![whole],
        };
        for part in parts {
            let Ok(message) = Message::read(part.clone(), 1000) else { return self.torn.set(true) };
            let answer = matches!(message.kind(), Kind::Result | Kind::Error);
            if message.raw(Field::Error).is_some_and(|error| error.contains("\"not_read\"")) {
                self.world.count("answers for which there was no room");
            }
            let id = message.raw(Field::Id).unwrap_or_default();
            if answer && self.pending.borrow_mut().remove(id).is_none() {
                self.world.fault(format!("{} got an answer to nothing, or a second one: {line}", self.name()));
            }
            if let Some(cause) = mark(&String::from_utf8_lossy(&part), "cause") {
                self.check_own(cause, "a late line");
            }
        }
        self.answered.notify_one();
    }

    /// Waits for what is still owed to it, if it reads again.
    pub(super) async fn catch_up(&self) {
        if !self.late.get() {
            return;
        }
        let all_answered = async {
            while self.waits() {
                self.answered.notified().await;
            }
        };
        if timeout(BOUND, all_answered).await.is_err() {
            self.world.fault(format!("{} read on and got no answer to all", self.name()));
        }
        sleep(PAUSE).await;
    }
}
