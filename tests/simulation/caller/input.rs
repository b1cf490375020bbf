//! A modern client was answered with questions: whether they belong to its call, and what becomes of the call if it
//! does not come back with answers.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, member, members, unquote};
use mcpool::wire::scan::Field;
use tokio::time::sleep;

use super::{Caller, Request};
use crate::simulation::across;
use crate::simulation::truth::{State, Truth};
use crate::simulation::world::{NOBODY, mark};

/// How long a question waits for the one of several calls that causes it.
const TOGETHER: Duration = Duration::from_millis(100);
/// How much later than it should a held call may end.
const SLACK: Duration = Duration::from_secs(2);

/// A question in an answer.
#[derive(Clone)]
pub(super) struct Question {
    pub key: String,
    pub method: String,
    /// The ask of the server; none if mcpool itself wants to know.
    pub nonce: Option<String>,
    /// It came with an error: with the answers the whole call is made anew.
    pub required: bool,
}

impl Caller {
    /// Whether an answer is one of mcpool's own, with the questions of a legacy server.
    pub(super) fn is_held(answer: &Message) -> bool {
        answer.raw(Field::ResultState).is_some_and(|state| state.starts_with("\"mcpool.held."))
    }

    /// A call ended in questions: each must be about it, and be open.
    pub(super) fn asked_by_answer(self: &Rc<Caller>, request: &Request, cause: &str, answer: &Message, line: &str) {
        let result = answer.raw(Field::Result).unwrap_or("{}");
        let questions = member(result, "inputRequests").unwrap_or("{}");
        let questions: Vec<Option<Question>> =
            members(questions).into_iter().map(|(key, value)| self.question(cause, key, value)).collect();
        let now = self.world.now();
        let required = questions.iter().flatten().any(|question| question.required);
        let wrong = self.world.truth(cause, |truth| {
            truth.was_held = true;
            truth.held = Some(now);
            let given_up = truth.abandoned.is_some_and(|since| since < now) && request.cancelled.is_none();
            let answered = truth.answer.as_ref().is_some_and(|(_, at)| *at < now) && !required;
            [
                (!truth.may_ask(), "to a call that cannot be asked about"),
                (given_up, "to a call that was given up"),
                (answered, "to a call that was answered"),
            ]
        });
        self.check_may_be_asked(line);
        let whole = !questions.is_empty() && questions.iter().all(Option::is_some);
        let own = self.kind.is_modern() && across::of_its_era_held(result);
        let wrong = wrong.into_iter().flatten().chain([(!whole, "that are not its own"), (!own, "in a strange form")]);
        for (_, why) in wrong.filter(|(wrong, _)| *wrong) {
            self.world.fault(format!("{} got questions {why}, {cause}: {line}", self.name()));
        }
        self.world.count("answers with questions of legacy servers");
        let questions: Vec<Question> = questions.into_iter().flatten().collect();
        let raw = answer.raw(Field::ResultState).unwrap_or_default().to_owned();
        let state = State { caller: self.no, cause: cause.to_owned(), raw, since: now, used: false };
        self.world.states.borrow_mut().push(state.clone());
        self.watch(cause, now);
        if request.cancelled.is_none() && !self.gone.get() {
            self.plan_return(state, questions);
        }
    }

    fn question(&self, cause: &str, key: &str, value: &str) -> Option<Question> {
        let (method, params) = (member(value, "method"), member(value, "params"));
        let plain = unquote(method?)?.into_owned();
        let capabilities = self.world.truth(cause, |truth| truth.capabilities.clone())?;
        if !key.starts_with("ask-") || !across::declared(&capabilities, &plain, params.unwrap_or("{}")) {
            return None;
        }
        let nonce = params.and_then(|params| mark(params, "ask")).map(str::to_owned);
        let known = nonce.clone().unwrap_or_default();
        let before = self.keys.borrow_mut().insert((cause.to_owned(), key.to_owned()), known.clone());
        if before.is_some_and(|before| before != known) {
            return None;
        }
        let mut question = Question { key: key.to_owned(), method: plain, nonce, required: false };
        let Some(nonce) = &question.nonce else { return (question.method == "roots/list").then_some(question) };
        let mut asks = self.world.asks.borrow_mut();
        let ask = asks.get_mut(nonce)?;
        question.required = ask.required;
        // All its calls have the same roots.
        let soonest = if question.method == "roots/list" { ask.since } else { ask.since + TOGETHER };
        let mine = ask.delivered.replace(self.no).is_none_or(|other| other == self.no)
            && (ask.cause == cause || ask.cause == NOBODY || self.is_its_own(&ask.cause, soonest));
        let stripped = ["\"elicitationId\"", "\"task\"", "\"_meta\""];
        let clean = params.is_none_or(|params| {
            members(params).iter().all(|(key, _)| !stripped.contains(&format!("\"{key}\"").as_str()))
        });
        let same = across::same_ask(&ask.request, method, params);
        (mine && clean && same && ask.result.is_none()).then_some(question)
    }

    /// Whether a call is one of its own: what its server asks in it may be put in another one, after a moment, or at once
    /// if that is over.
    fn is_its_own(&self, cause: &str, soonest: Duration) -> bool {
        let (now, silent) = (self.world.now(), self.world.says_no_more(self.no));
        let own = |truth: &mut Truth| {
            let over = truth.abandoned.or(truth.ended).is_some();
            truth.caller == self.no && (over || silent || soonest <= now)
        };
        self.world.truth(cause, own) == Some(true)
    }

    /// A call that nobody comes back for ends at its server.
    fn watch(self: &Rc<Caller>, cause: &str, since: Duration) {
        let (caller, cause) = (self.clone(), cause.to_owned());
        tokio::task::spawn_local(async move {
            let server = caller.world.truth(&cause, |truth| truth.server).unwrap_or_default();
            sleep(caller.world.server(server).timeout.ask + SLACK).await;
            let left = caller.world.truth(&cause, |truth| truth.held == Some(since)).unwrap_or_default();
            if left && caller.world.runs(&cause) {
                caller.world.fault(format!("{cause} is still held since {:.3}s", since.as_secs_f64()));
            }
        });
    }
}
