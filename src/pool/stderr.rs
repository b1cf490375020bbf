//! Called by `pool::launch` for every instance: what its process writes to stderr goes to the log, cut, without
//! secrets and at a bounded rate; the last lines are kept for error messages. It is read always, or the
//! process would stand still.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::quote::{Raw, SHOWN, Secrets};
use crate::metrics::ServerMetrics;

/// What stands before the last lines in an error message.
pub const ENDS: &str = "; its stderr ends with: ";
/// How much is read at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// Lines that are logged at once, and each second from then on.
const RATE: (f64, f64) = (100.0, 20.0);

/// The last lines that an instance wrote to its stderr.
#[derive(Clone, Default)]
pub struct Tail(Rc<RefCell<Last>>);

#[derive(Default)]
struct Last {
    lines: VecDeque<Raw>,
    secrets: Rc<Secrets>,
}

impl Tail {
    const LINES: usize = 8;
    const LENGTH: usize = 300;

    /// Of an instance of a server that has these secrets.
    pub fn keeping(secrets: Rc<Secrets>) -> Tail {
        Tail(Rc::new(RefCell::new(Last { lines: VecDeque::new(), secrets })))
    }

    /// What a server said elsewhere, as it may be seen.
    pub fn shown(&self, said: &str) -> String {
        self.0.borrow().secrets.quote(said)
    }

    fn push(&self, line: &Raw) {
        let mut last = self.0.borrow_mut();
        // Room is used again: a flood of lines costs copies and nothing else.
        let mut slot = if last.lines.len() == Tail::LINES { last.lines.pop_front() } else { None }.unwrap_or_default();
        slot.clone_from(line);
        last.lines.push_back(slot);
    }

    /// The lines, as they may be seen.
    pub fn lines(&self) -> Vec<String> {
        let last = self.0.borrow();
        last.lines.iter().map(|line| last.secrets.text(line, Tail::LENGTH)).collect()
    }

    /// The lines, for an error message; empty if there are none.
    pub fn quote(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() { String::new() } else { format!("{ENDS}{}", lines.join(" | ")) }
    }
}

/// How many lines may be logged now.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { left: RATE.0, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * RATE.1).min(RATE.0);
        self.at = now;
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

/// Logs what comes, until nothing comes any more.
pub async fn log(mut stream: Box<dyn AsyncRead + Unpin>, tail: Tail, server: Rc<ServerMetrics>, instance: u64) {
    let mut lines = Lines { server, instance, tail, allowance: Allowance::new(Instant::now()), left_out: 0 };
    let room = lines.tail.0.borrow().secrets.room();
    let (mut line, mut chunk) = (Raw::default(), vec![0; CHUNK]);
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let mut rest = &chunk[..count];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            line.add(&rest[..end], room);
            lines.take(&line);
            line.clear();
            rest = &rest[end + 1..];
        }
        line.add(rest, room);
        // Whoever writes without a pause does not keep the others waiting.
        yield_now().await;
    }
    lines.take(&line);
    lines.end();
}

/// The log of one instance.
struct Lines {
    server: Rc<ServerMetrics>,
    instance: u64,
    tail: Tail,
    allowance: Allowance,
    /// Lines since the last one that was logged.
    left_out: u64,
}

impl Lines {
    fn take(&mut self, line: &Raw) {
        if line.kept.trim_ascii().is_empty() {
            return;
        }
        self.tail.push(line);
        if !self.allowance.take(Instant::now()) {
            self.left_out += 1;
            self.server.stderr_left_out.one();
            return;
        }
        let (server, instance) = (&self.server.name, self.instance);
        if self.left_out > 0 {
            tracing::info!(server, instance, left_out = self.left_out, "stderr goes on");
            self.left_out = 0;
        }
        let text = self.tail.0.borrow().secrets.text(line, SHOWN);
        tracing::info!(server, instance, stderr = %text);
    }

    fn end(&self) {
        if self.left_out > 0 {
            let (server, instance) = (&self.server.name, self.instance);
            tracing::info!(server, instance, left_out = self.left_out, "stderr ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_allowed_its_share() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let mut at = |ms: u64| (0..1000).filter(|_| allowance.take(now + Duration::from_millis(ms))).count();
        assert_eq!([at(0), at(0), at(500), at(60_000)], [100, 0, 10, 100]);
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_also_one_without_an_end() {
        let input: String = (0..20).map(|number| format!("line {number}\n\n")).collect::<String>() + "at last";
        let tail = Tail::default();
        let server = crate::metrics::Metrics::default().server("x");
        log(Box::new(std::io::Cursor::new(input)), tail.clone(), server, 1).await;
        let quote = tail.quote();
        assert!(
            quote.starts_with("; its stderr ends with: line 13 | ") && quote.ends_with(" | line 19 | at last"),
            "{quote}"
        );
    }
}
