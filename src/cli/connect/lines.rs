//! Called by the carrier with what was read from one side: cuts it into lines, and keeps the beginning of one that has
//! no end yet. Between lines it holds no memory.

use memchr::memchr;

use crate::wire::skim::Skim;

/// The daemon bounds messages; this only keeps a broken peer from taking all memory.
const LONGEST: usize = 1 << 30;

/// The lines of one side.
pub struct Lines {
    limit: usize,
    partial: Vec<u8>,
    /// What was learnt of a line that is too long to keep, and its length.
    skipping: Option<(usize, Box<Skim>)>,
}

/// A line, with its end.
pub enum Cut<'a> {
    /// As it stood in what was read.
    Here(&'a [u8]),
    /// It was gathered.
    Gathered(Vec<u8>),
    /// It was too long: its length, and what is known of it.
    TooLong(usize, Box<Skim>),
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { limit: LONGEST, partial: Vec::new(), skipping: None }
    }
}

impl Lines {
    /// Cuts what was read. Blank lines are left out.
    pub fn feed(&mut self, mut read: &[u8], mut each: impl FnMut(Cut<'_>)) {
        while let Some(end) = memchr(b'\n', read) {
            let (line, rest) = read.split_at(end + 1);
            read = rest;
            if let Some((length, mut skim)) = self.skipping.take() {
                skim.feed(line);
                each(Cut::TooLong(length + line.len(), skim));
            } else if self.partial.is_empty() {
                if !line.trim_ascii().is_empty() {
                    each(Cut::Here(line));
                }
            } else {
                self.partial.extend_from_slice(line);
                let line = std::mem::take(&mut self.partial);
                if !line.trim_ascii().is_empty() {
                    each(Cut::Gathered(line));
                }
            }
        }
        self.keep(read);
    }

    fn keep(&mut self, read: &[u8]) {
        if let Some((length, skim)) = &mut self.skipping {
            *length += read.len();
            skim.feed(read);
            return;
        }
        self.partial.extend_from_slice(read);
        if self.partial.len() > self.limit {
            self.skipping = Some((self.partial.len(), Box::new(Skim::over(&self.partial))));
            self.partial = Vec::new();
        }
    }

    /// The side has ended: what is there of a line without an end.
    pub fn end(&mut self) -> Vec<u8> {
        self.skipping = None;
        std::mem::take(&mut self.partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_reads_end() {
        let text = b"one\n\n \r\ntwo\r\nthree is longer\nrest";
        for size in 1..=text.len() {
            let (mut lines, mut cut) = (Lines::default(), Vec::new());
            for read in text.chunks(size) {
                lines.feed(read, |line| match line {
                    Cut::Here(line) => cut.push(line.to_vec()),
                    Cut::Gathered(line) => cut.push(line),
                    Cut::TooLong(..) => panic!("none is too long"),
                });
            }
            assert_eq!(cut, [&b"one\n"[..], b"two\r\n", b"three is longer\n"], "in reads of {size}");
            assert_eq!(lines.end(), b"rest");
            assert_eq!(lines.partial.capacity(), 0);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_by_its_id() {
        let mut lines = Lines { limit: 20, ..Lines::default() };
        let mut told = Vec::new();
        for read in [&b"{\"id\":7,\"params\":\"xxx"[..], b"xxxxxxxxxxxxxxx", b"\"}\n{\"id\":8}\n"] {
            lines.feed(read, |line| match line {
                Cut::TooLong(length, skim) => told.push(format!("{length} {}", skim.id().unwrap().as_str())),
                Cut::Here(line) => told.push(String::from_utf8_lossy(line).into_owned()),
                Cut::Gathered(_) => panic!("none is gathered"),
            });
        }
        assert_eq!(told, ["39 7", "{\"id\":8}\n"]);
    }
}
