//! `wire::frame` over any bytes in any chunks, under any limit: the lines are those of a plain split, and what is
//! told of the long ones is what a look at the whole of them tells.
//!
//! The first three bytes of the input say the limit and the sizes of the chunks; in the rest, for one input in four, a byte
//! 0x01 stands for a run of 20,000 letters, so that short inputs reach the buffers' bounds.
#![no_main]

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use mcpool::wire::frame::{Line, LineReader, Scratch};
use mcpool::wire::id::RawId;
use mcpool::wire::skim::Skim;
use tokio::io::{AsyncRead, ReadBuf};

const RUN: usize = 20_000;

fuzz_target!(|input: &[u8]| {
    let Some((&[base, shift, chunks], text)) = input.split_first_chunk::<3>() else { return };
    let limit = usize::from(base) << (shift % 10);
    let text = if chunks & 3 == 1 { stretched(text) } else { text.to_vec() };
    let mut expected = text.split(|&byte| byte == b'\n').collect::<Vec<_>>();
    let rest = expected.pop().unwrap_or_default();
    let mut expected = expected.into_iter().filter(|line| line.len() > limit || !line.trim_ascii().is_empty());

    let stream = Chunks { text: &text, state: u32::from(chunks), pending: false };
    let mut reader = LineReader::new(stream, Scratch::default(), limit);
    while let Some(line) = next(&mut reader) {
        let plain = expected.next().expect("a line that was never sent");
        match line {
            Line::Whole(line) => {
                assert!(plain.len() <= limit);
                // Lines end with LF or CRLF.
                assert_eq!(line, plain.strip_suffix(b"\r").unwrap_or(plain));
            }
            Line::TooLong(length, skim) => {
                assert!(length > limit);
                assert_eq!(length, plain.len());
                assert_eq!(told(&skim), told(&Skim::over(plain)));
            }
        }
    }
    assert_eq!(expected.next(), None, "a line that was sent did not come");
    assert_eq!(reader.in_a_line(), !rest.is_empty());
});

fn stretched(text: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for &byte in text {
        match byte {
            // Bounded, so that an input of nothing else does not eat the memory.
            1 if whole.len() < 16 * RUN => whole.resize(whole.len() + RUN, b'x'),
            byte => whole.push(byte),
        }
    }
    whole
}

fn told(skim: &Skim) -> (Option<&str>, bool) {
    (skim.id().map(RawId::as_str), skim.is_answer())
}

/// The next line; whenever nothing is there the read is given up and begun again, as `select!` does it.
fn next(reader: &mut LineReader<Chunks<'_>>) -> Option<Line> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(line) = pin!(reader.next()).poll(&mut context) {
            return line.expect("the stream reports no errors");
        }
    }
}

/// A stream that gives its text in pieces of uneven sizes, with pauses.
struct Chunks<'a> {
    text: &'a [u8],
    state: u32,
    pending: bool,
}

impl AsyncRead for Chunks<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.pending = !self.pending && self.state >> 30 == 0;
        if self.pending {
            return Poll::Pending;
        }
        // From single bytes to more than any buffer takes.
        let most = 1usize << (self.state >> 8 & 0xf) << (self.state >> 12 & 1);
        let length = most.min(self.text.len()).min(into.remaining());
        into.put_slice(&self.text[..length]);
        self.text = &self.text[length..];
        Poll::Ready(Ok(()))
    }
}
