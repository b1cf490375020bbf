//! The end of a call: answered, failed or cancelled. A call is taken out of `mux.calls` here and nowhere else, so it ends
//! once.

use std::time::Duration;

use super::bridge::Bridge;
use super::call::{Call, Place, Source, Then};
use super::errand::{Errand, Outcome};
use super::states::is_question;
use super::{Mux, readable};
use crate::clock;
use crate::era::bridge::content;
use crate::era::profile::Profile;
use crate::era::{legacy, may_ask_in};
use crate::error::Error;
use crate::key::{CallKey, InstanceRef};
use crate::pool::instance::State;
use crate::pool::pending::{Entry, Load};
use crate::pool::reason::StopReason;
use crate::wire::message::{Kind, Message};
use crate::wire::scan::Field;

impl Mux {
    /// Takes a call out, wherever it is.
    pub(crate) fn take_out(&mut self, key: CallKey) -> Option<Box<Call>> {
        let call = self.calls.remove(key)?;
        match &call.from {
            Source::Caller(reply, _) => {
                if let Some(caller) = self.callers.get_mut(call.caller) {
                    caller.in_flight.remove(reply.id());
                    if caller.leaves.is_some() {
                        self.alarm.at(clock::now());
                    }
                }
            }
            Source::Held { serial, .. } => self.held.remove(*serial),
            Source::Mcpool(errand) => {
                if let Some(caller) = self.callers.get_mut(call.caller) {
                    caller.errand_ends(key);
                }
                if matches!(errand, Errand::Introduce(_)) {
                    self.server_mut(call.server).awaited_mut().errand_ends(key);
                }
            }
        }
        call.place.note(&mut self.servers, key, false);
        if call.subscribes() {
            self.subscription_over(key, &call);
        }
        if matches!(call.bridge, Some(Bridge::Modern(_))) {
            self.untold_in(key, call.caller);
        }
        if call.place == Place::Asking {
            self.asked_no_more(key, call.server, call.pin);
        }
        self.note_end(&call);
        if self.in_stead_of(call.server) != Some(call.server) {
            // It may have been the last that a retired server was kept for.
            self.alarm.at(clock::now());
        }
        Some(call)
    }

    /// Handles the server's answer to a call.
    pub(crate) fn answered(&mut self, at: InstanceRef, entry: Entry, answer: &Message) {
        let last = self.server(at.server).config.recycle.calls;
        if let Some(instance) = self.instance_mut(at) {
            // What mcpool itself asks wears nothing out: each new instance is asked for its lists.
            instance.served += u64::from(entry.load == Load::Work && entry.caller.is_some());
            instance.health.answered(entry.load == Load::Work);
            let passed_over = instance.leaves == Some(StopReason::Unresponsive);
            if last == Some(instance.served) {
                self.alarm.at(clock::now());
            }
            if passed_over {
                self.server_mut(at.server).pool.go_on(at.key);
            }
        }
        self.note_quiet(at, entry);
        self.judge(entry.call, answer);
        if !readable::is_plain(answer)
            && let Some(error) = self.unreadable(at, entry.call, answer)
        {
            // At once: what it was asked goes back before the instance is looked at.
            self.fail(entry.call, error);
            return self.released(at);
        }
        if self.calls.get(entry.call).is_some_and(|call| call.is_held()) {
            self.answered_while_held(at, entry.call, answer);
            return self.released(at);
        }
        self.hand_back_questions(entry.call, "the call was answered already");
        let subscription = self.subscription_answered(entry.call, at, answer);
        let Some(call) = self.take_out(entry.call) else { return };
        if let Source::Mcpool(_) = call.from {
            self.errand_done(entry.call, call, Outcome::Answer(answer));
        } else {
            self.deliver(at, call, answer);
        }
        if let Some(subscription) = subscription {
            self.subscription_settled(at, subscription);
        }
        self.released(at);
    }

    /// Counts a call that its server might have asked in, and answered without having asked anything so far.
    fn note_quiet(&mut self, at: InstanceRef, entry: Entry) {
        let may_ask = |call: &Call| call.profile.answers_asks() && may_ask_in(&call.request.method());
        if entry.caller.is_none() || !self.calls.get(entry.call).is_some_and(|call| may_ask(call)) {
            return;
        }
        let catalogue = &mut self.server_mut(at.server).catalogue;
        if catalogue.known.seen.was_quiet() {
            catalogue.save();
        }
    }

    /// Returns the error that replaces an answer which no client could read; none if it can be read.
    fn unreadable(&self, at: InstanceRef, key: CallKey, answer: &Message) -> Option<Error> {
        let call = self.calls.get(key).filter(|call| readable::is_read(call))?;
        let fault = readable::fault(answer, &call.request.method())?;
        let said = self.instance(at).map(|instance| instance.stderr.shown(readable::said(answer))).unwrap_or_default();
        let detail = format!("it answered what no client can read: {fault}; it said: {said}");
        self.drop_from(at, "unreadable", &fault);
        Some(Error::ServerMisbehaved { server: self.server(at.server).config.name.clone(), detail })
    }

    /// Passes the server's answer on, and notes what else it means.
    pub(crate) fn deliver(&mut self, at: InstanceRef, mut call: Box<Call>, answer: &Message) {
        let limit = self.config.limits.message;
        if answer.line().len() > limit {
            let Source::Caller(reply, _permit) = call.from else { return };
            let server = Some(self.server(at.server).config.name.clone());
            return reply.refuse(&Error::TooLarge { server, size: answer.line().len(), limit });
        }
        if call.bridge.is_some() {
            return self.deliver_across(at, call, answer);
        }
        let left;
        let mut answer = answer;
        if call.profile == Profile::Modern && is_question(answer) {
            let Some((same, rest)) = self.tell_own_roots(at, call, answer) else { return };
            (call, left) = (same, rest);
            answer = left.as_ref().unwrap_or(answer);
        }
        if self.asks_in_vain(&call, answer) {
            let detail = "it asks its client, which may not be asked here (see the endpoint's `asks`)".to_owned();
            let Source::Caller(reply, _permit) = call.from else { return };
            let server = self.server(at.server).config.name.clone();
            return reply.refuse(&Error::ServerMisbehaved { server, detail });
        }
        let mut splice = answer.splice();
        let result = answer.kind() == Kind::Result;
        match &call.then {
            Then::MayCreate if result => self.note_created(at, &call, answer),
            Then::AboutTask(id) if result => self.told_of_task(at, id, &call.request, answer),
            Then::ShowOwnTasks if result => self.hide_foreign_tasks(at, call.caller, answer, &mut splice),
            Then::MayCreate => self.note_elicitations(at, call.caller, answer),
            _ => {}
        }
        if result {
            self.wrap_state(at, &call, answer, &mut splice);
            if call.profile == Profile::Modern && is_question(answer) {
                self.expect_back(at);
            }
        }
        let revision = call.profile.revision();
        let old = result && legacy::lacks_content(revision);
        let fitting: Option<&str> = answer.raw(Field::Result).filter(|_| old);
        let fitting: Option<String> =
            fitting.and_then(|result| content::fit_result(&call.request.method(), result, revision));
        let Source::Caller(reply, _permit) = call.from else { return };
        match fitting {
            Some(result) => reply.result(&result),
            None => reply.answer(answer, splice),
        }
    }

    /// Ends a call that cannot be served.
    pub(crate) fn fail(&mut self, key: CallKey, error: Error) {
        if self.calls.get(key).is_some_and(|call| call.is_held()) {
            return self.failed_while_held(key, error);
        }
        self.drop_questions(key);
        let Some(call) = self.take_out(key) else { return };
        match call.from {
            Source::Held { .. } => {}
            Source::Caller(reply, _permit) => reply.refuse(&error),
            Source::Mcpool(_) => self.errand_done(key, call, Outcome::Failed(error)),
        }
    }

    /// Ends a call without an answer: wherever it is, nothing more is done for it.
    pub(crate) fn cancel(&mut self, key: CallKey, reason: Option<&str>) {
        self.abandon(key, reason);
        if let Some(Source::Caller(reply, _permit)) = self.take_out(key).map(|call| call.from) {
            reply.forget(reason.unwrap_or("its caller cancelled it"));
        }
    }

    /// Ends a call and tells its caller why.
    pub(crate) fn give_up(&mut self, key: CallKey, error: Error) {
        self.abandon(key, Some(&error.to_string()));
        self.todo.fail(key, error);
    }

    /// Takes a call away from where it is; an instance is told to stop working on it.
    pub(crate) fn abandon(&mut self, key: CallKey, reason: Option<&str>) {
        self.drop_questions(key);
        let Some(call) = self.calls.get(key) else { return };
        let server = call.server;
        match call.place.clone() {
            Place::On(instance, id) => {
                let at = InstanceRef { server, key: instance };
                let until = clock::now() + self.server(server).config.timeout.hold;
                if let Some(instance) = self.instance_mut(at) {
                    instance.pending.abandon(id, until);
                    let reason = reason.map(|reason| format!(r#","reason":{}"#, serde_json::json!(reason)));
                    let params = format!(r#"{{"requestId":{}{}}}"#, id.0, reason.unwrap_or_default());
                    instance.notify("notifications/cancelled", &params);
                    self.released(at);
                }
            }
            Place::Queue => drop(self.server_mut(server).pool.queue.remove(key)),
            Place::Listening => self.unlisten(key),
            Place::Behind => {
                self.waits_no_more(server, key);
                self.gathers_no_more(server, key);
            }
            Place::Nowhere
            | Place::Roots
            | Place::Introductions(_)
            | Place::Lists(..)
            | Place::Held
            | Place::Asking => {}
        }
    }

    /// Notes that an instance has one call less, so that the next call can have its place.
    pub(crate) fn released(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.release();
        if instance.pending.has_moved() {
            instance.asks.moves(clock::now());
        }
        let asked = !instance.asks.is_empty();
        let done = instance.temporary || instance.state == State::Draining;
        let idle = instance.pending.rests().then_some(instance.idle_since);
        let server = self.server_mut(at.server);
        let waiting = !server.pool.queue.is_empty();
        let soonest = server.config.recycle.idle.min(server.config.probe.every.unwrap_or(Duration::MAX));
        if let Some(due) = idle.map(|idle| idle + soonest).filter(|due| *due > clock::now()) {
            self.alarm.at(due);
        }
        if asked {
            self.reconsider_asks(at);
        }
        if waiting {
            self.todo.serve(at.server);
        }
        if done {
            self.todo.dismiss(at);
        }
    }
}
