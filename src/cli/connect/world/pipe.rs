//! A pipe that holds little, and of which any part is read at once.

use std::collections::VecDeque;

use fastrand::Rng;

/// What a pipe holds.
pub const PIPE: usize = 3000;

/// What was written and not read.
#[derive(Default)]
pub struct Pipe(VecDeque<u8>);

impl Pipe {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads some of it.
    pub fn take(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.0.drain(..self.0.len().min(rng.usize(1..PIPE))).collect()
    }

    /// Writes some of it.
    pub fn pour(&mut self, from: &mut VecDeque<u8>, rng: &mut Rng) {
        let taken = self.write(from.make_contiguous(), rng);
        from.drain(..taken);
    }

    /// Writes some of it; how much.
    pub fn write(&mut self, from: &[u8], rng: &mut Rng) -> usize {
        let room = (PIPE - self.0.len()).min(rng.usize(1..PIPE)).min(from.len());
        self.0.extend(&from[..room]);
        room
    }
}

/// Takes the whole lines out of what was read.
pub fn lines(read: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let whole: Vec<u8> = read.drain(..=end).collect();
    whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}
