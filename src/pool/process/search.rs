//! Called by `pool::process` before a server is started: whether there is such a program. Said before a process is made,
//! so that the error is of that and not of how the process ended.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for if a server has no PATH: what the system's own search does then.
const NO_PATH: &str = "/bin:/usr/bin";

/// The file that `command` means on a PATH, for a process that starts in `cwd`.
///
/// # Errors
/// There is none, or it is no program; in words that name where it was looked for.
pub fn find(command: &str, path: Option<&(impl AsRef<OsStr> + ?Sized)>, cwd: Option<&Path>) -> Result<PathBuf> {
    let place = |file: &Path| cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
    if command.contains('/') {
        let file = place(Path::new(command));
        let meta = std::fs::metadata(&file)?;
        if is_program(&meta) {
            return Ok(file);
        }
        return Err(Error::new(ErrorKind::PermissionDenied, "it is no program: nobody may execute it"));
    }
    let path = path.map_or_else(|| OsStr::new(NO_PATH), AsRef::as_ref);
    let files = std::env::split_paths(path).map(|dir| place(&dir.join(command)));
    let mut programs = files.filter(|file| std::fs::metadata(file).is_ok_and(|meta| is_program(&meta)));
    programs.next().ok_or_else(|| {
        let help = "give its full path as `command`, or `env: { PATH: ... }`";
        Error::new(ErrorKind::NotFound, format!("it is not found on PATH ({}); {help}", path.display()))
    })
}

fn is_program(meta: &std::fs::Metadata) -> bool {
    meta.is_file() && meta.permissions().mode() & 0o111 != 0
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
        assert!(find("/etc/passwd", None::<&OsStr>, None).unwrap_err().to_string().contains("no program"));
        assert!(find("/bin", None::<&OsStr>, None).is_err() && find("/no/such", None::<&OsStr>, None).is_err());
    }
}
