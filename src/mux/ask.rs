//! Questions that servers ask in the middle of a call: to whom they belong, and their answers back. A legacy
//! ask names no call; an ask whose owner is not certain is held until it is, and refused if it never becomes
//! so. Nothing is guessed (design, section 4).

use tokio::time::Instant;

use super::Mux;
use super::call::Place;
use super::callers::Asked;
use crate::error::Error;
use crate::pool::instance::{Ask, InstanceRef};
use crate::pool::pending::InFlightOf;
use crate::reply::CallerKey;
use crate::wire::id::{AskId, RawId, digits};
use crate::wire::message::{Message, member, unquote};
use crate::wire::scan::Field;

/// How many asks of one instance may be unanswered at once.
const ASKS: usize = 64;

impl Mux {
    /// A server asks for a sample or an elicitation.
    pub(crate) fn asked(&mut self, at: InstanceRef, ask: &Message) {
        let server = self.server_mut(at.server);
        if !server.catalogue.known.has_asked {
            server.catalogue.known.has_asked = true;
            server.catalogue.save();
        }
        self.keep_ask(at, ask);
        self.reconsider_asks(at);
    }

    /// Notes an ask; its owner is found by `reconsider_asks`.
    pub(crate) fn keep_ask(&mut self, at: InstanceRef, ask: &Message) {
        let Some(id) = ask.id(Field::Id) else { return };
        let timeout = &self.server(at.server).config.timeout;
        let now = Instant::now();
        self.alarm.at(now + timeout.hold);
        self.alarm.at(now + timeout.ask);
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.asks.len() >= ASKS {
            let error = r#""error":{"code":-32603,"message":"mcpool holds too many requests of this server"}"#;
            instance.reply(ask, error);
            return self.drop_from(at, "ask_refused", "too many at once");
        }
        if instance.asks.contains_key(&id) {
            return self.drop_from(at, "duplicate_ask", ask.raw(Field::Id).unwrap_or_default());
        }
        instance.asks.insert(id, Ask { message: ask.clone(), with: None, since: now });
    }

    /// Delivers every held ask whose owner is known by now.
    pub(crate) fn reconsider_asks(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance(at) else { return };
        let held: Vec<(RawId, Message)> = instance
            .asks
            .iter()
            .filter(|(_, ask)| ask.with.is_none())
            .map(|(id, ask)| (id.clone(), ask.message.clone()))
            .collect();
        for (id, message) in held {
            let Some(owner) = self.instance(at).map(crate::pool::instance::Instance::owner) else { return };
            let owner = self.owner_by_task(at, &message).map_or(owner, InFlightOf::One);
            match owner {
                InFlightOf::One(caller) if message.method() == "roots/list" => self.tell_roots(at, &id, caller),
                InFlightOf::One(caller) => self.deliver_ask(at, &id, caller, &message),
                InFlightOf::Several => {}
                InFlightOf::Nobody => self.refuse_ask(at, &id, "no call is in flight that it could belong to"),
            }
        }
    }

    fn deliver_ask(&mut self, at: InstanceRef, id: &RawId, key: CallerKey, message: &Message) {
        let Some(caller) = self.callers.get_mut(key).filter(|caller| caller.session.is_some()) else {
            return self.refuse_ask(at, id, "its caller is gone");
        };
        let ours = caller.next_ask();
        caller.asks.insert(ours, Asked::For(at, id.clone()));
        let mut splice = message.splice();
        splice.put_if(message.span(Field::Id), ours.0.to_string());
        splice.put_if(message.span(Field::MetaProgressToken), ours.0.to_string());
        caller.outbox.splice(&splice);
        if let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.get_mut(id)) {
            ask.with = Some((key, ours));
        }
        if let Some(elicitation) = message.text(Field::ElicitationId) {
            self.server_mut(at.server).owned.note_elicitation(&elicitation, key);
        }
    }

    /// A caller answered an ask.
    pub(crate) fn ask_answered(&mut self, key: CallerKey, answer: &Message) {
        let ours = answer.raw(Field::Id).and_then(digits).map(AskId);
        let Some(caller) = self.callers.get_mut(key) else { return };
        match ours.and_then(|ours| caller.asks.remove(&ours)) {
            None => self.counters.dropped("answer_to_no_ask"),
            Some(Asked::Roots) => self.roots_told(key, answer),
            Some(Asked::For(at, id)) => {
                let Some(instance) = self.instance_mut(at) else { return };
                if instance.asks.remove(&id).is_none() {
                    return;
                }
                let mut splice = answer.splice();
                splice.put_if(answer.span(Field::Id), id.as_str());
                instance.outbox.splice(&splice);
                self.ask_over(at, key);
            }
        }
    }

    /// A caller answered an ask with what cannot be passed on.
    pub fn ask_lost(&mut self, key: CallerKey, id: &RawId, why: &str) {
        let ours = digits(id.as_str()).map(AskId);
        let Some(caller) = self.callers.get_mut(key) else { return };
        match ours.and_then(|ours| caller.asks.remove(&ours)) {
            None => self.counters.dropped("answer_to_no_ask"),
            Some(Asked::Roots) => {
                self.settle_roots(key, r#""error":{"code":-32603,"message":"the client's roots could not be read"}"#)
            }
            Some(Asked::For(at, id)) => self.refuse_ask(at, &id, &format!("the client's answer was unusable: {why}")),
        }
    }

    /// An ask is over: the handshake may go on, and what was held back for it.
    pub(crate) fn ask_over(&mut self, at: InstanceRef, caller: CallerKey) {
        self.restart_clock(at, caller);
        self.try_ready(at);
        self.dispatch(at.server);
    }

    /// The calls of a caller that was asked run against the clock again.
    fn restart_clock(&mut self, at: InstanceRef, caller: CallerKey) {
        let deadline = Instant::now() + self.server(at.server).config.timeout.call;
        for call in self.calls.values_mut().filter(|call| call.caller == caller && call.server == at.server) {
            if matches!(call.place, Place::On(instance, _) if instance == at.key) {
                call.deadline = deadline.min(call.limit);
                self.alarm.at(call.deadline);
            }
        }
    }

    /// Answers an ask with an error, since nobody will.
    pub(crate) fn refuse_ask(&mut self, at: InstanceRef, id: &RawId, why: &str) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.remove(id)) else { return };
        self.recall_ask(&ask);
        self.drop_from(at, "ask_refused", why);
        let method = ask.message.method();
        let error = serde_json::json!({ "code": -32603, "message": format!("mcpool refused `{method}`: {why}") });
        if let Some(instance) = self.instance(at) {
            instance.reply(&ask.message, &format!(r#""error":{error}"#));
        }
        if let Some((caller, _)) = ask.with {
            self.restart_clock(at, caller);
        }
        self.try_ready(at);
        self.dispatch(at.server);
    }

    /// An ask is not wanted any more: its server is gone or has cancelled it.
    pub(crate) fn withdraw_ask(&mut self, at: InstanceRef, id: &RawId) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.remove(id)) else { return };
        self.recall_ask(&ask);
        self.try_ready(at);
    }

    /// Tells the caller that it need not answer.
    fn recall_ask(&mut self, ask: &Ask) {
        let Some((key, ours)) = ask.with else { return };
        let Some(caller) = self.callers.get_mut(key) else { return };
        if caller.asks.remove(&ours).is_some() {
            caller.notify("notifications/cancelled", &format!(r#"{{"requestId":{}}}"#, ours.0));
        }
    }

    /// Gives up asks that were held or left unanswered for too long; when the next may be.
    pub(crate) fn sweep_asks(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let timeout = self.server(at.server).config.timeout;
        let due = |ask: &Ask| ask.since + if ask.with.is_some() { timeout.ask } else { timeout.hold };
        let instance = self.instance(at)?;
        let over: Vec<(RawId, bool, String)> = instance
            .asks
            .iter()
            .filter(|(_, ask)| due(ask) <= now)
            .map(|(id, ask)| (id.clone(), ask.with.is_some(), ask.message.method().into_owned()))
            .collect();
        let next = instance.asks.values().map(due).filter(|due| *due > now).min();
        for (id, delivered, what) in over {
            let why = if delivered {
                Error::AskTimeout { what }.to_string()
            } else {
                "several calls are in flight that it could belong to".into()
            };
            self.refuse_ask(at, &id, &why);
        }
        next
    }

    /// Whether calls of `caller` on an instance wait for a person.
    pub(crate) fn is_asking(&self, at: InstanceRef, caller: CallerKey) -> bool {
        self.instance(at)
            .is_some_and(|instance| instance.asks.values().any(|ask| ask.with.is_some_and(|(with, _)| with == caller)))
    }

    fn owner_by_task(&self, at: InstanceRef, message: &Message) -> Option<CallerKey> {
        let task = unquote(member(message.raw(Field::MetaRelatedTask)?, "taskId")?)?.into_owned();
        self.server(at.server).owned.task(at.key, &task).map(|task| task.caller)
    }
}
