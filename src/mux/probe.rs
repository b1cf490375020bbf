//! Called by the sweep: asks an instance that says nothing, idle or busy, whether it still answers. Any word of a busy
//! one counts. Some servers ignore `ping`, so an instance that does not answer it is asked for a list before anything
//! is held against it.

use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::errand::{Errand, Order, Outcome};
use crate::caller::met;
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::guard::breaker::Ailment;
use crate::key::{CallerKey, InstanceRef};
use crate::metrics::Probe;
use crate::pool::health::Overdue;
use crate::pool::instance::{Instance, State};
use crate::pool::reason::StopReason;
use crate::wire::message::member;

/// What an instance is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `ping`, or `server/discover` in the modern era.
    Ping,
    /// A list that it offers.
    List,
}

impl Question {
    /// Returns what an instance is asked first.
    fn first(instance: &Instance) -> Question {
        if instance.health.ignores_ping() { Question::List } else { Question::Ping }
    }

    /// Returns the method and the parameters.
    fn request(self, instance: &Instance) -> (&'static str, String) {
        let modern = instance.profile == Profile::Modern;
        let params = if modern { format!(r#"{{"_meta":{}}}"#, modern::meta("{}")) } else { "{}".to_owned() };
        let capabilities = instance.introduction.as_deref().and_then(|said| member(said, "capabilities"));
        let offered = |kind: &ListKind| {
            let name = if *kind == ListKind::Templates { "resources" } else { kind.member() };
            capabilities.is_some_and(|capabilities| member(capabilities, name).is_some())
        };
        let list = [ListKind::Tools, ListKind::Prompts, ListKind::Resources].into_iter().find(offered);
        match (self, list) {
            (Question::List, Some(list)) => (list.method(), params),
            _ if modern => ("server/discover", params),
            _ => ("ping", params),
        }
    }
}

impl Mux {
    /// Probes an instance that has said nothing for long enough, whether it had work or not. Returns when to look
    /// again.
    pub(super) fn sweep_probe(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let every = self.server(at.server).config.probe.every?;
        let instance = self.instance_mut(at).filter(|instance| instance.state == State::Ready)?;
        if instance.pending.is_probed() {
            return None;
        }
        if !instance.asks.is_empty() {
            // It waits for somebody else's word.
            instance.health.spoke();
        }
        let due = due(instance, every, now);
        if due > now {
            return Some(due);
        }
        let question = Question::first(instance);
        self.probe(at, question);
        None
    }

    fn probe(&mut self, at: InstanceRef, question: Question) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.health.asked(clock::now());
        let (profile, (method, params)) = (instance.profile.clone(), question.request(instance));
        let order = Order::to(at, CallerKey::default(), profile, (method, params.as_ref()));
        let probe = self.errand(order, Errand::Probe(at.key, question));
        // At once, so that the next call that runs out of time in this turn sees it.
        probe.into_iter().for_each(|probe| self.transmit(probe, at.key));
    }

    /// Handles the answer to a probe, or that there is none.
    pub(super) fn probed(&mut self, at: InstanceRef, question: Question, outcome: &Outcome<'_>) {
        let config = self.server(at.server).config.clone();
        let now = clock::now();
        let Some(instance) = self.instance_mut(at).filter(|instance| instance.state == State::Ready) else { return };
        if let Outcome::Answer(_) = outcome {
            // Any answer is a sign of life, an error too.
            let confirmed = question == Question::List && instance.health.answered_list();
            self.server(at.server).pool.metrics.probed(if confirmed { Probe::Confirmed } else { Probe::Answered });
            return self.look_again(at);
        }
        let works = !instance.pending.rests() || instance.idle_since > instance.health.asked_at();
        // A call that ran out of time has waited for long enough as well.
        let long = config.probe.every.unwrap_or(config.timeout.call).min(config.timeout.call);
        if works && !instance.health.is_silent_for(long, now) {
            // It has said something meanwhile, or is busy for a short time only.
            return self.look_again(at);
        }
        if question == Question::Ping {
            return self.probe(at, Question::List);
        }
        let missed = instance.health.missed_one();
        let serial = instance.serial;
        self.server(at.server).pool.metrics.probed(Probe::Missed);
        tracing::info!(server = config.name, instance = serial, missed, "answers neither a ping nor a list");
        if missed >= config.probe.failures {
            // What it is busy with may be the cause.
            let met = met::in_flight_on(self.instance(at), &self.callers);
            self.unresponsive(at);
            return self.ailed(at.server, Ailment::of(&met, "it does not answer probes"));
        }
        self.look_again(at);
    }

    fn look_again(&mut self, at: InstanceRef) {
        let every = self.server(at.server).config.probe.every;
        let now = clock::now();
        if let (Some(every), Some(instance)) = (every, self.instance_mut(at)) {
            let due = due(instance, every, now);
            self.alarm.at(due);
        }
    }

    /// Handles a caller's call that ran out of time: the instance is probed. If it answers the calls of none of its
    /// callers, it is not used any more. What only one caller meets may be that caller's doing.
    pub(super) fn ran_out_of_time(&mut self, at: InstanceRef, caller: CallerKey) {
        let failures = self.server(at.server).config.probe.failures;
        let who = self.principal(caller);
        let Some(instance) = self.instance_mut(at).filter(|instance| instance.state == State::Ready) else { return };
        let question = Some(Question::first(instance)).filter(|_| !instance.pending.is_probed());
        // Those who use it are looked through once for so many, not each time.
        let gone = match instance.health.ran_out_of_time(who, failures) {
            Overdue::Few => false,
            Overdue::OfOne => !met::is_used_by_others(at, who, &self.callers),
            Overdue::OfSeveral => true,
        };
        if gone {
            return self.unresponsive(at);
        }
        question.into_iter().for_each(|question| self.probe(at, question));
    }

    /// Passes over an instance that does not answer any more: it gets nothing new, and another takes its place. It may
    /// finish its calls, and if it answers after all, it takes calls again.
    fn unresponsive(&mut self, at: InstanceRef) {
        self.note_mishap(at, "unresponsive", "it left calls or probes unanswered");
        self.drain(at, StopReason::Unresponsive);
        let pool = &self.server(at.server).pool;
        if !pool.queue.is_empty() || pool.living() < pool.config.instances.min {
            self.todo.serve(at.server);
        }
        self.todo.keep_min(at.server);
    }
}

/// Returns when an instance is to be asked whether it answers.
fn due(instance: &mut Instance, every: Duration, now: Instant) -> Instant {
    let idle = instance.pending.rests().then_some(instance.idle_since);
    instance.health.due(idle, every, now)
}
