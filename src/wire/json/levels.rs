//! Called by `wire::json` inside a payload: what the values are in that are not complete, without a stack of calls.

/// Which of the levels that are open are objects: a bit each, the innermost lowest.
#[derive(Default)]
pub struct Levels {
    bits: u64,
    count: usize,
    /// The levels outside of each sixty-four.
    outer: Vec<u64>,
}

impl Levels {
    /// Opens an object or an array.
    pub fn push(&mut self, object: bool) {
        if self.count == 64 {
            self.outer.push(self.bits);
            self.count = 0;
        }
        self.bits = self.bits << 1 | u64::from(object);
        self.count += 1;
    }

    /// Whether the innermost level is an object, if one is open.
    pub fn innermost(&self) -> Option<bool> {
        (self.count > 0).then_some(self.bits & 1 != 0)
    }

    /// Closes the innermost level; there must be one.
    pub fn pop(&mut self) {
        self.bits >>= 1;
        self.count -= 1;
        if self.count == 0
            && let Some(bits) = self.outer.pop()
        {
            (self.bits, self.count) = (bits, 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_closed_as_they_were_opened_however_many() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut levels, mut model) = (Levels::default(), Vec::new());
        for step in 0..100_000 {
            // Now deeper, now back, across many times sixty-four.
            if model.is_empty() || random.u32(..1000) < if step / 5000 % 2 == 0 { 530 } else { 470 } {
                model.push(random.bool());
                levels.push(model[model.len() - 1]);
            } else {
                model.pop();
                levels.pop();
            }
            assert_eq!(levels.innermost(), model.last().copied());
        }
    }
}
