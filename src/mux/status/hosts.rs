//! Called by `mux::status`: what an instance was told about its clients, and which hosts those are.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::era::profile::Profile;
use crate::key::{InstanceKey, ServerId};
use crate::mux::Mux;

/// Names of hosts, or of capabilities, that are told of one instance.
const TOLD: usize = 16;

/// The names of the clients that used each instance last.
pub type Hosts<'a> = HashMap<(ServerId, InstanceKey), BTreeSet<&'a str>>;

impl Mux {
    /// Returns which connected clients use which instance.
    pub(super) fn hosts(&self) -> Hosts<'_> {
        let mut hosts = Hosts::new();
        for caller in self.callers.values() {
            let Some((name, _)) = &caller.client else { continue };
            for used in caller.uses.all() {
                let names = hosts.entry(used).or_default();
                if names.len() < TOLD {
                    names.insert(name);
                }
            }
        }
        hosts
    }
}

/// Returns what tells instances of one server apart: the revision, and what their clients can be asked.
pub fn profile(profile: &Profile) -> Value {
    let Profile::Legacy(legacy) = profile else { return json!({ "revision": profile.revision() }) };
    let capabilities: Value = serde_json::from_str(&legacy.capabilities).unwrap_or_default();
    let named = capabilities.as_object().into_iter().flat_map(|object| object.keys()).take(TOLD);
    json!({ "revision": legacy.revision, "capabilities": named.collect::<Vec<_>>() })
}
