//! Called by `mux::status` and `mux::measure`: who is connected, each caller looked at once, however many servers there
//! are. No more are told of than can be in one turn of the thread that serves them all.

use std::collections::HashMap;

use serde_json::{Value, json};
use slotmap::Key;

use crate::caller::Caller;
use crate::caller::endpoint::Endpoint;
use crate::key::{CallerKey, ServerId};
use crate::mux::Mux;

/// Callers that are told of one by one.
pub const TOLD: usize = 500;

/// How many callers each endpoint has.
pub struct Crowd<'a>(Vec<(&'a Endpoint, usize)>);

impl Crowd<'_> {
    /// Returns how many callers the endpoints of this name have. An endpoint that is gone may be there beside the one
    /// in its place.
    pub fn of(&self, name: &str) -> usize {
        self.0.iter().filter(|(endpoint, _)| endpoint.name == name).map(|(_, count)| count).sum()
    }

    /// Returns how many callers the endpoints have that show a server.
    pub fn seeing(&self, server: ServerId) -> usize {
        self.0.iter().filter(|(endpoint, _)| endpoint.servers.contains(&server)).map(|(_, count)| count).sum()
    }
}

/// Returns how many bytes more callers would take up if each had a process of its own.
pub fn saved(callers: u64, memory: u64, processes: u64) -> u64 {
    (callers * memory.checked_div(processes).unwrap_or(0)).saturating_sub(memory)
}

impl Mux {
    /// Returns how many callers each endpoint has.
    pub(in crate::mux) fn crowd(&self) -> Crowd<'_> {
        let mut crowd: HashMap<*const Endpoint, (&Endpoint, usize)> = HashMap::new();
        for caller in self.callers.values() {
            let endpoint: &Endpoint = &caller.endpoint;
            crowd.entry(endpoint).or_insert((endpoint, 0)).1 += 1;
        }
        Crowd(crowd.into_values().collect())
    }

    /// Returns how many callers the endpoints of a name have.
    pub fn callers_at(&self, endpoints: &[&str]) -> Vec<usize> {
        let crowd = self.crowd();
        endpoints.iter().map(|name| crowd.of(name)).collect()
    }

    /// Returns the first callers, one by one.
    pub(super) fn callers_told(&self) -> Vec<Value> {
        let mut held: HashMap<CallerKey, usize> = HashMap::new();
        let callers = self.held.calls().filter_map(|key| self.calls.get(key)).map(|call| call.caller);
        callers.for_each(|caller| *held.entry(caller).or_default() += 1);
        let told = self.callers.iter().take(TOLD);
        told.map(|(key, caller)| told_of(key, caller, held.get(&key).copied().unwrap_or(0))).collect()
    }
}

fn told_of(key: CallerKey, caller: &Caller, held: usize) -> Value {
    json!({
        "number": key.data().as_ffi(),
        "endpoint": caller.endpoint.name,
        "pid": caller.identity.pid,
        "uid": caller.identity.uid,
        "rule": caller.rule.map(|place| place + 1),
        "client": caller.client.as_ref().map(|(name, _)| name),
        "revision": caller.client.as_ref().map(|(_, revision)| revision),
        "in_flight": caller.bound.count(),
        "buffered": caller.outbox.waiting(),
        "buffered_bytes": caller.outbox.waiting(),
        "asks": caller.asks.len(),
        "held": held,
    })
}
