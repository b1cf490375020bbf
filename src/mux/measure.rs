//! Called by `admin::http` when Prometheus reads: counts what is there. The rest of `mux` calls it to note in a call's
//! account where the call is.

use super::Mux;
use super::call::{Call, Source};
use crate::clock;
use crate::guard::breaker;
use crate::key::{CallKey, ServerId};
use crate::metrics::{Account, Measured, MeasuredServer};
use crate::pool::instance::State;

impl Mux {
    /// Counts what is there: callers, instances, calls on their way.
    pub fn measure(&self) -> Measured {
        let crowd = self.crowd();
        let endpoints = self.config.endpoints.iter().map(|endpoint| &endpoint.name);
        Measured {
            callers: endpoints.map(|name| (name.clone(), crowd.of(name))).collect(),
            held: self.held.count(),
            buffered: self.metrics.bytes.to_callers.waiting(),
            kept: [self.shares.memory().used(), self.shares.memory().limit()],
            draining: self.is_draining(),
            servers: self.measure_servers(),
        }
    }

    /// Counts what there is of each server name. A server that was changed goes on beside its successor for a while,
    /// under the same name.
    fn measure_servers(&self) -> Vec<MeasuredServer> {
        let mut all: Vec<MeasuredServer> = Vec::new();
        for id in self.server_ids() {
            let new = self.measure_server(id);
            match all.iter_mut().find(|known| known.name == new.name) {
                Some(known) => known.add(&new),
                None => all.push(new),
            }
        }
        all
    }

    fn measure_server(&self, id: ServerId) -> MeasuredServer {
        let pool = &self.server(id).pool;
        let count = |state| pool.instances.values().filter(|instance| instance.state == state).count();
        MeasuredServer {
            name: pool.config.name.clone(),
            starting: count(State::Starting),
            ready: count(State::Ready),
            draining: count(State::Draining),
            stopping: count(State::Stopping),
            in_flight: pool.instances.values().map(|instance| instance.pending.len()).sum(),
            queue: pool.queue.len(),
            // Nobody calls one that is retired.
            breaker: match self.server(id).gate.breaker.state(clock::now()) {
                _ if self.in_stead_of(id) != Some(id) => 0,
                breaker::State::Closed => 0,
                breaker::State::HalfOpen => 1,
                breaker::State::Open => 2,
            },
            tools: [breaker::State::Open, breaker::State::HalfOpen].map(|state| {
                let gate = &self.server(id).gate;
                gate.sick_tools().filter(|(_, breaker)| breaker.worst(clock::now()) == state).count()
            }),
            clients: [breaker::State::Open, breaker::State::HalfOpen].map(|state| {
                let parties = self.server(id).gate.breaker.parties(clock::now());
                parties.filter(|(_, circuit)| circuit.state(clock::now()) == state).count()
            }),
            asks: pool.instances.values().map(|instance| instance.asks.len()).sum(),
            memory: pool.instances.values().map(|instance| instance.memory).sum(),
        }
    }

    /// Notes in the account of a caller's call that it needs an instance.
    pub(super) fn count_placed(&mut self, key: CallKey) {
        let Mux { calls, servers, .. } = self;
        let Some(call) = calls.get_mut(key) else { return };
        let metrics = &servers[call.server.0].pool.metrics;
        call.account().into_iter().for_each(|account| account.placed(metrics));
    }
}

impl Call {
    /// Returns the account of the call, if a caller waits for it.
    pub(super) fn account(&mut self) -> Option<&mut Account> {
        match &mut self.from {
            Source::Caller(reply, _) => Some(reply.account()),
            Source::Held { .. } | Source::Mcpool(_) => None,
        }
    }
}
