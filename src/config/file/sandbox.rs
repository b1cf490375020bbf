//! `sandbox:` of a server as written: a preset's name alone, or a map. Called by `server.rs`.

use std::path::PathBuf;

use crate::config::fields::Fields;
use crate::config::yaml::Value;
use crate::config::{Network, Preset, Sandbox};

const PRESETS: [(&str, Option<Preset>); 2] = [("npx", Some(Preset::Npx)), ("uvx", Some(Preset::Uvx))];
const NETWORKS: [(&str, Network); 2] = [("any", Network::Any), ("none", Network::None)];
/// An interpreter alone has some ten threads and reserves some hundred megabytes.
const LEAST: (usize, usize) = (1, 16 << 20);

/// Reads it; None: the server is not confined.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Sandbox> {
    let entry = fields.entry("sandbox")?;
    if !matches!(entry.node.value, Value::Map(_)) {
        let preset = fields.choice("sandbox", &PRESETS);
        // Said to be no such word, if it is none.
        return Some(Sandbox { preset, ..Sandbox::default() });
    }
    let mut keys = fields.section("sandbox");
    let preset = keys.choice("preset", &PRESETS);
    let sandbox = Sandbox {
        preset,
        read: paths(&mut keys, "read"),
        write: paths(&mut keys, "write"),
        network: keys.choice("network", &NETWORKS),
        unix_sockets: keys.truth("unix_sockets", false),
        processes: keys.entry("processes").map(|_| keys.count("processes", LEAST.0, LEAST.0..=1 << 20)),
        memory: keys.entry("memory").map(|_| keys.size("memory", LEAST.1, LEAST.1..=1 << 40)),
    };
    keys.finish();
    if sandbox == Sandbox::default() {
        let help = "name what the server may reach: `sandbox: { read: [/srv/docs], network: none }`, or leave it out";
        fields.notes.mistake(entry.place, "`sandbox` says nothing", help);
    }
    Some(sandbox)
}

fn paths(keys: &mut Fields<'_>, key: &'static str) -> Option<Vec<PathBuf>> {
    let nodes = keys.list(key)?;
    let path = |node| {
        let path = PathBuf::from(keys.filled(node)?);
        if path.is_absolute() {
            return Some(path);
        }
        let help = "write it from `/` on; `~` means nothing here: write `${env:HOME}`";
        keys.expected("an absolute path", node, help, None)
    };
    Some(nodes.iter().filter_map(path).collect())
}
