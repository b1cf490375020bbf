//! What callers connect to, as used. Made by `file/endpoint.rs`; read by the listener and the multiplexer.

use std::path::PathBuf;
use std::time::Duration;

use super::Server;
use super::access::{Access, Grants, Rule};

/// The endpoint that shows every server.
pub const ALL: &str = "all";

/// What callers connect to: one server under its own names, or several under one roof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Letters, digits, `_` and `-`; at most 32; no `__`.
    pub name: String,
    /// Its socket, an absolute path; None: below the sockets' directory, by its name.
    pub socket: Option<PathBuf>,
    /// The names of its servers, in the order in which collisions are settled.
    pub servers: Vec<String>,
    /// The names of those that it would show if they were not disabled.
    pub disabled: Vec<String>,
    /// Whether tools and prompts are called SERVER__NAME here: on `all`, and where there are several servers.
    pub prefix: bool,
    /// What it says about access, for callers to whom no rule applies.
    pub grants: Grants,
    /// User ids that may connect besides the daemon's own.
    pub users: Vec<u32>,
    /// Rules for some of its callers: the first that fits counts.
    pub callers: Vec<Rule>,
    /// How long a list waits for servers that are not there yet.
    pub patience: Duration,
}

impl Endpoint {
    /// An endpoint of these servers, with every default.
    pub fn new(name: impl Into<String>, servers: Vec<String>) -> Self {
        let name = name.into();
        Self {
            prefix: name == ALL || servers.len() > 1,
            name,
            socket: None,
            servers,
            disabled: Vec::new(),
            grants: Grants::default(),
            users: Vec::new(),
            callers: Vec::new(),
            patience: Duration::from_secs(2),
        }
    }

    /// What callers may do to whom no rule applies. An endpoint that names something, or other users, allows what it
    /// names and nothing else (decision 11).
    pub fn access(&self) -> Access {
        self.grants.access(self.grants.names_something() || !self.users.is_empty())
    }

    /// The endpoints that exist without being configured: one for each server, then `all`.
    pub(super) fn defaults(servers: &[Server]) -> Vec<Self> {
        let names = || servers.iter().map(|server| server.name.clone());
        let mut endpoints: Vec<Self> = names().map(|name| Self::new(name.clone(), vec![name])).collect();
        endpoints.push(Self::new(ALL, names().collect()));
        endpoints
    }

    /// Takes disabled servers out of what it shows.
    pub(super) fn without(&mut self, disabled: &[Server]) {
        let is = |name: &String| disabled.iter().any(|server| server.name == *name);
        (self.disabled, self.servers) = std::mem::take(&mut self.servers).into_iter().partition(is);
    }
}
