//! Called by `demo`: a real daemon on a thread of its own, with the built-in servers and everything it writes in
//! a directory that is gone afterwards.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};

use crate::cli::print::complain;
use crate::config::{Config, Server};
use crate::daemon;
use crate::endpoint::sockets;
use crate::era::Era;

/// A daemon that ends, with its servers and its directory, when this is dropped.
pub struct Place {
    pub config: Config,
    end: Arc<Notify>,
    thread: Option<JoinHandle<Result<(), String>>>,
    _directory: Directory,
}

impl Place {
    /// Starts the daemon and waits until callers can come.
    ///
    /// # Errors
    /// In words for people: there is no place to write, or the daemon cannot be started.
    pub async fn open() -> Result<Place, String> {
        let directory = Directory::new()?;
        let config = config(&directory.0)?;
        let end = Arc::new(Notify::new());
        let (ready, listening) = oneshot::channel();
        let thread = {
            let (config, end) = (config.clone(), end.clone());
            thread::Builder::new().name("daemon".into()).spawn(move || serve(config, ready, end))
        };
        let thread = thread.map_err(|error| format!("no thread for the daemon: {error}"))?;
        let mut place = Place { config, end, thread: Some(thread), _directory: directory };
        match listening.await {
            Ok(()) => Ok(place),
            // It ended instead of listening: the thread knows why.
            Err(_) => Err(place.close().err().unwrap_or_else(|| "the daemon ended at once".into())),
        }
    }

    /// Connects a caller to the server of that era.
    pub async fn connect(&self, era: Era) -> std::io::Result<UnixStream> {
        UnixStream::connect(sockets::path(&self.config, era.as_str())).await
    }

    fn close(&mut self) -> Result<(), String> {
        self.end.notify_one();
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err("the daemon panicked; this is a bug of mcpool".into()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(why) = self.close() {
            complain(format_args!("mcpool: {why}"));
        }
    }
}

/// How a demo server of that era is started.
///
/// # Errors
/// The system does not tell where this program is.
pub fn server(era: Era) -> Result<Server, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut server = Server::new(era.as_str(), program.to_string_lossy());
    server.args = vec!["demo-server".into(), era.as_str().into()];
    Ok(server)
}

fn config(directory: &Path) -> Result<Config, String> {
    let mut config = Config::of(vec![server(Era::Legacy)?, server(Era::Modern)?]);
    config.sockets.dir = Some(directory.to_owned());
    config.catalogue.dir = Some(directory.join("catalogue"));
    Ok(config)
}

fn serve(config: Config, ready: oneshot::Sender<()>, end: Arc<Notify>) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
    let ready = || {
        // If nobody waits any more, the demo was interrupted and ends the daemon at once.
        let _ = ready.send(());
    };
    runtime
        .block_on(daemon::serve_until(config, ready, async move || end.notified().await))
        .map_err(|failure| failure.to_string())
}

/// A directory that only we may enter, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Directory, String> {
        let path = std::env::temp_dir().join(format!("mcpool-demo-{}-{:x}", std::process::id(), fastrand::u32(..)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            complain(format_args!("mcpool: cannot remove {}: {error}", self.0.display()));
        }
    }
}
