//! What is known of published servers: how one process of each may be shared, and why. The table is
//! `config/known-servers.yaml`, built into the binary. Asked by `file/server.rs` for defaults, by `pool/lease.rs` for
//! the lease, by `check` for what it says.

mod command_line;

use command_line::Run;

use super::Server;

const TABLE: &str = include_str!("../../config/known-servers.yaml");

/// How a process of a server may be shared, by what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It answers from what it is asked and keeps nothing.
    Nothing,
    /// What it keeps is outside the process, the same for all.
    Outside,
    /// It takes its subject from its directory or its arguments.
    Directory,
    /// It asks its client in the middle of calls.
    Asks,
    /// It keeps something for the one client that it believes to have.
    State,
}

/// What an entry rests on: a version, or a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// It was called by two clients.
    Run(&'static str),
    /// It was searched for what it keeps and asks.
    Source(&'static str),
}

/// What the table says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in the table.
    pub package: &'static str,
    /// How it may be shared.
    pub keeps: Keeps,
    /// What it keeps or asks, in a few words.
    pub why: &'static str,
    /// The version that was looked at, and how; None: the entry goes by the documentation.
    pub basis: Option<Basis>,
}

/// Where a name counts: the same one may be two servers on two registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registry {
    Npm,
    Pypi,
    Docker,
    Program,
}

impl Server {
    /// What is known of this server, by what its command line runs.
    pub fn known(&self) -> Option<Known> {
        let words: Vec<&str> =
            std::iter::once(self.command.as_str()).chain(self.args.iter().map(String::as_str)).collect();
        command_line::runs(&words).into_iter().find_map(find)
    }
}

/// The entry of what is run.
fn find(run: Run<'_>) -> Option<Known> {
    match run {
        Run::Npm(name) => entry(Registry::Npm, |known| known == name),
        Run::Scoped(scope, name) => {
            let parts = |known: &str| known.strip_prefix('@')?.split_once('/').map(|parts| parts == (scope, name));
            entry(Registry::Npm, |known| parts(known) == Some(true))
        }
        Run::Pypi(name) => entry(Registry::Pypi, |known| folds_to(known, name)),
        Run::Image(name) => entry(Registry::Docker, |known| known == name),
        Run::Program(name) => program(name),
    }
}

/// A program is known by its own name, or by that of the package that installs it.
fn program(name: &str) -> Option<Known> {
    entry(Registry::Program, |known| known == name)
        .or_else(|| entry(Registry::Npm, |known| known == name))
        .or_else(|| entry(Registry::Pypi, |known| folds_to(known, name)))
        .or_else(|| {
            // npm names programs without the scope; a bare `mcp` says nothing.
            let unscoped = |known: &str| known.rsplit_once('/').is_some_and(|(_, last)| last == name && last != "mcp");
            entry(Registry::Npm, unscoped)
        })
        .or_else(|| {
            let reference = name.strip_prefix("mcp-")?;
            entry(Registry::Npm, |known| known.strip_prefix("@modelcontextprotocol/") == Some(reference))
        })
}

/// Whether two names are one on PyPI, where case and the kind of separator do not count.
fn folds_to(one: &str, other: &str) -> bool {
    let fold = |name: &str| -> Vec<u8> {
        let separator = |byte: u8| matches!(byte, b'-' | b'_' | b'.');
        let mut folded: Vec<u8> = Vec::with_capacity(name.len());
        for byte in name.bytes() {
            match (separator(byte), folded.last()) {
                (true, Some(b'-')) => {}
                (true, _) => folded.push(b'-'),
                (false, _) => folded.push(byte.to_ascii_lowercase()),
            }
        }
        folded
    };
    fold(one) == fold(other)
}

fn entry(registry: Registry, is: impl Fn(&str) -> bool) -> Option<Known> {
    table().find(|(of, known)| *of == registry && is(known.package)).map(|(_, known)| known)
}

/// The lines of the table. A line that is no entry is passed over; a test holds that each one is.
fn table() -> impl Iterator<Item = (Registry, Known)> {
    let mut registry = Registry::Npm;
    TABLE.lines().filter_map(move |line| {
        match line {
            "npm:" => registry = Registry::Npm,
            "pypi:" => registry = Registry::Pypi,
            "docker:" => registry = Registry::Docker,
            "program:" => registry = Registry::Program,
            _ => return Some((registry, read(line)?)),
        }
        None
    })
}

/// Reads `  "NAME": KIND, why [BASIS]`.
fn read(line: &'static str) -> Option<Known> {
    let (package, rest) = line.strip_prefix("  \"")?.split_once("\": ")?;
    let (kind, why) = rest.split_once(", ")?;
    let (why, basis) = match why.strip_suffix(']').and_then(|why| why.rsplit_once(" [")) {
        Some((why, basis)) => match basis.split_once(' ')? {
            ("run", version) => (why, Some(Basis::Run(version))),
            ("source", version) => (why, Some(Basis::Source(version))),
            _ => return None,
        },
        None => (why, None),
    };
    let keeps = match kind {
        "reads" => Keeps::Nothing,
        "outside" => Keeps::Outside,
        "directory" => Keeps::Directory,
        "asks" => Keeps::Asks,
        "state" => Keeps::State,
        _ => return None,
    };
    Some(Known { package, keeps, why, basis })
}

#[cfg(test)]
mod tests;
