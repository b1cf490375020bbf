//! What becomes of calls says whether a server is well: who is heard, and what follows from it
//! ([decision 9](../../docs/decisions/0009-what-counts-against-a-server.md)).

use std::borrow::Cow;

use super::Mux;
use super::call::{Call, Source};
use super::errand::Errand;
use super::gate::TOOLS;
use crate::caller::names;
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::error::Error;
use crate::guard::breaker::{Breaker, State};
use crate::key::{CallKey, CallerKey, ServerId};
use crate::wire::message::{Kind, Message, member};
use crate::wire::scan::Field;

/// No longer name of a tool is remembered, in bytes.
const LONGEST_NAME: usize = 128;
/// The code of an internal error (JSON-RPC 2.0, section 5.1): of all answers, the one that tells of a sick server.
const INTERNAL_ERROR: &str = "-32603";

impl Mux {
    /// The server answered a call: what that says about its health.
    pub(super) fn judge(&mut self, key: CallKey, answer: &Message) {
        let Some(call) = self.calls.get(key).filter(|call| self.decides(call)) else { return };
        let id = call.server;
        if answer.kind() == Kind::Error
            && answer.raw(Field::Error).and_then(|error| member(error, "code")) == Some(INTERNAL_ERROR)
        {
            return self.ailed(id, Some(key), "it answered with an internal error");
        }
        if matches!(call.from, Source::Mcpool(_)) && !call.trials.decide() {
            // A server that lists well and dies in every call would look healthy each time it was started.
            return;
        }
        let gate = &self.server(id).gate;
        let tool = if gate.tools.is_empty() { None } else { self.tool_called(call) };
        let server = &mut self.servers[id.0];
        if let Some(tool) = tool
            && let Some(breaker) = server.gate.tools.get_mut(&tool)
        {
            if breaker.succeeded() {
                tracing::info!(server = server.config.name, tool, "the breaker of a tool closes: it works again");
            }
            if breaker.is_clean() {
                server.gate.tools.remove(&tool);
            }
        }
        server.pool.setbacks.answered();
        self.works(id);
    }

    /// The server was seen to work.
    pub(super) fn works(&mut self, id: ServerId) {
        let server = self.server_mut(id);
        if server.gate.breaker.succeeded() {
            tracing::info!(server = server.config.name, "the breaker closes: the server works again");
        }
    }

    /// Something happened that tells of a sick server, or, in a call, of a sick tool where tools are told apart. Where
    /// one call tries, no other call decides: it was sent before.
    pub(super) fn ailed(&mut self, id: ServerId, call: Option<CallKey>, cause: &str) {
        let call = call.and_then(|key| self.calls.get(key));
        if call.is_some_and(|call| !self.decides(call)) {
            return;
        }
        let (now, jitter) = (clock::now(), self.jitter());
        let undecided = |breaker: &Breaker| breaker.state(now) == State::HalfOpen;
        let tries = call.is_none_or(|call| call.trials.server.is_some());
        let tries_tool = call.is_some_and(|call| call.trials.tool.is_some());
        let tool = call.filter(|_| self.server(id).gate.per_tool).and_then(|call| self.tool_called(call));
        let tool = tool.filter(|tool| self.is_told_apart(id, tool));
        let server = &mut self.servers[id.0];
        let config = server.config.breaker;
        let name = &server.config.name;
        if let Some(tool) = tool {
            let breaker = server.gate.tools.entry(tool.clone()).or_insert_with(|| Breaker::new(config));
            if (tries_tool || !undecided(breaker)) && breaker.failed(now, jitter, cause) {
                tracing::info!(server = name, tool, cause, open_for = %clock::rounded(breaker.opens_for(now).unwrap_or_default()), "the breaker of a tool opens");
            }
            if !tries {
                return;
            }
        }
        if !tries && undecided(&server.gate.breaker) || !server.gate.breaker.failed(now, jitter, cause) {
            return;
        }
        server.pool.metrics.tripped();
        let retry = server.gate.breaker.opens_for(now).unwrap_or_default();
        tracing::info!(server = name, cause, open_for = %clock::rounded(retry), "the breaker opens: calls are refused");
        let error = Error::BreakerOpen { server: name.clone(), cause: cause.to_owned(), retry };
        let waiting = server.pool.queue.remove_needing(|_| true);
        waiting.into_iter().for_each(|ticket| self.todo.fail(ticket.call, error.clone()));
    }

    /// Whether a tool has a breaker of its own: not if it only has a name, which is any caller's choice.
    fn is_told_apart(&self, id: ServerId, tool: &str) -> bool {
        let server = self.server(id);
        let has_one = server.gate.tools.contains_key(tool);
        has_one || tool.len() <= LONGEST_NAME && server.gate.tools.len() < TOOLS && server.catalogue.may_offer(tool)
    }

    /// Whether what becomes of a call may open and close breakers: requests that are answered soon. The rest of what
    /// mcpool itself sends goes to instances that work, and so do lists that are looked at again.
    pub(super) fn decides(&self, call: &Call) -> bool {
        match &call.from {
            Source::Caller(..) | Source::Held { .. } => true,
            Source::Mcpool(Errand::Introduce(_)) => true,
            Source::Mcpool(Errand::List { .. }) => {
                !(self.is_leisurely(call) && self.server(call.server).pool.has_ready(&call.profile))
            }
            Source::Mcpool(_) => false,
        }
    }

    /// A factor between 0.75 and 1.25.
    fn jitter(&self) -> f64 {
        0.75 + self.random.borrow_mut().f64() / 2.0
    }

    /// The server's own name for the tool that a call is for.
    pub(super) fn tool_called(&self, call: &Call) -> Option<String> {
        if !call.is_worded() {
            return self.tool_of(call.caller, &call.request);
        }
        // What was translated has it already.
        let named = call.request.method() == "tools/call";
        call.request.text(Field::Name).filter(|_| named).map(Cow::into_owned)
    }

    /// The server's own name for the tool that a request calls.
    pub(super) fn tool_of(&self, caller: CallerKey, request: &Message) -> Option<String> {
        if request.method() != "tools/call" {
            return None;
        }
        let name = request.text(Field::Name)?;
        let endpoint = self.callers.get(caller).map(|caller| caller.endpoint.clone());
        match endpoint.filter(|endpoint| endpoint.prefix && names::split(&name).is_some()) {
            Some(endpoint) => self.named(&endpoint, ListKind::Tools, &name).ok().map(|(_, real)| real),
            None => Some(name.into_owned()),
        }
    }
}
