//! Called by `mux/owned.rs`: the tasks that a server keeps for callers, as many as may be, and how far each has come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::config::Limits;
use crate::key::{CallerKey, InstanceKey};
use crate::wire::id::{RawId, WireId};
use crate::wire::message::{member, unquote};

/// How many tasks are remembered as somebody's without being followed.
const LEFT: usize = 4096;

/// The tasks at one server.
#[derive(Default)]
pub struct Tasks {
    /// By instance and the server's id, since two instances may count alike.
    all: BTreeMap<(InstanceKey, String), Task>,
    /// How many each caller has that has some.
    own: BTreeMap<CallerKey, usize>,
    /// None is to be forgotten before.
    next: Option<Instant>,
    /// Those that nobody may ask about any more, though the instance may still have them.
    left: BTreeSet<(InstanceKey, String)>,
    /// Instances with more of these than are remembered.
    lost: BTreeSet<InstanceKey>,
}

/// A task of a caller.
pub struct Task {
    pub caller: CallerKey,
    pub instance: InstanceKey,
    /// The request that created it, under whose token its progress comes, and the caller's own token.
    pub progress: Option<(WireId, RawId)>,
    pub stage: Stage,
    pub since: Instant,
    pub until: Instant,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Working,
    /// Its result is there.
    Over,
    /// Its owner has the result, or wants none.
    Fetched,
}

impl Stage {
    /// Returns how far a task is, by the answer to that method.
    pub fn told(method: &str, said: &str) -> Stage {
        let member = |name| member(said, name);
        match member("status").and_then(unquote).as_deref() {
            Some("cancelled") => Stage::Fetched,
            // The extension's tasks bring their result along.
            _ if method == "tasks/result" || member("result").is_some() || member("error").is_some() => Stage::Fetched,
            Some("completed" | "failed") => Stage::Over,
            _ => Stage::Working,
        }
    }
}

impl Tasks {
    /// Returns a task by the server's id of it.
    pub fn get(&self, instance: InstanceKey, id: &str) -> Option<&Task> {
        self.all.get(&(instance, id.to_owned()))
    }

    /// Returns every task with the server's id of it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.all.iter().map(|((_, id), task)| (id.as_str(), task))
    }

    /// Returns how many tasks live in an instance, because their owners have not fetched the results.
    pub fn living_in(&self, instance: InstanceKey) -> usize {
        self.all.values().filter(|task| task.instance == instance && task.stage != Stage::Fetched).count()
    }

    /// Adds one for which there is room.
    pub fn insert(&mut self, id: String, task: Task) {
        self.next = Some(self.next.map_or(task.until, |next| next.min(task.until)));
        *self.own.entry(task.caller).or_default() += 1;
        if let Some(before) = self.all.insert((task.instance, id), task) {
            self.lets_go(before.caller);
        }
    }

    /// Makes room for another task of a caller. If there are as many as allowed, the task goes that has been over for
    /// longest.
    ///
    /// # Errors
    /// All of them work; the limit that keeps it out.
    pub fn make_room(&mut self, caller: CallerKey, limits: &Limits) -> Result<(), usize> {
        let own = self.own.get(&caller).copied().unwrap_or_default();
        let (own_full, full) = (own >= limits.tasks, self.all.len() >= limits.tasks_total);
        if !own_full && !full {
            return Ok(());
        }
        let may_go = |task: &Task| task.stage != Stage::Working && (!own_full || task.caller == caller);
        let over = self.all.iter().filter(|(_, task)| may_go(task));
        let oldest = over.min_by_key(|(_, task)| (Reverse(task.stage), task.since)).map(|(key, _)| key.clone());
        let limit = if own_full { limits.tasks } else { limits.tasks_total };
        let oldest = oldest.ok_or(limit)?;
        if let Some(task) = self.all.remove(&oldest) {
            self.lets_go(task.caller);
        }
        self.leave(oldest);
        Ok(())
    }

    /// Remembers that a task is somebody's, but does not follow it.
    pub fn leave(&mut self, task: (InstanceKey, String)) {
        if self.left.len() < LEFT {
            self.left.insert(task);
        } else {
            self.lost.insert(task.0);
        }
    }

    /// Returns whether a task that is not followed may be somebody's.
    pub fn may_be_left(&self, id: &str) -> bool {
        !self.lost.is_empty() || self.left.iter().any(|(_, left)| left == id)
    }

    /// Notes how far a task has come, and returns whether that is news.
    pub fn came_to(&mut self, instance: InstanceKey, id: &str, stage: Stage) -> bool {
        let task = self.all.get_mut(&(instance, id.to_owned())).filter(|task| task.stage < stage);
        task.map(|task| task.stage = stage).is_some()
    }

    /// Forgets those of a caller, and returns whether there were any.
    pub fn forget_caller(&mut self, caller: CallerKey) -> bool {
        self.own.contains_key(&caller) && self.forget(|task| task.caller == caller)
    }

    /// Forgets the tasks of an instance that is gone.
    pub fn forget_instance(&mut self, instance: InstanceKey) {
        let of = |key: &&(InstanceKey, String)| key.0 == instance;
        let gone: Vec<(InstanceKey, String)> = self.all.keys().filter(of).cloned().collect();
        for key in gone {
            let task = self.all.remove(&key);
            task.into_iter().for_each(|task| self.lets_go(task.caller));
        }
        self.left.retain(|(at, _)| *at != instance);
        self.lost.remove(&instance);
    }

    /// Forgets those that their server keeps no longer, and returns whether there were any.
    pub fn forget_old(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let some = self.forget(|task| task.until <= now);
        self.next = self.all.values().map(|task| task.until).min();
        some
    }

    /// Returns when the next is to be forgotten, or a little earlier.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    fn forget(&mut self, which: impl Fn(&Task) -> bool) -> bool {
        let (gone, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.all).into_iter().partition(|(_, task)| which(task));
        self.all = kept;
        let some = !gone.is_empty();
        for (key, task) in gone {
            self.lets_go(task.caller);
            self.leave(key);
        }
        some
    }

    /// Notes that a caller has one task less.
    fn lets_go(&mut self, caller: CallerKey) {
        if let Some(count) = self.own.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.own.remove(&caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_more_is_left_than_is_remembered_any_task_may_be_somebodys_until_the_instance_ends() {
        let (mut tasks, instance) = (Tasks::default(), InstanceKey::default());
        (0..LEFT).for_each(|n| tasks.leave((instance, n.to_string())));
        assert!(tasks.may_be_left("0") && !tasks.may_be_left("other"));
        tasks.leave((instance, "one more".to_owned()));
        assert!(tasks.may_be_left("one more") && tasks.may_be_left("other"));
        tasks.forget_instance(instance);
        assert!(!tasks.may_be_left("0") && !tasks.may_be_left("other"));
    }
}
