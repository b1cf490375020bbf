//! Where the variables of servers come from, as used: from the config, from a record that the user made, or from
//! whoever started the daemon. Made by `file/environment.rs`; asked by the pool when it starts a process, by `status`
//! and `check`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// What every server gets, where it is set: what MCP clients pass on, and what tells a program where it may write and how
/// it reaches the network. The rest may be secrets that are none of its business.
pub const INHERITED: [&str; 22] = [
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
];

/// Where programs are looked for if nothing says it.
pub(super) const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The system's list of users.
const USERS: &str = "/etc/passwd";
/// How much of it is read, in bytes.
const READ: u64 = 1 << 20;

/// The variables that servers may get.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Surroundings(Option<Arc<BTreeMap<String, OsString>>>);

impl Surroundings {
    /// These variables and no others, whoever started the daemon.
    pub(super) fn written(variables: BTreeMap<String, OsString>) -> Self {
        Self(Some(Arc::new(variables)))
    }

    /// Whether they are written down.
    pub(super) fn is_written(&self) -> bool {
        self.0.is_some()
    }

    /// One variable.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        match &self.0 {
            Some(variables) => variables.get(name).cloned(),
            None => std::env::var_os(name),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(variables) => f.debug_set().entries(variables.keys()).finish(),
            None => f.write_str("those of this process"),
        }
    }
}

/// Where the variables of servers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// What the user recorded, if there is a record.
    pub record: Option<PathBuf>,
    /// Whether the config has an `environment` of its own.
    pub configured: bool,
    /// What there is.
    pub surroundings: Surroundings,
}

impl Environment {
    /// Where it comes from, in one word for programs.
    pub fn source(&self) -> &'static str {
        match (self.configured, &self.record) {
            (true, _) => "config",
            (false, Some(_)) => "record",
            (false, None) => "daemon",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.configured, &self.record) {
            (true, None) => f.write_str("`environment` in the config"),
            (true, Some(record)) => write!(f, "`environment` in the config, and the record {}", record.display()),
            (false, Some(record)) => write!(f, "the record {}", record.display()),
            (false, None) => f.write_str("whoever started the daemon (`mcpool env record` writes yours down)"),
        }
    }
}

/// What says who the user is, from the system's list of users: the same whoever started the daemon.
pub(super) fn identity() -> BTreeMap<String, OsString> {
    let mut users = String::new();
    // Who is not in it goes without.
    let _ = File::open(USERS).and_then(|file| file.take(READ).read_to_string(&mut users));
    named(&users, rustix::process::getuid().as_raw())
}

fn named(users: &str, uid: u32) -> BTreeMap<String, OsString> {
    let mine = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid);
    let fields: Vec<&str> = users.lines().find(mine).map(|line| line.split(':').collect()).unwrap_or_default();
    let names = [("LOGNAME", 0), ("USER", 0), ("HOME", 5), ("SHELL", 6)];
    let there = names.into_iter().filter_map(|(name, at)| Some((name, *fields.get(at)?)));
    there.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_user_is_follows_from_the_list_of_users() {
        let users = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000:Me:/home/me:/bin/zsh\nhalf:x:7\n";
        let told = |uid| {
            named(users, uid).into_iter().map(|(name, value)| format!("{name}={}", value.display())).collect::<Vec<_>>()
        };
        assert_eq!(told(1000), ["HOME=/home/me", "LOGNAME=me", "SHELL=/bin/zsh", "USER=me"]);
        assert_eq!((told(7), told(8)), (vec!["LOGNAME=half".to_owned(), "USER=half".to_owned()], vec![]));
    }
}
