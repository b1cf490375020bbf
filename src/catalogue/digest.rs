//! Called by the catalogue: what a server is, as the name of the file that remembers it. Whatever makes a command offer
//! something else is in it: arguments, environment, directory, and the mcpool that wrote it down.

use std::ffi::OsString;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::config;
use crate::hex::hex;

/// Raised when what is written changes its form.
const FORM: u32 = 1;

/// Looks up a variable of mcpool's own environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The digest of a server. `home` is where it runs if it has no `cwd`; none: in mcpool's own directory. `variable` looks
/// up what it inherits.
pub(crate) fn digest(server: &config::Server, home: Option<&Path>, variable: Variable<'_>) -> String {
    of_revision(env!("CARGO_PKG_VERSION"), server, home, variable)
}

fn of_revision(revision: &str, server: &config::Server, home: Option<&Path>, variable: Variable<'_>) -> String {
    let mut words = Words(Sha256::new());
    words.word(revision.as_bytes());
    words.word(&FORM.to_le_bytes());
    words.word(server.command.as_bytes());
    words.count(server.args.len());
    server.args.iter().for_each(|arg| words.word(arg.as_bytes()));
    words.count(server.env.len());
    for (name, value) in &server.env {
        words.word(name.as_bytes());
        words.word(value.expose().as_bytes());
    }
    words.count(server.inherit_env.len());
    for name in &server.inherit_env {
        words.word(name.as_bytes());
        let value = variable(name);
        words.count(usize::from(value.is_some()));
        words.word(value.unwrap_or_default().as_encoded_bytes());
    }
    let own = if server.cwd.is_none() && home.is_none() { std::env::current_dir().ok() } else { None };
    let cwd = server.cwd.as_deref().or(home).or(own.as_deref());
    words.word(cwd.map_or(b"".as_slice(), |cwd| cwd.as_os_str().as_encoded_bytes()));
    hex(&words.0.finalize()[..16])
}

/// What is hashed, so that no two lists of words look the same.
struct Words(Sha256);

impl Words {
    fn word(&mut self, word: &[u8]) {
        self.count(word.len());
        self.0.update(word);
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::digest::*;
    use crate::config::Secret;

    fn of(set: impl FnOnce(&mut config::Server)) -> String {
        let mut server = config::Server::new("a", "node");
        set(&mut server);
        let variable = |name: &str| (name == "TOKEN").then(|| "hunter2".into());
        digest(&server, Some(Path::new("/home/a")), &variable)
    }

    fn usual() -> String {
        of(|_| {})
    }

    #[test]
    fn it_is_the_same_for_the_same_server_whatever_its_name() {
        assert_eq!(of(|server| server.name = "b".into()), usual());
        assert_eq!(of(|server| server.cwd = Some("/home/a".into())), usual(), "where it runs without saying so");
    }

    #[test]
    fn the_command_is_part_of_it() {
        assert_ne!(of(|server| server.command = "deno".into()), usual());
    }

    #[test]
    fn the_arguments_are_part_of_it_and_no_other_part() {
        let arguments = of(|server| server.args = vec!["A".into(), "b".into()]);
        assert_ne!(arguments, usual());
        let environment = of(|server| drop(server.env.insert("A".into(), Secret::new("b"))));
        assert_ne!(arguments, environment);
    }

    #[test]
    fn the_environment_is_part_of_it() {
        let with = |value: &str| of(|server| drop(server.env.insert("A".into(), Secret::new(value))));
        assert_ne!(with("x"), with("y"));
        assert_ne!(with("x"), usual());
    }

    #[test]
    fn what_is_inherited_is_part_of_it_by_name_and_value() {
        let inheriting = |name: &str| of(|server| server.inherit_env = vec![name.into()]);
        assert_ne!(inheriting("TOKEN"), usual());
        assert_ne!(inheriting("OTHER"), inheriting("NONE"));
        let mut server = config::Server::new("a", "node");
        server.inherit_env = vec!["TOKEN".into()];
        let having = |value: Option<&'static str>| digest(&server, None, &|_| value.map(Into::into));
        assert_ne!(having(Some("x")), having(Some("y")));
        assert_ne!(having(Some("")), having(None));
    }

    #[test]
    fn where_it_runs_is_part_of_it_also_if_nobody_says_so() {
        assert_ne!(of(|server| server.cwd = Some("/home/b".into())), usual());
        let server = config::Server::new("a", "node");
        let at = |home: Option<&str>| digest(&server, home.map(Path::new), &|_| None);
        assert_ne!(at(Some("/home/a")), at(Some("/home/b")));
        assert_ne!(at(Some("/home/a")), at(None));
    }

    #[test]
    fn the_revision_of_mcpool_is_part_of_it() {
        let server = config::Server::new("a", "node");
        let by = |revision: &str| of_revision(revision, &server, None, &|_| None);
        assert_ne!(by("1.0.0"), by("1.0.1"));
        assert_eq!(by(env!("CARGO_PKG_VERSION")), digest(&server, None, &|_| None));
    }
}
