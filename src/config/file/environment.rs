//! `environment:` as written, and the record beside the file. Called by `file.rs` before everything else: what
//! `${env:NAME}` stands for in the rest of the file is decided here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::Origin;
use super::server::check_variable;
use crate::config::environment::{Environment, Surroundings, USUAL_PATH, identity};
use crate::config::fields::Fields;
use crate::config::{dotenv, substitute};

/// Reads it. With a record, or where anything is written here, nothing comes from whoever started the daemon but who the
/// user is.
pub(super) fn read(mut fields: Fields<'_>, origin: &Origin<'_>) -> Environment {
    let env_file = file(&mut fields, origin.dir);
    let path = path(&mut fields).filter(|path| !path.is_empty());
    let variables = variables(&mut fields);
    let configured = fields.entry("env_file").is_some() || path.is_some() || !variables.is_empty();
    fields.finish();
    let record = origin.record.as_ref();
    if !configured && record.is_none() {
        return Environment::default();
    }
    let mut all: BTreeMap<String, OsString> = BTreeMap::from([("PATH".to_owned(), USUAL_PATH.into())]);
    all.extend(identity());
    all.extend((origin.env)("HOME").map(|home| ("HOME".to_owned(), home)));
    all.extend(
        record.into_iter().flat_map(|record| record.variables.clone()).map(|(name, value)| (name, value.into())),
    );
    all.extend(env_file.into_iter().chain(variables).map(|(name, value)| (name, value.into())));
    all.extend(path.map(|path| ("PATH".to_owned(), path)));
    let record = record.map(|record| record.file.clone());
    Environment { record, configured, surroundings: Surroundings::written(all) }
}

/// `env_file`: the variables in a file, which lies beside the config if its path is relative.
pub(super) fn file(fields: &mut Fields<'_>, dir: Option<&Path>) -> BTreeMap<String, String> {
    let Some(entry) = fields.entry("env_file") else { return BTreeMap::new() };
    let Some(path) = fields.filled(&entry.node) else { return BTreeMap::new() };
    let path = dir.map_or_else(|| path.clone().into(), |dir| dir.join(&path));
    let mistake = |message: String, help: String| {
        fields.notes.mistake(entry.node.place, message, help);
        BTreeMap::new()
    };
    let Some(path) = path.to_str() else { return mistake("the path is not UTF-8".to_owned(), String::new()) };
    let text = match substitute::contents(path) {
        Ok(text) => text,
        Err(fault) => {
            fields.fault(entry.node.place, fault);
            return BTreeMap::new();
        }
    };
    if let Some(fault) = substitute::exposure(Path::new(path), &format!("the variables in `{path}`")) {
        fields.fault(entry.node.place, fault);
    }
    dotenv::read(&text).unwrap_or_else(|fault| {
        let help = "write NAME=value lines; put a value into quotes if it has blanks at its ends or several lines";
        mistake(format!("line {} of `{path}`: {}", fault.line, fault.message), help.to_owned())
    })
}

fn path(fields: &mut Fields<'_>) -> Option<OsString> {
    let nodes = fields.list("path")?;
    let mut all = Vec::new();
    for node in nodes {
        let Some(directory) = fields.filled(node) else { continue };
        if !directory.starts_with('/') || directory.contains(':') {
            let help = "write it from `/` on, one directory each: `path: [/usr/local/bin, /usr/bin]`";
            fields.expected("the absolute path of a directory", node, help, ());
            continue;
        }
        all.push(directory);
    }
    Some(all.join(":").into())
}

fn variables(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    if let Some(entry) = fields.entry("variables") {
        fields.notes.hide(&entry.node);
    }
    let mut variables = BTreeMap::new();
    for entry in fields.named("variables") {
        check_variable(fields.notes, entry.place, &entry.key);
        if let Some(value) = fields.filled(&entry.node) {
            variables.insert(entry.key.clone(), value);
        }
    }
    variables
}
