//! Called by what is kept on disk, the catalogue and the approvals of tools: a file is there whole or as it was before.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;

/// Puts a file in the place of the one that is there, and makes its directory if there is none.
///
/// # Errors
/// What the system reports; then the file is as it was, and nothing else is left behind.
pub fn write(path: &Path, kept: &impl Serialize) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // Two daemons may live side by side for a moment.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // A link or a file of an earlier process with this id is not written into.
    let _ = fs::remove_file(&new);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = serde_json::to_vec(kept).map_err(io::Error::other).and_then(|text| out.write_all(&text));
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| drop(fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use crate::catalogue::kept::*;

    #[test]
    fn nothing_is_left_of_a_file_that_cannot_be_put_in_its_place() {
        let dir = std::env::temp_dir().join(format!("mcpool-kept-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let path = dir.join("kept.json");
        write(&path, &1).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        // In the place of a directory that is not empty no file can be put.
        let taken = dir.join("taken");
        fs::create_dir_all(taken.join("x")).unwrap();
        assert!(write(&taken, &2).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
