//! The config as used: plain checked values, handed out in parts by the daemon. `main` finds and loads it.
//!
//! How it is written is the business of `config/file.rs`; nothing behind `Config` knows about YAML.

mod access;
mod daemon;
mod diagnostic;
mod dotenv;
mod endpoint;
mod environment;
mod fields;
mod file;
mod group;
mod hosts;
mod jsonc;
mod known;
mod machine;
mod name;
pub mod place;
mod record;
mod resilience;
mod sandbox;
mod secret;
mod server;
pub mod strict;
mod substitute;
mod units;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use file::Origin;
use sha2::{Digest, Sha256};
use strict::Distrust;

use crate::hex::hex;

pub use access::{Access, Grants, Named, Roots, Rule, Who};
pub use daemon::{Admin, Audit, Catalogue, Life, Limits, Log, MetricsAt, Sockets, longest_socket};
pub use diagnostic::{Mistake, Mistakes, Spot};
pub use endpoint::{ALL, Endpoint};
pub use environment::{Environment, INHERITED, Surroundings};
pub use known::{Basis, Keeps, Known};
pub use record::{Record, wanted};
pub use resilience::{Backoff, Breaker, Probe, Rate, RateLimit, Recycle, Retry, WhenFull};
pub use sandbox::{Network, Preset, Sandbox};
pub use secret::{Secret, is_plain};
pub use server::{EraChoice, Instances, LeaseChoice, Pin, Queue, Server, Timeouts};

/// The largest config file, in bytes.
const LARGEST: usize = 1 << 20;

/// Everything that an operator decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where it was loaded from, an absolute path.
    pub file: Option<PathBuf>,
    /// Those that are used, in the order of the file.
    pub servers: Vec<Server>,
    /// Those that are written down and not used.
    pub disabled: Vec<Server>,
    /// Where the variables of servers come from.
    pub environment: Environment,
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
    /// What was noticed when it was read and is no mistake, a sentence each.
    pub noticed: Vec<String>,
    /// The names in `${env:NAME}` anywhere in the file, whether or not they are set.
    pub asked: BTreeSet<String>,
    /// Who called what.
    pub audit: Audit,
}

impl Config {
    /// A config of these servers alone, with every default.
    pub fn of(servers: Vec<Server>) -> Self {
        Self { endpoints: Endpoint::defaults(&servers), servers, ..Self::default() }
    }

    /// Loads and checks a file, with this process's environment.
    ///
    /// # Errors
    /// All mistakes in the file at once, or the one that kept it from being read.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let distrusted = |why: Distrust| match why {
            Distrust::Io(_) | Distrust::Kind { .. } => {
                Mistakes::whole(&name, format!("cannot read the config: {why}"), &why.help())
            }
            why => {
                let what = "what it says is run as you, so nobody else may have a say in it";
                Mistakes::whole(&name, format!("the config is not trusted: {why}; {what}"), &why.help())
            }
        };
        let file = strict::open(path).map_err(distrusted)?;
        let bytes = text_of(file).map_err(|e| distrusted(Distrust::Io(e)))?;
        let digest = digest(&bytes);
        let text = String::from_utf8(bytes).map_err(|e| {
            let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Mistakes::whole(&name, format!("the config is not UTF-8 (line {line})"), "save it as UTF-8")
        })?;
        let record = Record::beside(path)?;
        let asked = RefCell::new(BTreeSet::new());
        let env = |variable: &str| {
            asked.borrow_mut().insert(variable.to_owned());
            std::env::var_os(variable)
        };
        let mut config = Self::parse_in(&text, &Origin { name: &name, env: &env, dir: path.parent(), record })?;
        config.asked = asked.take();
        let file = std::path::absolute(path).map_err(|e| distrusted(Distrust::Io(e)))?;
        let own = place::directory(Some(&file), &env);
        let homeless = |why: String| Mistakes::whole(&name, why, "the sockets lie below it");
        let own = own.map_err(homeless)?;
        if let Some(odd) = [&file, &own].into_iter().find(|path| path.to_str().is_none()) {
            let what = format!("the path {} is no UTF-8, and the daemon could tell nobody where it is", odd.display());
            return Err(Mistakes::whole(&name, what, "give the directory or file another name"));
        }
        config.sockets.own = Some(own);
        config.file = Some(file);
        config.digest = Some(digest);
        Ok(config)
    }

    /// The `sockets.dir` of a file, whatever else is wrong with it: enough to find a daemon.
    pub fn sockets_of(path: &Path) -> Option<PathBuf> {
        Self::what_can_be(path)?.sockets.dir
    }

    /// The names of variables that servers inherit by name, whatever else is wrong with the file.
    pub fn inherited_by_name(path: &Path) -> BTreeSet<String> {
        let servers = Self::what_can_be(path).map(|config| [config.servers, config.disabled].concat());
        servers.into_iter().flatten().flat_map(|server| server.inherit_env).collect()
    }

    /// As much of a file as its mistakes leave.
    fn what_can_be(path: &Path) -> Option<Self> {
        let text = strict::open(path).ok().and_then(|file| text_of(file).ok());
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok())?;
        let env = |name: &str| std::env::var_os(name);
        // Whoever cannot read the record does not need it here.
        let record = Record::beside(path).ok().flatten();
        file::read_what_can_be(&text, &Origin { name: "", env: &env, dir: path.parent(), record })
    }

    /// The digest that loading a file would give its text, without reading it as a config; `None` if there is no text.
    pub fn digest_of(path: &Path) -> Option<String> {
        text_of(File::open(path).ok()?).ok().filter(|text| !text.trim_ascii().is_empty()).map(|text| digest(&text))
    }

    /// Reads and checks the text of a file; `name` is what mistakes call it, `env` fills in `${env:NAME}`.
    ///
    /// # Errors
    /// All mistakes at once, or the syntax error.
    pub fn parse(text: &str, name: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Mistakes> {
        Self::parse_in(text, &Origin { name, env, dir: None, record: None })
    }

    fn parse_in(text: &str, origin: &Origin<'_>) -> Result<Self, Mistakes> {
        if text.len() > LARGEST {
            return Err(Mistakes::whole(
                origin.name,
                "the config is larger than 1MiB".to_owned(),
                "check that it is the right file",
            ));
        }
        file::read(text, origin)
    }

    /// The variables that it is read with, or that it says servers get.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let inherited = self.servers.iter().flat_map(|server| &server.inherit_env);
        self.asked.iter().chain(inherited).map(String::as_str)
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
        if self.sockets.dir != running.sockets.dir {
            kept.push("sockets.dir");
        }
        // The own one may have changed too, where a link on the way to the file was turned.
        self.sockets.clone_from(&running.sockets);
        if self.catalogue.dir != running.catalogue.dir {
            self.catalogue.dir.clone_from(&running.catalogue.dir);
            kept.push("catalogue.dir");
        }
        if self.admin != running.admin {
            self.admin.clone_from(&running.admin);
            kept.push("admin.metrics");
        }
        if self.audit != running.audit {
            self.audit.clone_from(&running.audit);
            kept.push("audit");
        }
        kept
    }

    /// What is allowed but probably not meant, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.noticed.clone();
        for server in &self.servers {
            let lacks = server.lacks.iter();
            warnings.extend(lacks.map(|lack| format!("server `{}` cannot be started: {lack}", server.name)));
        }
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
        }
        for server in &self.servers {
            for name in server.may_call.iter().filter(|name| *name != "admin" && self.endpoint(name).is_none()) {
                warnings.push(format!(
                    "server `{}`: `may_call` names the endpoint `{name}`, which there is not",
                    server.name
                ));
            }
        }
        for endpoint in &self.endpoints {
            if !endpoint.users.is_empty() && !endpoint.grants.names_something() {
                warnings.push(format!(
                    "endpoint `{}`: `users` lets others in and nothing says what they may use, so they may use nothing; add `tools: \"*\"`, or what is wanted",
                    endpoint.name
                ));
            }
            if endpoint.grants.tools.as_ref().is_some_and(Vec::is_empty) {
                warnings.push(format!(
                    "endpoint `{}`: `tools` is an empty list, so no tool may be used; leave it out to allow all",
                    endpoint.name
                ));
            }
        }
        warnings
    }
}

fn text_of(file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Short enough to be compared by eye.
fn digest(text: &[u8]) -> String {
    hex(&Sha256::digest(text)[..6])
}

#[cfg(test)]
mod tests;
