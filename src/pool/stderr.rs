//! Called by `pool::launch` for every instance: what its process writes to stderr goes to the log, cut, without
//! secrets and at a bounded rate; the last lines are kept for error messages (`tail`). It is read always, or the
//! process would stand still.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::quote::{Raw, SHOWN};
use super::tail::Tail;
use crate::metrics::ServerMetrics;

/// How much is read at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// Lines that are logged at once, and each second from then on.
const RATE: (f64, f64) = (100.0, 20.0);

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
    let room = lines.tail.room();
    let (mut line, mut chunk) = (Raw::default(), vec![0; CHUNK]);
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let mut rest = &chunk[..count];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            line.add(&rest[..end], room);
            lines.tail.add(&rest[..end], room, true);
            lines.take(&line);
            line.clear();
            rest = &rest[end + 1..];
        }
        line.add(rest, room);
        lines.tail.add(rest, room, false);
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
        let text = self.tail.text(line, SHOWN);
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
            quote.starts_with("; its stderr ends with: line 12 | ") && quote.ends_with(" | line 19 | at last"),
            "{quote}"
        );
    }
}
