//! Called by the writer of the audit log: its file. It is its own user's alone, no link, and turned at a size. A line
//! that could not be written whole is taken back, so that there is never half a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::strict::flags as system;

/// An audit log that is appended to.
pub struct Log {
    path: PathBuf,
    /// Bytes of one file.
    size: u64,
    /// How many older ones are kept.
    keep: usize,
    open: Option<File>,
}

impl Log {
    /// The one at a path; it is opened when something is to be written.
    pub fn new(path: PathBuf, size: u64, keep: usize) -> Log {
        Log { path, size, keep, open: None }
    }

    /// Writes lines, all of them or none.
    ///
    /// # Errors
    /// They cannot be written now; the next attempt begins anew.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.try_append(lines);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let size = self.size;
        let mut file = self.current()?;
        let mut length = file.metadata()?.len();
        if length > 0 && length + lines.len() as u64 > size {
            self.turn()?;
            self.open = None;
            file = self.current()?;
            length = file.metadata()?.len();
        }
        if let Err(error) = file.write_all(lines) {
            file.set_len(length)?;
            return Err(error);
        }
        Ok(())
    }

    /// The file that is there: another one may have been put in its place.
    fn current(&mut self) -> io::Result<&File> {
        let there = fs::symlink_metadata(&self.path).map(|there| (there.dev(), there.ino())).ok();
        let same = |file: &File| file.metadata().is_ok_and(|own| Some((own.dev(), own.ino())) == there);
        let file = match self.open.take().filter(same) {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(file))
    }

    /// FILE becomes FILE.1, and so on; the last one goes.
    fn turn(&self) -> io::Result<()> {
        let number = |count: usize| beside(&self.path, &count.to_string());
        // What is gone meanwhile need not be moved.
        let unless_gone = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        if self.keep == 0 {
            return unless_gone(fs::remove_file(&self.path));
        }
        for count in (1..self.keep).rev() {
            unless_gone(fs::rename(number(count), number(count + 1)))?;
        }
        unless_gone(fs::rename(&self.path, number(1)))
    }
}

/// FILE.EXTENSION of a FILE.
pub fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Opens it, and makes its directory anew if that is gone.
fn open(path: &Path) -> io::Result<File> {
    let flags = system(OFlags::NOFOLLOW | OFlags::NONBLOCK);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
    let file = match (open(), path.parent()) {
        (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            open()?
        }
        (file, _) => file?,
    };
    let there = file.metadata()?;
    if !there.is_file() || there.nlink() > 1 {
        return Err(io::Error::other("it is no plain file of one name"));
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to uid {}", there.uid())));
    }
    if there.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
