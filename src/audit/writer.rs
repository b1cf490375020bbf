//! Started by `audit`: the thread that writes the audit log. A line that cannot be written is counted. Where each line
//! is required, it is kept and tried again, and calls are refused meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use super::file::Log;
use super::{Entry, Line, Shared};
use crate::config;

/// Lines that are written at once.
const AT_ONCE: usize = 256;
/// How often is tried whether the file can be written again.
const AGAIN: Duration = Duration::from_millis(500);

struct Writer {
    log: Log,
    path: PathBuf,
    required: bool,
    shared: Arc<Shared>,
    /// What could not be written yet, and how many lines that is.
    text: Vec<u8>,
    lines: u64,
}

/// Starts it; it ends when nobody can hand it lines any more.
pub fn start(config: &config::Audit, path: PathBuf, entries: Receiver<Entry>, shared: Arc<Shared>) -> io::Result<()> {
    let log = Log::new(path.clone(), config.size as u64, config.keep);
    let mut writer = Writer { log, path, required: config.required, shared, text: Vec::new(), lines: 0 };
    thread::Builder::new().name("audit".into()).spawn(move || writer.run(&entries)).map(drop)
}

impl Writer {
    fn run(&mut self, entries: &Receiver<Entry>) {
        // Whether it can be written is known before the first call.
        self.write();
        loop {
            let fails = self.shared.fails.load(Ordering::Relaxed);
            let next = if fails {
                entries.recv_timeout(AGAIN)
            } else {
                entries.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut flushed = None;
            match next {
                // What is to be kept is kept where it is, behind what could not be written.
                Ok(Entry::Line(line, of)) if !(fails && self.required) => {
                    self.gather((&line, &of), entries, &mut flushed)
                }
                Ok(Entry::Line(line, of)) => self.take((&line, &of)),
                Ok(Entry::Flushed(tell)) => flushed = Some(tell),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.write();
            // Nobody may wait any more.
            if let Some(tell) = flushed {
                let _ = tell.try_send(());
            }
        }
    }

    fn gather(
        &mut self,
        first: (&Line, &AtomicUsize),
        entries: &Receiver<Entry>,
        flushed: &mut Option<SyncSender<()>>,
    ) {
        self.take(first);
        for _ in 1..AT_ONCE {
            match entries.try_recv() {
                Ok(Entry::Line(line, of)) => self.take((&line, &of)),
                Ok(Entry::Flushed(tell)) => return *flushed = Some(tell),
                Err(_) => return,
            }
        }
    }

    /// Takes a line in, with how many of its caller's wait.
    fn take(&mut self, (line, of): (&Line, &AtomicUsize)) {
        self.shared.end(of);
        line.write(&mut self.text);
        self.lines += 1;
    }

    fn write(&mut self) {
        let failed = self.shared.fails.load(Ordering::Relaxed);
        match self.log.append(&self.text) {
            Ok(()) => {
                self.shared.written.fetch_add(self.lines, Ordering::Relaxed);
                (self.lines, self.text) = (0, Vec::new());
                if failed {
                    let lost = self.shared.lost.load(Ordering::Relaxed);
                    tracing::warn!(file = %self.path.display(), lost, "the audit log can be written again");
                }
                self.shared.fails.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                if !failed {
                    let meanwhile = if self.required {
                        "calls are refused until it can be"
                    } else {
                        "its lines are lost and counted"
                    };
                    tracing::error!(file = %self.path.display(), %error, meanwhile, "the audit log cannot be written");
                }
                self.shared.fails.store(true, Ordering::Relaxed);
                if !self.required || self.text.len() > MOST_KEPT {
                    self.shared.lost.fetch_add(self.lines, Ordering::Relaxed);
                    (self.lines, self.text) = (0, Vec::new());
                }
            }
        }
    }
}

/// Bytes that are kept while they cannot be written.
const MOST_KEPT: usize = 16 << 20;
