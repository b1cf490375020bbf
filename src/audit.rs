//! Called by `mux` when a request arrives and by its account when it ends: who called what, one JSON line for each
//! request, in a file of its own. With no such file nothing of this is done. A thread writes (`audit::writer`); what it
//! cannot keep up with, or cannot write, is counted, and calls are refused meanwhile if the config says that each must
//! be told of.

mod digest;
mod file;
mod line;
mod writer;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use crate::config;
pub use digest::Digest;
use digest::Key;
pub use line::Line;

/// Lines that may wait to be written.
const WAITING: usize = 4096;
/// Of these, what all callers may fill whose calls are not on their way yet, in equal shares.
const SHARED: usize = WAITING / 2;
/// The least that a caller may have waiting, however many there are.
const LEAST: usize = 16;
/// How long the last lines may take to be written.
const LAST: Duration = Duration::from_secs(1);
/// The most bytes of a text that a peer chose.
const LONGEST: usize = 1024;

/// The audit log of a daemon.
pub struct Trail {
    lines: SyncSender<Entry>,
    shared: Arc<Shared>,
    key: Key,
    file: PathBuf,
    required: bool,
}

/// What the writer is handed.
enum Entry {
    /// With how many of its caller's lines wait.
    Line(Box<Line>, Arc<AtomicUsize>),
    /// Everything before was written, or will not be: whoever waits for that may go on.
    Flushed(SyncSender<()>),
}

/// What both threads know.
#[derive(Default)]
struct Shared {
    written: AtomicU64,
    lost: AtomicU64,
    /// Lines that the writer has not taken yet, and of how many callers they are.
    waiting: AtomicUsize,
    callers: AtomicUsize,
    /// Whether the last attempt to write failed.
    fails: AtomicBool,
}

/// What is known of a caller, for all its lines.
#[derive(Debug, Default)]
pub struct Who {
    pub uid: u32,
    pub pid: Option<i32>,
    /// What it runs, as the system tells.
    pub program: Option<String>,
    pub endpoint: String,
    /// How it named itself.
    pub client: RefCell<String>,
    /// How many of its lines the writer has not taken yet.
    pub waiting: Arc<AtomicUsize>,
}

/// A request on its way.
pub struct Request {
    trail: Rc<Trail>,
    who: Rc<Who>,
    caller: u64,
    method: String,
    target: Option<String>,
    digest: Option<Digest>,
    /// Whether it was let through, so that it may have had an effect.
    passed: bool,
}

/// How the audit log does.
#[derive(Debug)]
pub struct State {
    pub file: PathBuf,
    pub required: bool,
    pub fails: bool,
    pub written: u64,
    pub lost: u64,
}

impl Trail {
    /// Begins to write where the config says; nothing if it says nowhere. A file that cannot be written is tried again.
    ///
    /// # Errors
    /// In words: there is no key for the digests, or no thread.
    pub fn start(config: &config::Audit) -> Result<Option<Rc<Trail>>, String> {
        let Some(file) = config.file.clone() else { return Ok(None) };
        let key =
            Key::beside(&file).map_err(|error| format!("no key for the audit log {}: {error}", file.display()))?;
        let (lines, entries) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        writer::start(config, file.clone(), entries, shared.clone())
            .map_err(|error| format!("no thread for the audit log: {error}"))?;
        Ok(Some(Rc::new(Trail { lines, shared, key, file, required: config.required })))
    }

    /// Whether calls of a caller are to be refused, since they could not be told of.
    pub fn refuses(&self, who: &Who) -> bool {
        // A file that takes nothing for a while fails with no error; lines of calls on their way are still to come.
        let hangs = || self.shared.waiting.load(Ordering::Relaxed) >= SHARED || self.shared.is_used_up(&who.waiting);
        self.required && (self.shared.fails.load(Ordering::Relaxed) || hangs())
    }

    /// A request of a caller arrived, which the log knows by a number; its arguments as they were written.
    pub fn request(
        self: &Rc<Self>,
        (who, caller): (&Rc<Who>, u64),
        method: &str,
        target: Option<&str>,
        arguments: Option<&str>,
    ) -> Request {
        Request {
            trail: self.clone(),
            who: who.clone(),
            caller,
            method: bounded(method),
            target: target.map(bounded),
            digest: arguments.map(|arguments| self.key.digest(arguments.as_bytes())),
            passed: false,
        }
    }

    /// How it does.
    pub fn state(&self) -> State {
        State {
            file: self.file.clone(),
            required: self.required,
            fails: self.shared.fails.load(Ordering::Relaxed),
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Trail {
    /// Waits until everything is written, but not for long.
    fn drop(&mut self) {
        let (tell, flushed) = sync_channel(1);
        if self.lines.try_send(Entry::Flushed(tell)).is_ok() {
            let _ = flushed.recv_timeout(LAST);
        }
    }
}

impl Shared {
    /// Whether a caller has as many lines waiting as it may: an equal share, with one more left for whoever comes next.
    fn is_used_up(&self, waiting: &AtomicUsize) -> bool {
        let callers = self.callers.load(Ordering::Relaxed);
        waiting.load(Ordering::Relaxed) >= (SHARED / (callers + 1)).max(LEAST)
    }

    /// A line of a caller waits.
    fn begin(&self, waiting: &AtomicUsize) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.callers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It waits no longer.
    fn end(&self, waiting: &AtomicUsize) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.callers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Request {
    /// It was let through: where lines are required, this one is kept as long as there is any room.
    pub fn passes(&mut self) {
        self.passed = true;
    }

    /// It ended after that many milliseconds; `reason` in a word or two.
    pub fn ended(&self, server: &str, outcome: &'static str, reason: &str, took: Duration) {
        let (caller, shared) = (self.caller, &self.trail.shared);
        // Who asks for what is refused at once, or for nothing that matters, takes no room of others.
        if shared.is_used_up(&self.who.waiting) && !(self.passed && self.trail.required) {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let line = Line {
            time: SystemTime::now(),
            caller,
            uid: self.who.uid,
            pid: self.who.pid,
            program: self.who.program.clone(),
            endpoint: self.who.endpoint.clone(),
            client: bounded(&self.who.client.borrow()),
            server: server.to_owned(),
            method: self.method.clone(),
            target: self.target.clone(),
            digest: self.digest,
            outcome,
            reason: bounded(reason),
            took,
        };
        shared.begin(&self.who.waiting);
        let entry = Entry::Line(Box::new(line), self.who.waiting.clone());
        if self.trail.lines.try_send(entry).is_err() {
            shared.end(&self.who.waiting);
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
