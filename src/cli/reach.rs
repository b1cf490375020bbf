//! Called by `connect`, `tools` and `call`: a way to an endpoint of the daemon, which is started if none runs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Failure, PERSON};
use super::running::Running;
use super::{load, logs, no_config};
use crate::config::place::Chosen;
use crate::endpoint::sockets::{self, Unreached};

/// How long a daemon may take to listen.
const START: Duration = Duration::from_secs(20);
/// What a daemon says once it listens.
const READY: &str = "ready\n";
/// The most that is read of why a daemon does not start.
const WORDS: u64 = 64 << 10;
/// How long a daemon that goes away may keep others from reaching the next one, and how often is looked.
const GOING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(20));

/// Where to connect.
pub enum Target {
    /// This socket, if this user or root listens there, or the user that is named.
    Socket { path: PathBuf, user: Option<u32> },
    /// An endpoint of the daemon of this config.
    Endpoint { chosen: Chosen, name: String },
}

impl Target {
    /// Connects, starting the daemon if there is none.
    ///
    /// # Errors
    /// In words for people: nobody listens, there is no such endpoint, or the daemon cannot be started.
    pub async fn reach(&self) -> Result<UnixStream, String> {
        match self {
            Target::Socket { path, user } => {
                sockets::reach(path, *user).await.map_err(|why| unreached(path, &why, user.is_some()))
            }
            Target::Endpoint { chosen, name } => endpoint(chosen, name).await,
        }
    }
}

/// A session of a person's client.
pub type Session = Client<OwnedReadHalf, OwnedWriteHalf>;

/// Opens a session at an endpoint, starting the daemon if there is none. A daemon that has just been killed may still
/// take callers in, and never answer: then it is tried again.
///
/// # Errors
/// As for [`endpoint`]; within, why the session cannot be opened.
pub async fn session(chosen: &Chosen, name: &str) -> Result<Result<Session, Failure>, String> {
    let since = Instant::now();
    loop {
        let (reader, writer) = endpoint(chosen, name).await?.into_split();
        match Client::open_any(reader, writer, PERSON).await {
            Err(Failure::Closed | Failure::Io(_)) if since.elapsed() < GOING.0 => sleep(GOING.1).await,
            opened => return Ok(opened),
        }
    }
}

/// Connects to an endpoint, starting the daemon if there is none.
///
/// # Errors
/// In words for people: there is no such endpoint, another config's daemon is there, or none can be started.
pub async fn endpoint(chosen: &Chosen, name: &str) -> Result<UnixStream, String> {
    let since = Instant::now();
    let mut started = false;
    loop {
        if let Some(running) = Running::find(chosen, name).await? {
            let socket = running.socket(name)?;
            match sockets::reach(&socket, None).await {
                Ok(stream) => return Ok(stream),
                // It is going away, or has just changed its sockets.
                Err(Unreached::Io(_)) if since.elapsed() < GOING.0 => sleep(GOING.1).await,
                Err(why) => return Err(unreached(&socket, &why, false)),
            }
        } else if started {
            return Err("the daemon was started, and is gone again: its log says why".to_owned());
        } else {
            started = started_one(chosen, name).await?;
        }
    }
}

/// Starts the daemon of a config; says whether nobody else did meanwhile. Only here its values are needed.
async fn started_one(chosen: &Chosen, name: &str) -> Result<bool, String> {
    let file = match chosen {
        Chosen::Named(file) | Chosen::Users(file) => file,
        Chosen::Nowhere(places) => return Err(no_config(places)),
    };
    let config = load(file)?;
    if config.endpoint(name).is_none() {
        let names = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!("{} has no endpoint {name:?}; it has: {names}", file.display()));
    }
    let directory = sockets::directory(&config);
    let unusable = |why: String| format!("cannot use {} for sockets: {why}", directory.display());
    sockets::prepare(&directory, sockets::mode(&config)).map_err(|why| unusable(format!("{why}; {}", why.help())))?;
    let _starting = Turn::take(&directory).await.map_err(|error| unusable(error.to_string()))?.ok_or_else(|| {
        let (lock, waited) = (directory.join(Turn::LOCK), Turn::PATIENCE.as_secs());
        format!(
            "another mcpool has held {} for {waited}s to start the daemon: end it if it stands still",
            lock.display()
        )
    })?;
    if Running::find(chosen, name).await?.is_some() {
        return Ok(false);
    }
    start(file, &directory).await?;
    Ok(true)
}

/// Why a socket was not reached, and what to do about it.
fn unreached(path: &Path, why: &Unreached, told: bool) -> String {
    let shown = path.display();
    let me = rustix::process::getuid().as_raw();
    match why {
        Unreached::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Where the socket itself may not be seen, whoever has the directory has the socket.
            let owner = path.ancestors().find_map(|path| Some(fs::symlink_metadata(path).ok()?.uid()));
            let owner = owner.map_or_else(|| "somebody else".to_owned(), |uid| format!("user {uid}"));
            format!(
                "{shown} belongs to {owner}, who does not let you in: to share an endpoint with you, they write `users: [{me}]` into it in their config"
            )
        }
        Unreached::Io(error) => format!("nobody listens on {shown}: {error}"),
        Unreached::Impostor { listens, .. } if told => {
            format!("{why} (on {shown}): whoever user {listens} is, they could answer anything")
        }
        Unreached::Impostor { listens, .. } => {
            format!("{why} (on {shown}): if that is whom you mean, say `--socket {shown} --peer-uid {listens}`")
        }
    }
}

/// Only one starts the daemon, however many want it.
struct Turn {
    _lock: File,
}

impl Turn {
    const LOCK: &str = "start.lock";
    /// Whoever has it needs no longer, unless they were stopped in the middle.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// None if somebody else keeps it.
    async fn take(directory: &Path) -> io::Result<Option<Turn>> {
        let lock =
            sockets::open(&directory.join(Turn::LOCK), OpenOptions::new().write(true).create(true).truncate(false))?;
        let since = Instant::now();
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if since.elapsed() > Turn::PATIENCE {
                return Ok(None);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Some(Turn { _lock: lock }))
    }
}

/// Starts a daemon that outlives whoever started it: hosts end the whole process group of what they spawned.
async fn start(file: &Path, directory: &Path) -> Result<(), String> {
    let log = logs::path(directory);
    let failed = |error: io::Error| format!("cannot start the daemon: {error}");
    // A daemon that still ends may write there too: both only ever add lines.
    let (out, before) = match logs::open(&log) {
        Ok(out) => (Stdio::from(out.try_clone().map_err(failed)?), out.metadata().map_or(0, |there| there.len())),
        // What lies there is not ours.
        Err(error) if error.kind() == io::ErrorKind::Other => return Err(failed(error)),
        // A daemon without a log is better than none.
        Err(_) => (Stdio::null(), 0),
    };
    let mut daemon = Command::new(std::env::current_exe().map_err(failed)?)
        .args(["serve", "--detached", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(out)
        .spawn()
        .map_err(failed)?;
    let said = match daemon.stdout.take() {
        Some(stdout) => first_words(stdout).await,
        None => String::new(),
    };
    if said == READY {
        return Ok(());
    }
    if !said.trim().is_empty() {
        return Err(format!("the daemon did not start: {}", said.trim()));
    }
    let last = logs::last(&log, before, 10);
    Err(format!("the daemon did not start; {} ends with:\n{last}", log.display()))
}

/// What a daemon says first on its stdout: that it is ready, or, at length, why it is not.
async fn first_words(stdout: impl AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(stdout.take(WORDS));
    let mut said = String::new();
    // A daemon that ends closes its stdout, which ends the wait.
    let _ = timeout(START, async {
        let _ = lines.read_line(&mut said).await;
        if said != READY {
            let _ = lines.read_to_string(&mut said).await;
        }
    })
    .await;
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_was_stopped_while_starting_the_daemon_is_not_waited_for_without_end() {
        let directory = std::env::temp_dir().join(format!("mcpool-turn-{:016x}", fastrand::u64(..)));
        sockets::prepare(&directory, 0o700).unwrap();
        let stopped = Turn::take(&directory).await.unwrap();
        let since = Instant::now();
        assert!(stopped.is_some() && Turn::take(&directory).await.unwrap().is_none());
        assert!(since.elapsed() > START, "it may start the daemon still");
        drop(stopped);
        assert!(Turn::take(&directory).await.unwrap().is_some());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_socket_of_somebody_else_is_told_in_one_line_and_how_to_be_let_in() {
        let denied = Unreached::Io(io::ErrorKind::PermissionDenied.into());
        let told = unreached(Path::new("/x.sock"), &denied, false);
        assert!(told.contains("they write `users: [") && !told.contains("  "), "{told}");
    }
}
