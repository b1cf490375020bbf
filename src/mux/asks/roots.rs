//! Called by `mux::heard` when a legacy server asks for roots, and by `mux::flight` before a call that needs them: the
//! roots of callers. A server decides by them what its client may touch. So an instance is told one caller's roots, and
//! serves only callers with the same ones.

use tokio::time::Instant;

use crate::caller::roots::{NO_ROOTS, PATIENCE, Roots};
use crate::caller::{Asked, Caller, SILENT};
use crate::clock;
use crate::config;
use crate::era::profile::{Profile, canonical};
use crate::key::{CallKey, CallerKey, InstanceRef};
use crate::mux::Mux;
use crate::mux::call::Place;
use crate::pool::handshake::Stage;
use crate::pool::lease::Lease;
use crate::wire::id::RawId;
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// Returns the error for an instance that asks for the roots of a caller whose input has ended.
fn unanswered() -> String {
    format!(r#""error":{}"#, serde_json::json!({ "code": -32603, "message": SILENT }))
}

impl Mux {
    /// Returns whether a caller can be asked for its roots at any time: it opened with `initialize`, as the profile
    /// says.
    pub(crate) fn tells_roots(&self, caller: &Caller, profile: &Profile) -> bool {
        caller.session.as_ref().is_some_and(|session| session.profile == *profile)
    }

    /// Answers a held ask if nobody can be asked.
    pub(crate) fn tell_no_roots(&mut self, at: InstanceRef, id: &RawId) {
        let Some(instance) = self.instance_mut(at) else { return };
        if let Some(ask) = instance.asks.take(id) {
            instance.reply(&ask.message, NO_ROOTS);
            instance.roots = Some(NO_ROOTS.into());
            instance.told_roots();
        }
        self.try_ready(at);
        self.todo.serve(at.server);
    }

    /// A server asks for roots.
    pub(crate) fn asked_for_roots(&mut self, at: InstanceRef, ask: &Message) {
        if let Some(instance) = self.instance(at).filter(|instance| !instance.profile.has_roots()) {
            return instance.reply(ask, r#""error":{"code":-32601,"message":"this client has no roots"}"#);
        }
        if self.server_mut(at.server).catalogue.note_roots_asked() {
            // What waits was placed without looking at roots.
            let waiting: Vec<CallKey> = self
                .server_mut(at.server)
                .pool
                .queue
                .remove_needing(|told| told.profile.has_roots())
                .into_iter()
                .map(|ticket| ticket.call)
                .collect();
            self.answer_roots(at, ask);
            waiting.into_iter().for_each(|call| self.todo.place(call));
            return;
        }
        self.answer_roots(at, ask);
    }

    fn answer_roots(&mut self, at: InstanceRef, ask: &Message) {
        let Some(instance) = self.instance_mut(at) else { return };
        if let Some(roots) = instance.roots.clone() {
            instance.reply(ask, &roots);
            return instance.told_roots();
        }
        self.keep_ask(at, ask);
        self.reconsider_asks(at);
    }

    /// Answers a held ask with the roots of its owner. The instance belongs to these roots from then on.
    pub(crate) fn tell_roots(&mut self, at: InstanceRef, id: &RawId, key: CallerKey) {
        let Some(caller) = self.callers.get(key) else { return self.refuse_ask(at, id, "its caller is gone") };
        // An instance that was told of no roots serves nobody who has some.
        let lost = || caller.never_tells_roots().then(|| unanswered().into());
        let Some(roots) = caller.roots.known().or_else(lost) else { return self.fetch_roots(key) };
        let Some(instance) = self.instance_mut(at) else { return };
        if let Some(ask) = instance.asks.take(id) {
            instance.reply(&ask.message, &roots);
            instance.roots = Some(roots);
            instance.told_roots();
        }
        self.ask_over(at, key);
    }

    /// Asks a caller for its roots, as soon as that is allowed.
    pub(crate) fn fetch_roots(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        if caller.silent || !matches!(caller.roots, Roots::Unknown | Roots::Wanted) {
            return;
        }
        if !caller.session.as_ref().is_some_and(|session| session.initialized) {
            caller.roots = Roots::Wanted;
            return;
        }
        let ours = caller.next_ask();
        caller.asks.insert(ours, Asked::Roots);
        caller.outbox.line(format!(r#"{{"jsonrpc":"2.0","id":{},"method":"roots/list"}}"#, ours.0).as_bytes());
        let now = clock::now();
        caller.roots = Roots::Asked(now, false);
        self.alarm.at(now + PATIENCE);
    }

    /// Notes that a caller may be asked from now on.
    pub(crate) fn may_fetch_roots(&mut self, key: CallerKey) {
        if self.callers.get(key).is_some_and(|caller| matches!(caller.roots, Roots::Wanted)) {
            self.fetch_roots(key);
        }
    }

    /// Notes that a caller told its roots, or that it will not.
    pub(crate) fn roots_told(&mut self, key: CallerKey, answer: &Message) {
        let body = match (answer.raw(Field::Result), answer.raw(Field::Error)) {
            (Some(result), _) => format!(r#""result":{}"#, canonical(result)),
            (_, error) => format!(r#""error":{}"#, canonical(error.unwrap_or("{}"))),
        };
        self.settle_roots(key, &body);
    }

    pub(crate) fn settle_roots(&mut self, key: CallerKey, body: &str) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        if let Roots::Asked(_, true) = caller.roots {
            caller.roots = Roots::Unknown;
            return self.fetch_roots(key);
        }
        caller.roots = Roots::Known(body.into());
        self.roots_settled(key);
    }

    /// Goes on with what waits for a caller's roots, because they are known or will never be told.
    pub(in crate::mux) fn roots_settled(&mut self, key: CallerKey) {
        // Its lists may be others.
        self.hears_from_now(key);
        for server in self.server_ids() {
            let asking: Vec<InstanceRef> = self
                .server(server)
                .pool
                .instances
                .values()
                .filter(|instance| instance.holds_an_ask())
                .map(|instance| instance.at)
                .collect();
            asking.into_iter().for_each(|at| self.reconsider_asks(at));
        }
        let waiting: Vec<CallKey> = self
            .calls
            .iter()
            .filter(|(_, call)| call.caller == key && call.place == Place::Roots)
            .map(|(call, _)| call)
            .collect();
        for call in waiting {
            // A list may be known by now for callers of these roots.
            let is_list = self.calls.get(call).is_some_and(|call| call.is_callers()) && self.waits_for_its_answer(call);
            if is_list { self.todo.begin(call) } else { self.todo.place(call) }
        }
    }

    /// Notes that a caller's roots changed. Its next call goes to an instance that fits. An instance that is its own
    /// for the whole session is told, as any server would be.
    pub(crate) fn roots_changed(&mut self, key: CallerKey) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        if caller.access.roots != config::Roots::Client {
            return self.metrics.dropped("forbidden");
        }
        caller.roots = match caller.roots {
            Roots::Asked(since, _) => Roots::Asked(since, true),
            Roots::Known(_) | Roots::Unknown => Roots::Unknown,
            Roots::Wanted => Roots::Wanted,
        };
        let mut waiting = Vec::new();
        for server in &mut self.servers {
            for instance in server.pool.instances.values_mut() {
                if instance.bound == Some((key, Lease::Session)) && instance.profile.has_roots() {
                    instance.roots = None;
                    // Before that it has not asked yet.
                    if !matches!(instance.stage, Stage::Opening(_)) {
                        instance.notify("notifications/roots/list_changed", "{}");
                    }
                }
            }
            let queue = &mut server.pool.queue;
            waiting.extend(queue.remove_of(key, |ticket| ticket.need.profile().has_roots()));
        }
        // What waits was to go to an instance with the old roots.
        waiting.into_iter().for_each(|ticket| self.todo.place(ticket.call));
    }

    /// Gives up waiting for roots that do not come. Returns when the next may be given up.
    pub(crate) fn sweep_roots(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let mut over = Vec::new();
        for (key, caller) in &self.callers {
            if let Roots::Asked(since, _) = caller.roots {
                match since + PATIENCE {
                    due if due <= now => over.push(key),
                    due => next = Some(next.map_or(due, |next: Instant| next.min(due))),
                }
            }
        }
        for key in over {
            if let Some(caller) = self.callers.get_mut(key) {
                caller.asks.retain(|_, asked| *asked != Asked::Roots);
            }
            self.settle_roots(key, r#""error":{"code":-32603,"message":"the client did not tell its roots in time"}"#);
        }
        next
    }
}
