//! Called by the daemon and by those who look for it: where sockets are. Hosts start commands with an almost
//! empty environment, so the place follows from the user alone unless the config says otherwise.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// The name of the socket for `status`.
pub const ADMIN: &str = "admin";

/// The directory of the sockets.
pub fn directory(config: &Config) -> PathBuf {
    config.sockets.dir.clone().unwrap_or_else(|| usual(rustix::process::getuid().as_raw(), std::env::home_dir()))
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

fn usual(uid: u32, home: Option<PathBuf>) -> PathBuf {
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    match home {
        Some(home) if !runtime.is_dir() => home.join(".mcpool").join("run"),
        _ => runtime.join("mcpool"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_from_the_user() {
        // No user has this id, so there is no runtime directory either.
        assert_eq!(usual(4_000_000_000, Some("/home/x".into())), Path::new("/home/x/.mcpool/run"));
        assert_eq!(named(Path::new("/a"), "files"), Path::new("/a/files.sock"));
    }
}
