//! The file as written: which keys there are and what they mean. Called by `Config::parse` alone.
//!
//! Every key is read in one place, with its type, its bounds and its default (that of the type it goes into);
//! whatever is not asked for is unknown. `config/example.yaml` shows the whole shape, and a test here holds it to that.

mod access;
mod endpoint;
mod environment;
mod resilience;
mod sandbox;
mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::diagnostic::{Mistakes, Notes, quoted};
use super::fields::Fields;
use super::hosts::{self, Adapted};
use super::substitute::Env;
use super::yaml::{self, Entry, Node, Place, Value};
use super::{
    Admin, Audit, Catalogue, Config, Life, Limits, Log, MetricsAt, Record, Server, Sockets, jsonc, longest_socket, name,
};

/// For durations that may not be zero.
const MOMENT: Duration = Duration::from_millis(1);
/// More calls, callers or lines than any machine holds: it only keeps sums from overflowing.
const MANY: usize = 1_000_000;
/// The largest buffer that may be configured, in bytes.
const HUGE: usize = 1 << 30;
/// The most memory that processes may be allowed, in bytes.
const HUGE_TREE: usize = 1 << 50;

/// Where a file is from, and what is known beside it.
pub(super) struct Origin<'a> {
    /// What mistakes call it.
    pub(super) name: &'a str,
    /// Looks up a variable of this process.
    pub(super) env: Env<'a>,
    /// The directory in which it lies.
    pub(super) dir: Option<&'a Path>,
    /// What the user recorded beside it.
    pub(super) record: Option<Record>,
}

/// Reads the whole file.
pub(super) fn read(text: &str, origin: &Origin<'_>) -> Result<Config, Mistakes> {
    let notes = Notes::new(origin.env);
    let config = tree(text, &notes, origin);
    match (notes.into_mistakes(origin.name, text), config) {
        (None, Some(config)) => Ok(config),
        (Some(mistakes), _) => Err(mistakes),
        // A tree that can't be read has always been noted; this keeps it an error if that is ever forgotten.
        (None, None) => Err(Mistakes::whole(origin.name, "cannot read the config".to_owned(), "check that it is YAML")),
    }
}

/// Reads as much of a file as its mistakes leave.
pub(super) fn read_what_can_be(text: &str, origin: &Origin<'_>) -> Option<Config> {
    tree(text, &Notes::new(origin.env), origin)
}

fn tree(text: &str, notes: &Notes<'_>, origin: &Origin<'_>) -> Option<Config> {
    let (root, json) = parsed(text, notes)?;
    let Adapted { mut root, foreign, doubtful, of_projects } = hosts::adapt(root, json);
    for section in doubtful {
        keep_if_ours(section, &mut root, notes, origin);
    }
    if of_projects {
        let told = "servers of single projects are left out: move those to be shared from `projects` to `mcpServers`";
        notes.warn(told.to_owned());
    }
    let mut fields = Fields::new(notes, Place::new(1, 1, 1), &root);
    if foreign {
        fields = fields.beside_others("this is a host's file");
    }
    Some(config(fields, origin))
}

/// Puts a section back into a host's file if mcpool can read it: hosts have sections of these names, too.
fn keep_if_ours(section: Entry, root: &mut Node, notes: &Notes<'_>, origin: &Origin<'_>) {
    let trial = notes.trial();
    let alone = Node { place: section.place, value: Value::Map(vec![section.clone()]) };
    config(Fields::new(&trial, section.place, &alone), origin);
    match (trial.first(), &mut root.value) {
        (None, Value::Map(entries)) => entries.push(section),
        (Some(why), _) => {
            notes.absorb(trial, false);
            notes.warn(format!("`{}` is taken for the host's own: {why}", section.key));
        }
        (None, _) => {}
    }
}

/// The tree of a text, and whether it is JSON. What begins as JSON may be YAML all the same.
fn parsed(text: &str, notes: &Notes<'_>) -> Option<(Node, bool)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !jsonc::looks_like(text) {
        if is_toml(text) {
            let help = "mcpool reads YAML and JSON: write each server as `NAME: { command: ..., args: [...] }` under `servers:`";
            notes.unreadable(Place::new(1, 1, 1), "this is TOML, as Codex and Grok write it", help);
            return None;
        }
        return Some((yaml::read(text, notes)?, false));
    }
    let fault = match jsonc::read(text, &mut |place, key, line| {
        let help = format!("it stands on line {line} already: keep one of the two");
        notes.mistake(place, format!("the key {} is here twice", quoted(key)), help);
    }) {
        Ok(root) => return Some((root, true)),
        Err(fault) => fault,
    };
    let trial = notes.trial();
    if let Some(root) = yaml::read(text, &trial) {
        notes.absorb(trial, true);
        return Some((root, false));
    }
    notes.unreadable(fault.place, format!("not valid JSON: {}", fault.message), fault.help);
    None
}

/// Whether the first thing that is said opens a table of TOML, or sets a key as TOML does.
fn is_toml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let table =
        |line: &str| line.starts_with('[') && line.ends_with(']') && !line.contains([',', ':', '"']) && line.len() > 2;
    let first = lines.next().unwrap_or_default();
    let sets = first
        .split_once('=')
        .is_some_and(|(key, _)| !key.contains([':', '{', '[', '"', '\'']) && !key.trim().contains(' '));
    (table(first) && lines.next().is_none_or(|line| line.contains('='))) || sets
}

fn config(mut root: Fields<'_>, origin: &Origin<'_>) -> Config {
    let notes = root.notes;
    let environment = environment::read(root.section("environment"), origin);
    notes.surround(environment.surroundings.clone());
    let mut entries: Vec<&Entry> = root.named("servers").collect();
    let mut names: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    // What hosts call it: a host's own file can be pasted in.
    let hosted: Vec<&Entry> = root.named("mcpServers").collect();
    let mut servers: Vec<Server> =
        entries.drain(..).filter_map(|entry| server::read(notes, entry, origin.dir, false)).collect();
    servers.extend(hosted.into_iter().filter_map(|entry| self::hosted(notes, entry, &mut names, origin.dir)));
    for server in &mut servers {
        server.surroundings = environment.surroundings.clone();
    }
    // Also of servers with mistakes: whoever refers to them makes no other.
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A disabled one has an endpoint all the same, which says so.
    let mut config = Config::of(servers);
    config.environment = environment;
    config.sockets = sockets(root.section("sockets"));
    config.limits = limits(root.section("limits"));
    config.catalogue = catalogue(root.section("catalogue"));
    config.log = log(root.section("log"));
    let usual = Life::default();
    config.life =
        Life { drain: root.duration("drain", usual.drain, Duration::ZERO), reload: root.truth("reload", usual.reload) };
    config.admin = admin(root.section("admin"));
    config.audit = audit(root.section("audit"));
    for entry in root.named("endpoints") {
        let endpoint = endpoint::read(root.notes, entry, &names);
        if endpoint.socket.is_some() && config.endpoints.iter().any(|other| other.socket == endpoint.socket) {
            root.notes.mistake(
                entry.place,
                "another endpoint has the same `socket`",
                "give each a path of its own, or none",
            );
        }
        match config.endpoints.iter_mut().find(|default| default.name == endpoint.name) {
            Some(default) => *default = endpoint,
            None => config.endpoints.push(endpoint),
        }
    }
    root.finish();
    config.noticed = notes.warnings();
    (config.disabled, config.servers) = config.servers.into_iter().partition(|server| server.disabled);
    config.endpoints.iter_mut().for_each(|endpoint| endpoint.without(&config.disabled));
    config
}

/// Reads a server of a host's file. What is wrong with it costs that server alone, unless it was written for mcpool.
fn hosted(notes: &Notes<'_>, entry: &Entry, names: &mut Vec<String>, dir: Option<&Path>) -> Option<Server> {
    let left_out = |why: String| {
        notes.warn(format!("server {} is left out: {why}", quoted(&entry.key)));
        None
    };
    let own = hosts::is_own(&entry.node);
    let fitted = match hosts::fit(notes, entry.clone(), names) {
        Ok(fitted) => fitted,
        Err(why) => return left_out(why),
    };
    let trial = notes.trial();
    let server = server::read(&trial, &fitted, dir, true);
    let mistake = trial.first();
    notes.absorb(trial, own);
    match mistake {
        Some(why) if !own => {
            names.retain(|name| *name != fitted.key);
            left_out(why)
        }
        _ => server,
    }
}

fn sockets(mut fields: Fields<'_>) -> Sockets {
    let sockets = Sockets { dir: fields.path("dir"), own: None };
    fields.finish();
    sockets
}

fn limits(mut fields: Fields<'_>) -> Limits {
    let default = Limits::default();
    // A kibibyte is the least that the errors of mcpool itself fit into.
    let message = fields.size("max_message", default.message, 1 << 10..=HUGE);
    let in_flight = fields.count("in_flight", default.in_flight, 1..=MANY);
    // Each call in flight may be the one that is asked in.
    let held = fields.count("held", default.held.max(in_flight), 0..=MANY);
    let limits = Limits {
        message,
        callers: fields.count("callers", default.callers, 1..=MANY),
        in_flight,
        in_flight_total: fields.count("in_flight_total", default.in_flight_total, 1..=MANY),
        memory: fields.maybe_size("memory", 1 << 20..=HUGE_TREE),
        outgoing: fields.size("outgoing", default.outgoing, 1 << 10..=HUGE),
        unread: fields.duration("unread", default.unread, MOMENT),
        backlog: fields.size("backlog", default.backlog.max(message), 1 << 10..=HUGE),
        line: fields.duration("line", default.line, MOMENT),
        nesting: fields.count("nesting", default.nesting, 8..=crate::wire::json::DEEPEST),
        subscriptions: fields.count("subscriptions", default.subscriptions, 0..=MANY),
        tasks: fields.count("tasks", default.tasks, 0..=MANY),
        tasks_total: fields.count("tasks_total", default.tasks_total, 0..=MANY),
        held,
        held_total: fields.count("held_total", default.held_total.max(held), 0..=MANY),
        roots_for: fields.duration("roots_for", default.roots_for, Duration::ZERO),
        rounds: fields.count("rounds", default.rounds, 1..=MANY),
        asks: fields.count("asks", default.asks, 1..=MANY),
        list_items: fields.count("list_items", default.list_items, 1..=MANY),
        list_bytes: fields.size("list_bytes", default.list_bytes, 1 << 10..=HUGE),
    };
    for (key, bytes) in [("outgoing", limits.outgoing), ("backlog", limits.backlog)] {
        if bytes < limits.message {
            let message = format!("`{key}` is smaller than `max_message`: the largest message could not be delivered");
            fields.contradiction([key, "max_message"], &message, &format!("make `{key}` at least as large"));
        }
    }
    if limits.held < limits.in_flight {
        let message =
            "`held` is smaller than `in_flight`: calls that are asked in would be refused though they may run";
        fields.contradiction(["held", "in_flight"], message, "make `held` at least as large, or leave it out");
    }
    if limits.held_total < limits.held {
        let message = "`held_total` is smaller than `held`: no caller could have as many";
        fields.contradiction(["held_total", "held"], message, "make `held_total` at least as large");
    }
    if limits.memory.is_some_and(|memory| memory / 2 < limits.message) {
        let message = "`memory` is smaller than two of the largest messages: they could not be taken";
        fields.contradiction(["memory", "max_message"], message, "make `memory` at least twice as large");
    }
    fields.finish();
    limits
}

fn catalogue(mut fields: Fields<'_>) -> Catalogue {
    let default = Catalogue::default();
    let catalogue =
        Catalogue { dir: fields.path("dir"), max_age: fields.duration("max_age", default.max_age, Duration::ZERO) };
    fields.finish();
    catalogue
}

fn log(mut fields: Fields<'_>) -> Log {
    let level = fields.entry("level").and_then(|entry| {
        let level = entry.node.text().unwrap_or_default();
        if Log::is_filter(level) {
            return Some(level.to_owned());
        }
        let help = "levels are `error`, `warn`, `info`, `debug` and `trace`; `TARGET=LEVEL` sets one for a part";
        fields.expected("a filter like `info` or `warn,mcpool::pool=debug`", &entry.node, help, None)
    });
    fields.finish();
    level.map_or_else(Log::default, |level| Log { level })
}

fn admin(mut fields: Fields<'_>) -> Admin {
    let metrics = fields.entry("metrics").and_then(|entry| {
        metrics_at(entry.node.text().unwrap_or_default()).or_else(|| {
            let help = "it has no password, so that it can be reached from this machine alone; port 0 takes a free one; \
                a socket's path is absolute and short, and only your own user may connect";
            let expected = "a loopback address with a port, like 127.0.0.1:9464, or a socket, like unix:/run/user/1000/metrics.sock";
            fields.expected(expected, &entry.node, help, None)
        })
    });
    fields.finish();
    Admin { metrics }
}

fn audit(mut fields: Fields<'_>) -> Audit {
    let default = Audit::default();
    let audit = Audit {
        file: fields.path("file"),
        size: fields.size("size", default.size, 64 << 10..=HUGE),
        keep: fields.count("keep", default.keep, 0..=100),
        required: fields.truth("required", default.required),
    };
    fields.finish();
    audit
}

/// A place that only this machine's users can reach: whoever can reach it can read it.
fn metrics_at(text: &str) -> Option<MetricsAt> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        let fits = path.is_absolute() && path.as_os_str().len() <= longest_socket(path);
        return fits.then(|| MetricsAt::Unix(path.to_owned()));
    }
    let address = text.parse().ok();
    address.filter(|address: &SocketAddr| address.ip().is_loopback()).map(MetricsAt::Tcp)
}

/// Notes it if `entry` is no name that a server or endpoint may have; `taken` are names with a meaning of their own.
fn check_name(notes: &Notes<'_>, entry: &Entry, what: &str, taken: &[&str]) {
    let fault = match name::fault(&entry.key) {
        None if taken.contains(&entry.key.as_str()) => Some("mcpool itself uses it"),
        fault => fault,
    };
    if let Some(fault) = fault {
        let help = "use up to 32 letters, digits, `_` and `-`, like `my-files`";
        notes.mistake(entry.place, format!("{} cannot be the name of {what}: {fault}", quoted(&entry.key)), help);
    }
}

#[cfg(test)]
mod tests;
