//! Files of hosts, as they are: called by `file.rs` before anything is read, so that every shape in which a host keeps
//! its servers becomes `mcpServers`. What cannot be shared, or is not started by a command, is left out, and that is
//! told.

mod variables;

use super::diagnostic::{Notes, quoted};
use super::name;
use super::yaml::{Entry, Node, Place, Value};

/// What mcpool's own files call it.
const OWN: &str = "servers";
/// What the others become.
const HOSTED: &str = "mcpServers";
/// Keys of a server that no host has: who writes one writes for mcpool.
const OWN_KEYS: [&str; 6] = ["era", "lease", "concurrency", "when_full", "stdout_errors", "inherit_env"];
/// Keys of a server that are mcpool's where they hold a map, and may be a host's where they hold anything else.
const OWN_MAPS: [&str; 9] =
    ["timeout", "instances", "queue", "recycle", "probe", "backoff", "breaker", "rate_limit", "retry"];
/// Keys of the sandboxes of hosts, which mcpool's does not have, and keys that only mcpool's has.
const THEIR_SANDBOX: [&str; 3] = ["filesystem", "enabled", "mode"];
const OWN_SANDBOX: [&str; 6] = ["preset", "read", "write", "processes", "memory", "unix_sockets"];
/// Sections that hosts have too, for themselves. None of them decides who may do what.
const SHARED_SECTIONS: [&str; 5] = ["log", "environment", "catalogue", "drain", "reload"];
/// What hosts call what mcpool calls otherwise.
const RENAMED: [(&str, &str); 7] = [
    ("cmd", "command"),
    ("envs", "env"),
    ("environment", "env"),
    ("envFile", "env_file"),
    ("working_directory", "cwd"),
    ("workingDirectory", "cwd"),
    ("cwd", "cwd"),
];
/// How a server is reached by a URL.
const REMOTE: [&str; 5] = ["url", "serverUrl", "httpUrl", "uri", "endpoint"];
/// Words for: started by a command, reached by stdio.
const LOCAL: [&str; 4] = ["stdio", "local", "custom", "command"];

/// A file as it is read from here on.
pub(super) struct Adapted {
    pub(super) root: Node,
    /// It is a host's: keys that mcpool does not know are others'.
    pub(super) foreign: bool,
    /// Its sections that may be the host's though mcpool has some of that name.
    pub(super) doubtful: Vec<Entry>,
    /// There are servers of single projects in it, which are left out.
    pub(super) of_projects: bool,
}

/// Finds the servers of a host's file, whatever it calls them.
pub(super) fn adapt(mut root: Node, json: bool) -> Adapted {
    let Value::Map(entries) = &mut root.value else {
        return Adapted { root, foreign: false, doubtful: Vec::new(), of_projects: false };
    };
    let has = |entries: &[Entry], key: &str| entries.iter().any(|entry| entry.key == key);
    let own = has(entries, OWN) && !(json && is_vs_code(entries));
    let mut foreign = has(entries, HOSTED) && !own;
    let mut of_projects = false;
    if !own {
        let mut found = Vec::new();
        for entry in &mut *entries {
            if let Some(servers) = servers_in(&entry.key, &mut entry.node, json) {
                found.extend(servers);
                foreign = true;
            }
        }
        of_projects = json && entries.iter().any(keeps_servers_of_projects);
        foreign |= of_projects;
        if foreign {
            entries.retain(|entry| !matches!(entry.key.as_str(), OWN | "context_servers"));
            let place = entries.first().map_or(Place::new(1, 1, 1), |entry| entry.place);
            match entries.iter_mut().find(|entry| entry.key == HOSTED) {
                Some(Entry { node: Node { value: Value::Map(known), .. }, .. }) => known.extend(found),
                Some(hosted) => hosted.node.value = Value::Map(found),
                None => {
                    let node = Node { place, value: Value::Map(found) };
                    entries.push(Entry { key: HOSTED.to_owned(), place, node, repeated: false });
                }
            }
        }
    }
    let doubtful = if foreign && json { take_doubtful(&mut root) } else { Vec::new() };
    Adapted { root, foreign, doubtful, of_projects }
}

fn take_doubtful(root: &mut Node) -> Vec<Entry> {
    let Value::Map(entries) = &mut root.value else { return Vec::new() };
    let doubtful = |entry: &Entry| SHARED_SECTIONS.contains(&entry.key.as_str());
    let (doubtful, others) = std::mem::take(entries).into_iter().partition(doubtful);
    *entries = others;
    doubtful
}

/// Takes the servers out of a key that some host keeps them under.
fn servers_in(key: &str, node: &mut Node, json: bool) -> Option<Vec<Entry>> {
    match (key, &mut node.value) {
        ("servers", Value::Map(servers)) if json => Some(std::mem::take(servers)),
        ("context_servers", Value::Map(servers)) => Some(std::mem::take(servers)),
        ("mcpServers", Value::List(items)) => Some(std::mem::take(items).into_iter().filter_map(listed).collect()),
        ("extensions", Value::Map(servers)) if servers.iter().any(|server| get(&server.node, "cmd").is_some()) => {
            Some(std::mem::take(servers))
        }
        ("mcp", Value::Map(inner)) => match inner.iter_mut().position(|entry| entry.key == OWN) {
            Some(at) => match std::mem::replace(&mut inner[at].node.value, Value::List(Vec::new())) {
                Value::Map(mut servers) => {
                    inner.remove(at);
                    servers.extend(std::mem::take(inner).into_iter().filter(is_server));
                    Some(servers)
                }
                _ => None,
            },
            None if inner.iter().any(is_server) => Some(std::mem::take(inner).into_iter().filter(is_server).collect()),
            None => None,
        },
        _ => None,
    }
}

/// Whether servers of single projects stand here, as Claude Code keeps them.
fn keeps_servers_of_projects(entry: &Entry) -> bool {
    let Value::Map(projects) = &entry.node.value else { return false };
    let any = |project: &Entry| matches!(get(&project.node, HOSTED), Some(Node { value: Value::Map(servers), .. }) if !servers.is_empty());
    entry.key == "projects" && projects.iter().any(any)
}

fn is_server(entry: &Entry) -> bool {
    ["command", "url", "type"].iter().any(|key| get(&entry.node, key).is_some())
}

/// VS Code calls its servers as mcpool does; it asks for `type` in each, and keeps `inputs` beside them.
fn is_vs_code(entries: &[Entry]) -> bool {
    let Some(Value::Map(servers)) = entries.iter().find(|entry| entry.key == OWN).map(|entry| &entry.node.value) else {
        return false;
    };
    let typed = |server: &Entry| get(&server.node, "type").is_some() || get(&server.node, "url").is_some();
    let own = servers.iter().any(|server| is_own(&server.node));
    !own && (entries.iter().any(|entry| entry.key == "inputs") || !servers.is_empty() && servers.iter().all(typed))
}

/// A server of a list, which tells its name.
fn listed(node: Node) -> Option<Entry> {
    let key = get(&node, "name")?.text()?.to_owned();
    Some(Entry { key, place: node.place, node, repeated: false })
}

/// Whether a server has keys that are mcpool's alone, so that its mistakes are meant for whoever wrote them.
pub(super) fn is_own(node: &Node) -> bool {
    let map = |key: &str| get(node, key).is_some_and(|node| matches!(node.value, Value::Map(_)));
    OWN_MAPS.iter().any(|key| map(key)) || OWN_KEYS.iter().any(|key| get(node, key).is_some())
}

/// Whether a sandbox is a host's. Of any other a mistake is told: a server is not to run without what was meant for it.
fn is_theirs(sandbox: &Node) -> bool {
    match &sandbox.value {
        Value::Map(entries) => {
            let any = |keys: &[&str]| entries.iter().any(|entry| keys.contains(&entry.key.as_str()));
            any(&THEIR_SANDBOX) && !any(&OWN_SANDBOX)
        }
        Value::Scalar { text, .. } => matches!(text.as_str(), "true" | "false" | "docker"),
        Value::List(_) => false,
    }
}

/// Leaves out what is `null`, wherever it stands: hosts that keep all kinds of servers in one type write it.
fn without_nulls(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|entry| !entry.node.is_null());
            entries.iter_mut().for_each(|entry| without_nulls(&mut entry.node));
        }
        Value::List(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(without_nulls);
        }
        Value::Scalar { .. } => {}
    }
}

fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key && !entry.node.is_null()).map(|entry| &entry.node)
}

/// Makes a host's server one of mcpool's.
///
/// # Errors
/// It has to be left out, and why.
pub(super) fn fit(notes: &Notes<'_>, entry: Entry, taken: &mut Vec<String>) -> Result<Entry, String> {
    let Entry { key, place, mut node, repeated } = entry;
    let own = is_own(&node);
    without_nulls(&mut node);
    let mut node = flat(node);
    if let Some(kind) = ["type", "transport", "transportType", "source"].iter().find_map(|key| get(&node, key)?.text())
        && !LOCAL.contains(&kind)
    {
        return Err(format!("it is not started by a command (`{}`)", short(kind)));
    }
    if get(&node, "command").is_none() {
        let remote = REMOTE.iter().any(|key| get(&node, key).is_some());
        return Err(if remote { "it is reached by URL, and not started" } else { "it has no `command`" }.to_owned());
    }
    let Value::Map(entries) = &mut node.value else { return Err("it is no map".to_owned()) };
    let mut unused = Vec::new();
    let mut off = false;
    entries.retain(|entry| match (entry.key.as_str(), entry.node.text()) {
        ("disabled", Some("true")) | ("enabled", Some("false")) => {
            off = true;
            false
        }
        ("type" | "transport" | "transportType" | "source" | "enabled" | "disabled" | "name", Some(_)) => false,
        (key, text) if REMOTE.contains(&key) && text == Some("") => false,
        (key, _) if !own && OWN_MAPS.contains(&key) => {
            unused.push(key.to_owned());
            false
        }
        ("sandbox", _) if !own && is_theirs(&entry.node) => {
            unused.push("the sandbox of its host, and has one of its own".to_owned());
            false
        }
        ("env_file", Some(path)) if !path.starts_with('/') => {
            unused.push("envFile (its path is relative to a project)".to_owned());
            false
        }
        _ => true,
    });
    for entry in
        entries.iter_mut().filter(|entry| matches!(entry.key.as_str(), "command" | "args" | "env" | "cwd" | "env_file"))
    {
        variables::translate(notes, &mut entry.node)?;
    }
    if off {
        notes.warn(format!("server `{}` is disabled in this file, and left out", short(&key)));
        let value = Value::Scalar { text: "true".to_owned(), plain: true };
        entries.push(Entry { key: "disabled".to_owned(), place, node: Node { place, value }, repeated: false });
    }
    if !unused.is_empty() {
        notes.warn(format!("server `{}`: mcpool has no use for {}", short(&key), unused.join(", ")));
    }
    let fitting = fitting(&key, taken);
    if fitting != key {
        notes.warn(format!(
            "server {} is called `{fitting}` here: names are letters, digits, `_` and `-`",
            quoted(&key)
        ));
    }
    taken.push(fitting.clone());
    Ok(Entry { key: fitting, place, node, repeated })
}

/// Undoes what hosts put around or into a command, and calls keys as mcpool does.
fn flat(mut node: Node) -> Node {
    let Value::Map(entries) = &mut node.value else { return node };
    for key in ["transport", "command"] {
        let nested = |entry: &Entry| entry.key == key && matches!(entry.node.value, Value::Map(_));
        if let Some(at) = entries.iter().position(nested)
            && let Value::Map(inner) = entries.remove(at).node.value
        {
            // Zed once called the program `path`.
            entries.extend(inner.into_iter().map(|entry| match (key, entry.key.as_str()) {
                ("command", "path") => Entry { key: "command".to_owned(), ..entry },
                _ => entry,
            }));
        }
    }
    for entry in &mut *entries {
        if let Some((_, own)) = RENAMED.iter().find(|(theirs, _)| *theirs == entry.key) {
            entry.key = (*own).to_owned();
        }
    }
    let whole =
        |entry: &Entry| entry.key == "command" && matches!(&entry.node.value, Value::List(words) if !words.is_empty());
    if let Some(at) = entries.iter().position(whole) {
        let place = entries[at].node.place;
        if let Value::List(words) = &mut entries[at].node.value {
            let args = words.split_off(1);
            if let Some(command) = words.pop() {
                entries[at].node = command;
            }
            if !entries.iter().any(|entry| entry.key == "args") {
                let node = Node { place, value: Value::List(args) };
                entries.push(Entry { key: "args".to_owned(), place, node, repeated: false });
            }
        }
    }
    node
}

/// The name that a server has here: as it is, if it may be.
fn fitting(key: &str, taken: &[String]) -> String {
    let free = |name: &str| {
        name::fault(name).is_none() && !matches!(name, "all" | "admin") && !taken.iter().any(|other| other == name)
    };
    if free(key) {
        return key.to_owned();
    }
    let mut name = String::new();
    for letter in key.chars() {
        let letter = if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
        if !(matches!(letter, '_' | '-') && name.ends_with(['_', '-'])) {
            name.push(letter);
        }
    }
    let cut = |name: &str, room: usize| {
        let name = name.trim_start_matches(['_', '-']);
        let name = &name[..name.len().min(room)];
        match name.trim_end_matches(['_', '-']) {
            "" => "server".to_owned(),
            name => name.to_owned(),
        }
    };
    let whole = cut(&name, name::LONGEST);
    let numbered = (2..).map(|number| format!("{}-{number}", cut(&name, name::LONGEST - 5)));
    std::iter::once(whole).chain(numbered).take(10_000).find(|name| free(name)).unwrap_or(name)
}

fn short(text: &str) -> String {
    quoted(text).trim_matches('`').to_owned()
}
