//! Questions that servers ask in the middle of a call: to whom they belong, and their answers back. A legacy
//! ask names no call; an ask whose owner is not certain is held until it is, and refused if it never becomes
//! so. Nothing is guessed (design, section 4).

use std::time::Duration;

use tokio::time::Instant;

use super::bridge::Bridge;
use super::call::Place;
use super::{Mux, readable};
use crate::caller::{Asked, SILENT, UNREAD};
use crate::clock;
use crate::era::bridge::ask as words;
use crate::era::profile::canonical;
use crate::error::Error;
use crate::guard::breaker::State;
use crate::key::{CallKey, CallerKey, InstanceRef};
use crate::pool::pending::{Entry, InFlightOf};
use crate::pool::ties::{Ask, With};
use crate::wire::id::{AskId, RawId, digits};
use crate::wire::message::{Message, member, unquote};
use crate::wire::scan::Field;

/// The shortest time that tells two moments apart.
const MOMENT: Duration = Duration::from_nanos(1);

/// Who is to answer an ask.
enum Whose {
    /// A legacy caller.
    Caller(CallerKey),
    /// A modern caller, in the middle of this call.
    Call(CallKey),
    /// One of several; that may become clear.
    Unclear,
    Nobody,
}

impl Mux {
    /// A server asks for a sample or an elicitation.
    pub(crate) fn asked(&mut self, at: InstanceRef, ask: &Message) {
        if self.server(at.server).gate.breaker.state(clock::now()) == State::HalfOpen {
            // It works, and a person's answer is not to be waited for. Otherwise that says nothing: it may die of each.
            self.works(at.server);
        }
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
        let now = clock::now();
        self.alarm.at(now + timeout.hold);
        self.alarm.at(now + timeout.ask);
        let most = self.config.limits.asks;
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.asks.len() >= most {
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
        let held: Vec<(RawId, Message, Instant)> = instance
            .asks
            .iter()
            .filter(|(_, ask)| ask.with.is_none())
            .map(|(id, ask)| (id.clone(), ask.message.clone(), ask.since))
            .collect();
        for (id, message, since) in held {
            // What was given up when it was asked may be what it is about, however long ago that is by now.
            let Some(owner) = self.instance(at).map(|instance| instance.owner(since)) else { return };
            let owner = self.owner_by_task(at, &message).map_or(owner, InFlightOf::One);
            let roots = message.method() == "roots/list";
            match self.whose(at, owner) {
                Whose::Call(call) => self.ask_call(at, &id, call, &message),
                Whose::Caller(caller) if roots => self.tell_roots(at, &id, caller),
                Whose::Caller(caller) => self.deliver_ask(at, &id, caller, &message),
                Whose::Unclear => {}
                Whose::Nobody if roots => self.tell_no_roots(at, &id),
                Whose::Nobody => self.refuse_ask(at, &id, "no call is in flight that it could belong to"),
            }
        }
    }

    /// Whose an ask is. A legacy caller is asked as such; a modern one in the middle of a call, so that it must be
    /// certain which.
    fn whose(&self, at: InstanceRef, owner: InFlightOf) -> Whose {
        let caller = match owner {
            InFlightOf::Nobody => return Whose::Nobody,
            InFlightOf::Several => return Whose::Unclear,
            InFlightOf::One(caller) => caller,
        };
        let Some(instance) = self.instance(at) else { return Whose::Nobody };
        let of_caller = |entry: &Entry| entry.caller == Some(caller);
        let modern = |entry: &Entry| {
            self.calls.get(entry.call).is_some_and(|call| matches!(call.bridge, Some(Bridge::Modern(_))))
        };
        let calls = instance.pending.entries().filter(of_caller).count();
        // What this caller gave up before the question came is waited out; what it gave up since then, or at that very
        // moment, was in flight when it was put, and that is never over before the question is.
        let given_up = instance.pending.given_up(clock::now() - MOMENT).count();
        match instance.pending.entries().filter(of_caller).find(modern) {
            Some(entry) if calls + given_up == 1 => Whose::Call(entry.call),
            Some(_) => Whose::Unclear,
            None if calls > 0 => Whose::Caller(caller),
            None => match self.callers.get(caller).filter(|caller| self.tells_roots(caller, &instance.profile)) {
                Some(_) => Whose::Caller(caller),
                None => Whose::Nobody,
            },
        }
    }

    fn deliver_ask(&mut self, at: InstanceRef, id: &RawId, key: CallerKey, message: &Message) {
        let server = self.server(at.server).config.name.clone();
        let Some(caller) = self.callers.get_mut(key).filter(|caller| caller.session.is_some()) else {
            return self.refuse_ask(at, id, "its caller is gone");
        };
        if !caller.access.asks {
            return self.refuse_ask(at, id, "callers of this endpoint are not asked (see its `asks`)");
        }
        if caller.silent {
            return self.refuse_ask(at, id, SILENT);
        }
        let ours = caller.next_ask();
        let mut splice = message.splice();
        splice.put_if(message.span(Field::Id), ours.0.to_string());
        if caller.endpoint.prefix && message.span(Field::Params).found() {
            let signed = words::signed(message.raw(Field::Params), &server, &ours.0.to_string());
            splice.put(message.span(Field::Params), signed);
        } else {
            splice.put_if(message.span(Field::MetaProgressToken), ours.0.to_string());
        }
        if !caller.outbox.ask(&splice) {
            return self.refuse_ask(at, id, UNREAD);
        }
        caller.asks.insert(ours, Asked::For(at, id.clone()));
        self.touch_calls(at, key);
        if let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.get_mut(id)) {
            ask.with = Some(With::Caller(key, ours));
        }
        if let Some(elicitation) = message.text(Field::ElicitationId) {
            self.server_mut(at.server).owned.elicitations.note(at.key, &elicitation, key);
        }
    }

    /// A caller answered an ask.
    pub(crate) fn ask_answered(&mut self, key: CallerKey, answer: &Message) {
        if !readable::is_plain(answer)
            && let (Some(fault), Some(id)) = (readable::fault_of_ask(answer), answer.id(Field::Id))
        {
            return self.ask_lost(key, &id, &fault);
        }
        let ours = answer.raw(Field::Id).and_then(digits).map(AskId);
        let Some(caller) = self.callers.get_mut(key) else { return };
        match ours.and_then(|ours| caller.asks.remove(&ours)) {
            None => self.metrics.dropped("answer_to_no_ask"),
            Some(Asked::Roots) => self.roots_told(key, answer),
            Some(Asked::Input { call, key, elicitation }) => {
                let said = answer.raw(Field::Error).and_then(|error| unquote(member(error, "message")?));
                let why = || said.map_or_else(|| "it answered with an error".into(), std::borrow::Cow::into_owned);
                self.input_answered(call, key, elicitation, answer.raw(Field::Result).ok_or_else(why));
            }
            Some(Asked::For(at, id)) => {
                let Some(instance) = self.instance_mut(at) else { return };
                if instance.asks.remove(&id).is_none() {
                    return;
                }
                let mut splice = answer.splice();
                splice.put_if(answer.span(Field::Id), id.as_str());
                instance.pass_answer(&splice, &id);
                self.ask_over(at, key);
            }
        }
    }

    /// Whether a caller was asked something under this id, and has not answered yet.
    pub fn is_asked(&self, key: CallerKey, id: &RawId) -> bool {
        let ours = digits(id.as_str()).map(AskId);
        self.callers.get(key).is_some_and(|caller| ours.is_some_and(|ours| caller.asks.contains_key(&ours)))
    }

    /// A caller answered an ask with what cannot be passed on.
    pub fn ask_lost(&mut self, key: CallerKey, id: &RawId, why: &str) {
        let ours = digits(id.as_str()).map(AskId);
        let Some(caller) = self.callers.get_mut(key) else { return };
        match ours.and_then(|ours| caller.asks.remove(&ours)) {
            None => self.metrics.dropped("answer_to_no_ask"),
            Some(Asked::Roots) => {
                self.settle_roots(key, r#""error":{"code":-32603,"message":"the client's roots could not be read"}"#)
            }
            Some(Asked::For(at, id)) => self.refuse_ask(at, &id, &format!("the client's answer was unusable: {why}")),
            Some(Asked::Input { call, key, elicitation }) => {
                self.input_answered(call, key, elicitation, Err(format!("its answer was unusable: {why}")));
            }
        }
    }

    /// A caller will not answer an ask, since its input has ended.
    pub(super) fn ask_unanswered(&mut self, key: CallerKey, ask: AskId) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        if let Some(Asked::For(at, id)) = caller.asks.get(&ask) {
            let (at, id) = (*at, id.clone());
            self.refuse_ask(at, &id, SILENT);
        } else if let Some(Asked::Input { call, key, elicitation }) = caller.asks.remove(&ask) {
            self.input_answered(call, key, elicitation, Err(SILENT.into()));
        }
    }

    /// A modern caller came back with the answer to an ask.
    pub(crate) fn answer_ask(&mut self, at: InstanceRef, id: &RawId, result: &str) {
        let Some(instance) = self.instance_mut(at) else { return };
        let Some(ask) = instance.asks.remove(id) else { return };
        let body = format!(r#""result":{result}"#);
        instance.reply(&ask.message, &body);
        if ask.message.method() == "roots/list" {
            instance.roots = Some(format!(r#""result":{}"#, canonical(result)).into());
            instance.told_roots();
        }
        self.try_ready(at);
        self.dispatch(at.server);
    }

    /// An ask is over: the handshake may go on, and what was held back for it.
    pub(crate) fn ask_over(&mut self, at: InstanceRef, caller: CallerKey) {
        self.restart_clock(at, caller);
        self.try_ready(at);
        self.dispatch(at.server);
    }

    /// The calls of a caller that was asked run against the clock again.
    fn restart_clock(&mut self, at: InstanceRef, caller: CallerKey) {
        let deadline = clock::now() + self.server(at.server).config.timeout.call;
        for call in self.calls.values_mut().filter(|call| call.caller == caller && call.server == at.server) {
            if matches!(call.place, Place::On(instance, _) if instance == at.key) && !call.is_held() {
                call.deadline = deadline.min(call.limit);
                self.alarm.at(call.deadline);
            }
        }
    }

    /// Answers an ask with an error, since nobody will.
    pub(crate) fn refuse_ask(&mut self, at: InstanceRef, id: &RawId, why: &str) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.remove(id)) else { return };
        self.recall_ask(at, id, &ask);
        self.drop_from(at, "ask_refused", why);
        let method = ask.message.method();
        let error = serde_json::json!({ "code": -32603, "message": format!("mcpool refused `{method}`: {why}") });
        if let Some(instance) = self.instance(at) {
            instance.reply(&ask.message, &format!(r#""error":{error}"#));
        }
        if let Some(With::Caller(caller, _)) = ask.with {
            self.restart_clock(at, caller);
        }
        self.try_ready(at);
        self.dispatch(at.server);
    }

    /// An ask is not wanted any more: its server is gone or has cancelled it.
    pub(crate) fn withdraw_ask(&mut self, at: InstanceRef, id: &RawId) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.remove(id)) else { return };
        self.recall_ask(at, id, &ask);
        self.try_ready(at);
    }

    /// Tells the caller that it need not answer.
    fn recall_ask(&mut self, at: InstanceRef, id: &RawId, ask: &Ask) {
        let (key, ours) = match ask.with {
            None => return,
            Some(With::Retry(call)) => return self.forget_question(call, at, id),
            Some(With::Caller(caller, ours)) => (caller, ours),
        };
        let Some(caller) = self.callers.get_mut(key) else { return };
        if caller.asks.remove(&ours).is_some() {
            caller.notify("notifications/cancelled", &format!(r#"{{"requestId":{}}}"#, ours.0));
        }
    }

    /// Gives up asks that were held or left unanswered for too long; when the next may be.
    pub(crate) fn sweep_asks(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let timeout = self.server(at.server).config.timeout;
        // What a modern caller is to come back for has the deadline of the call that is held.
        let patience = |ask: &Ask| match ask.with {
            None => Some(timeout.hold),
            Some(With::Caller(..)) => Some(timeout.ask),
            Some(With::Retry(_)) => None,
        };
        let due = |ask: &Ask| patience(ask).map(|patience| ask.since + patience);
        let over = |ask: &Ask| due(ask).is_some_and(|due| due <= now);
        let held_for_too_long = |ask: &Ask| ask.with.is_none() && over(ask);
        if self.instance(at)?.asks.values().any(held_for_too_long) {
            // What was given up may be forgotten by now.
            self.reconsider_asks(at);
        }
        let instance = self.instance(at)?;
        let over: Vec<(RawId, bool, String)> = instance
            .asks
            .iter()
            .filter(|(_, ask)| over(ask))
            .map(|(id, ask)| (id.clone(), ask.with.is_some(), ask.message.method().into_owned()))
            .collect();
        let next = instance.asks.values().filter_map(due).filter(|due| *due > now).min();
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
        self.instance(at).is_some_and(|instance| {
            instance.asks.values().any(|ask| matches!(ask.with, Some(With::Caller(with, _)) if with == caller))
        })
    }

    fn owner_by_task(&self, at: InstanceRef, message: &Message) -> Option<CallerKey> {
        let task = unquote(member(message.raw(Field::MetaRelatedTask)?, "taskId")?)?.into_owned();
        self.server(at.server).owned.tasks.get(at.key, &task).map(|task| task.caller)
    }
}
