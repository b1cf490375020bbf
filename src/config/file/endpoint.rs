//! `endpoints:` as written. Called by `file.rs` for each entry.

use std::path::PathBuf;
use std::time::Duration;

use super::{access, check_name};
use crate::config::diagnostic::{Notes, quoted};
use crate::config::fields::Fields;
use crate::config::yaml::Entry;
use crate::config::{ALL, Endpoint, longest_socket, name};

/// Reads one endpoint; `known` are the names of all servers.
pub(super) fn read(notes: &Notes<'_>, entry: &Entry, known: &[&str]) -> Endpoint {
    check_name(notes, entry, "an endpoint", &["admin"]);
    let mut fields = Fields::new(notes, entry.place, &entry.node);
    let default = Endpoint::new(entry.key.as_str(), servers(&mut fields, &entry.key, known));
    let socket = socket(&mut fields);
    let endpoint = Endpoint {
        socket,
        grants: access::grants(&mut fields),
        users: access::ids(&mut fields, "users", "a user id like 1000", "`id -u NAME` tells it").unwrap_or_default(),
        callers: access::rules(&mut fields),
        patience: fields.duration("patience", default.patience, Duration::ZERO),
        ..default
    };
    fields.finish();
    endpoint
}

/// The servers it shows. What the defaults show need not be said again.
fn servers(fields: &mut Fields<'_>, endpoint: &str, known: &[&str]) -> Vec<String> {
    let Some(nodes) = fields.list("servers") else {
        if endpoint == ALL {
            return known.iter().map(|name| (*name).to_owned()).collect();
        }
        if !known.contains(&endpoint) {
            fields.notes.mistake(
                fields.place,
                "`servers` is missing",
                "say which servers it shows: `servers: [one, two]`",
            );
        }
        return vec![endpoint.to_owned()];
    };
    if nodes.is_empty() {
        fields.notes.mistake(fields.place, "an endpoint needs a server", "name at least one, or remove the endpoint");
    }
    let mut servers: Vec<String> = Vec::new();
    for node in nodes {
        match node.text() {
            None => fields.expected("the name of a server", node, "", ()),
            Some(name) if !known.contains(&name) => {
                let help = match name::nearest(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the servers are: {}", known.join(", ")),
                };
                fields.notes.mistake(node.place, format!("there is no server {}", quoted(name)), help);
            }
            Some(name) if servers.iter().any(|other| other == name) => {
                fields.notes.mistake(
                    node.place,
                    format!("the server {} is here twice", quoted(name)),
                    "remove one of the two",
                );
            }
            Some(name) => servers.push(name.to_owned()),
        }
    }
    servers
}

fn socket(fields: &mut Fields<'_>) -> Option<PathBuf> {
    let path = fields.path("socket")?;
    let (length, most) = (path.as_os_str().len(), longest_socket(&path));
    if length > most {
        let message = format!("the path of the socket has {length} bytes; the system allows {most}");
        fields.contradiction(["socket", "socket"], &message, "choose a shorter one");
    }
    Some(path)
}
