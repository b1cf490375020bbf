//! `mcpool logs`, and where the log of a daemon lies that `connect` starts: a file that is added to, never emptied, and
//! turned when it has become long.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::print;
use super::running::Running;
use crate::config::Config;
use crate::config::place::{self, Chosen};
use crate::endpoint::sockets;
use crate::text;

/// From here on the log is turned: what was written becomes the old one, and what was the old one is gone.
const LONGEST: u64 = 10 << 20;
/// The most that is read of one file.
const READ: u64 = LONGEST + (1 << 20);
/// How often it is looked whether there is more.
const LOOK: Duration = Duration::from_millis(200);

/// The log of the daemon whose sockets are in a directory: beside them, unless that is memory, as what lies below `/run` is.
pub fn path(directory: &Path) -> PathBuf {
    let user = format!("/run/user/{}", rustix::process::getuid().as_raw());
    let within = directory.strip_prefix(user).or_else(|_| directory.strip_prefix("/run"));
    // As for sockets, only the user decides: hosts do not pass on where else it could be.
    let state = place::home(&|name| std::env::var_os(name)).map(|home| home.join(".local/state"));
    match (within, state) {
        (Ok(within), Ok(state)) => state.join(within).join("daemon.log"),
        _ => directory.join("daemon.log"),
    }
}

/// Opens the log to add to it.
///
/// # Errors
/// It cannot be made, or could be somebody else's.
pub fn open(log: &Path) -> io::Result<File> {
    if let Some(directory) = log.parent() {
        sockets::prepare(directory, 0o700).map_err(io::Error::other)?;
    }
    sockets::open(log, OpenOptions::new().create(true).append(true))
}

/// The last lines that were written to the log after so many bytes.
pub fn last(log: &Path, after: u64, count: usize) -> String {
    let mut lines = VecDeque::new();
    // What cannot be read is nothing.
    let _ = read(log, after).map(|text| keep(&mut lines, &text, count));
    Vec::from(lines).join("\n")
}

/// A log that is turned when it has become long.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// The log at a path.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(path: PathBuf) -> io::Result<Log> {
        Ok(Log { file: open(&path)?, path })
    }

    /// Begins a new file if this one is too long, or is not the one at the path any more.
    fn turn(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_there =
            self.path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
        if is_there && own.len() >= LONGEST {
            std::fs::rename(&self.path, old(&self.path))?;
        }
        if !is_there || own.len() >= LONGEST {
            self.file = open(&self.path)?;
        }
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // If it cannot be turned, a long log is better than none.
        let _ = self.turn();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn old(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

/// Prints the last lines of the log of a config's daemon, and with `follow` those that come; or only where it is.
///
/// # Errors
/// In words for people: there is no log, or it cannot be printed.
pub async fn run(chosen: &Chosen, only_path: bool, count: usize, follow: bool) -> Result<(), String> {
    let directory = match Running::find_any(chosen).await {
        Ok(running) => running.directory,
        Err(_) => match chosen.file().and_then(Config::sockets_of) {
            Some(named) => named,
            None => place::directory(chosen.file(), &|name| std::env::var_os(name))?,
        },
    };
    let log = path(&directory);
    let shown = log.display();
    let mut out = io::stdout();
    if only_path {
        return print::page(&shown.to_string());
    }
    let nothing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no {shown}: a daemon that `connect` starts logs there, `mcpool serve` on its stderr")
        }
        _ => format!("cannot read {shown}: {error}"),
    };
    let mut file = reading(&log).map_err(nothing)?;
    let mut lines = VecDeque::new();
    for file in [old(&log), log.clone()] {
        // There may be no old one.
        let _ = read(&file, 0).map(|text| keep(&mut lines, &text, count));
    }
    let mut at = file.seek(SeekFrom::End(0)).map_err(nothing)?;
    for line in lines {
        if !print::is_read(writeln!(out, "{}", text::lines(&line)))? {
            return Ok(());
        }
    }
    if !follow {
        return print::is_read(out.flush()).map(drop);
    }
    loop {
        sleep(LOOK).await;
        let Ok(now) = reading(&log) else { continue };
        let same = |one: &File, other: &File| Ok::<_, io::Error>(one.metadata()?.ino() == other.metadata()?.ino());
        let more = rest(&mut file, &mut at).map_err(nothing)?;
        if !print::is_read(write!(out, "{}", text::lines(&more)).and_then(|()| out.flush()))? {
            return Ok(());
        }
        if !same(&file, &now).unwrap_or(true) {
            (file, at) = (now, 0);
        }
    }
}

fn reading(log: &Path) -> io::Result<File> {
    sockets::open(log, OpenOptions::new().read(true))
}

/// What was added since.
fn rest(file: &mut File, at: &mut u64) -> io::Result<String> {
    let length = file.metadata()?.len();
    // Whoever cut it off begins anew.
    let from = if length < *at { 0 } else { (*at).max(length.saturating_sub(READ)) };
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    *at = from + Read::by_ref(file).take(READ).read_to_end(&mut text)? as u64;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The end of a file, as far as it is read, but nothing of its first bytes.
fn read(log: &Path, after: u64) -> io::Result<String> {
    let mut file = reading(log)?;
    let length = file.metadata()?.len();
    // It was turned since, or cut off.
    let after = if length < after { 0 } else { after };
    file.seek(SeekFrom::Start(after.max(length.saturating_sub(READ))))?;
    let mut text = Vec::new();
    file.take(READ).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn keep(lines: &mut VecDeque<String>, text: &str, count: usize) {
    for line in text.lines() {
        if lines.len() == count {
            lines.pop_front();
        }
        if count > 0 {
            lines.push_back(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn place() -> PathBuf {
        let directory = std::env::temp_dir().join(format!("mcpool-logs-{:016x}", fastrand::u64(..)));
        sockets::prepare(&directory, 0o700).unwrap();
        directory.join("daemon.log")
    }

    #[test]
    fn a_log_is_added_to_and_turned_when_it_is_long() {
        let path = place();
        fs::write(&path, "of the last daemon\n").unwrap();
        let mut log = Log::at(path.clone()).unwrap();
        log.write_all(b"first\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "of the last daemon\nfirst\n");
        // As if much had been written since, whoever wrote it.
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(LONGEST).unwrap();
        log.write_all(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(fs::metadata(old(&path)).unwrap().len(), LONGEST);
        fs::remove_file(&path).unwrap();
        log.write_all(b"third\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n", "one that was removed is made anew");
        assert_eq!(
            (last(&path, 0, 1), last(&path, 2, 9), last(&path, 6, 9)),
            ("third".into(), "ird".into(), "".into())
        );
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_log_that_is_a_link_is_not_written_to() {
        let path = place();
        let precious = path.with_file_name("precious");
        fs::write(&precious, "").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(Log::at(path.clone()).is_err());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_log_does_not_lie_in_memory() {
        assert_eq!(path(Path::new("/srv/x/run")), Path::new("/srv/x/run/daemon.log"));
        let user = rustix::process::getuid().as_raw();
        for (directory, log) in
            [(format!("/run/user/{user}/mcpool/ab12"), "mcpool/ab12"), ("/run/mcpool".into(), "mcpool")]
        {
            let log = format!(".local/state/{log}/daemon.log");
            assert!(path(Path::new(&directory)).ends_with(&log), "{directory}");
        }
    }
}
