//! Called by whoever sees something that an operator may want to know of. What is counted here is what `status` shows
//! and what Prometheus reads: there is no second account.
//!
//! Counts are plain cells that one thread adds to; they are copied into the recorder when somebody asks
//! (`metrics::prometheus`). What can be told by looking (how many callers, instances, calls) is not counted at all but
//! measured by `mux` when somebody asks.

mod account;
mod method;
mod prometheus;
mod server;
mod sharing;
mod times;
mod words;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::SystemTime;

use crate::audit::Trail;
use crate::error::Error;
use crate::wire::flow::Flow;
use crate::wire::tally::Tally;
pub use account::Account;
pub use method::Method;
pub use prometheus::Exporter;
pub use server::{Outcome, Probe, ServerMetrics};
pub use sharing::Sharing;
pub use times::Times;
pub use words::Words;

/// The label of what belongs to no server, or to several. No server can have this name.
pub const NO_SERVER: &str = "(mcpool)";

/// What is counted since the daemon started.
pub struct Metrics {
    /// Callers accepted.
    pub callers: Tally,
    /// Callers turned away: too many, or mcpool was ending.
    pub callers_refused: Tally,
    /// Callers disconnected by mcpool, by reason.
    pub callers_dropped: Words,
    /// Requests accepted from callers; each of them ends once (`Account::end`).
    pub calls: Tally,
    pub bytes: Bytes,
    pub sharing: Sharing,
    /// When the daemon started.
    pub since: SystemTime,
    /// Messages that were not delivered, by reason.
    dropped: Words,
    /// Reloads of the config, by outcome.
    reloads: Words,
    /// What belongs to no server, or to several.
    own: Rc<ServerMetrics>,
    /// Every server that there ever was.
    servers: RefCell<Vec<Rc<ServerMetrics>>>,
    exporter: OnceCell<Exporter>,
    /// Where requests are told of when they end, if anywhere.
    pub audit: OnceCell<Rc<Trail>>,
    /// Where Prometheus can read.
    pub address: RefCell<Option<String>>,
}

/// Bytes read and written, line ends among them.
#[derive(Default)]
pub struct Bytes {
    pub from_callers: Rc<Tally>,
    pub to_callers: Rc<Flow>,
    pub from_servers: Rc<Tally>,
    pub to_servers: Rc<Flow>,
}

impl Bytes {
    /// All of them, by direction.
    pub fn all(&self) -> [(&'static str, u64); 4] {
        [
            ("from_caller", self.from_callers.get()),
            ("to_caller", self.to_callers.written()),
            ("from_server", self.from_servers.get()),
            ("to_server", self.to_servers.written()),
        ]
    }
}

/// What is there at one moment, as `mux` sees it.
#[derive(Debug, Default)]
pub struct Measured {
    /// Callers connected, by endpoint.
    pub callers: Vec<(String, usize)>,
    /// Calls whose callers are to come back.
    pub held: usize,
    /// Bytes that callers have not read.
    pub buffered: usize,
    /// Bytes kept for all peers, and how many may be.
    pub kept: [usize; 2],
    /// Nothing new is begun.
    pub draining: bool,
    pub servers: Vec<MeasuredServer>,
}

/// What is there of one server at one moment.
#[derive(Debug, Default)]
pub struct MeasuredServer {
    pub name: String,
    pub starting: usize,
    pub ready: usize,
    pub draining: usize,
    pub stopping: usize,
    /// Requests that its instances have not answered.
    pub in_flight: usize,
    /// Calls that wait for an instance.
    pub queue: usize,
    /// What its breaker does: 0, calls pass; 1, one tries; 2, calls are refused.
    pub breaker: usize,
    /// Tools whose breakers are open, and half open.
    pub tools: [usize; 2],
    /// Clients that alone are refused, and those of which one call may try.
    pub clients: [usize; 2],
    /// Questions of its instances that are not answered.
    pub asks: usize,
    /// Resident memory of its instances' process trees in bytes, when that was looked at last.
    pub memory: u64,
}

impl MeasuredServer {
    /// Adds what is there of another one of the same name.
    pub fn add(&mut self, other: &MeasuredServer) {
        // All are named, so that none is forgotten.
        let MeasuredServer {
            name: _,
            starting,
            ready,
            draining,
            stopping,
            in_flight,
            queue,
            breaker,
            tools,
            clients,
            asks,
            memory,
        } = other;
        self.starting += starting;
        self.ready += ready;
        self.draining += draining;
        self.stopping += stopping;
        self.in_flight += in_flight;
        self.queue += queue;
        self.breaker = self.breaker.max(*breaker);
        self.tools = [0, 1].map(|index| self.tools[index] + tools[index]);
        self.clients = [0, 1].map(|index| self.clients[index] + clients[index]);
        self.asks += asks;
        self.memory += memory;
    }
}

/// What became of a changed config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It had mistakes; the one before it stays in force.
    Refused,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            callers: Tally::default(),
            callers_refused: Tally::default(),
            callers_dropped: Words::default(),
            calls: Tally::default(),
            bytes: Bytes::default(),
            sharing: Sharing::default(),
            since: SystemTime::now(),
            dropped: Words::default(),
            reloads: Words::default(),
            own: ServerMetrics::new(NO_SERVER),
            servers: RefCell::default(),
            exporter: OnceCell::new(),
            audit: OnceCell::new(),
            address: RefCell::new(None),
        }
    }
}

impl Metrics {
    /// The account of a server, which it keeps for as long as the daemon runs, however often the config changes.
    pub fn server(&self, name: &str) -> Rc<ServerMetrics> {
        let mut servers = self.servers.borrow_mut();
        if let Some(known) = servers.iter().find(|server| server.name == name) {
            return known.clone();
        }
        let new = ServerMetrics::new(name);
        servers.push(new.clone());
        new
    }

    /// The account of what belongs to no server, or to several.
    pub fn own(&self) -> &Rc<ServerMetrics> {
        &self.own
    }

    /// Counts a message that was not delivered.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.one(reason);
    }

    /// Messages that were not delivered, by reason.
    pub fn all_dropped(&self) -> BTreeMap<&'static str, u64> {
        self.dropped.all()
    }

    /// Counts what was refused before it was a request of anybody.
    pub fn refused(&self, error: &Error) {
        self.own.refused(reason(error));
    }

    /// What mcpool itself refused, by reason.
    pub fn all_refused(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.own.refusals();
        for server in self.servers.borrow().iter() {
            server.refusals().into_iter().for_each(|(reason, count)| *all.entry(reason).or_default() += count);
        }
        all
    }

    /// Requests that ended, by outcome: together with those on their way they are all that were accepted.
    pub fn all_ended(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for server in self.servers.borrow().iter().chain([&self.own]) {
            server.calls().for_each(|(_, outcome, count)| *all.entry(outcome.as_str()).or_default() += count);
        }
        all
    }

    /// Counts a reload of the config.
    pub fn reloaded(&self, outcome: Reload) {
        self.reloads.one(match outcome {
            Reload::Applied => "applied",
            Reload::Refused => "refused",
        });
    }

    /// Reloads of the config, by outcome.
    pub fn reloads(&self) -> BTreeMap<&'static str, u64> {
        self.reloads.all()
    }

    /// What Prometheus reads; made when it is first asked for.
    pub fn exporter(&self) -> &Exporter {
        self.exporter.get_or_init(Exporter::default)
    }
}

/// The word for an error of mcpool's own: its reason, or what JSON-RPC and the specification call its code.
pub fn reason(error: &Error) -> &'static str {
    error.reason().unwrap_or_else(|| match error.code() {
        -32700 => "parse_error",
        -32600 => "invalid_request",
        -32601 => "method_not_found",
        -32602 => "invalid_params",
        -32603 => "internal_error",
        -32002 => "resource_not_found",
        -32021 => "missing_capability",
        -32022 => "unsupported_version",
        _ => "other",
    })
}

#[cfg(test)]
mod tests;
