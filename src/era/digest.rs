//! Made by the parts of a profile: what stands for a text of any length, so that two are compared at the price of one
//! number. SHA-256, since callers choose the texts and must not be able to make two that seem equal.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Half of the SHA-256 of some texts: nobody finds another text with the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(u128);

impl Digest {
    /// The digest of texts, each told from the next.
    pub fn of(texts: &[&str]) -> Digest {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let whole: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        Digest(u128::from_le_bytes(half))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_text_ends_makes_a_difference() {
        assert_eq!(Digest::of(&["ab", "c"]), Digest::of(&["ab", "c"]));
        assert_ne!(Digest::of(&["ab", "c"]), Digest::of(&["a", "bc"]));
    }
}
