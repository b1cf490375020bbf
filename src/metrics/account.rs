//! Held by each reply: what is to be said of a request when it ends, which is one count and one line in the log.

use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::method::Method;
use super::server::{Outcome, ServerMetrics};
use crate::audit;
use crate::clock;

/// The account of one request, from its arrival to its end.
pub struct Account {
    server: Rc<ServerMetrics>,
    method: Method,
    since: Instant,
    /// Whether an instance is to serve it.
    placed: bool,
    sent: Option<Instant>,
    /// What the audit log is told, if there is one.
    audit: Option<Box<audit::Request>>,
    /// Of all log lines about it. Behind a pointer, since there is none while nobody logs that much.
    span: Option<Box<Span>>,
}

impl Account {
    /// A request of a caller arrived. The span is that of all log lines about it.
    pub fn open(server: Rc<ServerMetrics>, method: &str, caller: u64, id: &str) -> Account {
        let span = tracing::debug_span!("call", caller, id, method, server = server.name);
        let span = (!span.is_disabled()).then(|| Box::new(span));
        Account {
            server,
            method: Method::named(method),
            since: clock::now(),
            placed: false,
            sent: None,
            audit: None,
            span,
        }
    }

    /// It is told of in the audit log too.
    pub fn audited(&mut self, request: audit::Request) {
        self.audit = Some(Box::new(request));
    }

    /// It was let through, which the audit log is told for sure where that must be.
    pub fn passes(&mut self) {
        self.audit.iter_mut().for_each(|audit| audit.passes());
    }

    /// It is a server's.
    pub fn is_for(&mut self, server: &Rc<ServerMetrics>) {
        if !Rc::ptr_eq(&self.server, server) {
            self.server = server.clone();
            if let Some(span) = &self.span {
                span.record("server", server.name.as_str());
            }
        }
    }

    /// Whose it is.
    pub fn server(&self) -> &Rc<ServerMetrics> {
        &self.server
    }

    /// It needs an instance of a server.
    pub fn placed(&mut self, server: &Rc<ServerMetrics>) {
        self.is_for(server);
        self.placed = true;
    }

    /// It was sent to an instance. If that is done again, the first time counts; whether this is it.
    pub fn sent(&mut self, now: Instant) -> bool {
        let first = self.sent.is_none();
        self.sent.get_or_insert(now);
        first
    }

    /// It ended. Called once.
    pub fn end(&self, outcome: Outcome, reason: impl Display) {
        self.over(outcome, None, reason);
    }

    /// `word`: the reason in one word, where there is one.
    fn over(&self, outcome: Outcome, word: Option<&'static str>, reason: impl Display) {
        let now = clock::now();
        let queued = self.placed.then(|| self.sent.unwrap_or(now) - self.since);
        let took = self.sent.map(|sent| now - sent);
        self.server.call_ended(self.method, outcome, queued, took);
        if let Some(audit) = &self.audit {
            let reason = word.map_or_else(|| reason.to_string(), str::to_owned);
            audit.ended(&self.server.name, outcome.as_str(), &reason, now - self.since);
        }
        tracing::debug!(
            parent: self.span.as_ref().and_then(|span| span.id()),
            outcome = outcome.as_str(),
            %reason,
            queued_ms = milliseconds(queued.unwrap_or_default()),
            took_ms = milliseconds(took.unwrap_or_default()),
            "ended"
        );
    }

    /// It ended with an error of mcpool's own.
    pub fn refused(&self, error: &crate::error::Error) {
        self.server.refused(super::reason(error));
        self.over(Outcome::Refused, Some(super::reason(error)), error);
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
