//! Called where a server's program is not found or cannot be run: what is wrong, in words that say what to do. The
//! system says "No such file or directory" for a program, for the interpreter of a script and for a directory alike.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use super::search::{NO_PATH, is_program};

/// Letters of a PATH that are shown.
const SHOWN: usize = 1000;

/// The error of a program that could not be run in `cwd`, with what is known of its cause. `path` is where it was looked for.
pub fn explained(program: &OsStr, path: Option<&OsStr>, cwd: Option<&Path>, error: Error) -> Error {
    match cause(program, path, cwd, &error) {
        Some(cause) => Error::new(error.kind(), format!("{cause} ({error})")),
        None => error,
    }
}

fn cause(program: &OsStr, path: Option<&OsStr>, cwd: Option<&Path>, error: &Error) -> Option<String> {
    if let Some(cwd) = cwd
        && let Some(why) = unfit(cwd)
    {
        return Some(format!("its `cwd` {} {why}", cwd.display()));
    }
    let named = program.to_string_lossy();
    let place = |file: &Path| cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
    if named.contains('/') {
        let file = place(Path::new(program));
        return match file.exists() || error.kind() == ErrorKind::PermissionDenied {
            true => wrong_with(&file, error),
            false => Some(format!("there is no file {}{}", file.display(), with_arguments(&named))),
        };
    }
    let path = path.unwrap_or(OsStr::new(NO_PATH));
    let found = |usable: &dyn Fn(&Path) -> bool| {
        std::env::split_paths(path).map(|directory| place(&directory.join(program))).find(|file| usable(file))
    };
    if let Some(file) = found(&is_program).or_else(|| found(&|file| file.exists())) {
        return wrong_with(&file, error);
    }
    if error.kind() != ErrorKind::NotFound {
        return None;
    }
    let searched: String = path.to_string_lossy().chars().take(SHOWN).collect();
    Some(format!(
        "it is in none of the directories of the PATH that was searched, {searched}; write its absolute path as `command`, or give the server a `PATH` in its `env`{}",
        with_arguments(&named)
    ))
}

/// Returns why a directory cannot be started in.
fn unfit(cwd: &Path) -> Option<&'static str> {
    match fs::metadata(cwd) {
        Ok(there) if !there.is_dir() => Some("is no directory"),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => Some("does not exist"),
        Err(_) => Some("cannot be entered"),
    }
}

/// Returns what keeps a file that is there from being run.
fn wrong_with(file: &Path, error: &Error) -> Option<String> {
    let shown = file.display();
    if file.is_dir() {
        return Some(format!("{shown} is a directory"));
    }
    match error.kind() {
        ErrorKind::PermissionDenied if file.exists() && !is_program(file) => {
            Some(format!("{shown} is not executable: chmod +x {shown}"))
        }
        ErrorKind::NotFound => Some(match interpreter(file) {
            Some(interpreter) if interpreter.ends_with('\r') => format!(
                "the first line of {shown} ends with a carriage return, so its interpreter is not found: save it with Unix line ends"
            ),
            Some(interpreter) => {
                format!("{shown} is there, but not the interpreter that its first line names, `{interpreter}`")
            }
            None => format!("{shown} is there, but not the loader that it needs: it was built for another system"),
        }),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            Some(format!("{shown} is no program for this machine, or a script without `#!` in its first line"))
        }
        _ => None,
    }
}

/// The program that a script names in its first line.
fn interpreter(script: &Path) -> Option<String> {
    let mut begin = Vec::new();
    File::open(script).ok()?.take(256).read_to_end(&mut begin).ok()?;
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t']);
    Some(line.split([' ', '\t']).next().unwrap_or_default().to_owned())
}

/// A hint for those who wrote a whole line where the program alone belongs.
fn with_arguments(named: &str) -> &'static str {
    if named.contains(char::is_whitespace) {
        "; `command` is the program alone, what follows it goes into `args`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_is_told_apart() {
        let dir = std::env::temp_dir().join(format!("mcpool-missing-{:016x}", fastrand::u64(..)));
        fs::create_dir_all(dir.join("folder")).unwrap();
        let file = |name: &str, text: &str, mode| {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("orphan", "#!/no/such/python -u\n", 0o755);
        file("windows", "#!/bin/sh\r\n", 0o755);
        file("foreign", "\u{7f}ELF", 0o755);
        file("plain", "#!/bin/sh\n", 0o644);
        let told = |program: &str, cwd: &Path, errno: rustix::io::Errno| {
            let error = Error::from_raw_os_error(errno.raw_os_error());
            explained(OsStr::new(program), Some(dir.as_os_str()), Some(cwd), error).to_string()
        };
        let (missing, denied) = (rustix::io::Errno::NOENT, rustix::io::Errno::ACCESS);
        for (program, errno, words) in [
            ("orphan", missing, "`/no/such/python`"),
            ("./orphan", missing, "`/no/such/python`"),
            ("windows", missing, "carriage return"),
            ("foreign", missing, "built for another system"),
            ("plain", denied, "chmod +x"),
            ("./folder", denied, "is a directory"),
            ("./gone", missing, "there is no file"),
            ("gone", missing, "the PATH that was searched"),
            ("npx -y x", missing, "goes into `args`"),
        ] {
            let said = told(program, &dir, errno);
            assert!(said.contains(words) && said.contains("(os error "), "{program}: {said}");
        }
        assert!(told("gone", &dir, missing).contains(&dir.display().to_string()));
        assert!(told("orphan", &dir.join("no"), missing).contains("its `cwd`"));
        assert!(told("orphan", &dir.join("plain"), missing).contains("is no directory"));
        fs::remove_dir_all(dir).unwrap();
    }
}
