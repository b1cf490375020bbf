//! Called by `mux` where an instance or a probe fails: whose calls were concerned. State that callers share is moved by
//! evidence of several of them only, so breakers are told who met what.

use slotmap::SlotMap;

use super::Caller;
use crate::clock;
use crate::guard::principal::Principal;
use crate::key::{CallerKey, InstanceRef};
use crate::pool::instance::Instance;
use crate::pool::pending::Entry;

/// Whose calls an instance may have ended of: those in flight; if there are none, those given up a moment before.
pub fn at_the_end_of(instance: Option<&Instance>, callers: &SlotMap<CallerKey, Caller>) -> Vec<Principal> {
    let met = in_flight_on(instance, callers);
    let Some(instance) = instance.filter(|_| met.is_empty()) else { return met };
    principals(instance.pending.given_up(clock::now()), callers)
}

/// Whose calls an instance has.
pub fn in_flight_on(instance: Option<&Instance>, callers: &SlotMap<CallerKey, Caller>) -> Vec<Principal> {
    instance.map(|instance| principals(instance.pending.entries(), callers)).unwrap_or_default()
}

/// Whether anybody else who is connected used an instance last of all of its server.
pub fn is_used_by_others(at: InstanceRef, who: Principal, callers: &SlotMap<CallerKey, Caller>) -> bool {
    let mut others = callers.values().filter(|caller| caller.principal != who);
    others.any(|caller| caller.uses.last(at.server) == Some(at.key))
}

fn principals(entries: impl Iterator<Item = Entry>, callers: &SlotMap<CallerKey, Caller>) -> Vec<Principal> {
    let callers = entries.filter_map(|entry| callers.get(entry.caller?));
    let mut all: Vec<Principal> = callers.map(|caller| caller.principal).collect();
    all.sort_unstable();
    all.dedup();
    all
}
