//! A call reached a model server: it must be what its caller sent, and once, and the copy must be one that was told
//! about that caller.

use std::rc::Rc;

use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;
use tokio::task::JoinSet;

use super::act::Act;
use super::{Flag, Server, list};
use crate::simulation::across;
use crate::simulation::truth::Truth;
use crate::simulation::world::{ID, TOKEN};

/// What modern clients have no such requests for.
const OF_LEGACY: [&str; 4] = ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

impl Server {
    /// A call reached the server.
    pub(super) fn called(self: &Rc<Server>, request: &Message, line: &str, cause: String, tasks: &mut JoinSet<()>) {
        let raw = |field| request.raw(field).map(str::to_owned);
        let id = raw(Field::Id).unwrap_or_default();
        let modern = request.span(Field::MetaVersion).found();
        let checked = self.world.truth(&cause, |truth| (self.check_call(truth, request, line, &cause), truth.crossed));
        let Some((fault, crossed)) = checked else { return };
        if let Some(fault) = fault {
            self.world.fault(fault);
        }
        let made = self.world.truth(&cause, |truth| truth.made).unwrap_or_default();
        self.world.note_arrival(self.which, self.no, &cause, made);
        let flag = Rc::new(Flag { cause: cause.clone(), ..Flag::default() });
        if self.calls.borrow_mut().insert(id.clone(), flag.clone()).is_some() {
            self.world.fault(format!("{} was sent the id {id} twice", self.name()));
        }
        if !self.takes_calls() {
            return;
        }
        let method = request.method().into_owned();
        tasks.spawn_local(self.clone().act(Act {
            id,
            cause,
            token: raw(Field::MetaProgressToken),
            params: raw(Field::Params).unwrap_or_default(),
            modern,
            crossed,
            logs: if modern { request.text(Field::MetaLogLevel).map(Into::into) } else { Some("debug".to_owned()) },
            resumed: modern && !crossed && self.resumes(request, line),
            may_ask: matches!(method.as_str(), "tools/call" | "prompts/get" | "resources/read"),
            method,
            flag,
            obeys: self.roll(100) >= self.habits.ignores_cancel,
        }));
    }

    fn check_call(&self, truth: &mut Truth, request: &Message, line: &str, cause: &str) -> Option<String> {
        let id = request.raw(Field::Id).unwrap_or_default();
        let token = request.raw(Field::MetaProgressToken).unwrap_or_default();
        let expected = truth.request.replacen(ID, id, 1).replacen(TOKEN, token, 1);
        let modern = request.span(Field::MetaVersion).found();
        truth.crossed = truth.modern != modern;
        let same = if truth.crossed { across::same_request(&expected, line) } else { expected == line };
        let before = truth.arrived.replace(self.no);
        let lost_after = std::mem::replace(&mut truth.reached, self.world.now());
        let round = truth.round.take();
        if truth.barred {
            return Some(format!("{cause} reached {} with a state that is no good: {line}", self.name()));
        }
        self.world.ledgers.borrow_mut()[self.which].calls += 1;
        if let (Some(other), None) = (before, &round) {
            self.world.ledgers.borrow_mut()[self.which].repeats += 1;
            truth.repeats += 1;
            let retry = &self.world.server(self.which).retry;
            let of_tool = truth.tool.as_ref().and_then(|tool| retry.tools.get(tool));
            let hinted = self.habits.hints && truth.tool.as_deref() == Some(list::SAFE);
            let safe = truth.only_reads() || hinted || of_tool.is_some();
            let talked = truth.progress.1 > 0 || truth.asked;
            let most = of_tool.copied().unwrap_or_else(|| self.world.attempts_since(self.which, lost_after));
            if truth.crossed || talked || truth.repeats > most || !safe {
                return Some(format!(
                    "{cause} reached #{other} and then {}: {:?} {}",
                    self.name(),
                    truth.tool,
                    truth.method
                ));
            }
            self.world.count("calls that were sent again");
            (truth.progress, truth.answer, truth.ended, truth.oversized) = ((0, 0), None, None, None);
        }
        if truth.abandoned.is_some_and(|since| since + self.world.reads_late() < self.world.now()) {
            return Some(format!("{cause} reached {} though it was given up", self.name()));
        }
        if !same {
            return Some(format!("{cause} reached {} changed:\n  {line}\nis not\n  {expected}", self.name()));
        }
        if truth.crossed {
            self.world.count(if modern {
                "calls of legacy callers to modern servers"
            } else {
                "calls of modern callers to legacy servers"
            });
            if !self.world.may_cross(truth) {
                return Some(format!("{cause} reached {} in the other era", self.name()));
            }
        }
        if modern {
            return round
                .and_then(|round| self.check_round(truth, &round, request))
                .or_else(|| self.check_client(truth, request));
        }
        self.check_profile(truth, request, cause)
    }

    /// A modern server learns from the request itself who asks, also if that is a legacy client.
    fn check_client(&self, truth: &Truth, request: &Message) -> Option<String> {
        if !truth.crossed {
            return None;
        }
        let capabilities = request.raw(Field::MetaCapabilities).unwrap_or("{}");
        let level = request.text(Field::MetaLogLevel);
        let levels = self.world.levels.borrow();
        let set = |level: &str| levels.get(&truth.caller).is_some_and(|levels| levels.contains(&level));
        let right = across::client(request) == Some(format!("\"c{}\"", truth.caller).as_str())
            && request.raw(Field::MetaVersion) == Some("\"2026-07-28\"")
            && across::askable(capabilities) == across::askable(&truth.capabilities)
            && level.as_deref().is_none_or(set);
        (!right).then(|| format!("{} was told wrongly who asks: {:?}", self.name(), request.raw(Field::Meta)))
    }

    /// A legacy server was told when it was opened what all its callers can be asked, and perhaps their roots.
    fn check_profile(&self, truth: &Truth, request: &Message, cause: &str) -> Option<String> {
        let (capabilities, revision) = &*self.declared.borrow();
        let own = if truth.modern { "2025-11-25" } else { truth.revision };
        if across::askable(capabilities) != across::askable(&truth.capabilities) || revision != own {
            return Some(format!("{cause} reached {}, which was told of {revision} {capabilities}", self.name()));
        }
        let left = [Field::RequestState, Field::MetaCapabilities, Field::MetaLogLevel];
        if truth.modern
            && (left.into_iter().any(|field| request.span(field).found())
                || across::client(request).is_some()
                || OF_LEGACY.contains(&request.method().as_ref()))
        {
            return Some(format!("{cause} reached {} with what its era does not have", self.name()));
        }
        let told = self.roots.borrow().clone()?;
        // What cannot end in a question goes to a copy that was told nothing.
        let fits = self.world.had_roots(truth, told.as_ref()) || truth.modern && !truth.may_ask() && told.is_none();
        (self.can_ask.borrow().contains(&"roots/list") && !fits)
            .then(|| format!("{cause} reached {}, which was told the roots {told:?}", self.name()))
    }
}
