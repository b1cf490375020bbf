//! Called by the daemon when it is to end, in two steps: first nothing new is begun and what runs may come to its end,
//! then everything ends.

use super::Mux;
use super::backlog::Work;
use super::call::{Call, Place};
use crate::error::Error;
use crate::key::CallKey;
use crate::mux::request::Accepted;
use crate::pool::reason::StopReason;
use crate::wire::scan::Field;

impl Mux {
    /// Takes in no callers and begins no requests from now on. What was accepted goes on; `drained` tells when that is
    /// over.
    pub fn begin_drain(&mut self) {
        if self.is_draining() {
            return;
        }
        self.draining = Some(self.running());
        self.end_listens();
    }

    /// Returns whether nothing new is begun any more.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Returns how many calls of callers are on their way, or wait for their callers to come back.
    pub fn running(&self) -> usize {
        self.draining.unwrap_or_else(|| self.calls.values().filter(|call| runs(call)).count())
    }

    /// Returns whether anybody is connected.
    pub fn has_callers(&self) -> bool {
        !self.callers.is_empty()
    }

    /// Notes that a call begins. While mcpool drains, running calls are counted, so that the end of one does not cost a
    /// look at all.
    pub(super) fn note_begin(&mut self, call: &Call) {
        if let Some(running) = self.draining.as_mut().filter(|_| runs(call)) {
            *running += 1;
        }
    }

    /// A call has ended.
    pub(super) fn note_end(&mut self, call: &Call) {
        if let Some(running) = self.draining.as_mut().filter(|_| runs(call)) {
            *running = running.saturating_sub(1);
        }
    }

    /// Tells whoever waits for it that nothing runs any more.
    pub(super) fn note_drained(&self) {
        if self.draining == Some(0) {
            self.drained.notify_one();
        }
    }

    /// Returns whether a request goes on with a held call for which its caller comes back.
    pub(super) fn comes_for_a_held_call(&self, accepted: &Accepted) -> bool {
        let state = accepted.request.text(Field::RequestState);
        state.is_some_and(|state| self.held_behind(&state).is_some())
    }

    /// Ends everything: no new callers, waiting calls refused, instances stopped.
    pub fn shut_down(&mut self) {
        self.draining.get_or_insert(0);
        self.ending = true;
        let listening: Vec<CallKey> = self.listeners.keys().collect();
        let calls = self.calls.keys().filter(|call| !self.listeners.contains_key(*call)).collect();
        self.backlog.add(Work::EndStreams(listening.into()));
        self.backlog.add(Work::GiveUp(Error::Drained, calls));
        self.backlog.add(Work::Close);
    }

    /// Ends connections and processes.
    pub(super) fn close(&mut self) {
        self.callers.values().for_each(|caller| caller.outbox.close());
        for server in self.server_ids() {
            self.server(server).catalogue.write();
            self.server(server).catalogue.settle();
            let instances: Vec<_> = self.server(server).pool.instances.keys().collect();
            instances.into_iter().for_each(|key| self.server_mut(server).pool.stop(key, StopReason::Shutdown));
        }
        if self.servers.iter().all(|server| server.pool.instances.is_empty()) {
            self.quiet.notify_one();
        }
    }
}

/// Returns whether mcpool waits for a call when it ends.
fn runs(call: &Call) -> bool {
    call.is_held() || call.is_callers() && call.place != Place::Listening
}
