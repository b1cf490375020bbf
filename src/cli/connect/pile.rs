//! Called by the carrier with what is to be written to one side: whole lines, in order, whose memory is given back as
//! they are written.

use std::collections::VecDeque;

/// Lines are put together up to this size.
const TOGETHER: usize = 64 * 1024;
/// What may be kept for the next line when all is written.
const SPARE: usize = 4 * 1024;

/// Lines that wait for one side.
#[derive(Default)]
pub struct Pile {
    /// Each holds whole lines, and is one write if all of it is taken.
    pieces: VecDeque<Vec<u8>>,
    /// What is written of the first.
    written: usize,
    bytes: usize,
    /// The next line is not to go into one write with those before.
    apart: bool,
}

impl Pile {
    /// Adds a line, with its end.
    pub fn line(&mut self, line: &[u8]) {
        match self.pieces.back_mut() {
            Some(last) if !self.apart && last.len() + line.len() <= TOGETHER => {
                last.extend_from_slice(line);
                self.bytes += line.len();
                self.apart = false;
            }
            _ => self.gathered(line.to_vec()),
        }
    }

    /// Adds a line without copying it.
    pub fn gathered(&mut self, line: Vec<u8>) {
        if self.bytes == 0 {
            // What is kept for short lines.
            self.pieces.clear();
        }
        self.bytes += line.len();
        self.pieces.push_back(line);
        self.apart = false;
    }

    /// What is added from now on goes into another write.
    pub fn cut(&mut self) {
        self.apart = self.bytes > 0;
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.bytes
    }

    /// What to write next; empty if there is nothing.
    pub fn next(&self) -> &[u8] {
        self.pieces.front().and_then(|first| first.get(self.written..)).unwrap_or_default()
    }

    /// So much of it was written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.written += bytes;
        if self.pieces.front().is_some_and(|first| first.len() == self.written) {
            self.written = 0;
            let spare = self.pieces.pop_front();
            if self.pieces.is_empty() {
                self.apart = false;
                // One small piece is used again and again; what was made for more is given back.
                match spare {
                    Some(mut spare) if spare.capacity() <= SPARE => {
                        spare.clear();
                        self.pieces.push_back(spare);
                    }
                    _ => self.pieces = VecDeque::new(),
                }
            }
        }
    }

    /// Takes everything away of which not one byte was written, as whole lines.
    pub fn unwritten(&mut self) -> Vec<u8> {
        let mut left = self.next().to_vec();
        if self.written > 0 {
            let begun = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |end| end + 1);
            let first = self.pieces.front().map_or(0, |first| usize::from(first.get(self.written - 1) != Some(&b'\n')));
            left.drain(..begun * first);
        }
        for piece in self.pieces.drain(..).skip(1) {
            left.extend_from_slice(&piece);
        }
        *self = Pile::default();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(pile: &mut Pile) -> Vec<String> {
        let mut writes = Vec::new();
        while !pile.next().is_empty() {
            let next = pile.next();
            writes.push(String::from_utf8_lossy(next).into_owned());
            pile.wrote(next.len());
        }
        assert_eq!(pile.waiting(), 0);
        writes
    }

    #[test]
    fn lines_go_together_unless_they_are_to_be_apart() {
        let mut pile = Pile::default();
        pile.cut();
        pile.line(b"a\n");
        pile.line(b"b\n");
        pile.cut();
        pile.line(b"c\n");
        pile.line(b"d\n");
        pile.gathered(b"e\n".to_vec());
        assert_eq!(writes(&mut pile), ["a\nb\n", "c\nd\n", "e\n"]);
        pile.line(b"f\n");
        assert_eq!(writes(&mut pile), ["f\n"]);
        pile.gathered(b"g\n".to_vec());
        assert_eq!(writes(&mut pile), ["g\n"], "behind the spare one");
    }

    #[test]
    fn what_was_large_is_given_back() {
        let mut pile = Pile::default();
        for _ in 0..100 {
            pile.line(&[b'x'; 40_000]);
        }
        assert_eq!((pile.waiting(), pile.pieces.len()), (4_000_000, 100));
        writes(&mut pile);
        assert_eq!(pile.pieces.capacity(), 0);
    }

    #[test]
    fn of_a_line_that_is_begun_nothing_is_unwritten() {
        for (written, left) in
            [(0, "a1\nb2\nc3\n"), (1, "b2\nc3\n"), (3, "b2\nc3\n"), (4, "c3\n"), (6, "c3\n"), (7, "")]
        {
            let mut pile = Pile::default();
            pile.line(b"a1\n");
            pile.line(b"b2\n");
            pile.gathered(b"c3\n".to_vec());
            let mut rest = written;
            while rest > 0 {
                let step = rest.min(pile.next().len());
                pile.wrote(step);
                rest -= step;
            }
            assert_eq!((String::from_utf8(pile.unwritten()).unwrap().as_str(), pile.waiting()), (left, 0), "{written}");
        }
    }
}
