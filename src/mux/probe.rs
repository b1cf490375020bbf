//! Called by the sweep: whether an idle instance still answers. A busy one proves itself by answering. Servers exist
//! that ignore `ping`, so what does not answer one is asked for a list before anything is held against it.

use tokio::time::Instant;

use super::Mux;
use super::errand::{Errand, Outcome};
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::key::{CallerKey, InstanceRef};
use crate::metrics::Probe;
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
    /// The method and the parameters.
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
    /// Probes an instance that has been silent and without work for long enough; when to look again.
    pub(super) fn sweep_probe(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let every = self.server(at.server).config.probe.every?;
        let instance = self.instance(at).filter(|instance| instance.state == State::Ready)?;
        if !instance.pending.rests() || instance.pending.is_probed() {
            return None;
        }
        let due = instance.idle_since.max(instance.probed_at) + every;
        if due > now {
            return Some(due);
        }
        let question = if instance.ignores_ping { Question::List } else { Question::Ping };
        self.probe(at, question);
        None
    }

    fn probe(&mut self, at: InstanceRef, question: Question) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.probed_at = clock::now();
        let (profile, (method, params)) = (instance.profile.clone(), question.request(instance));
        let errand = Errand::Probe(at.key, question);
        self.send_errand(at.server, CallerKey::default(), profile, Some(at.key), (method, &params), errand);
    }

    /// A probe was answered, or not.
    pub(super) fn probed(&mut self, at: InstanceRef, question: Question, outcome: &Outcome<'_>) {
        let failures = self.server(at.server).config.probe.failures;
        let Some(instance) = self.instance_mut(at).filter(|instance| instance.state == State::Ready) else { return };
        if let Outcome::Answer(_) = outcome {
            // Any answer is a sign of life, an error too.
            let confirmed = question == Question::List && !instance.ignores_ping;
            instance.ignores_ping |= confirmed;
            self.server(at.server).pool.metrics.probed(if confirmed { Probe::Confirmed } else { Probe::Answered });
            return self.look_again(at);
        }
        if !instance.pending.rests() || instance.idle_since > instance.probed_at {
            // It has work, or had some meanwhile, and may have been too busy for anything else.
            return self.look_again(at);
        }
        if question == Question::Ping {
            return self.probe(at, Question::List);
        }
        instance.missed += 1;
        let missed = instance.missed;
        let serial = instance.serial;
        self.server(at.server).pool.metrics.probed(Probe::Missed);
        let name = &self.server(at.server).config.name;
        tracing::info!(server = name, instance = serial, missed, "answers neither a ping nor a list");
        if missed >= failures {
            self.unresponsive(at);
            return self.ailed(at.server, None, "it does not answer probes");
        }
        self.look_again(at);
    }

    fn look_again(&self, at: InstanceRef) {
        let every = self.server(at.server).config.probe.every;
        if let (Some(every), Some(instance)) = (every, self.instance(at)) {
            self.alarm.at(instance.idle_since.max(instance.probed_at) + every);
        }
    }

    /// A call ran out of time: too many in a row, and the instance is not used any more.
    pub(super) fn ran_out_of_time(&mut self, at: InstanceRef) {
        let failures = self.server(at.server).config.probe.failures;
        let Some(instance) = self.instance_mut(at) else { return };
        instance.missed += 1;
        if instance.missed >= failures && instance.state == State::Ready {
            self.unresponsive(at);
        }
    }

    /// An instance does not answer any more: nothing new goes there, and another takes its place.
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
