//! Called by `mux` when an instance is to end: it is drained, stopped and buried. Also how a drained one goes on after
//! all.

use tokio::time::Instant;

use super::instance::State;
use super::reason::StopReason;
use super::{GIVE_WAY, Pool};
use crate::clock;
use crate::key::InstanceKey;

impl Pool {
    /// Lets an instance finish its calls and tasks, and then stops it.
    pub fn drain(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.pending.callers() == 0 && !instance.is_irreplaceable() {
            self.stop(key, why);
        } else {
            self.mark_draining(key, why);
        }
    }

    /// Lets an instance take nothing new.
    pub fn mark_draining(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if !matches!(instance.state, State::Draining | State::Stopping) {
            tracing::info!(server = self.config.name, instance = instance.serial, why = why.text(), "draining");
            instance.state = State::Draining;
            instance.leaves = Some(why);
            instance.drained_since = Some(clock::now());
        } else if instance.state == State::Draining && instance.leaves == Some(StopReason::Unresponsive) {
            // It is not taken back then, whatever it says.
            instance.leaves = Some(why);
        }
    }

    /// Lets an instance take calls again that had been passed over because it said nothing. It has answered.
    pub fn go_on(&mut self, key: InstanceKey) {
        let instance = self.instances.get_mut(key).filter(|instance| instance.state == State::Draining);
        if let Some(instance) = instance.filter(|instance| instance.leaves == Some(StopReason::Unresponsive)) {
            tracing::info!(server = self.config.name, instance = instance.serial, "goes on: it has answered");
            (instance.state, instance.leaves, instance.drained_since) = (State::Ready, None, None);
        }
    }

    /// Lets an instance take calls again that was to end to make room for others. It does if its own calls take long
    /// and calls wait meanwhile that no other instance serves. Returns when to look again.
    pub fn take_back(&mut self, key: InstanceKey, now: Instant) -> Option<Instant> {
        let instance = self.instances.get(key).filter(|instance| instance.state == State::Draining)?;
        let since = instance.drained_since.filter(|_| instance.leaves.is_some_and(StopReason::is_for_others))?;
        // Whoever waits for it is not to run out of time.
        let patience = self.config.queue.timeout / 2;
        if now < since + patience {
            return Some(since + patience);
        }
        if self.has_alive(&instance.told()) || !self.queue.is_wanted(&instance.told()) {
            return Some(now + GIVE_WAY);
        }
        tracing::info!(server = self.config.name, instance = instance.serial, "goes on: what it does takes long");
        let instance = &mut self.instances[key];
        (instance.state, instance.leaves, instance.drained_since) = (State::Ready, None, None);
        (instance.stays_until, instance.worn_since) = (Some(now + patience), None);
        None
    }

    /// Stops an instance that was drained and has finished what it had.
    pub fn stop_drained(&mut self, key: InstanceKey) {
        if let Some(why) = self.instances.get(key).and_then(|instance| instance.leaves) {
            self.stop(key, why);
        }
    }

    /// Stops an instance by closing its stdin; the rest follows from that.
    pub fn stop(&mut self, key: InstanceKey, why: StopReason) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if instance.state != State::Stopping {
            tracing::info!(server = self.config.name, instance = instance.serial, why = why.text(), "stopping");
            self.metrics.stopped(why.word());
            instance.state = State::Stopping;
            instance.leaves = Some(why);
            instance.outbox.close();
        }
    }

    /// Forgets an instance whose process is gone.
    pub fn buried(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.remove(key) else { return };
        self.starter.metrics.sharing.ended();
        tracing::info!(
            server = self.config.name,
            instance = instance.serial,
            why = instance.leaves.map(StopReason::text),
            calls = instance.served,
            age = %clock::rounded(instance.born.elapsed()),
            "stopped"
        );
    }
}
