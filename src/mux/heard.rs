//! What instances say: every line of a server comes in here and is an answer, a request, a notification, or
//! none of these and then dropped, counted and logged.

use bytes::Bytes;

use super::Mux;
use crate::era::{is_ask, legacy};
use crate::error::Error;
use crate::pool::handshake::Step;
use crate::pool::instance::{InstanceRef, State};
use crate::pool::pending::Taken;
use crate::wire::frame::Line;
use crate::wire::id::{WireId, digits};
use crate::wire::message::{Kind, Malformed, Message};
use crate::wire::scan::Field;

impl Mux {
    /// A line of an instance.
    pub(crate) fn heard(&mut self, at: InstanceRef, line: Line) {
        let Some(instance) = self.instance(at) else { return };
        if instance.state == State::Stopping {
            return self.metrics.dropped("stopping");
        }
        match line {
            Line::TooLong(size, skim) => {
                let id = skim.id().filter(|_| skim.is_answer()).and_then(|id| digits(id.as_str()));
                let error = Error::TooLarge { size, limit: self.config.limits.message };
                if id.is_none_or(|id| !self.fail_answer(at, WireId(id), error)) {
                    self.drop_from(at, "too_large", &format!("{size} bytes"));
                }
            }
            Line::Whole(line) => {
                let batches = instance.profile.revision() == legacy::WITH_BATCHES;
                if !(batches && Message::is_batch(&line)) {
                    return self.heard_line(at, line);
                }
                let limits = &self.config.limits;
                match Message::batch(&line, limits.nesting, limits.in_flight) {
                    Ok(lines) => lines.into_iter().for_each(|line| self.heard_line(at, line)),
                    // Read as a message it tells what is wrong.
                    Err(_) => self.heard_line(at, line),
                }
            }
        }
    }

    fn heard_line(&mut self, at: InstanceRef, line: Bytes) {
        match Message::read(line, self.config.limits.nesting) {
            Ok(message) => self.heard_message(at, &message),
            Err(malformed) => self.heard_garbage(at, &malformed),
        }
    }

    fn heard_message(&mut self, at: InstanceRef, message: &Message) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.garbage = 0;
        match message.kind() {
            Kind::Result | Kind::Error => self.heard_answer(at, message),
            Kind::Request => self.heard_request(at, message),
            Kind::Notification => self.heard_notification(at, message),
        }
    }

    fn heard_answer(&mut self, at: InstanceRef, answer: &Message) {
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.state == State::Starting {
            match instance.hear_handshake(answer) {
                Step::NotOurs => {}
                Step::Introduced(result) => {
                    self.introduced(at, result);
                    return self.try_ready(at);
                }
                Step::Settled => return self.try_ready(at),
                Step::Failed(failure) => return self.start_failed(at, failure),
            }
        }
        let Some(id) = answer.raw(Field::Id).and_then(digits).map(WireId) else {
            return self.drop_from(at, "unknown_id", answer.raw(Field::Id).unwrap_or_default());
        };
        let Some(instance) = self.instance_mut(at) else { return };
        match instance.pending.take(id) {
            Taken::Answer(entry) => self.answered(at, entry, answer),
            Taken::Late => self.metrics.dropped("late_answer"),
            Taken::Unknown => self.drop_from(at, "unknown_id", &id.0.to_string()),
        }
    }

    fn heard_request(&mut self, at: InstanceRef, request: &Message) {
        let Some(instance) = self.instance_mut(at) else { return };
        let method = request.method();
        match method.as_ref() {
            "ping" => instance.reply(request, r#""result":{}"#),
            "roots/list" => self.asked_for_roots(at, request),
            method if is_ask(method) => self.asked(at, request),
            method => {
                let text = format!("mcpool passes on no `{method}` of servers");
                let error = serde_json::json!({ "code": -32601, "message": text });
                instance.reply(request, &format!(r#""error":{error}"#));
                self.drop_from(at, "unknown_request", &request.method());
            }
        }
    }

    /// A line that is no message. If it would have been the answer to a call, that call fails now instead of
    /// at its deadline.
    fn heard_garbage(&mut self, at: InstanceRef, malformed: &Malformed) {
        let limit = self.server(at.server).config.stdout_errors;
        let Some(instance) = self.instance_mut(at) else { return };
        instance.garbage += 1;
        let hopeless = instance.garbage >= limit;
        let name = self.server(at.server).config.name.clone();
        let error = Error::ServerMisbehaved { server: name, detail: format!("its answer was {}", malformed.why) };
        let id = malformed.id.as_ref().filter(|_| malformed.answer).and_then(|id| digits(id.as_str()));
        if let Some(id) = id {
            self.fail_answer(at, WireId(id), error);
        }
        self.drop_from(at, "malformed", &malformed.why);
        if hopeless {
            self.distrust(at, "it writes lines to stdout that are not messages");
        }
    }

    /// Fails the call that an unusable answer belongs to, if it belongs to one.
    fn fail_answer(&mut self, at: InstanceRef, id: WireId, error: Error) -> bool {
        let Some(Taken::Answer(entry)) = self.instance_mut(at).map(|instance| instance.pending.take(id)) else {
            return false;
        };
        self.fail(entry.call, error);
        self.released(at);
        true
    }

    /// Counts and logs what an instance said and nobody gets.
    pub(crate) fn drop_from(&self, at: InstanceRef, reason: &'static str, what: &str) {
        self.metrics.dropped(reason);
        let what: String = what.chars().take(200).collect();
        tracing::debug!(server = self.server(at.server).config.name, reason, what, "dropped a message of the server");
    }
}
