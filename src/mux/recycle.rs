//! Called by the sweep, and by the daemon when it has measured memory: stops and replaces instances that work, because
//! they are idle, old or large.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::status::crowd::saved;
use crate::clock;
use crate::key::{CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::pool::instance::{Instance, State};
use crate::pool::lease::Lease;
use crate::pool::need::{Need, Told};
use crate::pool::process::Tree;
use crate::pool::reason::{StartReason, StopReason};
use crate::pool::recycle::{self, Wear};

/// When an instance that is worn out but busy is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

impl Mux {
    /// Replaces an instance that is worn out, and stops one that was idle for long enough. Returns when to look again.
    pub(super) fn sweep_wear(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let config = self.server(at.server).config.recycle;
        let instance = self.instance(at).filter(|instance| instance.state == State::Ready)?;
        let wear = Wear {
            age: now - instance.born,
            calls: instance.served,
            memory: instance.memory,
            lifespan: instance.lifespan,
            kept: matches!(instance.bound, Some((_, Lease::Session))),
        };
        let old = config.age.map(|age| instance.born + age.mul_f64(instance.lifespan));
        if let Some(why) = recycle::worn(&wear, &config) {
            if self.is_irreplaceable(at) || self.is_better_kept_for_now(at, now) {
                return Some(now + AGAIN);
            }
            self.replace(at, why);
        }
        let idle = self.sweep_idle(at, now);
        [idle, old.filter(|old| *old > now)].into_iter().flatten().min()
    }

    /// Stops an instance that was idle for long enough, down to `instances.min`.
    fn sweep_idle(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let pool = &self.server(at.server).pool;
        let instance = pool.instances.get(at.key).filter(|instance| instance.state == State::Ready)?;
        let idles = instance.idle() || instance.rests() && !self.is_listened_to(at.server);
        let wanted = !idles
            || self.server(at.server).subscriptions.at(at.key) > 0
            || pool.living() <= pool.config.instances.min
            || self.is_irreplaceable(at);
        if wanted {
            return None;
        }
        let due = instance.idle_since + pool.config.recycle.idle;
        if due > now {
            return Some(due);
        }
        self.server_mut(at.server).pool.stop(at.key, StopReason::Idle);
        None
    }

    /// Returns whether no other instance could go on with what this one has begun.
    pub(super) fn is_irreplaceable(&self, at: InstanceRef) -> bool {
        self.instance(at).is_some_and(Instance::is_irreplaceable)
    }

    /// Returns whether a draining instance must stay for its tasks and for calls that come back to it. It stays for
    /// `timeout.max` at most.
    pub(super) fn is_kept(&self, at: InstanceRef) -> bool {
        let longest = self.server(at.server).config.timeout.max;
        let late = |since: Instant| clock::now() >= since + longest;
        self.instance(at)
            .is_some_and(|instance| instance.is_irreplaceable() && !instance.drained_since.is_some_and(late))
    }

    /// Lets an instance finish its calls and tasks, and then stops it.
    pub(super) fn drain(&mut self, at: InstanceRef, why: StopReason) {
        self.server_mut(at.server).pool.drain(at.key, why);
        self.alarm.at(clock::now());
    }

    /// Stops an instance that is drained and has nothing left to do, or takes calls again, and returns when to look
    /// again.
    pub(super) fn sweep_draining(&mut self, at: InstanceRef, now: Instant) -> Option<Instant> {
        let longest = self.server(at.server).config.timeout.max;
        let instance = self.instance(at)?;
        let until = instance.drained_since.map(|since| since + longest).filter(|until| *until > now);
        if instance.pending.callers() == 0 && !self.is_kept(at) {
            self.server_mut(at.server).pool.stop_drained(at.key);
            return None;
        }
        let back = self.server_mut(at.server).pool.take_back(at.key, now);
        let returns = self.instance(at).and_then(|instance| instance.asks.back_until(now));
        [back, until, returns].into_iter().flatten().min()
    }

    /// Returns whether an instance that is worn out stays for now. It does if its successor could not be started beside
    /// it, so that callers would wait, until nobody calls or that takes too long.
    fn is_better_kept_for_now(&mut self, at: InstanceRef, now: Instant) -> bool {
        let pool = &mut self.server_mut(at.server).pool;
        let room = pool.instances.get(at.key).is_some_and(|instance| pool.has_room_beside(instance));
        let patience = pool.config.timeout.call;
        let Some(instance) = pool.instances.get_mut(at.key).filter(|_| !room) else { return false };
        let since = *instance.worn_since.get_or_insert(now);
        !instance.pending.is_idle() && now - since < patience
    }

    /// Replaces an instance that works: its successor is started first where there is room, so that nobody waits.
    pub(super) fn replace(&mut self, at: InstanceRef, why: StopReason) {
        let pool = &mut self.server_mut(at.server).pool;
        let (living, config) = (pool.living(), pool.config.clone());
        let Some(instance) = pool.instances.get(at.key) else { return };
        if instance.state != State::Ready || instance.successor.is_some() {
            return;
        }
        let room = pool.has_room_beside(instance);
        let wanted = !instance.pending.is_idle() || living <= config.instances.min;
        let need = Need::of_nobody(instance.told());
        if !(wanted && room) {
            return self.drain(at, why);
        }
        if pool.setbacks.back_off(need.profile()) {
            // Better an old one than none.
            return self.alarm.at(clock::now() + AGAIN);
        }
        let successor = pool.start(CallerKey::default(), &need, StartReason::Successor);
        pool.instances[at.key].successor = Some((successor, why));
        self.todo.serve(at.server);
    }

    /// Handles that an instance became ready, or will not, for the older instance whose place it was to take. Returns
    /// whether there is such an instance.
    pub(super) fn succeeded_by(&mut self, server: ServerId, successor: InstanceKey, ready: bool) -> bool {
        let pool = &mut self.server_mut(server).pool;
        let waits = pool.instances.iter().find_map(|(key, instance)| {
            instance.successor.filter(|(of, _)| *of == successor).map(|(_, why)| (key, why))
        });
        let Some((old, why)) = waits else { return false };
        pool.instances[old].successor = None;
        // It may have begun something meanwhile, which only the operator may end.
        let at = InstanceRef { server, key: old };
        let needed = why != StopReason::Restarted && self.is_irreplaceable(at);
        if ready && !needed {
            self.drain(at, why);
        } else {
            self.alarm.at(clock::now() + AGAIN);
        }
        true
    }

    /// Stops an instance that is drained, or temporary, and has nothing left to do.
    pub(super) fn dismiss(&mut self, at: InstanceRef) {
        let drained = |it: &Instance| it.state == State::Draining && it.pending.callers() == 0;
        if self.instance(at).is_some_and(drained) && !self.is_kept(at) {
            return self.server_mut(at.server).pool.stop_drained(at.key);
        }
        let pool = &mut self.server_mut(at.server).pool;
        if pool.instances.get(at.key).is_some_and(|instance| instance.temporary && instance.idle()) {
            pool.stop(at.key, StopReason::Temporary);
        }
    }

    /// Starts instances up to `instances.min`, for the kind of client that came last.
    pub(super) fn keep_min(&mut self, id: ServerId) {
        let server = self.server(id);
        let missing = server.config.instances.min.saturating_sub(server.pool.living());
        let room = server.config.instances.total.saturating_sub(server.pool.instances.len());
        if missing.min(room) == 0 || self.is_draining() {
            return;
        }
        let spoken =
            server.catalogue.variants().find(|variant| !server.catalogue.lacks(variant.key.era, server.config.era));
        let Some(profile) = spoken.and_then(|variant| variant.key.profile()) else { return };
        let (lease, _) = server.pool.lease(&profile, server.catalogue.known.seen);
        let asks_roots = server.catalogue.decides_by_roots(&profile);
        if lease != Lease::Session && !asks_roots && !server.pool.setbacks.back_off(&profile) {
            // Whoever comes first has it, if one caller at a time does.
            let need = Need::of_nobody(Told { profile, roots: None });
            let pool = &mut self.server_mut(id).pool;
            for _ in 0..missing.min(room) {
                pool.start(CallerKey::default(), &need, StartReason::Min);
            }
            self.todo.serve(id);
        }
    }

    /// Returns the processes whose memory is to be looked at.
    pub fn to_be_measured(&self) -> Vec<u32> {
        let limited = self.servers.iter().filter(|server| server.config.recycle.memory.is_some());
        limited.flat_map(|server| server.pool.instances.values()).filter_map(|instance| instance.pid).collect()
    }

    /// Notes how many bytes of memory the machine has left.
    pub fn memory_left(&mut self, left: Option<u64>) {
        self.servers.iter_mut().for_each(|server| server.pool.memory_left(left));
    }

    /// Notes the resident memory of process trees, in bytes, by the process at their root.
    pub fn measured(&mut self, trees: &HashMap<u32, Tree>) {
        for id in self.server_ids() {
            for instance in self.server_mut(id).pool.instances.values_mut() {
                if let Some(tree) = instance.pid.and_then(|pid| trees.get(&pid)) {
                    instance.memory = tree.bytes;
                }
            }
        }
        self.alarm.at(clock::now());
        let crowd = self.crowd();
        let memory = |id| self.server(id).pool.instances.values().map(|instance| instance.memory);
        let of = |id| saved(crowd.seeing(id) as u64, memory(id).sum(), memory(id).count() as u64);
        let saved = self.server_ids().map(of).sum();
        self.metrics.sharing.saves(saved, clock::now());
    }
}
