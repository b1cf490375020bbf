//! Called when a call ends: what its outcome says about the health of its server, and what follows for the breakers
//! ([decision 9](../../docs/decisions/0009-what-counts-against-a-server.md)).

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use super::Mux;
use super::call::{Call, Source};
use super::errand::Errand;
use super::gate::TOOLS;
use super::servers::Server;
use crate::caller::names;
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::error::Error;
use crate::guard::breaker::{Ailment, Breaker, Opened, Refusal};
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, ServerId};
use crate::pool::queue::Ticket;
use crate::wire::message::{Kind, Message, member};
use crate::wire::scan::Field;

/// No longer name of a tool is remembered, in bytes.
const LONGEST_NAME: usize = 128;
/// The code of an internal error (JSON-RPC 2.0, section 5.1): of all answers, the one that may tell of a sick server.
const INTERNAL_ERROR: &str = "-32603";

impl Mux {
    /// Notes what the server's answer to a call says about its health.
    pub(super) fn judge(&mut self, key: CallKey, answer: &Message) {
        let Some(call) = self.calls.get(key).filter(|call| self.decides(call)) else { return };
        let id = call.server;
        if answer.kind() == Kind::Error
            && answer.raw(Field::Error).and_then(|error| member(error, "code")) == Some(INTERNAL_ERROR)
        {
            if tells_of_server(call) {
                self.call_failed(key, "it answered with an internal error");
            }
            return;
        }
        let says_little = matches!(call.from, Source::Mcpool(_)) || !is_work(&call.request);
        if says_little && !call.trials.decide() {
            // A server that lists well and dies in every call would look healthy each time it was started.
            return;
        }
        let who = call.met_by(&self.callers);
        let gate = &self.server(id).gate;
        let tool = if gate.tools.is_empty() { None } else { self.tool_called(call) };
        let server = &mut self.servers[id.0];
        if let Some(tool) = tool
            && let Some(breaker) = server.gate.tools.get_mut(&tool)
        {
            if breaker.succeeded(who) {
                tracing::info!(server = server.config.name, tool, "the breaker of a tool closes: it works again");
            }
            if breaker.is_clean() {
                server.gate.tools.remove(&tool);
            }
        }
        server.pool.setbacks.answered();
        self.works(id, who);
    }

    /// Notes that the server was seen to work, whoever's call it was.
    pub(super) fn works(&mut self, id: ServerId, who: Principal) {
        let server = self.server_mut(id);
        if server.gate.breaker.succeeded(who) {
            tracing::info!(server = server.config.name, "the breaker closes: the server works again");
        }
    }

    /// Records a failed call against its server, or against its tool if tools have breakers of their own.
    pub(super) fn call_failed(&mut self, key: CallKey, cause: &str) {
        let Some(call) = self.calls.get(key).filter(|call| self.decides(call)) else { return };
        let (id, who, now, jitter) = (call.server, call.met_by(&self.callers), clock::now(), jitter(&self.random));
        let met: &[Principal] = if who == Principal::MCPOOL { &[] } else { &[who] };
        let tool = Some(call).filter(|_| self.server(id).gate.per_tool).and_then(|call| self.tool_called(call));
        let tool = tool.filter(|tool| self.server(id).tells_apart(tool));
        let Mux { servers, calls, .. } = self;
        let (server, trials) = (&mut servers[id.0], &calls[key].trials);
        let (config, name) = (server.config.breaker, &server.config.name);
        if let Some(tool) = tool {
            let breaker = server.gate.tools.entry(tool.clone()).or_insert_with(|| Breaker::new(config));
            let opened =
                breaker.failed(Ailment { met, call: Some(breaker.tries(who, &trials.tool)), cause }, now, jitter);
            if opened.for_all {
                tracing::info!(server = name, tool, cause, open_for = %clock::rounded(breaker.opens_for(now).unwrap_or_default()), "the breaker of a tool opens");
            } else if !opened.for_parties.is_empty() {
                tracing::info!(server = name, tool, cause, "the breaker of a tool opens for one client");
            }
            if !trials.server.decides() {
                return;
            }
        }
        let call = Some(server.gate.breaker.tries(who, &trials.server));
        self.ailed(id, Ailment { met, call, cause });
    }

    /// Records a failure against a server or one client of it. If that opens the breaker, calls that wait are refused
    /// at once.
    pub(super) fn ailed(&mut self, id: ServerId, failure: Ailment<'_>) {
        let (now, jitter, cause) = (clock::now(), jitter(&self.random), failure.cause);
        let Mux { servers, callers, calls, .. } = self;
        let server = &mut servers[id.0];
        let opened = server.gate.breaker.failed(failure, now, jitter);
        if opened == Opened::default() {
            return;
        }
        let name = &server.config.name;
        server.pool.metrics.tripped();
        let waiting = if opened.for_all {
            let retry = server.gate.breaker.opens_for(now).unwrap_or_default();
            tracing::info!(server = name, cause, open_for = %clock::rounded(retry), "the breaker opens: calls are refused");
            server.pool.queue.remove_needing(|_| true)
        } else {
            for who in &opened.for_parties {
                tracing::info!(
                    server = name,
                    cause,
                    user = who.user(),
                    pid = who.process(),
                    "the breaker opens for one client: its calls are refused"
                );
            }
            // What mcpool asks for on their behalf others may wait for as well.
            let met = |ticket: &Ticket| calls.get(ticket.call).is_some_and(|call| call.is_callers());
            let theirs = callers.iter().filter(|(_, caller)| opened.for_parties.contains(&caller.principal));
            theirs.flat_map(|(caller, _)| server.pool.queue.remove_of(caller, met)).collect()
        };
        for ticket in waiting {
            let refusal = self.server(id).gate.breaker.refuses(self.principal(ticket.caller), now);
            let (cause, alone) = (cause.to_owned(), !opened.for_all);
            let refusal = refusal.unwrap_or(Refusal { retry: Duration::ZERO, cause, alone });
            let Refusal { retry, cause, alone } = refusal;
            let server = self.server(id).config.name.clone();
            self.todo.fail(ticket.call, Error::BreakerOpen { server, cause, retry, alone });
        }
    }

    /// Returns whether the outcome of a call may open and close breakers. Only requests that are answered soon do.
    /// mcpool's other requests go to instances that work, and so do lists that are looked at again.
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

/// Returns whether an internal error in answer to a request tells of the server. SDKs answer so to whatever their schemas
/// refuse, and to what a prompt or a resource throws, such as an unknown name. Only a tool has another word for its failures.
fn tells_of_server(call: &Call) -> bool {
    let request = &call.request;
    let given = || request.raw(Field::Arguments).is_none_or(|given| given.starts_with('{'));
    match call.from {
        Source::Mcpool(_) => true,
        _ => request.method() == "tools/call" && request.text(Field::Name).is_some() && given(),
    }
}

impl Server {
    /// Returns whether a tool has a breaker of its own. A name that no server lists has none, since any caller can
    /// choose it.
    fn tells_apart(&self, tool: &str) -> bool {
        let has_one = self.gate.tools.contains_key(tool);
        has_one || tool.len() <= LONGEST_NAME && self.gate.tools.len() < TOOLS && self.catalogue.may_offer(tool)
    }
}

/// Returns whether a request has its server do what it is there for. The framework of a server answers
/// the others, however sick the rest of it is.
fn is_work(request: &Message) -> bool {
    let answered = ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
    let other = |method: &str| !answered.contains(&method) && ListKind::of_method(method).is_none();
    request.calls_a_tool() || other(&request.method())
}

/// Returns a factor between 0.75 and 1.25.
fn jitter(random: &RefCell<fastrand::Rng>) -> f64 {
    0.75 + random.borrow_mut().f64() / 2.0
}
