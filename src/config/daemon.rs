//! What concerns the daemon as a whole, as used. Made by `file.rs`. The values of `Default` are the defaults of the
//! file.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine;

/// How many bytes a socket's path may have: what `sockaddr_un` holds, less the NUL at its end, and less what the name is
/// longer under which it is made, with the daemon's id for its extension.
pub fn longest_socket(path: &Path) -> usize {
    const SYSTEM: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
    const ID: &str = "4194304";
    SYSTEM - path.with_extension(ID).as_os_str().len().saturating_sub(path.as_os_str().len())
}

/// Where callers find the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// An absolute path, if the file names one.
    pub dir: Option<PathBuf>,
    /// The directory that follows from the user and the config's path; None where the config is no file.
    pub own: Option<PathBuf>,
}

/// What one caller, or one message, may take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message in either direction; `max_message` in the file.
    pub message: usize,
    /// Callers connected to one endpoint.
    pub callers: usize,
    /// Calls of one caller in flight.
    pub in_flight: usize,
    /// Calls of all callers in flight.
    pub in_flight_total: usize,
    /// Bytes kept for all callers together: requests, answers that are not read, half lines. None: a part of what the
    /// machine has.
    pub memory: Option<usize>,
    /// Bytes that wait for one caller.
    pub outgoing: usize,
    /// How long a caller may read nothing while something waits for it.
    pub unread: Duration,
    /// Bytes that wait for one instance.
    pub backlog: usize,
    /// How long a line may take from its first byte on; one that keeps coming gets as much again.
    pub line: Duration,
    /// Levels of objects and arrays within one message.
    pub nesting: usize,
    /// Resource subscriptions and open listens of one caller.
    pub subscriptions: usize,
    /// Tasks of one caller.
    pub tasks: usize,
    /// Tasks of all callers at one server.
    pub tasks_total: usize,
    /// Calls of one modern caller that wait for it to come back with answers.
    pub held: usize,
    /// The same of all callers together.
    pub held_total: usize,
    /// How long the roots of a modern caller are believed, which says nothing when they change.
    pub roots_for: Duration,
    /// How often a modern server may ask in one call of a legacy caller.
    pub rounds: usize,
    /// Questions of one instance that are not answered yet.
    pub asks: usize,
    /// Items of one list of a server: what is behind them is not shown.
    pub list_items: usize,
    /// Bytes of the same.
    pub list_bytes: usize,
}

/// What is remembered of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// An absolute path; None: the user's cache directory.
    pub dir: Option<PathBuf>,
    /// How long the lists of a server that announces no changes are believed.
    pub max_age: Duration,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter directive of `tracing`: `info`, or `warn,mcpool::pool=debug`.
    pub level: String,
}

/// Who called what, one line for each request that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where it is written, an absolute path; None: nowhere.
    pub file: Option<PathBuf>,
    /// Bytes at which the file is turned.
    pub size: usize,
    /// How many older ones are kept.
    pub keep: usize,
    /// Whether calls are refused while it cannot be written.
    pub required: bool,
}

/// How the daemon ends, and how it comes by another config while it runs. In the file its keys stand at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// How long running calls may take once the daemon, their server or their endpoint is to end.
    pub drain: Duration,
    /// Whether the file is read again when it changes; a SIGHUP has it read in any case.
    pub reload: bool,
}

/// What operators read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Where Prometheus reads; None: nowhere.
    pub metrics: Option<MetricsAt>,
}

/// Where Prometheus reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsAt {
    /// A loopback address. With port 0 the system chooses one.
    Tcp(SocketAddr),
    /// A socket at an absolute path, for the daemon's own user.
    Unix(PathBuf),
}

impl fmt::Display for MetricsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsAt::Tcp(address) => address.fmt(f),
            MetricsAt::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 10 << 20,
            callers: 10_000,
            in_flight: 1024,
            in_flight_total: 65_536,
            memory: None,
            outgoing: 64 << 20,
            unread: Duration::from_secs(60),
            backlog: 64 << 20,
            line: Duration::from_secs(30),
            nesting: 128,
            subscriptions: 1000,
            tasks: 1000,
            tasks_total: 10_000,
            held: 1024,
            held_total: 65_536,
            roots_for: Duration::from_secs(30),
            rounds: 32,
            asks: 64,
            list_items: 10_000,
            list_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Bytes kept for all callers together.
    pub fn memory(&self) -> usize {
        // Two of the largest messages have room on the smallest machine.
        self.memory.unwrap_or_else(|| machine::share().max(self.message.saturating_mul(2)))
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, size: 100 << 20, keep: 5, required: false }
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { dir: None, max_age: Duration::from_secs(5 * 60) }
    }
}

impl Default for Life {
    fn default() -> Self {
        Self { drain: Duration::from_secs(10), reload: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

impl Log {
    /// Whether a text says what is logged: levels, and `TARGET=LEVEL` for parts. `tracing` itself takes any word for the
    /// name of a part, so that a misspelt level would silence the log.
    pub fn is_filter(text: &str) -> bool {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
        let fine = |one: &str| is_level(one) || one.rsplit_once('=').is_some_and(|(_, level)| is_level(level));
        // Fields of a span may hold commas.
        (text.contains('{') || text.split(',').all(fine)) && tracing_subscriber::EnvFilter::try_new(text).is_ok()
    }
}
