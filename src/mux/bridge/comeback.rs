//! Called by `mux::request` when a modern caller comes back with answers: it gets the call again that was held for it.

use super::questions::{Named, Outcome, Question};
use super::{Bridge, fingerprint};
use crate::clock;
use crate::era::bridge::seal::Purpose;
use crate::era::profile::canonical;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef};
use crate::mux::Mux;
use crate::mux::call::{Place, Source};
use crate::mux::request::Accepted;
use crate::wire::message::{member, members};
use crate::wire::scan::Field;

impl Mux {
    /// Handles a request with a `requestState` of ours: its caller comes back for a held call.
    pub(in crate::mux) fn come_back(&mut self, accepted: Accepted) {
        match self.claim(&accepted) {
            Ok((key, answers)) => self.resume(key, accepted, &answers),
            Err(why) => accepted.refuse(&Error::InvalidParams(why)),
        }
    }

    /// Returns the held call for which a request comes back, and the answers that it brings.
    fn claim(&self, accepted: &Accepted) -> Result<(CallKey, Vec<(String, String)>), String> {
        let text = accepted.request.text(Field::RequestState).unwrap_or_default();
        let wrong = |why: &str| format!("requestState {why}; send the request anew without it");
        let whose = (accepted.caller, fingerprint(&accepted.request));
        let (serial, _) = self.tokens.take(Purpose::Held, &text, whose).map_err(wrong)?;
        let key = self.held.call(serial).ok_or_else(|| wrong("was used already, or its call is over"))?;
        let responses = accepted.request.raw(Field::InputResponses);
        let responses = responses.map(members).unwrap_or_default();
        let Some(Bridge::Modern(modern)) = self.calls.get(key).and_then(|call| call.bridge.as_ref()) else {
            return Err(wrong("was used already, or its call is over"));
        };
        let asked = |name: &str| modern.questions.iter().any(|(known, _)| known == name);
        if let Some((name, _)) = responses.iter().find(|(name, value)| asked(name) && !value.starts_with('{')) {
            return Err(format!("`inputResponses.{name}` must be an object"));
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok((key, responses.into_iter().map(owned).collect()))
    }

    /// Gives a held call to the request that came back for it.
    fn resume(&mut self, key: CallKey, accepted: Accepted, answers: &[(String, String)]) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Source::Held { serial, since, .. } = &call.from else { return };
        let (serial, since) = (*serial, *since);
        self.held.remove(serial);
        let (server, caller) = (call.server, call.caller);
        let level = accepted.level();
        let id = accepted.id().clone();
        let now = clock::now();
        call.limit += now - since;
        call.level = level;
        // It may have been sent before, and be sent again.
        call.splice = call.request.splice();
        let place = call.place.clone();
        accepted.take_over(call);
        if let Some(caller) = self.callers.get_mut(call.caller) {
            caller.in_flight.insert(id, key);
        }
        let Some(modern) = call.modern() else { return };
        let outcome = modern.outcome.take();
        let (answered, open) = split(std::mem::take(&mut modern.questions), answers);
        let missing = !open.is_empty();
        modern.questions = open;
        let mut declined = false;
        let mut upstream = Vec::new();
        let mut told = None; // its roots
        for (question, value) in answered {
            match question {
                Question::Ask(at, id) => upstream.push((at, id, value)),
                Question::Roots => {
                    modern.has_roots(|| Some(format!(r#""result":{}"#, canonical(value)).into()));
                    told = Some(value);
                }
                Question::Page(_) => declined |= member(value, "action") != Some(r#""accept""#),
            }
        }
        if let Place::On(instance, wire) = place {
            call.deadline = (now + self.servers[server.0].config.timeout.call).min(call.limit);
            self.alarm.at(call.deadline);
            let at = InstanceRef { server, key: instance };
            if let Some(instance) = self.instance_mut(at) {
                instance.pending.set_level(wire, level);
            }
            self.raise_level(at, level);
            if missing {
                self.gather(key);
            }
        }
        for (at, id, value) in upstream {
            if self.answer_ask(at, &id, caller, value) {
                told = Some(value);
            }
        }
        if let Some(told) = told {
            self.told_in_a_call(caller, told);
        }
        if let Some(outcome) = outcome {
            return self.end_with(key, outcome);
        }
        if self.calls.get(key).is_some_and(|call| call.place == Place::Held) {
            match (declined, missing) {
                (true, _) => {
                    self.todo.fail(key, Error::InvalidParams("the web page that this needs was declined".into()))
                }
                (_, true) => self.hold(key),
                _ => self.todo.place(key),
            }
        }
    }

    /// Ends a call that was over before its caller came back. A question that its caller did not answer may be about
    /// another call.
    fn end_with(&mut self, key: CallKey, outcome: Outcome) {
        let modern = self.calls.get_mut(key).and_then(|call| call.modern());
        let unanswered = modern.map(|modern| modern.asked_by()).unwrap_or_default();
        self.hand_back_questions(key, "the call was answered already");
        unanswered.into_iter().for_each(|at| self.reconsider_asks(at));
        match outcome {
            Outcome::Failed(error) => self.todo.fail(key, error),
            Outcome::Answer(at, answer) => {
                if let Some(call) = self.take_out(key) {
                    self.deliver(at, call, &answer);
                }
            }
        }
    }
}

/// Returns the answered questions with their answers, and those that are not answered.
fn split(questions: Vec<Named>, answers: &[(String, String)]) -> (Vec<(Question, &str)>, Vec<Named>) {
    let (mut answered, mut open) = (Vec::new(), Vec::new());
    for (name, question) in questions {
        match answers.iter().find(|(of, _)| *of == name) {
            Some((_, value)) => answered.push((question, value.as_str())),
            None => open.push((name, question)),
        }
    }
    (answered, open)
}
