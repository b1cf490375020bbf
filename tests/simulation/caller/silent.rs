//! A client that says no more and reads on: what it asked before is answered still, and nobody waits for an answer of its own.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::{Caller, Request};
use crate::simulation::truth::Truth;

/// What "at once" means: questions to modern clients are gathered for a moment before they are put.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What an error says whose call needs an answer that cannot come.
const ENDED: &str = "the client's input has ended";

impl Caller {
    /// Whether it can say something. What it has begun to say by then is heard.
    pub(super) fn can_speak(&self) -> bool {
        !self.gone.get() && self.silent_since().is_none()
    }

    /// Since when its input has ended, while it reads on.
    fn silent_since(&self) -> Option<Duration> {
        self.world.silent.borrow().get(&self.no).copied()
    }

    /// Ends its input and reads on.
    pub(super) async fn fall_silent(self: &Rc<Caller>) {
        self.world.note(&self.name(), "says no more");
        self.world.count("callers that say no more and read on");
        self.stays.set(true);
        self.end_input().await;
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            sleep(AT_ONCE).await;
            caller.check_held();
        });
    }

    /// Says no more.
    pub(super) async fn end_input(&self) {
        let ends = || self.world.silent.borrow_mut().insert(self.no, self.world.now());
        ends();
        let _ = self.writer.lock().await.shutdown().await;
        // Lines that had begun may have taken their time.
        ends();
    }

    /// Nobody comes back for its calls, so that none of them is kept.
    fn check_held(&self) {
        let held = |truth: &Truth| truth.caller == self.no && truth.held.is_some();
        let calls = self.world.calls.borrow();
        let held: Vec<String> = calls.iter().filter(|(_, truth)| held(truth)).map(|(cause, _)| cause.clone()).collect();
        drop(calls);
        for cause in held.into_iter().filter(|cause| self.world.runs(cause)) {
            self.world.fault(format!("{cause} is held though the input of {} has ended", self.name()));
        }
    }

    /// It was asked something: not since its input has ended.
    pub(super) fn check_may_be_asked(&self, line: &str) {
        if self.silent_since().is_some_and(|since| self.world.now() > since + self.world.reads_late()) {
            self.world.fault(format!("{} was asked though its input has ended: {line}", self.name()));
        }
    }

    /// The connection was closed by the other side: not before everything was answered.
    pub(super) fn check_left(&self) -> bool {
        let silent = self.silent_since().is_some();
        if silent && let Some(request) = self.pending.borrow().values().find(|request| request.waits()) {
            self.world.fault(format!("{} was left without an answer since {:?}", self.name(), request.since));
        }
        silent
    }

    /// Whether a subscription may have failed because nobody knows this client's roots, and it can be asked no more.
    pub(super) fn lacks_roots(&self, answer: &Message) -> bool {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let told =
            member(error, "message").filter(|message| message.contains(ENDED) && message.contains("roots/list,"));
        let asks = |server: &usize| self.world.wanted_roots.borrow().contains(server);
        told.is_some() && self.silent_since().is_some() && self.has("roots") && self.servers.iter().any(asks)
    }

    /// Whether a call may have failed because its client could not be asked what the call needs to go on.
    pub(super) fn is_unanswered(&self, request: &Request, cause: &str, answer: &Message, line: &str) -> bool {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let told = member(error, "message").filter(|message| message.contains(ENDED));
        let Some((since, told)) = self.silent_since().zip(told) else { return false };
        let asks = self.world.asks.borrow();
        let open = |nonce: &String| asks.get(nonce).filter(|ask| ask.answer.is_none()).map(|ask| ask.since);
        let needed = self.world.truth(cause, |truth| {
            let pages = truth.modern && truth.answer.as_ref().is_some_and(|(said, _)| said.contains("-32042"));
            // Its roots, before it goes anywhere.
            let roots = told.contains("roots/list,")
                && truth.capabilities.contains("\"roots\"")
                && self.world.wanted_roots.borrow().contains(&truth.server)
                && truth.answer.is_none();
            let round = truth.round.iter().flat_map(|round| &round.questions);
            let hard = round.filter(|(_, method, _, declared)| *declared && *method != "elicitation/create");
            let put = hard.filter_map(|(_, _, nonce, _)| open(nonce)).max();
            (pages || roots || put.is_some(), put)
        });
        drop(asks);
        let (needed, put) = needed.unwrap_or_default();
        let now = self.world.now();
        if !needed || put.is_some_and(|put| put.max(since) + AT_ONCE < now && request.batch.is_none()) {
            let fault = if needed { "was told too late of" } else { "needed no answer for" };
            self.world.fault(format!("{} {fault} {cause}, silent since {since:?}: {line}", self.name()));
        }
        self.world.count("calls that failed because their clients say no more");
        needed
    }
}
