//! Called by `admin` for `mcpool status`: what is there, as one JSON object.

pub(super) mod crowd;
mod hosts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Mux;
use super::servers::{Server, Standing};
use crate::catalogue::Variant;
use crate::catalogue::legible::Told;
use crate::clock;
use crate::guard::breaker::Breaker;
use crate::guard::share::Shares;
use crate::key::ServerId;
use crate::pool::instance::Instance;
use crate::pool::mishap::Mishap;
use crate::pool::process::Tree;
use crowd::{Crowd, saved};
use hosts::Hosts;

/// What all servers are told with.
struct Seen<'a> {
    trees: &'a HashMap<u32, Tree>,
    crowd: Crowd<'a>,
    hosts: Hosts<'a>,
}

/// How many of those are shown who have most.
const LARGEST: usize = 10;

/// How many odd items of a server are shown.
const ODD_ITEMS: usize = 20;

impl Mux {
    /// Servers, instances, callers, queues, and what sharing saves; without the memory of processes.
    pub fn status(&self) -> Value {
        self.status_with(&HashMap::new())
    }

    /// Returns the same, with the memory of the processes of all instances.
    pub fn status_with(&self, trees: &HashMap<u32, Tree>) -> Value {
        let seen = Seen { trees, crowd: self.crowd(), hosts: self.hosts() };
        let ids = self.configured().into_iter().chain(self.retired());
        let servers: Vec<Value> = ids.map(|id| self.server_status(id, &seen)).collect();
        let sum = |key: &str| servers.iter().filter_map(|server| server[key].as_u64()).sum::<u64>();
        let (processes, without) = (sum("processes"), sum("processes_without"));
        let (memory, saved) = (sum("memory"), sum("memory_saved"));
        json!({
            "pid": std::process::id(),
            "started_at": moment(self.metrics.since),
            "uptime_ms": self.metrics.since.elapsed().unwrap_or_default().as_millis() as u64,
            "version": env!("CARGO_PKG_VERSION"),
            "metrics": *self.metrics.address.borrow(),
            "config": self.config.file,
            "catalogue_dir": self.catalogue.as_ref().map(|directory| directory.to_string_lossy()),
            "environment": {
                "source": self.config.environment.source(),
                "from": self.config.environment.to_string(),
                "path": self.config.environment.surroundings.variable("PATH").map(|path| path.to_string_lossy().into_owned()),
            },
            "in_force": {
                "digest": self.in_force.digest,
                "age_ms": self.in_force.since.elapsed().as_millis() as u64,
                "needs_new_daemon": self.in_force.restart,
                "refused": self.in_force.refused.as_ref().map(|(when, why)| json!({
                    "age_ms": when.elapsed().as_millis() as u64,
                    "mistakes": why,
                })),
            },
            "draining": self.is_draining(),
            "callers": self.callers_told(),
            "callers_left_out": self.callers.len().saturating_sub(crowd::TOLD),
            "calls": self.calls.len(),
            "held": self.held.count(),
            "shares": shares_status(&self.shares),
            "servers": servers,
            "disabled": self.config.disabled.iter().map(|server| &server.name).collect::<Vec<_>>(),
            "counters": {
                "callers": self.metrics.callers.get(),
                "calls": self.metrics.calls.get(),
                "dropped": self.metrics.all_dropped(),
                "ended": self.metrics.all_ended(),
                "callers_refused": self.metrics.callers_refused.get(),
                "callers_dropped": self.metrics.callers_dropped.all(),
                "reloads": self.metrics.reloads(),
                "bytes": BTreeMap::from(self.metrics.bytes.all()),
                "refused": self.metrics.all_refused(),
            },
            "sharing": {
                "processes": processes,
                "processes_without": without,
                "processes_saved": without.saturating_sub(processes),
                "memory": memory,
                "memory_bytes": memory,
                "memory_saved": saved,
                "memory_saved_bytes": saved,
            },
            "audit": self.metrics.audit.get().map(|trail| {
                let state = trail.state();
                json!({
                    "file": state.file,
                    "required": state.required,
                    "writable": !state.fails,
                    "lines": state.written,
                    "lost": state.lost,
                })
            }),
            "totals": BTreeMap::from(self.metrics.sharing.totals()),
        })
    }

    /// Returns the processes of all instances.
    pub fn pids(&self) -> Vec<u32> {
        let instances = self.servers.iter().flat_map(|server| server.pool.instances.values());
        instances.filter_map(|instance| instance.pid).collect()
    }

    fn server_status(&self, id: ServerId, seen: &Seen<'_>) -> Value {
        let (server, none) = (self.server(id), BTreeSet::new());
        let instances = server.pool.instances.iter();
        let instances: Vec<Value> = instances
            .map(|(key, instance)| {
                let subscriptions = server.subscriptions.at(key);
                instance_status(instance, subscriptions, seen.trees, seen.hosts.get(&(id, key)).unwrap_or(&none))
            })
            .collect();
        let sum = |key: &str| instances.iter().filter_map(|instance| instance[key].as_u64()).sum::<u64>();
        let (memory, count) = (sum("memory"), instances.len() as u64);
        // Without mcpool every connected caller would run a process of its own.
        let callers = seen.crowd.seeing(id) as u64;
        let metrics = &server.pool.metrics;
        let (counts, probes): (BTreeMap<_, _>, BTreeMap<_, _>) = (metrics.counts().into(), metrics.probes().collect());
        let counted = |what: &str| counts.get(what).copied().unwrap_or(0);
        json!({
            "name": server.config.name,
            "retired": server.standing != Standing::Configured,
            "sandbox": server.config.sandbox.as_ref().map(ToString::to_string),
            "lease": lease_status(server),
            "breaker": breaker_status(server),
            "eras": eras(server),
            "callers": callers,
            "queue": server.pool.queue.len(),
            "held": self.held.calls().filter(|key| self.calls.get(*key).is_some_and(|call| call.server == id)).count(),
            "max": server.config.instances.max,
            "max_alone": server.config.instances.max_alone,
            "total": server.config.instances.total,
            "asking": server.pool.instances.values().filter(|instance| instance.awaits_a_person()).count(),
            "when_full": server.config.when_full.as_str(),
            "started": server.pool.started,
            "start_failures": counted("start_failures"),
            "lacks": server.config.lacks,
            "stopped": metrics.stops(),
            "refused": metrics.refusals(),
            "exhausted": counted("exhausted"),
            "overflow": counted("overflow"),
            "retries": counted("retries"),
            "lists_cut": counted("lists_cut"),
            "probes": probes,
            "retries_left": server.gate.budget.left(),
            "stderr_left_out": metrics.stderr_left_out.get(),
            "unheard": metrics.unheard.get(),
            "starts": metrics.starts(),
            "leases": BTreeMap::from(metrics.leases()),
            "backoff_ms": server.pool.setbacks.until().map(|until| (until - clock::now()).as_millis() as u64),
            "queue_ms_mean": mean(metrics.queued.mean()),
            "call_ms_mean": mean(metrics.took_altogether()),
            "processes": count,
            "processes_without": callers,
            "memory": memory,
            "memory_bytes": memory,
            "memory_saved": saved(callers, memory, count),
            "pins": server.pins.status(),
            "odd_items": odd_items(server),
            "last_failure": server.pool.mishap.as_ref().map(mishap_status),
            "instances": instances,
        })
    }
}

/// Returns what all clients share, how much of it is taken, and who has most.
fn shares_status(shares: &Shares) -> Value {
    let of = |(taken, limit): (usize, usize)| json!({ "taken": taken, "limit": limit });
    let (held, memory) = (shares.held(), shares.memory());
    let largest = shares.largest(LARGEST).into_iter().map(|had| {
        let (uid, pid) = (had.principal.user(), had.principal.process());
        json!({ "uid": uid, "pid": pid, "in_flight": had.calls, "held": had.held, "bytes": had.bytes })
    });
    json!({
        "users": shares.users(),
        "in_flight": of(shares.calls()),
        "held": of((held.taken(), held.limit())),
        "memory_bytes": of((memory.used(), memory.limit())),
        "largest": largest.collect::<Vec<_>>(),
    })
}

/// Returns a time as people and programs read it.
fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Returns what is left out of its lists, or of items in them, on endpoints of several servers.
fn odd_items(server: &Server) -> Vec<Value> {
    let lists = server.catalogue.variants().flat_map(Variant::lists);
    let told = lists.flat_map(|(kind, list)| list.contents().odd().map(move |told| (kind, told)));
    let mut items = Vec::new();
    for (kind, Told { item, why, left_out }) in told {
        let one = json!({ "list": kind.member(), "item": item, "why": why, "left_out": left_out });
        // What a server tells one kind of clients it mostly tells all.
        if !items.contains(&one) {
            items.push(one);
        }
        if items.len() == ODD_ITEMS {
            break;
        }
    }
    items
}

fn mishap_status(mishap: &Mishap) -> Value {
    json!({
        "at": moment(mishap.at),
        "age_ms": mishap.at.elapsed().unwrap_or_default().as_millis() as u64,
        "what": mishap.what,
        "cause": mishap.cause,
        "stderr": mishap.stderr,
    })
}

/// In milliseconds.
fn mean(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_micros() as f64 / 1e3)
}

fn breaker_status(server: &Server) -> Value {
    let (breaker, now) = (&server.gate.breaker, clock::now());
    let retry = breaker.opens_for(now).map(|retry| retry.as_millis() as u64);
    let cause = Some(breaker.cause()).filter(|cause| !cause.is_empty());
    let tools: Vec<Value> = server
        .gate
        .sick_tools()
        .map(|(tool, breaker)| {
            let retry = breaker.opens_for(now).map(|retry| retry.as_millis() as u64);
            let clients = clients_refused(breaker, now);
            json!({
                "tool": tool,
                "state": breaker.state(now).as_str(),
                "retry_in_ms": retry,
                "cause": breaker.cause(),
                "clients": clients,
            })
        })
        .collect();
    json!({
        "state": breaker.state(now).as_str(),
        "retry_in_ms": retry,
        "cause": cause,
        "trips": server.pool.metrics.trips(),
        "tools": tools,
        "clients": clients_refused(breaker, now),
    })
}

/// Clients that alone are refused, since only their calls failed.
fn clients_refused(breaker: &Breaker, now: Instant) -> Vec<Value> {
    let parties = breaker.parties(now).map(|(who, circuit)| {
        json!({
            "uid": who.user(),
            "pid": who.process(),
            "state": circuit.state(now).as_str(),
            "retry_in_ms": circuit.opens_for(now).map(|retry| retry.as_millis() as u64),
            "cause": circuit.cause(),
        })
    });
    parties.collect()
}

fn lease_status(server: &Server) -> Value {
    // What the most demanding profile gets: the one that can be asked.
    let demanding = crate::era::profile::Profile::legacy(crate::era::legacy::REVISIONS[0], r#"{"sampling":{}}"#);
    let lease = demanding.map(|profile| server.pool.lease(&profile, server.catalogue.known.seen));
    lease.map_or(Value::Null, |(lease, why)| json!({ "kind": lease.as_str(), "why": why.to_string() }))
}

fn eras(server: &Server) -> Vec<&'static str> {
    use crate::era::Era;
    let known = |era: &Era| {
        let configured = !server.catalogue.lacks(*era, server.config.era);
        configured
            && server.catalogue.variants().any(|variant| variant.key.era == *era && variant.introduction().is_some())
    };
    [Era::Legacy, Era::Modern].into_iter().filter(known).map(Era::as_str).collect()
}

fn instance_status(
    instance: &Instance,
    subscriptions: usize,
    trees: &HashMap<u32, Tree>,
    hosts: &BTreeSet<&str>,
) -> Value {
    let tree = instance.pid.and_then(|pid| trees.get(&pid)).copied().unwrap_or_default();
    json!({
        "id": instance.serial,
        "pid": instance.pid,
        "state": instance.state.as_str(),
        "temporary": instance.temporary,
        "era": instance.profile.era().as_str(),
        "revision": instance.profile.revision(),
        "profile": hosts::profile(&instance.profile),
        "hosts": hosts,
        "callers": instance.pending.callers(),
        "lease": instance.bound.map_or("shared", |(_, lease)| lease.as_str()),
        "in_flight": instance.pending.len(),
        "asks": instance.asks.len(),
        "subscriptions": subscriptions,
        "tasks": instance.tasks,
        "age_ms": instance.born.elapsed().as_millis() as u64,
        "idle_ms": instance.pending.rests().then(|| instance.idle_since.elapsed().as_millis() as u64),
        "missed": instance.health.missed(),
        "memory": tree.bytes,
        "memory_bytes": tree.bytes,
        "process_tree": tree.processes,
        "calls": instance.served,
        "backlog_bytes": instance.outbox.waiting(),
    })
}
