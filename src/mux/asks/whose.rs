//! Called when something may show whose a held question is: a call ended, a caller told its roots, time went by. A
//! legacy server names no call in its question, and mcpool does not guess (decision 2).

use std::time::Duration;

use tokio::time::Instant;

use crate::caller::Caller;
use crate::clock;
use crate::era::bridge::ask as words;
use crate::era::may_ask_in;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef};
use crate::mux::Mux;
use crate::mux::bridge::Bridge;
use crate::mux::call::Place;
use crate::pool::asks::{Ask, AskedOf};
use crate::pool::instance::Instance;
use crate::pool::pending::{Entry, InFlightOf};
use crate::wire::id::RawId;
use crate::wire::message::{Message, member, unquote};
use crate::wire::scan::Field;

/// The shortest time that tells two moments apart.
const MOMENT: Duration = Duration::from_nanos(1);
/// How long a question waits that may be for several calls of one modern caller, before it is put in the oldest: most
/// calls are over by then, and what remains is the one that asks.
pub(super) const TOGETHER: Duration = Duration::from_millis(100);

/// What a server is told that asks what its client never said it could answer.
pub(super) const UNDECLARED: &str =
    r#""error":{"code":-32601,"message":"this client did not declare that it can answer that"}"#;

/// Returns whether the client of instances with this profile declared that it answers asks of this kind; whether it takes
/// one in this form it says itself. A modern server puts its questions in its answers, and asks nothing otherwise.
pub(super) fn is_declared(profile: &Profile, ask: &Message) -> bool {
    match profile {
        Profile::Legacy(legacy) => words::takes(&legacy.capabilities, &ask.method()),
        Profile::Modern => false,
    }
}

/// Who is to answer an ask.
enum Whose {
    /// A legacy caller.
    Caller(CallerKey),
    /// A modern caller, in the middle of this call.
    Call(CallKey, CallerKey),
    /// This modern caller, in the middle of one of several calls.
    Calls(CallerKey),
    /// One of several callers; that may become clear.
    Unclear,
    Nobody,
}

impl Mux {
    /// Delivers every held ask whose owner is known by now. Refuses an ask that was put in a call that is over, unless
    /// another call of its caller can have caused it.
    pub(crate) fn reconsider_asks(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance(at) else { return };
        let forsaken = |ask: &Ask| {
            let Some(AskedOf::Retry(call)) = ask.with() else { return false };
            let call = self.calls.get(call);
            call.is_none_or(|call| call.place == Place::Held && !instance.pending.has(call.caller))
        };
        let forsaken = instance.asks.iter().filter(|(_, ask)| forsaken(ask));
        let forsaken: Vec<RawId> = forsaken.map(|(id, _)| id.clone()).collect();
        forsaken.iter().for_each(|id| self.refuse_ask(at, id, "the call was answered already"));
        let Some(instance) = self.instance(at) else { return };
        let held = instance.asks.held();
        let held: Vec<(RawId, Message, Instant)> =
            held.map(|(id, ask)| (id.clone(), ask.message.clone(), ask.since)).collect();
        for (id, message, since) in held {
            // What was given up when it was asked may be what it is about, however long ago that is by now.
            let Some(owner) = self.instance(at).map(|instance| instance.owner(since)) else { return };
            let owner = self.owner_by_task(at, &message).map_or(owner, InFlightOf::One);
            let roots = message.method() == "roots/list";
            let (now, believed) = (clock::now(), self.config.limits.roots_for);
            let fresh = |caller: &Caller| roots && caller.fresh_roots(now, believed).is_some();
            let known = |caller| self.callers.get(caller).is_some_and(fresh);
            let silent = |caller| self.callers.get(caller).is_some_and(|caller| caller.silent);
            match self.whose(at, owner) {
                Whose::Call(_, caller) | Whose::Calls(caller) if known(caller) => self.tell_roots(at, &id, caller),
                Whose::Call(call, _) => self.ask_call(at, &id, call, &message),
                // Its calls have the same roots.
                Whose::Calls(caller) if roots || silent(caller) || now >= since + TOGETHER => {
                    if let Some(call) = self.oldest_call(at, caller, &message) {
                        self.ask_call(at, &id, call, &message);
                    }
                }
                Whose::Caller(caller) if roots => self.tell_roots(at, &id, caller),
                Whose::Caller(caller) => self.deliver_ask(at, &id, caller, &message),
                Whose::Calls(_) | Whose::Unclear => {}
                Whose::Nobody if roots => self.tell_no_roots(at, &id),
                Whose::Nobody => self.refuse_ask(at, &id, "no call is in flight that it could belong to"),
            }
        }
    }

    /// Delivers held asks that may be for this caller.
    pub(in crate::mux) fn reconsider_asks_of(&mut self, caller: CallerKey) {
        let holds = |instance: &&Instance| instance.holds_an_ask() && instance.pending.has(caller);
        let instances = self.servers.iter().flat_map(|server| server.pool.instances.values());
        let asking: Vec<InstanceRef> = instances.filter(holds).map(|instance| instance.at).collect();
        asking.into_iter().for_each(|at| self.reconsider_asks(at));
    }

    /// Returns whose an ask is. A legacy caller is asked directly, a modern one in the middle of a call.
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
        // What this caller gave up may be what the question is about.
        let given_up = instance.pending.given_up(clock::now() - MOMENT).count();
        match instance.pending.entries().filter(of_caller).find(modern) {
            Some(entry) if calls + given_up == 1 => Whose::Call(entry.call, caller),
            Some(_) => Whose::Calls(caller),
            None if calls > 0 => Whose::Caller(caller),
            None => match self.callers.get(caller).filter(|caller| self.tells_roots(caller, &instance.profile)) {
                Some(_) => Whose::Caller(caller),
                None => Whose::Nobody,
            },
        }
    }

    /// Returns the call in which a modern caller is asked if several may be meant: the oldest that may ask this and
    /// whose answer the caller waits for. The answer goes to the right question in any case.
    fn oldest_call(&self, at: InstanceRef, caller: CallerKey, message: &Message) -> Option<CallKey> {
        let (method, params) = (message.method(), message.raw(Field::Params));
        let entries = self.instance(at)?.pending.entries().filter(|entry| entry.caller == Some(caller));
        let fit = |entry: Entry| {
            let call = self.calls.get(entry.call)?;
            let (Some(Bridge::Modern(modern)), Place::On(_, id)) = (&call.bridge, &call.place) else { return None };
            let takes = may_ask_in(&call.request.method()) && words::declared(&modern.capabilities, &method, params);
            Some(((!takes, call.is_held(), *id), entry.call))
        };
        entries.filter_map(fit).min().map(|(_, call)| call)
    }

    /// Gives up asks that nobody answers, and those that will never become clear. Returns when the next may be given
    /// up.
    pub(crate) fn sweep_asks(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let timeout = self.server(at.server).config.timeout;
        if self.instance(at)?.asks.is_empty() {
            return None;
        }
        // What was given up may be forgotten by now, and several calls of one caller are asked in the oldest in the end.
        self.reconsider_asks(at);
        let asks = &self.instance(at)?.asks;
        // What a modern caller is to come back for has the deadline of the call that is held.
        let due = |ask: &Ask| matches!(ask.with(), Some(AskedOf::Caller(..))).then_some(ask.since + timeout.ask);
        let over = asks.iter().filter(|(_, ask)| due(ask).is_some_and(|due| due <= now));
        let over: Vec<(RawId, String)> =
            over.map(|(id, ask)| (id.clone(), ask.message.method().into_owned())).collect();
        for (id, what) in over {
            self.refuse_ask(at, &id, &Error::AskTimeout { what }.to_string());
        }
        let hopeless = |instance: &Instance| {
            let found = instance.asks.hopeless(instance.pending.callers(), timeout.hold);
            found.map(|(id, due)| (id.clone(), due))
        };
        if let Some((id, _)) = hopeless(self.instance(at)?).filter(|(_, due)| *due <= now) {
            self.refuse_ask(at, &id, "several calls are in flight that it could belong to, and none of them goes on");
            if let Some(instance) = self.instance_mut(at) {
                // With that answer one of them may.
                instance.asks.moves(now);
            }
        }
        let instance = self.instance(at)?;
        let together = instance.asks.held().map(|(_, ask)| ask.since + TOGETHER).filter(|due| *due > now).min();
        let answered = instance.asks.iter().filter_map(|(_, ask)| due(ask)).min();
        let hopeless = hopeless(instance).map(|(_, due)| due);
        [together, answered, hopeless].into_iter().flatten().min()
    }

    fn owner_by_task(&self, at: InstanceRef, message: &Message) -> Option<CallerKey> {
        let task = unquote(member(message.raw(Field::MetaRelatedTask)?, "taskId")?)?.into_owned();
        self.server(at.server).owned.tasks.get(at.key, &task).map(|task| task.caller)
    }
}
