//! `servers:` (and `mcpServers:`) as written. Called by `file.rs` for each entry.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{MANY, MOMENT, check_name, environment, resilience, sandbox};
use crate::config::diagnostic::{Notes, quoted};
use crate::config::fields::Fields;
use crate::config::yaml::{Entry, Place, Value};
use crate::config::{ALL, EraChoice, Instances, LeaseChoice, Pin, Queue, Secret, Server, Timeouts};

const ERAS: [(&str, EraChoice); 3] =
    [("auto", EraChoice::Auto), ("legacy", EraChoice::Legacy), ("modern", EraChoice::Modern)];
const PINS: [(&str, Pin); 3] = [("off", Pin::Off), ("warn", Pin::Warn), ("refuse", Pin::Refuse)];
const LEASES: [(&str, LeaseChoice); 4] = [
    ("auto", LeaseChoice::Auto),
    ("shared", LeaseChoice::Shared),
    ("call", LeaseChoice::Call),
    ("session", LeaseChoice::Session),
];

/// Reads one server. None: it can't be one at all, and why has been noted.
/// `hosted`: it stands in a host's file, whose keys are not all mcpool's.
pub(super) fn read(notes: &Notes<'_>, entry: &Entry, dir: Option<&Path>, hosted: bool) -> Option<Server> {
    check_name(notes, entry, "a server", &[ALL, "admin"]);
    // What it needs and cannot have here costs this server, and not the others.
    let mut fields = Fields::new(notes, entry.place, &entry.node).forgiving();
    if hosted {
        fields = fields.beside_others(format!("server {}", quoted(&entry.key)));
    }
    // First, whatever else is wrong: it hides the values from all mistakes.
    let env = env(&mut fields, dir);
    if let Some(args) = fields.entry("args") {
        notes.hide(&args.node);
    }
    if is_remote(&mut fields) {
        return None;
    }
    let default = Server::new(entry.key.as_str(), command(&mut fields));
    let new_privileges = fields.truth("new_privileges", default.new_privileges);
    let sandbox = sandbox::read(&mut fields);
    if new_privileges && sandbox.is_some() {
        let message = "a sandbox is one only where nothing gains rights";
        fields.contradiction(["new_privileges", "sandbox"], message, "leave one of the two out");
    }
    let server = Server {
        disabled: fields.truth("disabled", default.disabled),
        args: fields.texts("args").unwrap_or_default(),
        env,
        inherit_env: inherit_env(&mut fields),
        cwd: fields.path("cwd"),
        new_privileges,
        may_call: fields.texts("may_call").unwrap_or_default(),
        sandbox,
        era: fields.choice("era", &ERAS),
        lease: fields.choice("lease", &LEASES),
        pin: fields.choice("pin", &PINS),
        concurrency: fields.count("concurrency", default.concurrency, 1..=MANY),
        instances: instances(fields.section("instances")),
        queue: queue(fields.section("queue")),
        timeout: timeouts(fields.section("timeout")),
        when_full: resilience::when_full(&mut fields),
        recycle: resilience::recycle(fields.section("recycle")),
        probe: resilience::probe(fields.section("probe")),
        backoff: resilience::backoff(fields.section("backoff")),
        breaker: resilience::breaker(fields.section("breaker")),
        rate_limit: resilience::rate_limit(fields.section("rate_limit")),
        retry: resilience::retry(fields.section("retry")),
        stdout_errors: fields.count("stdout_errors", default.stdout_errors, 1..=MANY),
        ..default
    };
    let (filled, lacks) = (fields.filled_in(), fields.lacks());
    fields.finish();
    Some(Server { filled, lacks, ..server })
}

/// Hosts' files also hold servers that are reached by URL; that deserves a better answer than "unknown key".
fn is_remote(fields: &mut Fields<'_>) -> bool {
    let kind = fields.entry("type").filter(|entry| entry.node.text() != Some("stdio"));
    let Some(found) = kind.or_else(|| fields.foreign(&["url", "serverUrl", "httpUrl"])) else { return false };
    let message =
        "a server that is reached by URL is not supported: mcpool starts its servers and speaks stdio with them";
    fields.notes.mistake(
        found.place,
        message,
        "give the `command` that starts the server, or that of a bridge from stdio to its URL",
    );
    true
}

fn command(fields: &mut Fields<'_>) -> String {
    let Some(entry) = fields.entry("command") else {
        // A misspelt one is told by itself.
        if fields.has_nearly("command") {
            return String::new();
        }
        fields.notes.mistake(fields.place, "`command` is missing", "say how the server is started: `command: npx`");
        return String::new();
    };
    let Some(command) = fields.filled(&entry.node) else { return String::new() };
    let (fault, help) = if command.trim().is_empty() {
        ("`command` is empty", "say how the server is started: `command: npx`")
    } else if command.starts_with("~/") {
        ("`~` means nothing to a command: no shell reads it", "write `${env:HOME}`")
    } else if holds_arguments(&command) {
        ("`command` holds its arguments too: no shell takes them apart", "move them into `args: [...]`")
    } else {
        return command;
    };
    // Arguments may be secrets.
    fields.notes.hide(&entry.node);
    fields.notes.mistake(entry.node.place, fault, help);
    String::new()
}

/// Whether a command is one with its arguments: its first word is a program, and the whole is none.
fn holds_arguments(command: &str) -> bool {
    let Some((first, _)) = command.trim().split_once(' ') else { return false };
    match first.contains('/') {
        true => Path::new(first).is_file() && !Path::new(command).exists(),
        false => {
            !command.contains(['/', '\\']) || first.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        }
    }
}

fn env(fields: &mut Fields<'_>, dir: Option<&Path>) -> BTreeMap<String, Secret> {
    if let Some(entry) = fields.entry("env") {
        fields.notes.hide(&entry.node);
        if !matches!(entry.node.value, Value::Map(_)) {
            // Said here and not by `Fields`, which would quote it.
            fields.notes.mistake(
                entry.node.place,
                "expected a map of variables and their values",
                "write `env: { NAME: value }`",
            );
            return BTreeMap::new();
        }
    }
    let file = environment::file(fields, dir);
    let mut env: BTreeMap<_, _> = file.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    for entry in fields.named("env") {
        check_variable(fields.notes, entry.place, &entry.key);
        if let Some(value) = fields.filled(&entry.node) {
            if value.is_empty() && entry.node.text().is_some_and(|text| !text.is_empty()) {
                fields.notes.warn(format!(
                    "the variable {} of a server is empty: what it refers to holds nothing",
                    quoted(&entry.key)
                ));
            }
            env.insert(entry.key.clone(), Secret::new(value));
        }
    }
    env
}

fn inherit_env(fields: &mut Fields<'_>) -> Vec<String> {
    let nodes = fields.list("inherit_env").unwrap_or_default();
    let mut names = Vec::new();
    for node in nodes {
        match node.text() {
            Some(name) => {
                check_variable(fields.notes, node.place, name);
                names.push(name.to_owned());
            }
            None => fields.expected("the name of a variable", node, "write `inherit_env: [LANG]`", ()),
        }
    }
    names
}

pub(super) fn check_variable(notes: &Notes<'_>, place: Place, name: &str) {
    if name.is_empty() || name.contains(['=', '\0', '$']) || name.contains(char::is_whitespace) {
        // Only what stands before `=`: the rest is a value.
        let shown = quoted(name.split('=').next().unwrap_or_default());
        notes.mistake(
            place,
            format!("{shown} cannot be the name of an environment variable"),
            "write the name alone, like `API_KEY`",
        );
    }
}

fn instances(mut fields: Fields<'_>) -> Instances {
    let default = Instances::default();
    let given = [fields.entry("max").is_some(), fields.entry("max_alone").is_some()];
    let max = fields.count("max", default.max, 1..=1000);
    // What is written for one kind of lease alone holds for the other, too.
    let alone_by_default = if given[0] { max } else { default.max_alone };
    let max_alone = fields.count("max_alone", alone_by_default, 1..=1000);
    let total = fields.count("total", default.total.max(max).max(max_alone), 1..=1000);
    let instances = Instances {
        min: fields.count("min", default.min, 0..=1000),
        max: if given[0] { max } else { max.min(total) },
        max_alone: if given[0] || given[1] { max_alone } else { max_alone.min(total) },
        total,
        overflow: fields.count("overflow", default.overflow, 0..=1000),
        asking: fields.count("asking", default.asking, 0..=1000),
    };
    if instances.min > instances.max {
        let message = format!("`min` is {} but `max` is {}", instances.min, instances.max);
        fields.contradiction(["min", "max"], &message, "make `max` at least `min`");
    }
    let most = instances.max.max(instances.max_alone);
    if most > total {
        let message = format!("{most} are allowed for one kind of client but `total` is {total} for all");
        fields.contradiction(["total", "max"], &message, "make `total` at least `max` and `max_alone`");
    }
    fields.finish();
    instances
}

fn queue(mut fields: Fields<'_>) -> Queue {
    let default = Queue::default();
    let queue = Queue {
        size: fields.count("size", default.size, 0..=MANY),
        timeout: fields.duration("timeout", default.timeout, MOMENT),
    };
    fields.finish();
    queue
}

fn timeouts(mut fields: Fields<'_>) -> Timeouts {
    let default = Timeouts::default();
    let max = fields.duration("max", default.max, MOMENT);
    let timeouts = Timeouts {
        start: fields.duration("start", default.start, MOMENT),
        start_max: fields.duration("start_max", default.start_max, MOMENT),
        discover: fields.duration("discover", default.discover, MOMENT),
        // Who says only how long a call may take altogether means that of both.
        call: fields.duration("call", default.call.min(max), MOMENT),
        max,
        ask: fields.duration("ask", default.ask, MOMENT),
        hold: fields.duration("hold", default.hold, Duration::ZERO),
        stop: fields.duration("stop", default.stop, Duration::ZERO),
    };
    if timeouts.call > timeouts.max {
        let message = "`call` is longer than `max`, which ends every call";
        fields.contradiction(["call", "max"], message, "make `max` at least as long as `call`");
    }
    fields.finish();
    timeouts
}
