//! Called by `daemon::doors`, the admin socket and the socket of metrics: a socket on which others connect. A lock
//! beside it is held as long as its daemon lives, so that a stale socket is replaced and a live one never is.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use tokio::net::{UnixListener, UnixStream};

use crate::caller::Peer;
use crate::config::strict::{self, Distrust};
use crate::endpoint::rarely::Rarely;
use crate::endpoint::sockets;
use crate::error::Error;

/// How often a lock is taken anew that was given up at the same moment.
const TRIES: usize = 100;
/// How long nobody is taken in when there are no descriptors at all.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that this daemon listens on; removed when dropped.
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
    /// Tells the socket from one that another daemon made in its place.
    own: (u64, u64),
    /// Users besides our own who may connect.
    users: RefCell<Vec<u32>>,
    /// A descriptor kept for the case that there is no other: to take one in, and to tell it that.
    spare: RefCell<Option<File>>,
    failures: Rarely,
    strangers: Rarely,
    /// One with the listener that takes this one's place, if its socket alone was gone.
    lock: RefCell<Rc<Lock>>,
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
    /// What is there is no socket.
    #[error("{0} is there and is no socket; choose another path, or remove it yourself")]
    Other(PathBuf),
    /// Others may put something in its place.
    #[error("cannot listen on {0}: {1}; {help}", help = .1.help())]
    Distrusted(PathBuf, Distrust),
    /// It cannot be made.
    #[error("cannot listen on {0}: {1}{help}", help = shorter(.1))]
    Io(PathBuf, io::Error),
}

/// What to do if a path has more bytes than the system allows.
fn shorter(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::InvalidInput { "; choose a shorter `sockets.dir`" } else { "" }
}

impl Listener {
    /// Listens on `path`, replacing a socket whose daemon is dead.
    ///
    /// # Errors
    /// The socket is held by somebody alive, or cannot be made.
    pub fn bind(path: &Path, users: &[u32]) -> Result<Listener, Taken> {
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            let mode = if users.is_empty() { 0o700 } else { 0o711 };
            sockets::prepare(directory, mode).map_err(|why| Taken::Distrusted(path.to_owned(), why))?;
        }
        // An endpoint's own `socket` may lie in `/tmp`, where others can make what was not there, and no more.
        strict::way(path).map_err(|why| Taken::Distrusted(path.to_owned(), why))?;
        Listener::make(path, users, Rc::new(Lock::take(path)?))
    }

    /// Listens on `path`, of which the lock is held.
    fn make(path: &Path, users: &[u32], lock: Rc<Lock>) -> Result<Listener, Taken> {
        let io = |error| Taken::Io(path.to_owned(), error);
        clear(path)?;
        // Made under a name of its own and then moved into place, so that nobody ever connects before the mode is set.
        let making = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&making);
        let inner = UnixListener::bind(&making).map_err(io)?;
        fs::set_permissions(&making, mode(users)).map_err(io)?;
        let own = identity(&making).map_err(io)?;
        fs::rename(&making, path).map_err(io)?;
        Ok(Listener {
            inner,
            path: path.to_owned(),
            own,
            users: RefCell::new(users.to_vec()),
            spare: RefCell::new(spare()),
            failures: Rarely::default(),
            strangers: Rarely::default(),
            lock: RefCell::new(lock),
        })
    }

    /// One in the place of this, if its socket is not there any more: cleaners of directories take what looks old away, and
    /// whoever comes would find nobody. A lock that is gone is taken anew.
    ///
    /// # Errors
    /// Somebody else was quicker, or it cannot be made.
    pub fn renewed(&self) -> Result<Option<Listener>, Taken> {
        let there = identity(&self.path).is_ok_and(|there| there == self.own);
        let locked = self.lock.borrow().is_there();
        match (there, locked) {
            (true, true) => return Ok(None),
            (true, false) => drop(self.lock.replace(Rc::new(Lock::take(&self.path)?))),
            (false, false) => return Listener::bind(&self.path, &self.users.borrow()).map(Some),
            (false, true) => {
                return Listener::make(&self.path, &self.users.borrow(), self.lock.borrow().clone()).map(Some);
            }
        }
        Ok(None)
    }

    /// Takes the socket away at once: nobody finds it any more. It is given up when this is dropped.
    pub fn retract(&self) {
        // If it is gone already, so much the better. Where the lock went with its directory, another daemon may have made
        // one by now.
        if identity(&self.path).is_ok_and(|there| there == self.own) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Lets other users connect than before.
    pub fn admit(&self, users: &[u32]) {
        if *self.users.borrow() == users {
            return;
        }
        self.users.replace(users.to_vec());
        let changed = match identity(&self.path) {
            Ok(there) if there == self.own => fs::set_permissions(&self.path, mode(users)),
            Ok(_) => Err(io::Error::other("another one is in its place")),
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
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
                        if let Some(times) = self.strangers.say() {
                            tracing::warn!(socket = %self.path.display(), uid = peer.uid(), times, "refused a caller of another user");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(socket = %self.path.display(), %error, "refused a caller of unknown user")
                    }
                },
                Err(error) => {
                    if let Some(times) = self.failures.say() {
                        tracing::error!(socket = %self.path.display(), %error, times, "cannot take callers in");
                    }
                    if !self.turn_away().await {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Out of descriptors: takes one in with the spare one, tells it that and lets it go. Says whether there was one.
    async fn turn_away(&self) -> bool {
        drop(self.spare.take());
        let taken = poll_fn(|context| Poll::Ready(self.inner.poll_accept(context))).await;
        let turned = if let Poll::Ready(Ok((stream, _))) = taken {
            let mut line = Error::NoRoom { limit: None }.reply(None);
            line.push(b'\n');
            // Into the socket's buffer; who connects and leaves at once is not told.
            let _ = stream.try_write(&line);
            true
        } else {
            false
        };
        self.spare.replace(spare());
        turned
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

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Who connects is looked at too; the mode lets others knock.
fn mode(users: &[u32]) -> fs::Permissions {
    fs::Permissions::from_mode(if users.is_empty() { 0o600 } else { 0o666 })
}

/// What tells a file from every other that is there at the same time.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Removes a socket that nobody listens on any more; whatever else is there stays.
fn clear(path: &Path) -> Result<(), Taken> {
    let io = |error| Taken::Io(path.to_owned(), error);
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if !there.file_type().is_socket() {
        return Err(Taken::Other(path.to_owned()));
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io),
        Err(Errno::NOENT) => Ok(()),
        // Its backlog is full: whoever listens takes his time.
        Ok(()) | Err(Errno::AGAIN) => Err(Taken::Stranger(path.to_owned())),
        Err(error) => Err(io(error.into())),
    }
}

/// Connects without ever waiting: whoever listens may stand still.
fn knock(path: &Path) -> rustix::io::Result<()> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Where the lock of a socket is.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

/// The lock of a socket, held until this is dropped, and then gone.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of a socket.
    ///
    /// # Errors
    /// Another daemon holds it, or it cannot be made.
    fn take(socket: &Path) -> Result<Lock, Taken> {
        for _ in 0..TRIES {
            let lock = Lock::open(socket)?;
            // Who gave it up took it away; whoever opened it before that would hold one that nobody else looks at.
            if lock.is_there() {
                return Ok(lock);
            }
        }
        Err(Taken::Io(socket.to_owned(), io::Error::other("its lock comes and goes")))
    }

    fn open(socket: &Path) -> Result<Lock, Taken> {
        let (path, io) = (beside(socket), |error| Taken::Io(socket.to_owned(), error));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = sockets::open(&path, &mut options).map_err(io)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(io)?;
            return Err(Taken::Daemon { path: socket.to_owned(), pid: pid.trim().to_owned() });
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Lock { file, path })
    }

    /// Whether it is the one that others would try to take.
    fn is_there(&self) -> bool {
        let held = self.file.metadata().map(|held| (held.dev(), held.ino()));
        matches!((held, identity(&self.path)), (Ok(held), Ok(there)) if held == there)
    }
}

impl Drop for Lock {
    /// Takes it away while it is held still, so that nobody else can hold it at that moment.
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
