//! Called by `audit`: the digests of arguments, HMAC-SHA-256 (RFC 2104) under a key of this installation's own. Whoever
//! reads the log can recognise equal arguments, and cannot find out by trying what they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::file::beside;

use crate::config::strict::flags;
use crate::plural::plural;

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
        match kept(&path)? {
            Some(key) => return Ok(Key(key)),
            // A daemon of before was ended before it had written it: nothing was told with that one.
            None => drop(fs::remove_file(&path)),
        }
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        // It is there whole or not at all, whenever this daemon is ended.
        let making = beside(log, &format!("key.{}", std::process::id()));
        let _ = fs::remove_file(&making);
        let made = open(OpenOptions::new().write(true).create_new(true), &making)
            .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
            .and_then(|()| fs::hard_link(&making, &path));
        let _ = fs::remove_file(&making);
        match made {
            // Another daemon was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                key = kept(&path)?.ok_or_else(|| no_key(&path, 0))?;
            }
            made => made?,
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

/// The key in a file; none if there is no file, or nothing in it.
fn kept(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let file = match open(OpenOptions::new().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(io::Error::other(format!("{} is no plain file", path.display())));
    }
    let mut read = Vec::new();
    file.take(BLOCK as u64).read_to_end(&mut read)?;
    if read.is_empty() {
        return Ok(None);
    }
    <[u8; 32]>::try_from(read).map(Some).map_err(|read| no_key(path, read.len()))
}

fn no_key(path: &Path, bytes: usize) -> io::Error {
    let (path, bytes) = (path.display(), plural(bytes, "byte"));
    io::Error::other(format!(
        "{path} has {bytes} and not the 32 of a key: put the old one back, or remove it to have another made, with which digests differ from those of before"
    ))
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_one_that_was_never_written_is_made_anew() {
        let place = std::env::temp_dir().join(format!("mcpool-key-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let log = place.join("deep/audit.log");
        let made = Key::beside(&log).unwrap();
        assert_eq!(Key::beside(&log).unwrap().0, made.0);
        let path = beside(&log, "key");
        assert_eq!(fs::read(&path).unwrap(), made.0);
        assert_eq!(fs::read_dir(place.join("deep")).unwrap().count(), 1, "nothing else is left");
        fs::write(&path, "").unwrap();
        let other = Key::beside(&log).unwrap();
        assert_ne!(other.0, made.0);
        assert_eq!(fs::read(&path).unwrap(), other.0);
        for bytes in [1, 31, 33, 1000] {
            fs::write(&path, "x".repeat(bytes)).unwrap();
            let refused = Key::beside(&log).err().unwrap().to_string();
            assert!(refused.contains(path.to_str().unwrap()) && refused.contains("remove it"), "{refused}");
            assert_eq!(fs::read(&path).unwrap().len(), bytes, "it is left as it was");
        }
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn it_is_the_hmac_that_others_make() {
        // python3 -c 'import hmac; print(hmac.new(bytes(range(32)), b"{}", "sha256").hexdigest())'
        let mut key = [0; 32];
        (0..).zip(&mut key).for_each(|(number, byte)| *byte = number);
        let hex: String = crate::hex::hex(&Key(key).hmac(&[b"{}"]));
        assert_eq!(hex, "86227fe96722a2247dcfee12c07d89c1b0567bbc9aa6a8d804838f66a3da843f");
    }

    #[test]
    fn long_arguments_differ_by_their_length_too() {
        let (key, long) = (Key([7; 32]), vec![b'x'; LOOKED_AT + 10]);
        assert_ne!(key.digest(&long), key.digest(&long[1..]));
        assert_eq!(key.digest(&long), key.digest(&long));
    }
}
