//! Called by `connect`, `tools` and `call`: a way to an endpoint of the daemon, which is started if none runs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::caller::sockets;
use crate::config::Config;

/// How long a daemon may take to listen.
const START: Duration = Duration::from_secs(20);

/// Where to connect.
pub enum Target {
    /// This socket, whoever listens there.
    Socket(PathBuf),
    /// An endpoint of the daemon of this config.
    Endpoint { config: Box<Config>, file: PathBuf, name: String },
}

impl Target {
    /// Connects, starting the daemon if there is none.
    ///
    /// # Errors
    /// In words for people: nobody listens, there is no such endpoint, or the daemon cannot be started.
    pub async fn reach(&self) -> Result<UnixStream, String> {
        match self {
            Target::Socket(path) => UnixStream::connect(path)
                .await
                .map_err(|error| format!("nobody listens on {}: {error}", path.display())),
            Target::Endpoint { config, file, name } => {
                // The daemon may have taken another config in the meantime.
                let now = Config::load(file);
                endpoint(file, now.as_ref().unwrap_or(config), name).await
            }
        }
    }
}

/// Connects to an endpoint, starting the daemon if there is none.
///
/// # Errors
/// In words for people: there is no such endpoint, or the daemon cannot be started.
pub async fn endpoint(file: &Path, config: &Config, name: &str) -> Result<UnixStream, String> {
    if config.endpoint(name).is_none() {
        let names = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!("{} has no endpoint {name:?}; it has: {names}", file.display()));
    }
    let socket = sockets::path(config, name);
    if let Ok(stream) = UnixStream::connect(&socket).await {
        return Ok(stream);
    }
    let directory = sockets::directory(config);
    let _starting =
        Turn::take(&directory).await.map_err(|error| format!("cannot use {}: {error}", directory.display()))?;
    if let Ok(stream) = UnixStream::connect(&socket).await {
        return Ok(stream);
    }
    if UnixStream::connect(sockets::path(config, sockets::ADMIN)).await.is_ok() {
        return Err(format!(
            "the daemon that runs in {} has no endpoint {name:?}: it runs with another config; stop it, or give this config another `sockets.dir`",
            directory.display()
        ));
    }
    start(file, &directory).await?;
    UnixStream::connect(&socket)
        .await
        .map_err(|error| format!("the daemon was started, but {} cannot be reached: {error}", socket.display()))
}

/// Only one starts the daemon, however many want it.
struct Turn {
    _lock: File,
}

impl Turn {
    async fn take(directory: &Path) -> io::Result<Turn> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = directory.join("start.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Turn { _lock: lock })
    }
}

/// Starts a daemon that outlives whoever started it: hosts end the whole process group of what they spawned.
async fn start(file: &Path, directory: &Path) -> Result<(), String> {
    let log = directory.join("daemon.log");
    let failed = |error: io::Error| format!("cannot start the daemon: {error}");
    // A daemon that still ends may write there too: both only ever add lines.
    let out = OpenOptions::new().create(true).append(true).mode(0o600).open(&log).map_err(failed)?;
    out.set_len(0).map_err(failed)?;
    let mut daemon = Command::new(std::env::current_exe().map_err(failed)?)
        .args(["serve", "--detached", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(out)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = daemon.stdout.take() {
        let mut lines = BufReader::new(stdout);
        // A daemon that ends instead closes its stdout, which ends the wait.
        let _ = timeout(START, lines.read_line(&mut line)).await;
    }
    if line.trim() == "ready" {
        return Ok(());
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    let last = said.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(format!("the daemon did not start; {} ends with:\n{last}", log.display()))
}
