//! The config as used: plain checked values, handed out in parts by the daemon. `main` finds and loads it.
//!
//! How it is written is the business of `config/file.rs`; nothing behind `Config` knows about YAML.

mod daemon;
mod diagnostic;
mod endpoint;
mod fields;
mod file;
mod name;
mod resilience;
mod secret;
mod server;
mod substitute;
mod units;
mod yaml;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use daemon::{Admin, Catalogue, Life, Limits, Log, Sockets};
pub use diagnostic::{Mistake, Mistakes, Spot};
pub use endpoint::{ALL, Endpoint};
pub use resilience::{Backoff, Breaker, Probe, Rate, RateLimit, Recycle, Retry, WhenFull};
pub use secret::{Secret, is_plain};
pub use server::{EraChoice, Instances, LeaseChoice, Queue, Server, Timeouts};

/// The largest config file, in bytes.
const LARGEST: usize = 1 << 20;
/// What the file is called where nobody says otherwise.
const FILE: &str = "mcpool.yaml";

/// Everything that an operator decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where it was loaded from, an absolute path.
    pub file: Option<PathBuf>,
    /// Those that are used, in the order of the file.
    pub servers: Vec<Server>,
    /// Those that are written down and not used.
    pub disabled: Vec<Server>,
    /// One for each server, then `all`, then those configured under other names.
    pub endpoints: Vec<Endpoint>,
    /// Where callers find the daemon.
    pub sockets: Sockets,
    /// What a caller may take up.
    pub limits: Limits,
    /// What is remembered of servers.
    pub catalogue: Catalogue,
    /// What is logged.
    pub log: Log,
    /// How the daemon ends, and how it comes by another config.
    pub life: Life,
    /// Tells the text of the file from others; none where there is no file.
    pub digest: Option<String>,
    /// What operators read.
    pub admin: Admin,
}

impl Config {
    /// A config of these servers alone, with every default.
    pub fn of(servers: Vec<Server>) -> Self {
        Self { endpoints: Endpoint::defaults(&servers), servers, ..Self::default() }
    }

    /// The file to load: `explicit` (`--config`) or `$MCPOOL_CONFIG`, there or not; else the first that exists of
    /// `mcpool.yaml` in `cwd` and `mcpool/mcpool.yaml` in the XDG config directory.
    pub fn find(explicit: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>, cwd: &Path) -> Option<PathBuf> {
        let variable = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = explicit.map(Path::to_path_buf).or_else(|| variable("MCPOOL_CONFIG")) {
            return Some(cwd.join(path));
        }
        // The XDG specification says that a relative path there is to be ignored.
        let xdg = variable("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute());
        let dir = xdg.or_else(|| variable("HOME").map(|home| home.join(".config")));
        let places = [Some(cwd.join(FILE)), dir.map(|dir| dir.join("mcpool").join(FILE))];
        places.into_iter().flatten().find(|path| path.is_file())
    }

    /// Loads and checks a file, with this process's environment.
    ///
    /// # Errors
    /// All mistakes in the file at once, or the one that kept it from being read.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let unreadable = |e: std::io::Error| {
            Mistakes::whole(&name, format!("cannot read the config: {e}"), "check the path and who may read it")
        };
        let bytes = text_of(path).map_err(unreadable)?;
        let digest = digest(&bytes);
        let text = String::from_utf8(bytes).map_err(|e| {
            let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Mistakes::whole(&name, format!("the config is not UTF-8 (line {line})"), "save it as UTF-8")
        })?;
        let mut config = Self::parse(&text, &name, &|variable| std::env::var_os(variable))?;
        config.file = Some(std::path::absolute(path).map_err(unreadable)?);
        config.digest = Some(digest);
        Ok(config)
    }

    /// A file as far as it can be read: enough to find the daemon that runs with an earlier text of it.
    pub fn load_for_sockets(path: &Path) -> Self {
        let text = text_of(path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        text.and_then(|text| file::read_what_can_be(&text, &|name| std::env::var_os(name))).unwrap_or_default()
    }

    /// The digest that loading a file would give its text, without reading it as a config; `None` if there is no text.
    pub fn digest_of(path: &Path) -> Option<String> {
        text_of(path).ok().filter(|text| !text.trim_ascii().is_empty()).map(|text| digest(&text))
    }

    /// Reads and checks the text of a file; `name` is what mistakes call it, `env` fills in `${env:NAME}`.
    ///
    /// # Errors
    /// All mistakes at once, or the syntax error.
    pub fn parse(text: &str, name: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Mistakes> {
        if text.len() > LARGEST {
            return Err(Mistakes::whole(
                name,
                "the config is larger than 1MiB".to_owned(),
                "check that it is the right file",
            ));
        }
        file::read(text, name, env)
    }

    /// The server of that name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The endpoint of that name.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }

    /// Takes over from the running config what cannot change while the daemon runs; the keys that would have.
    pub fn keep_what_cannot_change(&mut self, running: &Config) -> Vec<&'static str> {
        let mut kept = Vec::new();
        if self.sockets != running.sockets {
            self.sockets = running.sockets.clone();
            kept.push("sockets.dir");
        }
        if self.catalogue.dir != running.catalogue.dir {
            self.catalogue.dir.clone_from(&running.catalogue.dir);
            kept.push("catalogue.dir");
        }
        if self.admin != running.admin {
            self.admin.clone_from(&running.admin);
            kept.push("admin.metrics");
        }
        kept
    }

    /// What is allowed but probably not meant, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.servers.is_empty() {
            warnings.push("no server is configured: callers can connect, but will find nothing".to_owned());
        }
        for server in &self.servers {
            let (name, timeout) = (&server.name, &server.timeout);
            if timeout.ask > timeout.max {
                warnings.push(format!(
                    "server `{name}`: `timeout.ask` is longer than `timeout.max`, which ends the call and its ask first"
                ));
            }
            if timeout.discover > timeout.start {
                warnings.push(format!("server `{name}`: `timeout.discover` is longer than `timeout.start`, so a silent server is never tried as legacy"));
            }
        }
        for endpoint in &self.endpoints {
            if endpoint.tools.as_ref().is_some_and(Vec::is_empty) {
                warnings.push(format!(
                    "endpoint `{}`: `tools` is an empty list, so no tool may be used; leave it out to allow all",
                    endpoint.name
                ));
            }
        }
        warnings
    }
}

fn text_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Short enough to be compared by eye.
fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
