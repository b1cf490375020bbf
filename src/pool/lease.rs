//! Called by `mux` when it places a call: what a call needs of an instance, and which kind of lease a server
//! gives and why.

use std::rc::Rc;

use crate::config::{self, LeaseChoice};
use crate::era::profile::Profile;

/// How an instance is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Calls of many callers interleave.
    Shared,
    /// One caller at a time, as long as it has calls in flight.
    Call,
    /// One caller until it disconnects.
    Session,
}

impl Lease {
    /// The word for it in configuration and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Lease::Shared => "shared",
            Lease::Call => "call",
            Lease::Session => "session",
        }
    }
}

/// What a call needs of an instance.
#[derive(Clone, Debug)]
pub struct Need {
    /// What the instance was told about its client.
    pub profile: Profile,
    /// The roots that the instance was told, where the server asks for them.
    pub roots: Option<Rc<str>>,
    /// How the instance is shared.
    pub lease: Lease,
    /// Under a `call` lease it wants no other call beside it, not even of its own caller: what a legacy server asks
    /// must be about it.
    pub by_itself: bool,
}

impl Need {
    /// Whether the same instances serve both.
    pub fn is_like(&self, other: &Need) -> bool {
        self.profile == other.profile && self.roots == other.roots
    }
}

/// Packages known to keep state for their one client: browsers and shells.
const STATEFUL: [&str; 10] = [
    "@playwright/mcp",
    "@executeautomation/playwright-mcp-server",
    "chrome-devtools-mcp",
    "@modelcontextprotocol/server-puppeteer",
    "puppeteer-mcp-server",
    "@browsermcp/mcp",
    "@browserbasehq/mcp",
    "browser-use",
    "@wonderwhy-er/desktop-commander",
    "mcp-shell",
];

/// Why a server gives the lease it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Configured,
    /// This package is known to keep state for its client.
    Stateful(&'static str),
    /// The server was seen to ask its client in mid-call.
    Asks,
    Default,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Configured => f.write_str("configured"),
            Why::Stateful(package) => write!(f, "`{package}` keeps state for its client"),
            Why::Asks => f.write_str("the server asks its client in mid-call"),
            Why::Default => f.write_str("default"),
        }
    }
}

/// The lease that a server gives, and why. `asks` says that it was seen to ask a client that can answer.
pub fn lease(choice: LeaseChoice, stateful: Option<&'static str>, asks: bool) -> (Lease, Why) {
    match (choice, stateful) {
        (LeaseChoice::Shared, _) => (Lease::Shared, Why::Configured),
        (LeaseChoice::Call, _) => (Lease::Call, Why::Configured),
        (LeaseChoice::Session, _) => (Lease::Session, Why::Configured),
        (LeaseChoice::Auto, Some(package)) => (Lease::Session, Why::Stateful(package)),
        (LeaseChoice::Auto, None) if asks => (Lease::Call, Why::Asks),
        (LeaseChoice::Auto, None) => (Lease::Shared, Why::Default),
    }
}

/// The stateful package that a server runs, if it is a known one: as the command, or as what a runner runs.
pub fn stateful_package(server: &config::Server) -> Option<&'static str> {
    let words = std::iter::once(&server.command).chain(&server.args);
    words.flat_map(|word| STATEFUL.iter().filter(move |known| names(word, known)).copied()).next()
}

/// Whether a word of a command line names a package: alone, with a version, or as the last part of a path.
fn names(word: &str, package: &str) -> bool {
    let unversioned = match word.rfind('@') {
        Some(at) if at > 0 => &word[..at],
        _ => word,
    };
    unversioned == package || unversioned.strip_suffix(package).is_some_and(|path| path.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_recognised_with_its_version_and_path_but_not_as_part_of_a_word() {
        assert!(names("@playwright/mcp@latest", "@playwright/mcp"));
        assert!(names("@playwright/mcp", "@playwright/mcp"));
        assert!(names("/usr/bin/mcp-shell", "mcp-shell"));
        assert!(!names("my-mcp-shell", "mcp-shell"));
        assert!(!names("mcp-shell-tools", "mcp-shell"));
    }
}
