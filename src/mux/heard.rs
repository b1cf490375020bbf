//! Called with every line of an instance: it is an answer, a request or a notification, and goes on to the part that
//! deals with it. Anything else is dropped, counted and logged.

use bytes::Bytes;

use super::Mux;
use crate::clock;
use crate::config::Limits;
use crate::era::{is_ask, legacy};
use crate::error::Error;
use crate::key::InstanceRef;
use crate::pool::handshake::{Failure, SETTLE, Step};
use crate::pool::instance::State;
use crate::pool::pending::Taken;
use crate::wire::frame::Line;
use crate::wire::gauge::SHED;
use crate::wire::id::{RawId, WireId, digits};
use crate::wire::message::{Kind, Malformed, Message};
use crate::wire::scan::Field;
use crate::wire::skim::Shape;

impl Mux {
    /// Handles a line of an instance.
    pub(crate) fn heard(&mut self, at: InstanceRef, line: Line) {
        if self.shares.memory().is_pressed() {
            // What servers say is what it can come from.
            self.alarm.at(clock::now() + SHED);
        }
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.state == State::Stopping {
            return self.metrics.dropped("stopping");
        }
        instance.health.spoke();
        let Some(instance) = self.instance(at) else { return };
        match line {
            Line::TooLong(size, skim) => {
                let error = too_long(&self.server(at.server).config.name, &self.config.limits, size);
                let awaited = skim.is_echo() && skim.id().is_some_and(|id| instance.awaits(id));
                let answers = awaited || skim.shape().answers();
                let asks = skim.id().filter(|_| skim.shape() == Shape::Request && !awaited);
                if let Some(id) = asks {
                    // It waits for an answer, as callers do.
                    instance.refuse(id, &error);
                }
                if asks.is_some() || !answers || !self.fail_answer(at, skim.id(), error) {
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
        match Message::read(line.clone(), self.config.limits.nesting) {
            Ok(message) => self.heard_message(at, &message),
            Err(malformed) => self.heard_garbage(at, &line, &malformed),
        }
    }

    fn heard_message(&mut self, at: InstanceRef, message: &Message) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.garbage = 0;
        match (message.kind(), message.doubt()) {
            (Kind::Request, Some(doubt)) => {
                let error = serde_json::json!({ "code": -32602, "message": doubt.to_string() });
                instance.reply(message, &format!(r#""error":{error}"#));
                self.drop_from(at, "ambiguous", &doubt.to_string());
            }
            (Kind::Notification, Some(doubt)) => self.drop_from(at, "ambiguous", &doubt.to_string()),
            (Kind::Result | Kind::Error, _) => self.heard_answer(at, message),
            (Kind::Request, None) => self.heard_request(at, message),
            (Kind::Notification, None) => self.heard_notification(at, message),
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
                Step::Settled => {
                    self.alarm.at(clock::now() + SETTLE);
                    return self.try_ready(at);
                }
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
            _ if instance.state == State::Starting && instance.is_echo(request) => {
                let why = "it sends back what it is told, as `cat` and terminals do: it is no MCP server";
                self.start_failed(at, Failure::Broken(why.into()));
            }
            method => {
                let text = format!("mcpool passes on no `{method}` of servers");
                let error = serde_json::json!({ "code": -32601, "message": text });
                instance.reply(request, &format!(r#""error":{error}"#));
                self.drop_from(at, "unknown_request", &request.method());
            }
        }
    }

    /// Handles a line that is not a message. If it would have been the answer to a call, that call fails now and not at
    /// its deadline. So do other calls that a part of the line would have answered.
    fn heard_garbage(&mut self, at: InstanceRef, line: &Bytes, malformed: &Malformed) {
        let limit = self.server(at.server).config.stdout_errors;
        let Some(instance) = self.instance_mut(at) else { return };
        instance.garbage += 1;
        let hopeless = instance.garbage >= limit;
        let Malformed { why, id, shape, echo, begins, further, .. } = malformed;
        // No request has a result: it was sent back with its answer in it, if one of ours has its id.
        let awaited = *echo && id.as_ref().is_some_and(|id| instance.awaits(id));
        let answers = awaited || shape.answers();
        match id {
            // Elsewhere it is quoted only, as in a log.
            Some(id) if *shape == Shape::Request && *begins && !awaited => {
                instance.refuse(id, &Error::malformed(malformed.code, why.clone()));
            }
            // What stands in a line with other messages may be another caller's.
            Some(id) if answers && *begins && further.is_empty() && malformed.code == -32600 => {
                let said = instance.stderr.shown(&String::from_utf8_lossy(line));
                self.fail_garbled(at, id, &format!("{why}; it wrote: {said}"));
            }
            Some(id) if answers => self.fail_garbled(at, id, why),
            _ => {}
        }
        further.iter().for_each(|id| self.fail_garbled(at, id, why));
        self.drop_from(at, "malformed", why);
        if hopeless {
            self.distrust(at, "it writes lines to stdout that are not messages");
        }
    }

    /// Fails whatever waited for an answer that cannot be read.
    fn fail_garbled(&mut self, at: InstanceRef, id: &RawId, why: &str) {
        let Some(instance) = self.instance_mut(at) else { return };
        if let Some(failure) = instance.hear_garbled(id, why) {
            return self.start_failed(at, failure);
        }
        let server = self.server(at.server).config.name.clone();
        let detail = format!("its answer cannot be read: {why}");
        self.fail_answer(at, Some(id), Error::ServerMisbehaved { server, detail });
    }

    /// Fails the call that an unusable answer belongs to, if it belongs to one.
    fn fail_answer(&mut self, at: InstanceRef, id: Option<&RawId>, error: Error) -> bool {
        let id = id.and_then(|id| digits(id.as_str())).map(WireId);
        let taken = id.and_then(|id| self.instance_mut(at).map(|instance| instance.pending.take(id)));
        let Some(Taken::Answer(entry)) = taken else { return false };
        // At once: what it was asked goes back before the instance is looked at.
        self.fail(entry.call, error);
        self.released(at);
        true
    }

    /// Counts and logs a message of an instance that nobody gets.
    pub(crate) fn drop_from(&self, at: InstanceRef, reason: &'static str, what: &str) {
        self.metrics.dropped(reason);
        let what: String = what.chars().take(200).collect();
        tracing::debug!(server = self.server(at.server).config.name, reason, what, "dropped a message of the server");
    }
}

/// Returns what is wrong with a line of a server that was not kept: it is too long, or took too long.
fn too_long(server: &str, limits: &Limits, size: usize) -> Error {
    if size > limits.message {
        return Error::TooLarge { server: Some(server.to_owned()), size, limit: limits.message };
    }
    let detail = format!("a line of it took longer than {} (`limits.line`)", clock::rounded(limits.line));
    Error::ServerMisbehaved { server: server.to_owned(), detail }
}
