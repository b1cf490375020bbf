//! Called before something is believed because of where it lies: could somebody else have put it there? What counts is
//! what counts for sshd's StrictModes: owner and mode of the file, and of every directory and link on the way to it. A
//! directory like `/tmp`, in which everybody may remove only what is theirs, is no danger to what lies in it.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use super::group;

/// How many links are followed on one way; the system itself follows forty.
const LINKS: usize = 40;
/// The group may write; others may write.
const WRITE: (u32, u32) = (0o020, 0o002);
/// In such a directory everybody removes only what is theirs.
const STICKY: u32 = 0o1000;

/// Why something is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It cannot be looked at.
    #[error("{0}")]
    Io(io::Error),
    /// It is not of the kind that it should be.
    #[error("{path} is {what}")]
    Kind { path: PathBuf, what: &'static str },
    /// Somebody else could have written it.
    #[error("{path} belongs to user {owner}, who is neither you nor root")]
    Owner { path: PathBuf, owner: u32 },
    /// Somebody else can write it.
    #[error("others may write {path} (its mode is {mode:04o})")]
    Writable { path: PathBuf, mode: u32 },
}

impl Distrust {
    /// What to do about it.
    pub fn help(&self) -> String {
        let me = rustix::process::getuid().as_raw();
        match self {
            Distrust::Io(_) => "check the path and who may read it".to_owned(),
            Distrust::Kind { .. } => "choose another path, or remove it yourself".to_owned(),
            Distrust::Owner { path, .. } => {
                format!("if you trust what is there, make it yours: `chown {me} {}`", Typed(path))
            }
            Distrust::Writable { path, .. } => format!("type `chmod go-w {}`", Typed(path)),
        }
    }
}

/// Opens a file that nobody but this user and root can have written.
///
/// # Errors
/// It cannot be opened, is no regular file, or somebody else may write it or put another in its place.
pub fn open(path: &Path) -> Result<File, Distrust> {
    way(path)?;
    // It may be a pipe, which would keep whoever opens it waiting.
    let file =
        fs::OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path).map_err(Distrust::Io)?;
    let there = file.metadata().map_err(Distrust::Io)?;
    if !there.is_file() {
        return Err(Distrust::Kind { path: path.to_owned(), what: "no regular file" });
    }
    judge(path, &there, false)?;
    Ok(file)
}

/// Looks at a directory in which files of ours are to lie.
///
/// # Errors
/// It is a link or no directory, or somebody else may put things there.
pub fn directory(path: &Path) -> Result<(), Distrust> {
    let there = fs::symlink_metadata(path).map_err(Distrust::Io)?;
    if there.is_symlink() {
        return Err(Distrust::Kind { path: path.to_owned(), what: "a symbolic link" });
    }
    if !there.is_dir() {
        return Err(Distrust::Kind { path: path.to_owned(), what: "no directory" });
    }
    way(path)?;
    judge(path, &there, false)
}

/// Looks at the directories and links on the way to a file, and not at the file itself.
///
/// # Errors
/// Somebody else may put another in its place.
pub fn way(path: &Path) -> Result<(), Distrust> {
    let mut ahead: Vec<PathBuf> = steps(path);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(step) = ahead.pop() {
        if step == Path::new("/") {
            at = step;
        } else if step == Path::new("..") {
            at.pop();
            continue;
        } else {
            at.push(step);
        }
        let there = match fs::symlink_metadata(&at) {
            Ok(there) => there,
            // Whoever opens it finds out.
            Err(_) => return Ok(()),
        };
        if there.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(Distrust::Io(io::Error::other("too many links on the way")));
            }
            owned(&at, &there)?;
            let target = fs::read_link(&at).map_err(Distrust::Io)?;
            at.pop();
            ahead.extend(steps(&target));
        } else if !ahead.is_empty() {
            judge(&at, &there, true)?;
        }
    }
    Ok(())
}

/// Whether users besides the owner can read a file: they may, and may enter every directory on the way.
pub fn others_can_read(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let allows = |path: &Path, bit: u32| fs::metadata(path).is_ok_and(|there| there.mode() & bit != 0);
    allows(&path, 0o004) && path.ancestors().skip(1).all(|directory| allows(directory, 0o001))
}

/// Flags for opening, as the standard library takes them.
pub fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// The steps of a path, the first of them last.
fn steps(path: &Path) -> Vec<PathBuf> {
    let steps = path.components().filter(|step| *step != Component::CurDir);
    steps.map(|step| PathBuf::from(step.as_os_str())).rev().collect()
}

fn judge(path: &Path, there: &Metadata, may_be_sticky: bool) -> Result<(), Distrust> {
    owned(path, there)?;
    let mode = there.mode();
    let by_group = mode & WRITE.0 != 0 && !group::is_mine_alone(there.gid());
    if !(by_group || mode & WRITE.1 != 0) || (may_be_sticky && mode & STICKY != 0) {
        return Ok(());
    }
    Err(Distrust::Writable { path: path.to_owned(), mode: mode & 0o7777 })
}

fn owned(path: &Path, there: &Metadata) -> Result<(), Distrust> {
    if [0, rustix::process::getuid().as_raw()].contains(&there.uid()) {
        return Ok(());
    }
    Err(Distrust::Owner { path: path.to_owned(), owner: there.uid() })
}

/// A path as it is typed in a shell.
struct Typed<'a>(&'a Path);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string_lossy();
        let plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@".contains(letter);
        if path.chars().all(plain) { write!(f, "{path}") } else { write!(f, "'{}'", path.replace('\'', r"'\''")) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::tests::Dir;

    type Done = Result<(), Box<dyn std::error::Error>>;

    fn chmod(path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn refused(path: &Path) -> String {
        open(path).err().map(|why| format!("{why}; {}", why.help())).unwrap_or_default()
    }

    #[test]
    fn a_file_that_others_may_write_is_refused_with_what_to_type() -> Done {
        let dir = Dir::new("strict")?;
        let file = dir.file("in/a file.yaml", b"")?;
        chmod(&file, 0o644)?;
        assert!(open(&file).is_ok());
        for mode in [0o666, 0o620, 0o602] {
            chmod(&file, mode)?;
            let told = refused(&file);
            assert!(told.contains(&format!("mode is {mode:04o}")), "{told}");
            assert!(told.contains(&format!("chmod go-w '{}'", file.display())), "{told}");
        }
        chmod(&file, 0o600)?;
        let inside = dir.0.join("in");
        chmod(&inside, 0o775)?;
        assert!(refused(&file).contains(&format!("chmod go-w {}", inside.display())), "{}", refused(&file));
        // As in `/tmp`: whoever may write there cannot put another in its place.
        chmod(&inside, 0o1777)?;
        assert!(open(&file).is_ok());
        chmod(&inside, 0o755)?;
        chmod(&dir.0, 0o777)?;
        assert!(refused(&file).contains("chmod go-w"), "somebody could put another `in` in its place");
        Ok(())
    }

    #[test]
    fn every_directory_that_a_link_leads_through_counts() -> Done {
        let dir = Dir::new("links")?;
        let file = dir.file("far/away/a.yaml", b"")?;
        symlink("far/away", dir.0.join("near"))?;
        symlink("near/../away/./a.yaml", dir.0.join("a.yaml"))?;
        assert!(open(&dir.0.join("a.yaml")).is_ok());
        chmod(&dir.0.join("far"), 0o777)?;
        assert!(refused(&dir.0.join("a.yaml")).contains("chmod go-w"));
        chmod(&dir.0.join("far"), 0o755)?;
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::lchown(dir.0.join("near"), Some(65534), None)?;
            assert!(refused(&dir.0.join("a.yaml")).contains("belongs to user 65534"));
            std::os::unix::fs::lchown(dir.0.join("near"), Some(0), None)?;
            std::os::unix::fs::chown(&file, Some(65534), None)?;
            assert!(refused(&dir.0.join("a.yaml")).contains("chown 0 "));
        }
        symlink("round", dir.0.join("round"))?;
        assert!(refused(&dir.0.join("round")).contains("too many links"));
        Ok(())
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() -> Done {
        let dir = Dir::new("pipe")?;
        let pipe = dir.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
        assert!(refused(&pipe).contains("no regular file"));
        Ok(())
    }

    #[test]
    fn others_read_only_what_they_can_reach() -> Done {
        let dir = Dir::new("readable")?;
        let file = dir.file("in/secret", b"x")?;
        chmod(&file, 0o644)?;
        assert!(others_can_read(&file));
        chmod(&dir.0.join("in"), 0o700)?;
        assert!(!others_can_read(&file));
        chmod(&dir.0.join("in"), 0o755)?;
        chmod(&file, 0o640)?;
        assert!(!others_can_read(&file));
        Ok(())
    }
}
