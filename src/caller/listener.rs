//! Called by the daemon: sockets that callers connect to. A socket is guarded by a lock beside it, held as long
//! as its daemon lives, so that a stale socket can be replaced and a live one never is.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};

use crate::mux::callers::Peer;

/// A socket that this daemon listens on; removed when dropped.
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
    /// Users besides our own who may connect.
    users: RefCell<Vec<u32>>,
    _lock: File,
}

/// Why a socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Taken {
    /// Another daemon has it.
    #[error(
        "{path} is held by another mcpool daemon (pid {pid}); stop that one first, or give this one another `sockets.dir`"
    )]
    Daemon { path: PathBuf, pid: String },
    /// Something else listens on it.
    #[error("{0} is listened on by another program; choose another socket")]
    Stranger(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on {0}: {1}")]
    Io(PathBuf, io::Error),
}

impl Listener {
    /// Listens on `path`, replacing a socket whose daemon is dead.
    ///
    /// # Errors
    /// The socket is held by somebody alive, or cannot be made.
    pub fn bind(path: &Path, users: &[u32]) -> Result<Listener, Taken> {
        let io = |error| Taken::Io(path.to_owned(), error);
        if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
            DirBuilder::new()
                .recursive(true)
                .mode(if users.is_empty() { 0o700 } else { 0o711 })
                .create(dir)
                .map_err(io)?;
        }
        let lock = lock(path)?;
        if path.exists() {
            if Probe::connect(path).is_ok() {
                return Err(Taken::Stranger(path.to_owned()));
            }
            fs::remove_file(path).map_err(io)?;
        }
        // Made under a name of its own and then moved into place, so that nobody ever connects before the mode is set.
        let making = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&making);
        let inner = UnixListener::bind(&making).map_err(io)?;
        fs::set_permissions(&making, mode(users)).map_err(io)?;
        fs::rename(&making, path).map_err(io)?;
        Ok(Listener { inner, path: path.to_owned(), users: RefCell::new(users.to_vec()), _lock: lock })
    }

    /// Takes the socket away at once: nobody finds it any more. It is given up when this is dropped.
    pub fn retract(&self) {
        // If it is gone already, so much the better. Nobody else has made another, since the lock is still held.
        let _ = fs::remove_file(&self.path);
    }

    /// Lets other users connect than before.
    pub fn admit(&self, users: &[u32]) {
        if *self.users.borrow() == users {
            return;
        }
        self.users.replace(users.to_vec());
        if let Err(error) = fs::set_permissions(&self.path, mode(users)) {
            tracing::error!(socket = %self.path.display(), %error, "cannot change who may connect");
        }
    }

    /// The next caller that may connect.
    pub async fn accept(&self) -> (UnixStream, Peer) {
        loop {
            match self.inner.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if self.admits(peer.uid()) => return (stream, Peer { uid: peer.uid(), pid: peer.pid() }),
                    Ok(peer) => {
                        tracing::warn!(socket = %self.path.display(), uid = peer.uid(), "refused a caller of another user")
                    }
                    Err(error) => {
                        tracing::warn!(socket = %self.path.display(), %error, "refused a caller of unknown user")
                    }
                },
                Err(error) => {
                    // Out of descriptors, most likely: those in use will be given back.
                    tracing::error!(socket = %self.path.display(), %error, "cannot accept callers");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admits(&self, uid: u32) -> bool {
        uid == rustix::process::getuid().as_raw() || self.users.borrow().contains(&uid)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.retract();
    }
}

/// Who connects is looked at too; the mode lets others knock.
fn mode(users: &[u32]) -> fs::Permissions {
    fs::Permissions::from_mode(if users.is_empty() { 0o600 } else { 0o666 })
}

fn lock(path: &Path) -> Result<File, Taken> {
    let io = |error| Taken::Io(path.to_owned(), error);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.lock"));
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&beside).map_err(io)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        lock.read_to_string(&mut pid).map_err(io)?;
        return Err(Taken::Daemon { path: path.to_owned(), pid: pid.trim().to_owned() });
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(io)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mcpool-listener-{}-{:x}", std::process::id(), fastrand::u64(..)));
        dir.join("a.sock")
    }

    #[tokio::test]
    async fn a_live_socket_is_never_replaced_and_a_stale_one_is() {
        let path = place();
        let first = Listener::bind(&path, &[]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = Listener::bind(&path, &[]).err().unwrap().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&path, &[]).unwrap());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_socket_of_another_program_is_left_alone() {
        let path = place();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Stranger(_))));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
