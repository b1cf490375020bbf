//! Called by `serve`: the log on its way to stderr. Whoever reads stderr may be slow, or not read at all, and
//! then no call is to wait for it: a thread writes, and what it cannot keep up with is left out and counted.

use std::io::{self, Write};
use std::panic;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::plural::plural;

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How long the last lines may take to be written.
const LAST: Duration = Duration::from_millis(200);

/// What was logged and not written yet.
pub struct Journal(Lines);

/// Takes a line for each thing that is logged.
#[derive(Clone)]
pub struct Lines {
    entries: SyncSender<Entry>,
    left_out: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before was written: whoever waits for that may go on.
    Written(SyncSender<()>),
}

impl Journal {
    /// Starts to write to `out` what is logged.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Journal> {
        let (entries, to_write) = sync_channel(WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let lines = Lines { entries, left_out: left_out.clone() };
        thread::Builder::new().name("log".into()).spawn(move || write(out, &to_write, &left_out))?;
        Ok(Journal(lines))
    }

    /// Where to log.
    pub fn lines(&self) -> Lines {
        self.0.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.0.written();
    }
}

impl Lines {
    /// Waits until everything is written, but not for long.
    fn written(&self) {
        let (tell, written) = sync_channel(1);
        if self.entries.try_send(Entry::Written(tell)).is_ok() {
            let _ = written.recv_timeout(LAST);
        }
    }

    /// Lets a panic end the process once it is logged. What all tasks share may be changed half, and a daemon whose
    /// alarm is gone would be silent for ever; one that ended is started again.
    pub fn end_at_panic(self) {
        panic::set_hook(Box::new(move |panicked| {
            tracing::error!(why = %panicked, "mcpool panicked, which is a bug of mcpool: it ends, and its servers with it");
            self.written();
            process::abort();
        }));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut out: impl Write, entries: &Receiver<Entry>, left_out: &AtomicU64) {
    while let Ok(entry) = entries.recv() {
        // If it cannot be written, there is nobody to tell.
        let _ = match entry {
            Entry::Line(line) => out.write_all(&line),
            Entry::Written(tell) => tell.try_send(()).map_err(io::Error::other),
        };
        let count = left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(out, "[{} of the log left out: it was not read fast enough]", plural(count, "line"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Writes once for each permission, and tells what.
    struct Slow(Receiver<()>, Sender<String>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_it_missed_is_counted() {
        let ((permit, permits), (told, written)) = (channel(), channel());
        let journal = Journal::start(Slow(permits, told)).unwrap();
        let mut lines = journal.lines();
        for number in 0..2 * WAITING {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop((permit, journal, lines));
        let written: String = written.iter().collect();
        let count = written.lines().filter(|line| line.parse::<usize>().is_ok()).count();
        assert!((WAITING..=WAITING + 1).contains(&count), "{count}");
        assert!(
            written.contains(&format!("[{} of the log left out", plural(2 * WAITING - count, "line"))),
            "{written}"
        );
    }

    /// Run by itself this does nothing: the test below runs it in a process of its own.
    #[test]
    fn a_process_that_panics() {
        if std::env::var_os("MCPOOL_TEST_PANICS").is_some() {
            let journal = Journal::start(io::stderr()).unwrap();
            let lines = journal.lines();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).init();
            journal.lines().end_at_panic();
            let panicked = thread::spawn(|| panic!("on purpose")).join();
            println!("went on after {panicked:?}");
        }
    }

    #[test]
    fn a_panic_on_any_thread_is_logged_and_ends_the_process() {
        let mut again = process::Command::new(std::env::current_exe().unwrap());
        again.args(["cli::journal::tests::a_process_that_panics", "--exact", "--nocapture"]);
        let ended = again.env("MCPOOL_TEST_PANICS", "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("a bug of mcpool") && said.contains("on purpose"), "{said}");
        assert!(!String::from_utf8_lossy(&ended.stdout).contains("went on"));
    }
}
