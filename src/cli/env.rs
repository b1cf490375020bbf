//! `mcpool env record` and `mcpool env show`: the environment that servers get, whoever starts the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::config::{Config, INHERITED, Record, is_plain, wanted};

/// Variables that end with the session in which they were set.
const OF_A_SESSION: [&str; 8] = [
    "TERM",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSH_CONNECTION",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XAUTHORITY",
];
/// How much of a config is searched for names of variables, in bytes.
const SEARCHED: usize = 16 << 20;

/// Writes down what servers may need of this process's environment; what to print.
///
/// # Errors
/// In words for people: the record cannot be written.
pub fn record(file: &Path, more: &[String]) -> Result<String, String> {
    let chosen = choose(file, more, &|name| std::env::var(name).ok());
    if !chosen.variables.contains_key("PATH") {
        return Err("PATH is not set here: record from a shell in which your servers' commands work".to_owned());
    }
    let record = Record::write(file, &chosen.variables)
        .map_err(|error| format!("cannot write {}: {error}", Record::place(file).display()))?;
    let mut page = format!("recorded in {}, which only you can read:\n", record.display());
    for (name, value) in &chosen.variables {
        page += &shown(name, value);
    }
    for (names, why) in [
        (&chosen.unset, "not set here, and so not recorded"),
        (&chosen.of_session, "of this session alone, and so not recorded"),
        (&chosen.of_session_wanted, "recorded because it was asked for, though it ends with this session"),
    ] {
        if !names.is_empty() {
            let _ = writeln!(page, "{why}: {}", join(names));
        }
    }
    page +=
        "\nServers get these from now on, whoever starts the daemon. One that runs takes them with `mcpool reload`.\n";
    page += "Other variables: `mcpool env record NAME ...`, and `inherit_env: [NAME]` for the server that needs it.\n";
    Ok(page)
}

/// What servers get at present, and where it is from.
pub fn show(file: &Path, config: &Config) -> String {
    let environment = &config.environment;
    let mut page = format!("what servers get comes from {environment}\n");
    let inherited = config.servers.iter().flat_map(|server| server.inherit_env.iter().map(String::as_str));
    let names: BTreeSet<&str> = INHERITED.into_iter().chain(inherited).collect();
    if environment.source() == "daemon" {
        page += "if the daemon were started here, that would be:\n";
    }
    for name in names {
        if let Some(value) = environment.surroundings.variable(name) {
            page += &shown(name, &value.to_string_lossy());
        }
    }
    if environment.record.is_none() {
        let _ =
            writeln!(page, "\nThere is no record ({}); `mcpool env record` writes one.", Record::place(file).display());
    }
    page
}

/// What is recorded, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    variables: BTreeMap<String, String>,
    unset: BTreeSet<String>,
    of_session: BTreeSet<String>,
    of_session_wanted: BTreeSet<String>,
}

/// Chooses what every server gets, what the config names, and what was asked for.
fn choose(file: &Path, more: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Choice {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(SEARCHED)]).into_owned();
    let mut named: BTreeSet<String> = more.iter().cloned().collect();
    // A config with mistakes is no reason not to record: variables may be what it lacks.
    named.extend(Config::inherited_by_name(file));
    let referred = wanted(&text);
    let mut choice = Choice::default();
    for name in INHERITED.into_iter().map(str::to_owned).chain(named.iter().cloned()).chain(referred.iter().cloned()) {
        let asked_for = named.contains(&name) || referred.contains(&name);
        let of_session = OF_A_SESSION.contains(&name.as_str());
        match variable(&name) {
            None if named.contains(&name) || text.contains(&format!("env:{name}")) => drop(choice.unset.insert(name)),
            None => {}
            Some(_) if of_session && !asked_for => drop(choice.of_session.insert(name)),
            Some(value) => {
                if of_session {
                    choice.of_session_wanted.insert(name.clone());
                }
                choice.variables.insert(name, value);
            }
        }
    }
    choice
}

/// A line for a variable; its value only where it is no secret.
fn shown(name: &str, value: &str) -> String {
    format!("  {name}={}\n", if is_plain(name) { value } else { "***" })
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_may_need_is_recorded_and_nothing_of_the_session() {
        let dir = std::env::temp_dir().join(format!("mcpool-env-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("mcpool.yaml");
        std::fs::write(
            &file,
            "servers: {a: {command: x, env: {K: '${env:KEY}', L: '${env:LOST}'}, inherit_env: [SSH_AUTH_SOCK]}}",
        )
        .unwrap();
        let variable = |name: &str| (!matches!(name, "LOST" | "http_proxy")).then(|| format!("of {name}"));
        let choice = choose(&file, &["MORE".to_owned()], &variable);
        let has = |name: &str| choice.variables.contains_key(name);
        assert!(has("PATH") && has("HOME") && has("KEY") && has("MORE"), "{choice:?}");
        assert!(!has("TERM") && !has("XDG_RUNTIME_DIR") && !has("AWS_SECRET_ACCESS_KEY"), "{choice:?}");
        assert_eq!(choice.unset, BTreeSet::from(["LOST".to_owned()]));
        // That the config lacks a variable does not hide what a server inherits by name.
        assert_eq!(choice.of_session_wanted, BTreeSet::from(["SSH_AUTH_SOCK".to_owned()]));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
