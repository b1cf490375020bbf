//! Put up by a daemon that listens elsewhere than one would look, and read by those who look for it: a file in the
//! directory that follows from the config's path, which names the directory where the daemon listens.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::strict::Distrust;
use crate::endpoint::sockets::{open, prepare};

/// What it is called.
const SIGNPOST: &str = "sockets";
/// The longest path that one may name.
const LONGEST: u64 = 4096;
/// How often the directory is made anew, which a daemon that ends takes away when it is empty.
const TRIES: usize = 3;

/// Shows where a daemon listens; gone when dropped, unless another daemon put up its own meanwhile.
pub struct Signpost {
    post: PathBuf,
    /// Tells it from one that another daemon put in its place: no other file is this one while it is open.
    file: File,
}

impl Signpost {
    /// Puts one up, if the daemon listens elsewhere than one would look, in the place of whatever is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(config: &Config) -> Result<Option<Signpost>, Distrust> {
        let (Some(own), Some(elsewhere)) = (&config.sockets.own, &config.sockets.dir) else { return Ok(None) };
        if own == elsewhere {
            return Ok(None);
        }
        let mut put = Signpost::write(own, elsewhere);
        for _ in 1..TRIES {
            match put {
                Err(Distrust::Io(error)) if error.kind() == ErrorKind::NotFound => {
                    put = Signpost::write(own, elsewhere)
                }
                _ => break,
            }
        }
        put.map(Some)
    }

    fn write(own: &Path, elsewhere: &Path) -> Result<Signpost, Distrust> {
        prepare(own, 0o700)?;
        let post = own.join(SIGNPOST);
        let making = post.with_extension(format!("{}", std::process::id()));
        let written = || {
            let mut file = open(&making, OpenOptions::new().write(true).create(true).truncate(true))?;
            file.write_all(elsewhere.as_os_str().as_bytes())?;
            fs::rename(&making, &post)?;
            Ok(file)
        };
        let file = written().map_err(Distrust::Io)?;
        Ok(Signpost { post, file })
    }

    /// Whether somebody took it away and put up no other.
    pub fn is_gone(&self) -> bool {
        !self.post.exists()
    }

    /// Where the one in a directory shows to, if there is one.
    pub fn read(own: &Path) -> Option<PathBuf> {
        let mut path = Vec::new();
        let post = open(&own.join(SIGNPOST), OpenOptions::new().read(true)).ok()?;
        post.take(LONGEST).read_to_end(&mut path).ok()?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(path))).filter(|path| path.is_absolute())
    }

    /// Whether a file is the one that this daemon put up.
    fn is(&self, file: &Path) -> bool {
        let (there, own) = (fs::symlink_metadata(file), self.file.metadata());
        there.is_ok_and(|there| own.is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino())))
    }

    /// Takes it away. What turns out to be another daemon's is put back.
    fn take_down(&self) {
        let taken = self.post.with_extension(format!("{}-gone", std::process::id()));
        // Another daemon may put up its own between a look and a removal. So it is looked at what was removed.
        if fs::rename(&self.post, &taken).is_ok() {
            if !self.is(&taken) {
                // Unless there is a later one.
                let _ = fs::hard_link(&taken, &self.post);
            }
            let _ = fs::remove_file(&taken);
        }
    }
}

impl Drop for Signpost {
    fn drop(&mut self) {
        if self.is(&self.post) {
            self.take_down();
        }
        // A directory in which something else lies stays.
        let _ = self.post.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use crate::endpoint::signpost::*;

    /// A config whose daemon listens elsewhere than in `run` of a directory.
    fn elsewhere(dir: &Path, to: &str) -> Config {
        let mut config = Config::default();
        config.sockets.own = Some(dir.join("run"));
        config.sockets.dir = Some(to.into());
        config
    }

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("mcpool-signpost-{:016x}", fastrand::u64(..)))
    }

    #[test]
    fn a_signpost_shows_where_a_daemon_listens_and_is_gone_with_it() {
        let dir = directory();
        let mut config = elsewhere(&dir, "/else/where");
        let post = Signpost::put(&config).unwrap();
        assert_eq!(Signpost::read(&dir.join("run")), Some("/else/where".into()));
        drop(post);
        assert!(!dir.join("run").exists());
        config.sockets.dir = None;
        assert!(Signpost::put(&config).unwrap().is_none());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_daemon_that_ends_leaves_the_signpost_of_its_successor() {
        let dir = directory();
        let first = Signpost::put(&elsewhere(&dir, "/first")).unwrap().unwrap();
        let second = Signpost::put(&elsewhere(&dir, "/second")).unwrap();
        assert!(!first.is_gone(), "another one is there, which is not to be replaced");
        let third = Signpost::put(&elsewhere(&dir, "/third")).unwrap();
        // As if the later ones came between the look and the removal.
        first.take_down();
        drop(first);
        assert_eq!(Signpost::read(&dir.join("run")), Some("/third".into()));
        drop(second);
        assert_eq!(Signpost::read(&dir.join("run")), Some("/third".into()));
        drop(third);
        assert!(!dir.join("run").exists(), "nothing is left");
        fs::remove_dir_all(dir).unwrap();
    }
}
