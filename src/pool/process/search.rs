//! Called by `pool::process` before a server is started: whether there is such a program. Said before a process is
//! made, so that the error is of that and not of how the process ended.

use std::ffi::OsStr;
use std::io::Result;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::missing::explained;

/// Where programs are looked for if a server has no PATH: what the system's own search does then.
pub(super) const NO_PATH: &str = "/bin:/usr/bin";

/// The file that `command` means on a PATH, for a process that starts in `cwd`.
///
/// # Errors
/// There is none, or it is no program; in words that name where it was looked for.
pub fn find(command: &str, path: Option<&(impl AsRef<OsStr> + ?Sized)>, cwd: Option<&Path>) -> Result<PathBuf> {
    let path = path.map(AsRef::as_ref);
    let failed = |error| Err(explained(OsStr::new(command), path, cwd, error));
    if cwd.is_some_and(|cwd| !cwd.is_dir()) {
        return failed(Errno::NOENT.into());
    }
    let place = |file: &Path| cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
    if command.contains('/') {
        let file = place(Path::new(command));
        return match std::fs::metadata(&file) {
            Ok(_) if is_program(&file) => Ok(file),
            Ok(_) => failed(Errno::ACCESS.into()),
            Err(error) => failed(error),
        };
    }
    let directories = std::env::split_paths(path.unwrap_or(OsStr::new(NO_PATH)));
    let files: Vec<PathBuf> = directories.map(|directory| place(&directory.join(command))).collect();
    match files.iter().find(|file| is_program(file)) {
        Some(file) => Ok(file.clone()),
        None if files.iter().any(|file| file.exists()) => failed(Errno::ACCESS.into()),
        None => failed(Errno::NOENT.into()),
    }
}

/// Returns whether a file may be executed by anybody.
pub(super) fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_the_system_finds_it() {
        assert_eq!(find("sh", Some(OsStr::new("/nowhere:/bin")), None).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("sh", None::<&OsStr>, None).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("./sh", None::<&OsStr>, Some(Path::new("/bin"))).unwrap(), Path::new("/bin/./sh"));
        let missing = find("no-such-program", Some(OsStr::new("/bin:/nowhere")), None).unwrap_err().to_string();
        assert!(missing.contains("/bin:/nowhere"), "{missing}");
        assert!(find("/etc/passwd", None::<&OsStr>, None).unwrap_err().to_string().contains("not executable"));
        assert!(find("/bin", None::<&OsStr>, None).is_err() && find("/no/such", None::<&OsStr>, None).is_err());
    }
}
