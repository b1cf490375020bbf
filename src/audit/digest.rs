//! The digests of arguments: HMAC-SHA-256 (RFC 2104) under a key of this installation's own, so that whoever reads the log
//! can tell equal arguments from others, and cannot find out by trying what they were.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::file::beside;

/// Bytes of arguments that are looked at, so that nobody waits for long; then their length counts.
const LOOKED_AT: usize = 1 << 20;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// What digests are made with.
pub struct Key([u8; 32]);

/// A digest, shortened to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

impl Key {
    /// The key in the file beside an audit log, made if there is none.
    ///
    /// # Errors
    /// It cannot be read or made, or is no key.
    pub fn beside(log: &Path) -> io::Result<Key> {
        let path = beside(log, "key");
        let mut key = [0; 32];
        let open = |options: &mut OpenOptions| {
            options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&path)
        };
        match open(OpenOptions::new().write(true).create_new(true)) {
            Ok(mut file) => {
                getrandom::fill(&mut key).map_err(io::Error::other)?;
                file.write_all(&key)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open(OpenOptions::new().read(true))?.read_exact(&mut key)?
            }
            Err(error) => return Err(error),
        }
        Ok(Key(key))
    }

    /// The digest of a text.
    pub fn digest(&self, text: &[u8]) -> Digest {
        let head = &text[..text.len().min(LOOKED_AT)];
        let length = if head.len() < text.len() { text.len().to_be_bytes().to_vec() } else { Vec::new() };
        let whole = self.hmac(&[head, &length]);
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole[..16]);
        Digest(digest)
    }

    fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let padded = |with: u8| {
            let mut block = [with; BLOCK];
            block.iter_mut().zip(self.0).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let mut inner = Sha256::new_with_prefix(padded(0x36));
        parts.iter().for_each(|part| inner.update(part));
        let mut outer = Sha256::new_with_prefix(padded(0x5c));
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hmac_that_others_make() {
        // python3 -c 'import hmac; print(hmac.new(bytes(range(32)), b"{}", "sha256").hexdigest())'
        let mut key = [0; 32];
        (0..).zip(&mut key).for_each(|(number, byte)| *byte = number);
        let hex: String = Key(key).hmac(&[b"{}"]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "86227fe96722a2247dcfee12c07d89c1b0567bbc9aa6a8d804838f66a3da843f");
    }

    #[test]
    fn long_arguments_differ_by_their_length_too() {
        let (key, long) = (Key([7; 32]), vec![b'x'; LOOKED_AT + 10]);
        assert_ne!(key.digest(&long), key.digest(&long[1..]));
        assert_eq!(key.digest(&long), key.digest(&long));
    }
}
