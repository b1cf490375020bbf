//! Called by `admin::http`: what is counted and measured, in the form in which Prometheus reads it. The recorder is a
//! value like any other, nobody's global.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::method::Method;
use super::server::{Outcome, ServerMetrics};
use super::{Measured, MeasuredServer, Metrics, NO_SERVER};

/// The histogram of waits.
pub const QUEUE: &str = "mcpool_queue_seconds";
/// The histogram of calls.
const CALL: &str = "mcpool_call_seconds";
/// Ends of instances that somebody may want to be told of the first time.
const STOPS: [&str; 5] = ["deaf", "ended", "gives_way", "misbehaved", "unresponsive"];
/// Refusals of calls of a server, likewise.
const REFUSALS: [&str; 9] = [
    "breaker_open",
    "call_timeout",
    "changed_tool",
    "pool_exhausted",
    "queue_timeout",
    "rate_limited",
    "server_died",
    "server_misbehaved",
    "start_failed",
];
/// Refusals of what belongs to no server.
const OWN_REFUSALS: [&str; 7] =
    ["audit_unavailable", "caller_overloaded", "draining", "forbidden", "memory_full", "parse_error", "too_large"];
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[cfg(test)]
impl Kind {
    /// The word for it in the manual.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

use Kind::{Counter, Gauge};

/// Every metric, with what it means. A test holds `docs/operating.md` to it.
pub(super) const METRICS: [(&str, Kind, &str); 41] = [
    ("mcpool_build_info", Gauge, "1; the label says which version runs."),
    ("mcpool_callers", Gauge, "Callers connected."),
    ("mcpool_callers_total", Counter, "Callers accepted."),
    ("mcpool_callers_refused_total", Counter, "Callers turned away."),
    ("mcpool_callers_dropped_total", Counter, "Callers disconnected by mcpool."),
    ("mcpool_buffered_bytes", Gauge, "Bytes that callers have not read."),
    ("mcpool_backlog_bytes", Gauge, "Bytes that instances have not read."),
    ("mcpool_kept_bytes", Gauge, "Bytes kept for clients: requests, unread answers, half lines."),
    ("mcpool_kept_bytes_limit", Gauge, "Bytes that may be kept (`limits.memory`)."),
    ("mcpool_draining", Gauge, "1 once mcpool drains."),
    ("mcpool_requests_total", Counter, "Requests received; each of them ends once."),
    ("mcpool_calls_total", Counter, "Requests that ended."),
    (QUEUE, Kind::Histogram, "From a request's arrival until it was sent to an instance or given up."),
    (CALL, Kind::Histogram, "From being sent to an instance to the end."),
    ("mcpool_in_flight", Gauge, "Requests that instances have not answered, mcpool's own among them."),
    ("mcpool_queue_length", Gauge, "Calls that wait for an instance."),
    ("mcpool_held_calls", Gauge, "Calls whose callers are to come back with what a server asked."),
    ("mcpool_instances", Gauge, "Instances."),
    ("mcpool_asks", Gauge, "Questions of instances that are not answered."),
    ("mcpool_memory_bytes", Gauge, "Resident memory of process trees, when last looked at."),
    ("mcpool_starts_total", Counter, "Instances started."),
    ("mcpool_start_failures_total", Counter, "Instances that did not become ready."),
    ("mcpool_stops_total", Counter, "Instances stopped or ended."),
    ("mcpool_leases_total", Counter, "Calls that got an instance."),
    ("mcpool_exhausted_total", Counter, "Calls that found every instance busy and none to be started."),
    ("mcpool_overflow_total", Counter, "Temporary instances started."),
    ("mcpool_breaker_state", Gauge, "0: calls pass; 1: one tries; 2: calls are refused."),
    ("mcpool_tool_breakers", Gauge, "Tools whose breakers are not closed."),
    ("mcpool_client_breakers", Gauge, "Clients whose calls alone are refused, since only theirs failed."),
    ("mcpool_breaker_trips_total", Counter, "How often the breaker opened."),
    ("mcpool_refusals_total", Counter, "Errors that mcpool itself answered."),
    ("mcpool_lists_cut_total", Counter, "Lists that were cut off: they had more items or bytes than a list may have."),
    ("mcpool_retries_total", Counter, "Calls sent again after their instance had died."),
    ("mcpool_probes_total", Counter, "Probes of instances that said nothing."),
    ("mcpool_stderr_lines_left_out_total", Counter, "Lines of stderr that were not logged."),
    ("mcpool_unheard_messages_total", Counter, "Progress, log lines and the like lost because peers read slowly."),
    ("mcpool_dropped_messages_total", Counter, "Messages that were delivered to nobody."),
    ("mcpool_bytes_total", Counter, "Bytes read and written."),
    ("mcpool_reloads_total", Counter, "Reloads of the config."),
    ("mcpool_audit_lines_total", Counter, "Lines written to the audit log."),
    ("mcpool_audit_lost_total", Counter, "Lines that the audit log lacks, since they could not be written."),
];

/// What Prometheus reads.
pub struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Endpoints that were ever measured: one that is gone has no callers.
    endpoints: RefCell<BTreeSet<String>>,
}

impl Default for Exporter {
    fn default() -> Exporter {
        let recorder = PrometheusBuilder::new().build_recorder();
        for (name, kind, help) in METRICS {
            match kind {
                Counter => recorder.describe_counter(name.into(), None, help.into()),
                Gauge => recorder.describe_gauge(name.into(), None, help.into()),
                // They are written by `Times`.
                Kind::Histogram => {}
            }
        }
        let handle = recorder.handle();
        Exporter { recorder, handle, endpoints: RefCell::default() }
    }
}

impl Exporter {
    /// Everything, as text.
    pub fn render(&self, metrics: &Metrics, measured: &Measured) -> String {
        self.gauge("mcpool_build_info", vec![label("version", env!("CARGO_PKG_VERSION"))], 1);
        self.counter("mcpool_callers_total", vec![], metrics.callers.get());
        self.counter("mcpool_callers_refused_total", vec![], metrics.callers_refused.get());
        self.counter("mcpool_requests_total", vec![], metrics.calls.get());
        for (direction, count) in metrics.bytes.all() {
            self.counter("mcpool_bytes_total", vec![label("direction", direction)], count);
        }
        for (reason, count) in metrics.callers_dropped.all() {
            self.counter("mcpool_callers_dropped_total", vec![label("reason", reason)], count);
        }
        for (reason, count) in metrics.all_dropped() {
            self.counter("mcpool_dropped_messages_total", vec![label("reason", reason)], count);
        }
        for (outcome, count) in from_the_start(&["applied", "refused"], metrics.reloads()) {
            self.counter("mcpool_reloads_total", vec![label("outcome", outcome)], count);
        }
        let audit = metrics.audit.get().map(|trail| trail.state());
        self.counter("mcpool_audit_lines_total", vec![], audit.as_ref().map_or(0, |audit| audit.written));
        self.counter("mcpool_audit_lost_total", vec![], audit.map_or(0, |audit| audit.lost));
        self.gauge("mcpool_held_calls", vec![], measured.held);
        self.gauge("mcpool_buffered_bytes", vec![], measured.buffered);
        self.gauge("mcpool_backlog_bytes", vec![], metrics.bytes.to_servers.waiting());
        let [kept, limit] = measured.kept;
        self.gauge("mcpool_kept_bytes", vec![], kept);
        self.gauge("mcpool_kept_bytes_limit", vec![], limit);
        self.gauge("mcpool_draining", vec![], usize::from(measured.draining));
        self.callers(measured);
        self.calls(&metrics.own);
        self.refusals(&metrics.own, &OWN_REFUSALS);
        for server in metrics.servers.borrow().iter() {
            self.calls(server);
            self.refusals(server, &REFUSALS);
            self.pool(server);
            let now = measured.servers.iter().find(|now| now.name == server.name);
            self.moment(&server.name, now.unwrap_or(&MeasuredServer::default()));
        }
        self.handle.render() + &times(metrics)
    }

    fn callers(&self, measured: &Measured) {
        let mut known = self.endpoints.borrow_mut();
        known.extend(measured.callers.iter().map(|(endpoint, _)| endpoint.clone()));
        for endpoint in known.iter() {
            let there = measured.callers.iter().find(|(name, _)| name == endpoint).map_or(0, |(_, count)| *count);
            self.gauge("mcpool_callers", vec![label("endpoint", endpoint)], there);
        }
    }

    /// How calls of a server ended.
    fn calls(&self, server: &ServerMetrics) {
        let tools = Method::named("tools/call");
        let none = Outcome::ALL.map(|outcome| (tools, outcome, 0)).into_iter();
        let none = none.filter(|(_, outcome, _)| server.name != NO_SERVER && server.count(tools, *outcome) == 0);
        for (method, outcome, count) in none.chain(server.calls()) {
            let labels = vec![
                label("server", &server.name),
                label("method", method.as_str()),
                label("outcome", outcome.as_str()),
            ];
            self.counter("mcpool_calls_total", labels, count);
        }
    }

    /// What mcpool refused.
    fn refusals(&self, server: &ServerMetrics, from_the_first: &[&'static str]) {
        for (reason, count) in from_the_start(from_the_first, server.refusals()) {
            self.counter("mcpool_refusals_total", vec![label("server", &server.name), label("reason", reason)], count);
        }
    }

    /// What a pool did.
    fn pool(&self, server: &ServerMetrics) {
        let named = || vec![label("server", &server.name)];
        let with = |key, value: &'static str| vec![label("server", &server.name), label(key, value)];
        for (what, count) in server.counts() {
            let name = match what {
                "start_failures" => "mcpool_start_failures_total",
                "exhausted" => "mcpool_exhausted_total",
                "overflow" => "mcpool_overflow_total",
                "retries" => "mcpool_retries_total",
                "lists_cut" => "mcpool_lists_cut_total",
                _ => "mcpool_breaker_trips_total",
            };
            self.counter(name, named(), count);
        }
        self.counter("mcpool_stderr_lines_left_out_total", named(), server.stderr_left_out.get());
        self.counter("mcpool_unheard_messages_total", named(), server.unheard.get());
        for (reason, count) in from_the_start(&["call"], server.starts()) {
            self.counter("mcpool_starts_total", with("reason", reason), count);
        }
        for (reason, count) in from_the_start(&STOPS, server.stops()) {
            self.counter("mcpool_stops_total", with("reason", reason), count);
        }
        for (kind, count) in server.leases() {
            self.counter("mcpool_leases_total", with("kind", kind), count);
        }
        for (outcome, count) in server.probes() {
            self.counter("mcpool_probes_total", with("outcome", outcome), count);
        }
    }

    /// What is there of a server; nothing if it is not in the config any more.
    fn moment(&self, name: &str, now: &MeasuredServer) {
        let states =
            [("starting", now.starting), ("ready", now.ready), ("draining", now.draining), ("stopping", now.stopping)];
        for (state, count) in states {
            self.gauge("mcpool_instances", vec![label("server", name), label("state", state)], count);
        }
        self.gauge("mcpool_in_flight", vec![label("server", name)], now.in_flight);
        self.gauge("mcpool_queue_length", vec![label("server", name)], now.queue);
        self.gauge("mcpool_breaker_state", vec![label("server", name)], now.breaker);
        for (state, count) in ["open", "half_open"].into_iter().zip(now.tools) {
            self.gauge("mcpool_tool_breakers", vec![label("server", name), label("state", state)], count);
        }
        for (state, count) in ["open", "half_open"].into_iter().zip(now.clients) {
            self.gauge("mcpool_client_breakers", vec![label("server", name), label("state", state)], count);
        }
        self.gauge("mcpool_asks", vec![label("server", name)], now.asks);
        self.gauge("mcpool_memory_bytes", vec![label("server", name)], now.memory as usize);
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>, value: u64) {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA).absolute(value);
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>, value: usize) {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value as f64);
    }
}

/// The histograms. Names of servers are such that they need no escapes.
fn times(metrics: &Metrics) -> String {
    let known = metrics.servers.borrow();
    let servers = || known.iter().chain([&metrics.own]);
    let mut text = String::new();
    for (name, _, help) in METRICS.iter().filter(|(_, kind, _)| *kind == Kind::Histogram) {
        text += &format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
        for server in servers() {
            let labels = format!("server=\"{}\"", server.name);
            match *name {
                QUEUE if server.queued.count() > 0 || server.name != NO_SERVER => {
                    server.queued.write(&mut text, name, &labels)
                }
                QUEUE => {}
                _ => server.took().for_each(|(method, times)| {
                    times.write(&mut text, name, &format!("{labels},method=\"{}\"", method.as_str()));
                }),
            }
        }
    }
    text
}

/// Counts with those words among them that nothing was counted by yet: what grows from nothing to one is a growth only if
/// the nothing was there.
fn from_the_start(words: &[&'static str], counted: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let mut all: BTreeMap<&'static str, u64> = words.iter().map(|word| (*word, 0)).collect();
    all.extend(counted);
    all
}

fn label(key: &'static str, value: &str) -> Label {
    Label::new(key, Arc::<str>::from(value))
}
