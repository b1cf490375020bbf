//! Before a call is queued, and when it is known what became of it: what a server's rate limits and breakers say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Mux;
use super::call::{Call, Source};
use super::errand::Errand;
use super::lists::ListKind;
use super::names;
use super::request::Accepted;
use crate::clock;
use crate::config;
use crate::error::Error;
use crate::guard::breaker::{Admission, Breaker, State, Trial};
use crate::guard::budget::Budget;
use crate::guard::rate::{Bound, Limiter, Limits};
use crate::pool::instance::ServerId;
use crate::reply::{CallKey, CallerKey};
use crate::wire::message::{Kind, Message, member, unquote};
use crate::wire::scan::Field;

/// How many tools of a server may be in trouble at once and still be told apart.
const TOOLS: usize = 256;
/// No longer name of a tool is remembered, in bytes.
const LONGEST_NAME: usize = 128;
/// The code of an internal error (JSON-RPC 2.0, section 5.1): of all answers, the one that tells of a sick server.
const INTERNAL_ERROR: &str = "-32603";

/// What lets calls through to one server.
pub struct Gate {
    rates: Limits,
    pub breaker: Breaker,
    /// Of those tools that failed last, if tools have breakers.
    tools: BTreeMap<String, Breaker>,
    per_tool: bool,
    pub budget: Budget,
}

/// What a call may be the trial of.
#[derive(Default)]
pub struct Trials {
    server: Option<Trial>,
    tool: Option<Trial>,
}

impl Trials {
    /// Whether what becomes of the call decides about its server.
    pub fn decide(&self) -> bool {
        self.server.is_some()
    }
}

impl Gate {
    /// An open gate.
    pub fn new(config: &config::Server) -> Gate {
        Gate {
            rates: Limits::new(&config.rate_limit),
            breaker: Breaker::new(config.breaker),
            tools: BTreeMap::new(),
            per_tool: config.breaker.per_tool,
            budget: Budget::new(config.retry.budget),
        }
    }

    /// What one caller may use up for itself.
    fn of_caller(&self) -> Option<Limiter> {
        self.rates.of_caller()
    }
}

impl Mux {
    /// Lets a caller's request through to the server that it is for if it does not come too fast.
    ///
    /// # Errors
    /// It comes too fast.
    pub(super) fn pass_rate(&mut self, accepted: &mut Accepted, server: ServerId) -> Result<(), Error> {
        if accepted.is_to_be_rated() { self.rate(accepted.caller, server, &accepted.request) } else { Ok(()) }
    }

    /// Counts a caller's request to a server.
    ///
    /// # Errors
    /// It comes too fast.
    pub(super) fn rate(&mut self, caller: CallerKey, server: ServerId, request: &Message) -> Result<(), Error> {
        let tells_apart = self.server(server).gate.rates.tell_tools_apart();
        let tool = if tells_apart { self.tool_of(caller, request) } else { None };
        let Mux { callers, servers, .. } = self;
        let server = &servers[server.0];
        let own = callers
            .get_mut(caller)
            .and_then(|caller| caller.rates.entry(server.pool.id).or_insert_with(|| server.gate.of_caller()).as_ref());
        server.gate.rates.check(own, tool.as_deref()).map_err(|(bound, retry)| {
            let bound = match bound {
                Bound::Caller => "this connection has had its share",
                Bound::Server => "all connections together have had their share",
                Bound::Tool => "this tool may not be called more often",
            };
            Error::RateLimited { server: server.config.name.clone(), bound, retry }
        })
    }

    /// Lets a call through if its server is not known to be sick.
    ///
    /// # Errors
    /// A breaker is open.
    pub(super) fn pass_breaker(&mut self, key: CallKey) -> Result<(), Error> {
        let Some(call) = self.calls.get(key) else { return Ok(()) };
        // Whoever was let through to try is not asked again.
        let (tries, tries_tool) = (call.trials.server.is_some(), call.trials.tool.is_some());
        let (id, now) = (call.server, clock::now());
        if self.server(id).gate.breaker.is_clean() && !self.server(id).gate.per_tool || !self.decides(call) {
            return Ok(());
        }
        let tool = if self.server(id).gate.per_tool { self.tool_called(call) } else { None };
        let server = &mut self.servers[id.0];
        let refused = |breaker: &Breaker, retry| {
            let cause = breaker.cause().to_owned();
            Error::BreakerOpen { server: server.config.name.clone(), cause, retry }
        };
        let trials = &mut self.calls[key].trials;
        if !tries {
            match server.gate.breaker.admit(now) {
                Admission::Pass => {}
                Admission::Try(trial) => {
                    tracing::info!(server = server.config.name, "one call tries whether the server works again");
                    trials.server = Some(trial);
                }
                Admission::Refused(retry) => return Err(refused(&server.gate.breaker, retry)),
            }
        }
        if let Some(breaker) = tool.filter(|_| !tries_tool).and_then(|tool| server.gate.tools.get_mut(&tool)) {
            match breaker.admit(now) {
                Admission::Pass => {}
                Admission::Try(trial) => trials.tool = Some(trial),
                Admission::Refused(retry) => return Err(refused(breaker, retry)),
            }
        }
        Ok(())
    }

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
            breaker.succeeded();
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
                tracing::info!(server = name, tool, cause, open_for = ?breaker.opens_for(now), "the breaker of a tool opens");
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
        tracing::info!(server = name, cause, open_for = ?retry, "the breaker opens: calls are refused");
        let error = Error::BreakerOpen { server: name.clone(), cause: cause.to_owned(), retry };
        let waiting = server.pool.queue.remove_where(|_| true);
        waiting.into_iter().for_each(|ticket| self.fail(ticket.call, error.clone()));
    }

    /// Whether a tool has a breaker of its own: not if it only has a name, which is any caller's choice.
    fn is_told_apart(&self, id: ServerId, tool: &str) -> bool {
        let server = self.server(id);
        let has_one = server.gate.tools.contains_key(tool);
        has_one || tool.len() <= LONGEST_NAME && server.gate.tools.len() < TOOLS && self.may_offer(id, tool)
    }

    /// Whether a tool may be one of a server's, as far as its lists are known.
    fn may_offer(&self, id: ServerId, tool: &str) -> bool {
        let variants = self.server(id).catalogue.variants();
        let mut lists = variants.filter_map(|variant| variant.list(ListKind::Tools)).peekable();
        let named = |item: &RawValue| member(item.get(), "name").and_then(unquote).is_some_and(|name| name == tool);
        lists.peek().is_none() || lists.any(|list| list.items.iter().any(|item| named(item)))
    }

    /// Whether what becomes of a call may open and close breakers: requests that are answered soon. The rest of what
    /// mcpool itself sends goes to instances that work, and so do lists that are looked at again.
    fn decides(&self, call: &Call) -> bool {
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
        if call.bridge.is_none() {
            return self.tool_of(call.caller, &call.request);
        }
        // What was translated has it already.
        let named = call.request.method() == "tools/call";
        call.request.text(Field::Name).filter(|_| named).map(Cow::into_owned)
    }

    /// The server's own name for the tool that a request calls.
    fn tool_of(&self, caller: CallerKey, request: &Message) -> Option<String> {
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
