//! Called by `mux::request` and `mux::flight` before a call is queued: what its server's rate limits and breakers say.
//! `mux::verdict` opens and closes the breakers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mux;
use super::request::Accepted;
use super::servers::Server;
use crate::caller::Caller;
use crate::error::Error;
use crate::guard::breaker::{Breaker, Refusal, State, Trial};
use crate::guard::budget::Budget;
use crate::guard::rate::{Bound, Limits};
use crate::key::{CallKey, CallerKey, ServerId};
use crate::wire::message::Message;
use crate::{clock, config};

/// How many tools of a server may be in trouble at once and still be told apart.
pub(super) const TOOLS: usize = 256;

/// What lets calls through to one server.
pub struct Gate {
    rates: Limits,
    pub breaker: Breaker,
    /// Of those tools that failed last, if tools have breakers.
    pub(super) tools: BTreeMap<String, Breaker>,
    pub(super) per_tool: bool,
    pub budget: Budget,
}

/// What a call may be the trial of.
#[derive(Default)]
pub struct Trials {
    pub(super) server: Trial,
    pub(super) tool: Trial,
}

impl Trials {
    /// Returns whether the outcome of the call decides about its server.
    pub fn decide(&self) -> bool {
        self.server.decides()
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

    /// Takes over another config. Limits that did not change keep their state.
    pub fn adjust(&mut self, old: &config::Server, new: &config::Server) {
        if old.rate_limit != new.rate_limit {
            self.rates = Limits::new(&new.rate_limit);
        }
        if old.retry.budget != new.retry.budget {
            self.budget = Budget::new(new.retry.budget);
        }
        if old.breaker != new.breaker {
            self.reset(&new.name, "its config changed");
            self.breaker = Breaker::new(new.breaker);
            self.per_tool = new.breaker.per_tool;
        }
    }

    /// Closes all breakers.
    pub fn reset(&mut self, name: &str, why: &str) {
        let closed = self.breaker.worst(clock::now()) == State::Closed;
        if !closed || !self.tools.is_empty() {
            tracing::info!(server = name, why, "the breaker closes, and those of tools");
        }
        self.breaker.reset();
        self.tools.clear();
    }

    /// Returns the tools whose breakers are not closed, even if for one party only.
    pub fn sick_tools(&self) -> impl Iterator<Item = (&str, &Breaker)> {
        let sick = |breaker: &Breaker| breaker.worst(clock::now()) != State::Closed;
        self.tools.iter().filter(move |(_, breaker)| sick(breaker)).map(|(tool, breaker)| (tool.as_str(), breaker))
    }
}

/// What is said to whoever comes too fast.
fn too_fast(server: String, bound: Bound, retry: Duration) -> Error {
    let bound = match bound {
        Bound::Caller => "this client has had its share",
        Bound::Server => "all clients together have had their share",
        Bound::Tool => "this tool may not be called more often",
    };
    Error::RateLimited { server, bound, retry }
}

/// Lets a request of a caller through that mcpool answers itself if it does not come too fast. It costs servers nothing, so
/// that it takes nothing of what calls may have.
///
/// # Errors
/// It comes too fast.
pub(super) fn pass_answer(caller: &Caller, servers: &[Server]) -> Result<(), Error> {
    let shown = &caller.endpoint.servers;
    let rated =
        shown.iter().map(|id| &servers[id.0]).filter_map(|server| Some((server, server.gate.rates.per_caller?)));
    // What is of several servers is limited as the one that has least.
    let Some((server, rate)) = rated.min_by_key(|(_, rate)| std::cmp::Reverse(rate.per / rate.count.get())) else {
        return Ok(());
    };
    let of = if shown.len() == 1 { Some(server.pool.id) } else { None };
    let passes = caller.bound.share().answer(of, rate);
    passes.map_err(|retry| too_fast(server.config.name.clone(), Bound::Caller, retry))
}

impl Mux {
    /// Lets a caller's request through to its server, unless it comes too fast.
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
        let (Some(caller), server) = (self.callers.get(caller), self.server(server)) else { return Ok(()) };
        let passes = caller.bound.share().call(server.pool.id, &server.gate.rates, tool.as_deref());
        passes.map_err(|(bound, retry)| too_fast(server.config.name.clone(), bound, retry))
    }

    /// Lets a request wait for what decides about it, unless an open breaker would refuse it then. The request is not
    /// used as a trial, since it may never be sent.
    ///
    /// # Errors
    /// A breaker is open.
    pub(super) fn may_wait(&self, accepted: &Accepted, id: ServerId) -> Result<(), Error> {
        let (server, now) = (self.server(id), clock::now());
        let gate = &server.gate;
        let who = self.principal(accepted.caller);
        let tool = if gate.per_tool { self.tool_of(accepted.caller, &accepted.request) } else { None };
        let of_tool = tool.and_then(|tool| gate.tools.get(&tool));
        let mut open = [Some(&gate.breaker), of_tool].into_iter().flatten();
        let refusal = open.find_map(|breaker| breaker.refuses(who, now));
        refusal.map_or(Ok(()), |refusal| Err(refused(&server.config.name, refusal)))
    }

    /// Lets a call through, unless its server or tool is known to be failing.
    ///
    /// # Errors
    /// A breaker is open.
    pub(super) fn pass_breaker(&mut self, key: CallKey) -> Result<(), Error> {
        let Some(call) = self.calls.get(key) else { return Ok(()) };
        let (id, now) = (call.server, clock::now());
        if self.server(id).gate.breaker.is_clean() && !self.server(id).gate.per_tool || !self.decides(call) {
            return Ok(());
        }
        let who = call.met_by(&self.callers);
        let tool = if self.server(id).gate.per_tool { self.tool_called(call) } else { None };
        let server = &mut self.servers[id.0];
        let name = &server.config.name;
        // Whoever was let through to try is not asked again.
        let trials = &mut self.calls[key].trials;
        let tried = trials.server.decides();
        server.gate.breaker.admit(who, &mut trials.server, now).map_err(|refusal| refused(name, refusal))?;
        if !tried && trials.server.decides() {
            tracing::info!(server = name, "one call tries whether the server works again");
        }
        if let Some(tool) = tool
            && let Some(breaker) = server.gate.tools.get_mut(&tool)
        {
            let tried = trials.tool.decides();
            breaker.admit(who, &mut trials.tool, now).map_err(|refusal| refused(name, refusal))?;
            if !tried && trials.tool.decides() {
                tracing::info!(server = name, tool, "one call tries whether the tool works again");
            }
        }
        Ok(())
    }
}

/// Returns the error for a call that a breaker refuses.
fn refused(server: &str, refusal: Refusal) -> Error {
    let Refusal { retry, cause, alone } = refusal;
    Error::BreakerOpen { server: server.to_owned(), cause, retry, alone }
}
