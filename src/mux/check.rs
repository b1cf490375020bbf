//! Called after each turn of a debug build, where a test has asked for it: whether the parts of the multiplexer agree. What is
//! kept in two places is compared, what is counted is counted again, and nothing may be left half done.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Mux;
use super::call::{Call, Place, Source};
use super::errand::Errand;
use crate::catalogue::list::ListKind;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::pool::instance::{Instance, State};
use crate::pool::ties::Subscriber;
use crate::server::audience::Audience;
use crate::server::awaited::Word;

/// The alarm may be set so much later than the earliest deadline.
const GRAIN: Duration = Duration::from_millis(10);

thread_local! {
    /// Who is told of faults on this thread.
    static REPORT: Cell<Option<fn(String)>> = const { Cell::new(None) };
}

/// From now on every turn on this thread ends with a check, whose faults go there.
pub fn report_to(report: fn(String)) {
    REPORT.set(Some(report));
}

/// Looks at everything, if a test has asked for it.
pub(super) fn after_turn(mux: &Mux) {
    if let Some(report) = REPORT.get() {
        faults(mux).into_iter().for_each(report);
    }
}

/// What does not agree, in words.
fn faults(mux: &Mux) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, call) in &mux.calls {
        faults.extend(of_call(mux, key, call).map(|fault| format!("{key:?} of {:?}: {fault}", call.request.method())));
    }
    for server in mux.server_ids() {
        faults.extend(of_awaited(mux, server).into_iter().chain(of_audience(mux, server)));
        let (name, pool) = (&mux.server(server).config.name, &mux.server(server).pool);
        let waiting = mux.calls.iter().filter(|(_, call)| call.server == server && call.place == Place::Queue);
        let (waiting, queued): (BTreeSet<_>, BTreeSet<_>) =
            (waiting.map(|(key, _)| key).collect(), pool.queue.calls().collect());
        for key in waiting.symmetric_difference(&queued) {
            let place = mux.calls.get(*key).map(|call| (&call.place, call.request.method()));
            faults.push(format!(
                "{name}: {key:?} is at {place:?}, and {} in the queue",
                if queued.contains(key) { "stands" } else { "does not stand" }
            ));
        }
        for instance in pool.instances.values() {
            let told = of_instance(mux, instance).into_iter().chain(of_ties(mux, server, instance));
            faults.extend(told.map(|fault| format!("{name}-{}: {fault}", instance.serial)));
        }
    }
    faults.extend(of_callers(mux));
    for who in mux.servers.iter().flat_map(|server| server.subscriptions.everybody()) {
        let there = match who {
            Subscriber::Session(caller) => mux.callers.contains_key(caller),
            Subscriber::Stream(call) => mux.listeners.contains_key(call),
        };
        if !there {
            faults.push(format!("{who:?} is subscribed to something, and gone"));
        }
    }
    faults
}

/// What is wrong about a call.
fn of_call(mux: &Mux, key: CallKey, call: &Call) -> Option<String> {
    let place = match &call.place {
        Place::Nowhere => Some("it is nowhere".to_owned()),
        Place::On(instance, id) => {
            let at = InstanceRef { server: call.server, key: *instance };
            match mux.instance(at).map(|instance| instance.pending.get(*id)) {
                Some(Some(entry)) if entry.call == key => None,
                told => Some(format!("its instance has {told:?} under {id:?}")),
            }
        }
        Place::Listening if !mux.listeners.contains_key(key) => Some("it listens, and nobody knows".into()),
        _ => None,
    };
    let due = mux.alarm.next();
    let late = call.place != Place::Listening && due.is_none_or(|due| due > call.deadline + GRAIN);
    place.or_else(|| late.then(|| format!("it ends by {:?}, and the alarm is for {due:?}", call.deadline)))
}

/// What is wrong about the calls of an instance.
fn of_instance(mux: &Mux, instance: &Instance) -> Vec<String> {
    let mut faults = Vec::new();
    let mut of: BTreeMap<CallerKey, usize> = BTreeMap::new();
    for entry in instance.pending.entries() {
        *of.entry(entry.caller.unwrap_or_default()).or_default() += 1;
        let call = mux.calls.get(entry.call);
        if !call.is_some_and(|call| matches!(call.place, Place::On(key, _) if key == instance.at.key)) {
            faults.push(format!(
                "{:?} is in flight, and that call is at {:?}",
                entry.call,
                call.map(|call| &call.place)
            ));
        }
    }
    of.remove(&CallerKey::default());
    if of.len() != instance.pending.callers() {
        faults.push(format!("calls of {} callers are in flight, counted as {}", of.len(), instance.pending.callers()));
    }
    faults
}

/// What is wrong about what lives in an instance.
fn of_ties(mux: &Mux, server: ServerId, instance: &Instance) -> Vec<String> {
    let mut faults = Vec::new();
    let tasks = mux.server(server).owned.tasks.living_in(instance.at.key);
    // What one that is being stopped had is forgotten at once.
    if tasks != instance.tasks && instance.state != State::Stopping {
        faults.push(format!("{tasks} tasks live in it, counted as {}", instance.tasks));
    }
    faults
}

/// What is wrong about who waits for what a server says of itself, and about the errands for that.
fn of_awaited(mux: &Mux, server: ServerId) -> Vec<String> {
    let (awaited, mut faults) = (mux.server(server).awaited(), Vec::new());
    let (mut waiting, mut errands) = (0, 0);
    for (key, call) in &mux.calls {
        let word = call.place.awaits(server);
        let introduces = matches!(call.from, Source::Mcpool(Errand::Introduce(_))) && call.server == server;
        waiting += usize::from(word.is_some());
        errands += usize::from(introduces);
        if word.is_some_and(|word| !awaited.waiting(word).contains(&key)) {
            faults.push(format!("nobody knows that {key:?} waits for {word:?}"));
        }
        if introduces && !awaited.errands().contains_key(&key) {
            faults.push(format!("nobody knows of the errand {key:?}"));
        }
    }
    let words = ListKind::ALL.into_iter().map(Word::List).chain([Word::Introduction]);
    let known: usize = words.map(|word| awaited.waiting(word).len()).sum();
    if (known, awaited.errands().len()) != (waiting, errands) {
        faults.push(format!(
            "{waiting} calls wait for it and {errands} errands, as it knows {known} and {}",
            awaited.errands().len()
        ));
    }
    faults.into_iter().map(|fault| format!("{}: {fault}", mux.server(server).config.name)).collect()
}

/// What is wrong about the callers that a server knows.
fn of_audience(mux: &Mux, server: ServerId) -> Option<String> {
    let mut truth = Audience::default();
    for (key, caller) in mux.callers_of(server) {
        if caller.is_initialized() {
            truth.opens(key);
        }
        caller.level().into_iter().for_each(|(profile, level)| truth.wants(profile, level));
    }
    let late = mux.callers.iter().filter(|(_, caller)| caller.missed().contains(&server));
    late.for_each(|(key, _)| truth.is_late_for(key, true));
    let server = mux.server(server);
    (truth != *server.audience())
        .then(|| format!("{}: {truth:?} listen, known as {:?}", server.config.name, server.audience()))
}

/// What is wrong about callers: each knows its calls, and each call has a permit.
fn of_callers(mux: &Mux) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, caller) in &mux.callers {
        let ended = caller.in_flight.values().filter(|call| !mux.calls.contains_key(**call));
        faults.extend(ended.map(|call| format!("{key:?} has {call:?} in flight, which ended")));
        let own = |call: &Call| call.caller == key && matches!(call.from, Source::Mcpool(_));
        let own: BTreeSet<CallKey> = mux.calls.iter().filter(|(_, call)| own(call)).map(|(key, _)| key).collect();
        if own != *caller.errands() {
            faults.push(format!("{key:?} has the errands {own:?}, known as {:?}", caller.errands()));
        }
    }
    let (permits, wanted) = (mux.shares.calls().0, mux.calls.values().filter(|call| call.is_callers()).count());
    if permits != wanted {
        faults.push(format!("{wanted} calls of callers are on their way, with {permits} permits"));
    }
    faults.extend(of_shares(mux));
    faults
}

/// What is wrong about what callers share: places, held calls, and the account of bytes.
fn of_shares(mux: &Mux) -> Vec<String> {
    let (shares, mut faults) = (&mux.shares, Vec::new());
    let (places, held) = (shares.places(), shares.held().taken());
    let kept_for_held = mux.calls.values().filter(|call| matches!(call.from, Source::Held { .. })).count();
    if (places, held) != (mux.callers.len(), kept_for_held) {
        faults
            .push(format!("{} callers have {places} places, and {kept_for_held} held calls {held}", mux.callers.len()));
    }
    let bound: usize = mux.callers.values().map(|caller| caller.bound.count()).sum();
    if bound != shares.calls().0 {
        faults.push(format!("callers count {bound} permits, and their shares {}", shares.calls().0));
    }
    faults
}
