//! What a server is confined to, as used. Made by `file/sandbox.rs`; put in force by `pool::process`.

use std::fmt;
use std::path::PathBuf;

use super::units;

use crate::plural::plural;

/// What a server may reach. What is not named is not restricted; of files, what is not named cannot be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// What programs of a kind need besides.
    pub preset: Option<Preset>,
    /// What it may read and execute, absolute paths; None with None in `write` and no preset: every file.
    pub read: Option<Vec<PathBuf>>,
    /// What it may read, execute and change.
    pub write: Option<Vec<PathBuf>>,
    /// Whether it may have sockets of networks.
    pub network: Network,
    /// Whether it may have sockets of this machine: those of desktops, agents, other daemons.
    pub unix_sockets: bool,
    /// Processes and threads of an instance.
    pub processes: Option<usize>,
    /// Memory of each of its processes, in bytes.
    pub memory: Option<usize>,
}

/// What starts a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Fetches a package from npm and runs it with Node.
    Npx,
    /// Fetches a package from PyPI and runs it with Python.
    Uvx,
}

/// Which networks a server reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// All that the machine does.
    #[default]
    Any,
    /// None, its own machine's loopback included.
    None,
}

impl Sandbox {
    /// Whether files are restricted at all.
    pub fn restricts_files(&self) -> bool {
        self.preset.is_some() || self.read.is_some() || self.write.is_some()
    }
}

impl fmt::Display for Sandbox {
    /// What it restricts, in words for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let listed = |paths: &Option<Vec<PathBuf>>| {
            let paths: Vec<_> = paths.iter().flatten().map(|path| path.display().to_string()).collect();
            if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") }
        };
        if let Some(preset) = self.preset {
            parts.push(format!("preset {}", preset.as_str()));
        }
        if self.restricts_files() {
            parts.push(format!("reads {}, writes {}", listed(&self.read), listed(&self.write)));
        } else {
            parts.push("all files".to_owned());
        }
        parts.push(if self.network == Network::None { "no network" } else { "any network" }.to_owned());
        if self.unix_sockets {
            parts.push("Unix sockets".to_owned());
        }
        parts.extend(self.processes.map(|count| format!("at most {}, threads included", plural(count, "process"))));
        parts.extend(self.memory.map(|bytes| format!("{} of memory a process", units::written_size(bytes))));
        f.write_str(&parts.join("; "))
    }
}

impl Preset {
    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Npx => "npx",
            Preset::Uvx => "uvx",
        }
    }
}
