//! What a model client may rely on: when an answer must be there, and that a sound server answers.

use std::time::Duration;

use mcpool::config::Server;
use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;

use super::refused::{is_too_much, reason};
use super::{Caller, Hope, Request, What};
use crate::simulation::truth::Truth;

/// How long mcpool waits for the roots of a caller.
const ROOTS: Duration = Duration::from_secs(10);
/// How long it waits for a server to settle, and what it may need to see that time is over.
const SLACK: Duration = Duration::from_secs(2);

impl Caller {
    /// The connection was closed because the daemon ends: everything was answered before that.
    pub(super) fn check_end(&self, end: Duration) {
        let left = |request: &&Request| request.waits() && request.since + self.world.reads_late() < end;
        if let Some(request) = self.pending.borrow().values().find(left) {
            self.world.fault(format!("{} was left without an answer since {:?}", self.name(), request.since));
        }
    }

    /// An answer must be there in time, whatever went wrong.
    pub(super) fn check_time(&self, request: &Request, line: &str) {
        let took = self.world.now().saturating_sub(request.since);
        if request.what != What::Listen && request.cancelled.is_none() && took > self.bound(request) {
            self.world.fault(format!("{} waited {took:?} and not {:?} for {line}", self.name(), self.bound(request)));
        }
    }

    /// The longest that a request may take.
    fn bound(&self, request: &Request) -> Duration {
        let config = |server: usize| self.world.server(server);
        if let What::Call(cause) = &request.what {
            let (server, rounds) = self.world.truth(cause, |truth| (truth.server, truth.rounds)).unwrap_or_default();
            let (place, work, ask) = (placing(&config(server)), config(server).timeout.max, config(server).timeout.ask);
            return SLACK + (place + work) * (rounds + 1) + ask * rounds;
        }
        let of = |server: &usize| placing(&config(*server)) + config(*server).timeout.max;
        SLACK + self.servers.iter().map(of).max().unwrap_or_default()
    }

    /// A call was answered: whether it was let through to its server, and when.
    pub(super) fn note_admitted(&self, request: &Request, cause: &str) {
        // What waited first was charged nobody knows when.
        let at_once = |truth: &mut Truth| (truth.server, truth.arrived.is_some() && truth.reached == request.since);
        let seen = self.world.truth(cause, at_once);
        if let Some((server, true)) = seen.filter(|_| request.hope == Hope::Fresh) {
            self.world.note_admitted(server, self.no, request.since);
        }
    }

    /// A sound server with room for everybody answers every call, however its neighbours fare.
    pub(super) fn check_service(&self, request: &Request, cause: &str, answer: &Message, line: &str) {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let (server, oversized) = self
            .world
            .truth(cause, |truth| {
                let heard = |at: &Duration| truth.arrived.is_some_and(|copy| self.world.hears(copy, *at));
                (truth.server, truth.oversized.filter(heard))
            })
            .unwrap_or_default();
        let code = member(error, "code").unwrap_or_default();
        if oversized.is_some_and(|since| since < self.world.now()) && request.batch.is_none() && code != "413" {
            self.world.fault(format!("{} was not told that an answer was too long: {line}", self.name()));
        }
        let excused = self.gone.get()
            || self.world.draining().is_some()
            || request.cancelled.is_some()
            || request.hope != Hope::Fresh;
        // On a common endpoint it may not be known yet who has it.
        let unknown = code == "-32601" || is_too_much(answer) || self.prefix && matches!(code, "-32602" | "-32002");
        let removed = reason(answer) == "\"draining\"" && self.world.removed.borrow().contains_key(&server);
        if self.world.servers[server].is_sound() && !excused && !unknown && !removed {
            self.world.fault(format!("{} was refused {cause} by a sound server: {line}", self.name()));
        }
    }
}

/// The longest until a call is with an instance: roots, the queue, and starts in one era and the other.
fn placing(server: &Server) -> Duration {
    ROOTS + server.queue.timeout + (server.timeout.start + server.timeout.discover + SLACK) * 2
}
