//! Called by whatever reads a peer (`endpoint::connection`, `endpoint::entrance`, `pool::launch`, `cli::client`): cuts
//! a byte stream into lines of bounded length. It holds no buffer while nothing arrives, so idle peers cost nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::ready;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::task::yield_now;

use super::skim::Skim;
use super::stint::Stint;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// One buffer for every reader of a thread: it is in use only inside one poll.
#[derive(Clone)]
pub struct Scratch(Rc<Shared>);

struct Shared {
    buffer: RefCell<Box<[u8]>>,
    /// Bytes that its readers have read.
    read: Cell<u64>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Rc::new(Shared { buffer: RefCell::new(vec![0; CHUNK].into_boxed_slice()), read: Cell::new(0) }))
    }
}

impl Scratch {
    /// Bytes that all readers with this buffer have read so far.
    pub fn read(&self) -> u64 {
        self.0.read.get()
    }
}

/// What stood between two line ends.
#[derive(Debug)]
pub enum Line {
    /// A line without its end, which is LF or CRLF; never blank.
    Whole(Bytes),
    /// A line above the limit: its length in bytes, and what could be learnt about it on the way.
    TooLong(usize, Box<Skim>),
}

impl Line {
    /// Bytes on the wire, the line end among them, taken to be LF.
    pub fn size(&self) -> u64 {
        1 + match self {
            Line::Whole(line) => line.len() as u64,
            Line::TooLong(length, _) => *length as u64,
        }
    }
}

/// Cuts what `R` yields into lines.
pub struct LineReader<R> {
    inner: R,
    scratch: Scratch,
    limit: usize,
    partial: BytesMut,
    /// How much of `partial` is known to hold no line end.
    searched: usize,
    skipping: Option<(usize, Box<Skim>)>,
    stint: Stint,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader of lines of at most `limit` bytes.
    pub fn new(inner: R, scratch: Scratch, limit: usize) -> LineReader<R> {
        LineReader {
            inner,
            scratch,
            limit,
            partial: BytesMut::new(),
            searched: 0,
            skipping: None,
            stint: Stint::default(),
        }
    }

    /// The next line, or `None` at the end of the stream. Safe to drop and call again.
    ///
    /// # Errors
    /// Whatever the stream reports.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.give_way().await;
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// What is read from.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// Whether a line has begun and not ended.
    pub fn in_a_line(&self) -> bool {
        !self.partial.is_empty() || self.skipping.is_some()
    }

    /// What has come of a line that has not ended.
    pub fn begun(&self) -> &[u8] {
        &self.partial
    }

    /// Keeps no more of the line that has begun than what it is known by.
    pub fn let_go(&mut self) {
        let (length, skim) = self.skipping.get_or_insert_default();
        *length += self.partial.len();
        skim.feed(&self.partial);
        (self.partial, self.searched) = (BytesMut::new(), 0);
    }

    /// At the end of the stream: what came of a line without its end, unless that is blank.
    pub fn rest(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.partial);
        self.searched = 0;
        if let Some((length, skim)) = self.skipping.take() {
            return Some(Line::TooLong(length, skim));
        }
        (!rest.trim_ascii().is_empty()).then(|| Line::Whole(rest.freeze()))
    }

    /// Lets the others of this thread have their turn, if this reader has had its own. Called after each line.
    pub async fn give_way(&mut self) {
        if self.stint.is_over() {
            self.stint = Stint::default();
            yield_now().await;
        }
    }

    /// The next line of what was already read.
    pub fn take(&mut self) -> Option<Line> {
        let line = self.cut();
        if line.is_some() {
            self.stint.line();
        }
        line
    }

    fn cut(&mut self) -> Option<Line> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.partial[self.searched..]) else {
                self.keep_partial();
                return None;
            };
            let room = self.partial.capacity();
            let mut line = self.partial.split_to(self.searched + end + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if let Some((length, mut skim)) = self.skipping.take() {
                skim.feed(&line);
                return Some(Line::TooLong(length + line.len(), skim));
            }
            if line.len() > self.limit {
                return Some(Line::TooLong(line.len(), Box::new(Skim::over(&line))));
            }
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if !line.trim_ascii().is_empty() {
                // A short line would keep a buffer in memory that was made for a long one.
                let pins = room > 4 * CHUNK && line.len() < room / 4;
                return Some(Line::Whole(if pins { Bytes::copy_from_slice(&line) } else { line.freeze() }));
            }
        }
    }

    fn keep_partial(&mut self) {
        self.searched = self.partial.len();
        if self.skipping.is_some() || self.searched > self.limit {
            let (length, skim) = self.skipping.get_or_insert_default();
            *length += self.searched;
            skim.feed(&self.partial);
            self.partial.clear();
        }
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
            self.searched = 0;
        }
    }

    /// Reads once; the number of bytes, 0 at the end of the stream. Safe to drop and call again. Whoever writes without a
    /// pause does not keep the others of this thread waiting.
    ///
    /// # Errors
    /// Whatever the stream reports.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.give_way().await;
        let (read, waited) = {
            let (mut reading, mut waited) = (pin!(self.read()), false);
            let read = poll_fn(|context| {
                let polled = reading.as_mut().poll(context);
                waited |= polled.is_pending();
                polled
            });
            (read.await, waited)
        };
        let count = read?;
        if waited {
            // The others had their turn.
            self.stint = Stint::default();
        }
        self.stint.read(count);
        self.scratch.0.read.set(self.scratch.read().wrapping_add(count as u64));
        Ok(count)
    }

    async fn read(&mut self) -> io::Result<usize> {
        if !self.partial.is_empty() {
            if self.partial.capacity() - self.partial.len() < CHUNK {
                self.partial.reserve(CHUNK.max(self.partial.len()));
            }
            return self.inner.read_buf(&mut self.partial).await;
        }
        let LineReader { inner, scratch, partial, .. } = self;
        poll_fn(|context| {
            let mut scratch = scratch.0.buffer.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *inner).poll_read(context, &mut buffer))?;
            let filled = buffer.filled();
            // A full buffer may be the beginning of a long line: room for more of it, so that it need not be moved.
            partial.reserve(if filled.len() == CHUNK { 4 * CHUNK } else { filled.len() });
            partial.extend_from_slice(filled);
            Ok(filled.len()).into()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], limit: usize) -> Vec<String> {
        let mut reader = LineReader::new(input, Scratch::default(), limit);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(match line {
                Line::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Line::TooLong(length, skim) => format!("{length} {}", skim.id().map_or("?", |id| id.as_str())),
            });
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_cut_and_blank_ones_skipped() {
        assert_eq!(lines(b"a\n\n \r\nbc\r\nrest", 10).await, ["a", "bc"]);
        // Any other CR is part of the line, which is refused for it.
        assert_eq!(lines(b"a\r\r\nb\rc\n", 10).await, ["a\r", "b\rc"]);
    }

    #[tokio::test]
    async fn a_line_above_the_limit_is_told_by_its_id_and_the_next_one_is_whole() {
        let long = format!("{{\"result\":\"{}\",\"id\":5}}\nnext\n", "x".repeat(300_000));
        assert_eq!(lines(long.as_bytes(), 1000).await, [format!("{} 5", long.len() - 6), "next".into()]);
    }

    #[tokio::test]
    async fn an_idle_reader_holds_no_buffer() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = LineReader::new(server, Scratch::default(), 100);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"one\n").await.unwrap();
        assert!(matches!(reader.next().await.unwrap(), Some(Line::Whole(line)) if line == "one"));
        assert!(reader.take().is_none() && !reader.in_a_line());
        assert_eq!(reader.partial.capacity(), 0);
    }

    #[tokio::test]
    async fn a_flood_lets_others_have_their_turn() {
        let flood = "x\n".repeat(1 << 20);
        let read = async {
            // It never has to wait for more.
            assert_eq!(lines(flood.as_bytes(), 10).await.len(), 1 << 20);
        };
        let mut turns = 0;
        let others = async {
            loop {
                turns += 1;
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = read => {}
            () = others => {}
        }
        // After 256 lines each time.
        assert!((4096..=4300).contains(&turns), "{turns} turns in a million lines");
    }
}
