//! Called by `mux::heard` when a legacy server asks its client something, and by `mux::request` when a caller answers:
//! to whom each question belongs, and the answer's way back. A legacy question names no call. mcpool holds it until its
//! owner is certain, and refuses it if that never happens; it does not guess.

pub mod roots;
mod roots_in_calls;
mod whose;

use super::call::Place;
use super::{Mux, readable};
use crate::caller::{Asked, SILENT, UNREAD};
use crate::clock;
use crate::era::bridge::ask as words;
use crate::era::profile::canonical;
use crate::guard::principal::Principal;
use crate::key::{CallerKey, InstanceRef};
use crate::pool::asks::{Ask, AskedOf};
use crate::wire::id::{AskId, LONGEST, RawId, digits};
use crate::wire::message::{Message, member, unquote};
use crate::wire::scan::Field;

use whose::{TOGETHER, UNDECLARED, is_declared};

impl Mux {
    /// A server asks for a sample or an elicitation.
    pub(crate) fn asked(&mut self, at: InstanceRef, ask: &Message) {
        // It works, and a person's answer is not to be waited for. Otherwise that says nothing: it may die of each.
        let tries: Vec<Principal> = {
            let calls = self.instance(at).into_iter().flat_map(|instance| instance.pending.entries());
            let calls = calls.filter_map(|entry| self.calls.get(entry.call)).filter(|call| call.trials.decide());
            calls.map(|call| call.met_by(&self.callers)).collect()
        };
        tries.into_iter().for_each(|who| self.works(at.server, who));
        let server = self.server_mut(at.server);
        if server.catalogue.known.seen.asked() {
            server.catalogue.save();
        }
        if let Some(instance) = self.instance(at).filter(|instance| !is_declared(&instance.profile, ask)) {
            // All who may be on the instance declared the same, so nothing has to become clear first.
            instance.reply(ask, UNDECLARED);
            return self.drop_from(at, "ask_refused", "the client did not declare that it can answer");
        }
        self.keep_ask(at, ask);
        self.reconsider_asks(at);
    }

    /// Notes an ask. `reconsider_asks` finds its owner.
    pub(crate) fn keep_ask(&mut self, at: InstanceRef, ask: &Message) {
        let Some(id) = ask.id(Field::Id) else { return };
        let timeout = &self.server(at.server).config.timeout;
        let now = clock::now();
        self.alarm.at(now + timeout.hold);
        self.alarm.at(now + timeout.ask);
        self.alarm.at(now + TOGETHER);
        let most = self.config.limits.asks;
        let Some(instance) = self.instance_mut(at) else { return };
        if id.as_str().len() > LONGEST {
            let error =
                r#""error":{"code":-32600,"message":"the `id` has more than 1024 bytes: choose a shorter one"}"#;
            return instance.reply(ask, error);
        }
        if instance.asks.len() >= most {
            let error = r#""error":{"code":-32603,"message":"mcpool holds too many requests of this server"}"#;
            instance.reply(ask, error);
            return self.drop_from(at, "ask_refused", "too many at once");
        }
        if instance.asks.get(&id).is_some() {
            return self.drop_from(at, "duplicate_ask", ask.raw(Field::Id).unwrap_or_default());
        }
        instance.asks.hold(id, ask.clone(), now);
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
        if let Some(instance) = self.instance_mut(at) {
            instance.asks.put_to(id, AskedOf::Caller(key, ours));
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
                if instance.asks.take(&id).is_none() {
                    return;
                }
                let mut splice = answer.splice();
                splice.put_if(answer.span(Field::Id), id.as_str());
                instance.pass_answer(&splice, &id);
                self.ask_over(at, key);
            }
        }
    }

    /// Returns whether a caller was asked something under this id, and has not answered yet.
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

    /// A modern caller came back with the answer to an ask. Returns whether it tells its roots.
    pub(crate) fn answer_ask(&mut self, at: InstanceRef, id: &RawId, caller: CallerKey, result: &str) -> bool {
        let Some(instance) = self.instance_mut(at) else { return false };
        let Some(ask) = instance.asks.take(id) else { return false };
        let body = format!(r#""result":{result}"#);
        instance.reply(&ask.message, &body);
        let roots = ask.message.method() == "roots/list";
        if roots {
            instance.roots = Some(format!(r#""result":{}"#, canonical(result)).into());
            instance.told_roots();
        }
        self.ask_over(at, caller);
        roots
    }

    /// Notes that an ask is over. The handshake may go on, and so may what was held back for the ask.
    pub(crate) fn ask_over(&mut self, at: InstanceRef, caller: CallerKey) {
        self.restart_clock(at, caller);
        self.try_ready(at);
        self.todo.serve(at.server);
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

    /// Answers an ask with an error, because nobody will answer it.
    pub(crate) fn refuse_ask(&mut self, at: InstanceRef, id: &RawId, why: &str) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.take(id)) else { return };
        self.recall_ask(at, id, &ask);
        self.drop_from(at, "ask_refused", why);
        let method = ask.message.method();
        let error = serde_json::json!({ "code": -32603, "message": format!("mcpool refused `{method}`: {why}") });
        if let Some(instance) = self.instance(at) {
            instance.reply(&ask.message, &format!(r#""error":{error}"#));
        }
        match ask.with() {
            Some(AskedOf::Caller(caller, _)) => self.restart_clock(at, caller),
            Some(AskedOf::Retry(call)) => {
                let caller = self.calls.get(call).map(|call| call.caller);
                caller.into_iter().for_each(|caller| self.restart_clock(at, caller));
            }
            None => {}
        }
        self.try_ready(at);
        self.todo.serve(at.server);
    }

    /// An ask is not wanted any more: its server is gone or has cancelled it.
    pub(crate) fn withdraw_ask(&mut self, at: InstanceRef, id: &RawId) {
        let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.take(id)) else { return };
        self.recall_ask(at, id, &ask);
        self.try_ready(at);
    }

    /// Tells the caller that it need not answer.
    fn recall_ask(&mut self, at: InstanceRef, id: &RawId, ask: &Ask) {
        let (key, ours) = match ask.with() {
            None => return,
            Some(AskedOf::Retry(call)) => return self.forget_question(call, at, id),
            Some(AskedOf::Caller(caller, ours)) => (caller, ours),
        };
        let Some(caller) = self.callers.get_mut(key) else { return };
        if caller.asks.remove(&ours).is_some() {
            caller.notify("notifications/cancelled", &format!(r#"{{"requestId":{}}}"#, ours.0));
        }
    }

    /// Returns whether calls of `caller` on an instance wait for a person.
    pub(crate) fn is_asking(&self, at: InstanceRef, caller: CallerKey) -> bool {
        let asks_it = |ask: &Ask| match ask.with() {
            Some(AskedOf::Caller(with, _)) => with == caller,
            Some(AskedOf::Retry(call)) => self.calls.get(call).is_some_and(|call| call.caller == caller),
            None => false,
        };
        self.instance(at).is_some_and(|instance| instance.asks.iter().any(|(_, ask)| asks_it(ask)))
    }
}
