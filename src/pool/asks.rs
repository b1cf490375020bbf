//! Called by `mux` for what a legacy instance asks in the middle of calls: its questions until they are answered, who is
//! to answer each, and the calls that come back to the instance with answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::{CallKey, CallerKey};
use crate::wire::id::{AskId, RawId};
use crate::wire::message::Message;

/// Who is to answer an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedOf {
    /// A legacy caller, to whom it was sent under an id of ours.
    Caller(CallerKey, AskId),
    /// A modern caller, with the retry of this call.
    Retry(CallKey),
}

/// An ask of a server that is not answered yet.
pub struct Ask {
    pub message: Message,
    pub since: Instant,
    /// Who is to answer it; none while it is held because its owner is not known.
    with: Option<AskedOf>,
}

impl Ask {
    /// Returns who must answer the question, if that is known.
    pub fn with(&self) -> Option<AskedOf> {
        self.with
    }
}

/// The open questions of one instance.
#[derive(Default)]
pub struct Asks {
    /// By the server's own id.
    open: BTreeMap<RawId, Ask>,
    /// Calls that come back to the instance once their callers have answered what it asked.
    away: BTreeSet<CallKey>,
    /// Until when a modern caller may be expected back with a state that the process alone can read.
    back_until: Option<Instant>,
    /// When a call of the instance made progress or ended last.
    moved: Option<Instant>,
}

impl Asks {
    /// Returns how many questions are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns whether no question is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the open question with this id of the server's.
    pub fn get(&self, id: &RawId) -> Option<&Ask> {
        self.open.get(id)
    }

    /// Returns the open questions.
    pub fn iter(&self) -> impl Iterator<Item = (&RawId, &Ask)> {
        self.open.iter()
    }

    /// Keeps a question until it is known who must answer it.
    pub fn hold(&mut self, id: RawId, message: Message, now: Instant) {
        self.open.insert(id, Ask { message, since: now, with: None });
    }

    /// Returns the questions of which nobody knows yet who must answer them.
    pub fn held(&self) -> impl Iterator<Item = (&RawId, &Ask)> {
        self.open.iter().filter(|(_, ask)| ask.with.is_none())
    }

    /// Returns how many questions somebody is to answer.
    pub fn put(&self) -> usize {
        self.open.len() - self.held().count()
    }

    /// Returns whether a question waits for its owner to become known.
    pub fn holds_any(&self) -> bool {
        self.held().next().is_some()
    }

    /// Notes who must answer a question.
    pub fn put_to(&mut self, id: &RawId, with: AskedOf) {
        if let Some(ask) = self.open.get_mut(id) {
            ask.with = Some(with);
        }
    }

    /// Notes that a question waits for its owner again, because the caller that was asked will not answer it.
    pub fn hand_back(&mut self, id: &RawId) {
        if let Some(ask) = self.open.get_mut(id) {
            ask.with = None;
        }
    }

    /// Takes a question that is answered, or that nobody will answer.
    pub fn take(&mut self, id: &RawId) -> Option<Ask> {
        self.open.remove(id)
    }

    /// Notes that a call ended or made progress, so that held questions may become clear.
    pub fn moves(&mut self, now: Instant) {
        if !self.open.is_empty() {
            self.moved = Some(now);
        }
    }

    /// Returns the question to give up because nothing will show whose it is, and when. Each of `callers` that have
    /// calls in flight may be waiting for an answer itself. If there are more of them than questions, the calls of one
    /// will end.
    pub fn hopeless(&self, callers: usize, hold: Duration) -> Option<(&RawId, Instant)> {
        let (id, oldest) = self.held().min_by_key(|(_, ask)| ask.since)?;
        let since = self.moved.map_or(oldest.since, |moved| moved.max(oldest.since));
        (self.held().count() >= callers).then_some((id, since + hold))
    }

    /// Notes that a call's caller is asked for the instance, and that the call comes back to it.
    pub fn sends_away(&mut self, call: CallKey) {
        self.away.insert(call);
    }

    /// Notes that a call is not away any more, and returns whether it was the last.
    pub fn is_back(&mut self, call: CallKey) -> bool {
        self.away.remove(&call) && self.away.is_empty()
    }

    /// Notes that a call ended with a question and a state, and until when its caller may be expected back.
    pub fn expects_back(&mut self, until: Instant) {
        self.back_until = self.back_until.max(Some(until));
    }

    /// Returns until when callers may come back with a state, if any may.
    pub fn back_until(&self, now: Instant) -> Option<Instant> {
        self.back_until.filter(|until| now < *until)
    }

    /// Returns whether calls come back to the instance.
    pub fn awaits_calls(&self, now: Instant) -> bool {
        !self.away.is_empty() || self.back_until(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(10);

    fn held(asks: &mut Asks, id: &str, at: Instant) -> RawId {
        let id = RawId::new(id).unwrap();
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
        asks.hold(id.clone(), Message::read(line.into(), 8).unwrap(), at);
        id
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_caller_is_not_asked_its_calls_may_end_and_make_the_question_clear() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        let first = held(&mut asks, "1", now);
        assert_eq!(asks.hopeless(2, HOLD), None);
        assert_eq!(asks.hopeless(1, HOLD), Some((&first, now + HOLD)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_each_may_wait_for_an_answer_the_oldest_question_is_given_up_once_nothing_moves() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        held(&mut asks, "2", now + HOLD);
        let oldest = held(&mut asks, "1", now);
        assert_eq!(asks.hopeless(2, HOLD), Some((&oldest, now + HOLD)));
        asks.moves(now + HOLD / 2);
        assert_eq!(asks.hopeless(2, HOLD), Some((&oldest, now + HOLD / 2 + HOLD)));
    }
}
