//! Called by `metrics`: counts by reason. The reasons are a dozen fixed words, so that looking through them is quick.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often each of a few words was counted.
#[derive(Debug, Default)]
pub struct Words(RefCell<Vec<(&'static str, u64)>>);

impl Words {
    /// Counts one more.
    pub fn one(&self, word: &'static str) {
        let mut words = self.0.borrow_mut();
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => words.push((word, 1)),
        }
    }

    /// All that were counted, in the order of the alphabet.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.borrow().iter().copied().collect()
    }
}
