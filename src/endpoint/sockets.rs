//! Called by the daemon and by those who look for it: where sockets are, and whether what lies there can be ours alone.
//! Hosts start commands with an almost empty environment, so the place follows from the user and the config's path
//! unless the config says otherwise. Where it does, a `signpost` stands in the place where one looks first.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::UnixStream;

use crate::config::strict::{self, Distrust};
use crate::config::{Config, Endpoint, longest_socket, place};

/// The mode of a directory that only its user enters, and of one in which others reach what they know the name of.
const CLOSED: u32 = 0o700;
const OPEN: u32 = 0o711;

/// What directories of ours are called that may stand above that of the sockets.
const OURS: [&str; 3] = [".mcpool", "run", "mcpool"];

/// The name of the socket for `status`.
pub const ADMIN: &str = "admin";

/// The directory of the sockets.
pub fn directory(config: &Config) -> PathBuf {
    let own = || config.sockets.own.clone();
    let usual = || place::directory(None, &|name| std::env::var_os(name)).unwrap_or_default();
    config.sockets.dir.clone().or_else(own).unwrap_or_else(usual)
}

/// The socket of an endpoint.
pub fn path(config: &Config, endpoint: &str) -> PathBuf {
    let configured = config.endpoint(endpoint).and_then(|endpoint| endpoint.socket.clone());
    configured.unwrap_or_else(|| named(&directory(config), endpoint))
}

/// The socket of that name in a directory.
pub fn named(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// Why no socket can be at a path that is too long for one, in words for people.
pub fn too_long(path: &Path) -> Option<String> {
    let (length, most) = (path.as_os_str().len(), longest_socket(path));
    let (name, remedy) = (path.display(), "choose a shorter `sockets.dir`");
    let why = || format!("the path of the socket {name} has {length} bytes; the system allows {most}: {remedy}");
    (length > most).then(why)
}

/// The mode of the directory. Others are let in by who they are; it only lets them reach the socket that is for them.
pub fn mode(config: &Config) -> u32 {
    let lets_in = |endpoint: &Endpoint| !endpoint.users.is_empty() && endpoint.socket.is_none();
    if config.endpoints.iter().any(lets_in) { OPEN } else { CLOSED }
}

/// Gives a directory of ours, and what was made for it, the mode that the config now calls for. One that somebody gave
/// a mode of its own keeps that.
///
/// # Errors
/// It cannot be changed.
pub fn settle(directory: &Path, mode: u32) -> io::Result<()> {
    for (place, directory) in directory.ancestors().enumerate() {
        // Another daemon may have its sockets below what is above: that is opened for ever.
        if place > 0 && (mode != OPEN || !is_ours(directory)) {
            break;
        }
        let there = fs::symlink_metadata(directory)?;
        let (own, known) = (rustix::process::getuid().as_raw(), [CLOSED, OPEN]);
        let is = there.mode() & 0o777;
        if there.is_dir() && there.uid() == own && known.contains(&is) && is != mode && known.contains(&mode) {
            fs::set_permissions(directory, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Whether a directory above the sockets' own is one that mcpool makes.
fn is_ours(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| OURS.iter().any(|ours| name == *ours))
}

/// The first directory on the way to a socket that keeps a user out; the sockets' own one is opened by the daemon.
pub fn barrier(config: &Config, endpoint: &Endpoint, user: u32) -> Option<PathBuf> {
    let socket = path(config, &endpoint.name);
    let own = directory(config);
    let mut way: Vec<&Path> = socket.ancestors().skip(1).filter(|directory| **directory != own).collect();
    way.reverse();
    let keeps_out = |directory: &&Path| {
        let Ok(there) = fs::metadata(directory) else { return false };
        // Which groups somebody else is in is not known here.
        let enters = if there.uid() == user { 0o100 } else { 0o001 };
        let ours = is_ours(directory) && own.starts_with(directory);
        user != 0 && !ours && there.mode() & enters == 0
    };
    way.into_iter().find(keeps_out).map(Path::to_owned)
}

/// Makes a directory for sockets, with this mode, unless it is there.
///
/// # Errors
/// It cannot be made, or somebody else may put things there.
pub fn prepare(directory: &Path, mode: u32) -> Result<(), Distrust> {
    match strict::directory(directory) {
        Err(Distrust::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            strict::way(directory)?;
            DirBuilder::new().recursive(true).mode(CLOSED).create(directory).map_err(Distrust::Io)?;
            // Somebody else may have been quicker.
            strict::directory(directory)?;
        }
        known => known?,
    }
    settle(directory, mode).map_err(Distrust::Io)
}

/// Opens a file of ours beside the sockets: no link is followed, and it is made for this user alone.
///
/// # Errors
/// It cannot be opened, or is somebody else's or no file.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = strict::flags(OFlags::NOFOLLOW | OFlags::NONBLOCK);
    let file = options.mode(0o600).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            io::Error::other(format!("{} is a symbolic link, which is not followed: remove it", path.display()))
        }
        _ => error,
    })?;
    let there = file.metadata()?;
    if !there.is_file() || ![0, rustix::process::getuid().as_raw()].contains(&there.uid()) {
        return Err(io::Error::other(format!("{} is not yours, or no file: remove it", path.display())));
    }
    Ok(file)
}

/// Why a socket was not connected to.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Whoever listens is not who it should be.
    #[error("user {listens} listens there, not {expected}")]
    Impostor { listens: u32, expected: String },
}

/// Connects to a socket if this user or root listens there, or `user` if one is named.
///
/// # Errors
/// Nobody listens, or somebody else.
pub async fn reach(path: &Path, user: Option<u32>) -> Result<UnixStream, Unreached> {
    let stream = UnixStream::connect(path).await?;
    let listens = stream.peer_cred()?.uid();
    let me = rustix::process::getuid().as_raw();
    let expected = user.map_or_else(|| vec![me, 0], |user| vec![user]);
    if expected.contains(&listens) {
        return Ok(stream);
    }
    let expected = user.map_or_else(|| format!("you (user {me})"), |user| format!("user {user}"));
    Err(Unreached::Impostor { listens, expected })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use crate::endpoint::sockets::*;

    /// A directory that is gone afterwards.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Dir {
            let dir = std::env::temp_dir().join(format!("mcpool-sockets-{:016x}", fastrand::u64(..)));
            DirBuilder::new().mode(0o700).create(&dir).unwrap();
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_that_others_may_write_or_that_is_a_link_is_refused() {
        let dir = Dir::new();
        let run = dir.0.join("a/run");
        prepare(&run, 0o700).unwrap();
        assert_eq!(fs::metadata(&run).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&run, dir.0.join("link")).unwrap();
        assert!(prepare(&dir.0.join("link"), 0o700).unwrap_err().to_string().contains("symbolic link"));
        for mode in [0o777, 0o770, 0o1777] {
            fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
            assert!(prepare(&run, 0o700).unwrap_err().help().contains("chmod go-w"), "{mode:o}");
        }
        if rustix::process::getuid().is_root() {
            fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&run, Some(65534), None).unwrap();
            assert!(prepare(&run, 0o700).unwrap_err().to_string().contains("belongs to user 65534"));
        }
    }

    #[test]
    fn a_directory_is_opened_for_other_users_and_closed_again() {
        let dir = Dir::new();
        let run = dir.0.join(".mcpool/run");
        let modes = || [run.parent().unwrap(), &run].map(|dir| fs::metadata(dir).unwrap().permissions().mode() & 0o777);
        for (mode, modes_then) in [(CLOSED, [CLOSED, CLOSED]), (OPEN, [OPEN, OPEN]), (CLOSED, [OPEN, CLOSED])] {
            prepare(&run, mode).unwrap();
            assert_eq!(modes(), modes_then);
        }
        fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
        prepare(&run, OPEN).unwrap();
        assert_eq!(modes()[1], 0o750, "that was somebody's choice");
    }

    #[test]
    fn a_directory_above_that_keeps_a_user_out_is_found() {
        let dir = Dir::new();
        let mut config = Config::default();
        let mut endpoint = Endpoint::new("pub", vec![]);
        config.sockets.dir = Some(dir.0.join("closed/run"));
        config.endpoints.push(endpoint.clone());
        fs::create_dir(dir.0.join("closed")).unwrap();
        let user = rustix::process::getuid().as_raw() + 1;
        assert_eq!(barrier(&config, &endpoint, user), Some(dir.0.clone()));
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(OPEN)).unwrap();
        fs::set_permissions(dir.0.join("closed"), fs::Permissions::from_mode(CLOSED)).unwrap();
        assert_eq!(barrier(&config, &endpoint, user), Some(dir.0.join("closed")));
        assert_eq!(barrier(&config, &endpoint, user - 1), None);
        endpoint.socket = Some(dir.0.join("pub.sock"));
        config.endpoints[0] = endpoint.clone();
        assert_eq!(barrier(&config, &endpoint, user), None);
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = Dir::new();
        let (precious, link) = (dir.0.join("precious"), dir.0.join("daemon.log"));
        fs::write(&precious, "x").unwrap();
        symlink(&precious, &link).unwrap();
        let refused = open(&link, OpenOptions::new().write(true).create(true).truncate(true)).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");
        assert_eq!(fs::read_to_string(precious).unwrap(), "x");
    }

    #[tokio::test]
    async fn whoever_listens_has_to_be_who_is_expected() {
        let dir = Dir::new();
        let path = dir.0.join("a.sock");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let me = rustix::process::getuid().as_raw();
        assert!(reach(&path, None).await.is_ok() && reach(&path, Some(me)).await.is_ok());
        let refused = reach(&path, Some(me + 1)).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("user {me} listens there, not user {}", me + 1));
    }
}
