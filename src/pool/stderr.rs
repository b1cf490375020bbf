//! Called by `pool::launch` for every instance: what its process writes to stderr goes to the log, cut, without
//! secrets and at a bounded rate; the last lines are kept for error messages. It is read always, or the
//! process would stand still.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::config;

/// Characters of a line that are logged.
const SHOWN: usize = 1000;
/// How much is read at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// Lines that are logged at once, and each second from then on.
const RATE: (f64, f64) = (100.0, 20.0);
/// Shorter ones are too likely to be part of something else.
const SECRET: usize = 6;

/// The last lines that an instance wrote to its stderr.
#[derive(Clone, Default)]
pub struct Tail(Rc<RefCell<Last>>);

#[derive(Default)]
struct Last {
    lines: VecDeque<Raw>,
    secrets: Secrets,
}

impl Tail {
    const LINES: usize = 8;
    const LENGTH: usize = 300;

    fn push(&self, line: &Raw) {
        let mut last = self.0.borrow_mut();
        // Room is used again: a flood of lines costs copies and nothing else.
        let mut slot = if last.lines.len() == Tail::LINES { last.lines.pop_front() } else { None }.unwrap_or_default();
        slot.clone_from(line);
        last.lines.push_back(slot);
    }

    /// The lines, for an error message; empty if there are none.
    pub fn quote(&self) -> String {
        let last = self.0.borrow();
        let lines: Vec<String> = last.lines.iter().map(|line| last.secrets.text(line, Tail::LENGTH)).collect();
        if lines.is_empty() { String::new() } else { format!("; its stderr ends with: {}", lines.join(" | ")) }
    }
}

/// A line as it was written: its beginning, and how long it was.
#[derive(Default)]
struct Raw {
    kept: Vec<u8>,
    length: usize,
}

impl Raw {
    fn clone_from(&mut self, other: &Raw) {
        self.kept.clone_from(&other.kept);
        self.length = other.length;
    }

    fn add(&mut self, bytes: &[u8], room: usize) {
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room.saturating_sub(self.kept.len()))]);
        self.length += bytes.len();
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.length = 0;
    }
}

/// What a server was given and must not be seen elsewhere: programs print their environment when they fail.
#[derive(Default)]
struct Secrets {
    /// The longest first, since one may be part of another.
    all: Vec<String>,
}

impl Secrets {
    fn of(server: &config::Server) -> Secrets {
        let values = server.env.values().flat_map(|secret| secret.expose().lines());
        let mut all: Vec<String> =
            values.map(str::trim).filter(|line| line.len() >= SECRET).map(str::to_owned).collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Secrets { all }
    }

    /// How many bytes of a line must be kept so that what is shown of it can be told from a secret.
    fn room(&self) -> usize {
        4 * SHOWN + self.all.first().map_or(0, String::len)
    }

    /// What may be seen of a line: at most `shown` characters, which do nothing to a terminal.
    fn text(&self, line: &Raw, shown: usize) -> String {
        let mut text = String::from_utf8_lossy(&line.kept).into_owned();
        let cut = line.length > line.kept.len();
        if cut {
            // The beginning of a secret whose rest was not kept.
            let begun = self.all.iter().flat_map(|secret| secret.char_indices().map(|(at, _)| &secret[..at]));
            let begun = begun.filter(|begun| text.ends_with(begun)).map(str::len).max().unwrap_or(0);
            text.truncate(text.len() - begun);
        }
        for secret in &self.all {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        let text = text.trim_end();
        let mut seen = String::with_capacity(text.len().min(shown));
        for letter in text.chars().take(shown) {
            if is_shown(letter) { seen.push(letter) } else { seen.extend(letter.escape_debug()) }
        }
        if cut || text.chars().nth(shown).is_some() {
            seen.push_str(&format!(" [cut: {} bytes]", line.length));
        }
        seen
    }
}

/// Neither moves a terminal's cursor nor turns the order of what stands around it.
fn is_shown(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !turns
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
pub async fn log(mut stream: Box<dyn AsyncRead + Unpin>, tail: Tail, server: Rc<config::Server>, instance: u64) {
    tail.0.borrow_mut().secrets = Secrets::of(&server);
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
    server: Rc<config::Server>,
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

    fn text(secrets: &[&str], line: &str, room: usize, shown: usize) -> String {
        let secrets = Secrets { all: secrets.iter().map(|secret| (*secret).to_owned()).collect() };
        let mut raw = Raw::default();
        raw.add(line.as_bytes(), room);
        secrets.text(&raw, shown)
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        assert_eq!(text(&["hunter22", "hunter"], "hunter22 hunter hunt", 99, 99), "*** *** hunt");
        // Kept in part.
        assert_eq!(text(&["hunter22"], "key: hunter22 and more", 10, 99), "key: [cut: 22 bytes]");
    }

    #[test]
    fn every_line_of_a_secret_is_one() {
        let mut server = config::Server::new("x", "x");
        server.env.insert("KEY".into(), config::Secret::new("-----BEGIN\r\nabcdefgh\r\nend"));
        assert_eq!(Secrets::of(&server).all, ["-----BEGIN", "abcdefgh"]);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        assert_eq!(text(&[], &"é".repeat(20), 99, 5), "ééééé [cut: 40 bytes]");
        assert_eq!(text(&[], &"x".repeat(20), 7, 9), "xxxxxxx [cut: 20 bytes]");
    }

    #[test]
    fn a_line_does_nothing_to_a_terminal() {
        assert_eq!(text(&[], "a\u{1b}[2Jb\tc\u{202e}d\r", 99, 99), r"a\u{1b}[2Jb\tc\u{202e}d");
    }

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
        let server = Rc::new(config::Server::new("x", "x"));
        log(Box::new(std::io::Cursor::new(input)), tail.clone(), server, 1).await;
        let quote = tail.quote();
        assert!(
            quote.starts_with("; its stderr ends with: line 13 | ") && quote.ends_with(" | line 19 | at last"),
            "{quote}"
        );
    }
}
