//! Tool calls that run as tasks: the experimental tasks of 2025-11-25 and the tasks extension of 2026-07-28 differ in
//! how they name the fields, not in what a task is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::World;
use super::line::{Fault, Outcome, Raw, parse};

/// How long a task is kept if its client names no time, and at most.
const TTL: Duration = Duration::from_secs(60);
const TTL_MAX: Duration = Duration::from_secs(600);

/// How often a client should look, in milliseconds.
const POLL: u64 = 100;

/// A call that runs on its own, with its outcome once there is one.
pub struct Task {
    pub id: String,
    created: SystemTime,
    ttl: Duration,
    updated: Cell<SystemTime>,
    status: Cell<&'static str>,
    outcome: RefCell<Option<Outcome>>,
    work: RefCell<Option<AbortHandle>>,
    changed: Notify,
}

/// The tasks that are not yet forgotten, oldest first.
#[derive(Default)]
pub struct Tasks(RefCell<Vec<Rc<Task>>>);

impl World {
    /// A new task; `ttl` is in milliseconds.
    pub fn begin_task(&self, ttl: Option<u64>) -> Rc<Task> {
        let now = self.now();
        let task = Rc::new(Task {
            id: self.fresh_id(),
            created: now,
            ttl: ttl.map_or(TTL, |ttl| Duration::from_millis(ttl).min(TTL_MAX)),
            updated: Cell::new(now),
            status: Cell::new("working"),
            outcome: RefCell::default(),
            work: RefCell::default(),
            changed: Notify::new(),
        });
        self.live_tasks();
        self.tasks.0.borrow_mut().push(Rc::clone(&task));
        task
    }

    /// The tasks whose time is not over; the others are forgotten here.
    pub fn live_tasks(&self) -> Vec<Rc<Task>> {
        let now = self.now();
        let mut tasks = self.tasks.0.borrow_mut();
        tasks.retain(|task| task.status.get() == "working" || now < task.created + task.ttl);
        tasks.clone()
    }

    /// The task that `params` name.
    pub fn task(&self, params: &Option<Raw>) -> Result<Rc<Task>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            task_id: String,
        }
        let Named { task_id } = parse(params)?;
        let found = self.live_tasks().into_iter().find(|task| task.id == task_id);
        found.ok_or_else(|| Fault::params(format!("No such task: {task_id}")))
    }
}

impl Task {
    /// Remembers what to stop on [`Task::cancel`].
    pub fn works(&self, work: AbortHandle) {
        self.work.replace(Some(work));
    }

    /// Ends the task in that status, unless it has ended.
    pub fn finish(&self, world: &World, status: &'static str, outcome: Option<Outcome>) {
        if self.ended() {
            return;
        }
        self.status.set(status);
        self.updated.set(world.now());
        self.outcome.replace(outcome);
        self.changed.notify_waiters();
    }

    /// Stops the work. Says whether there was anything to stop.
    pub fn cancel(&self, world: &World) -> bool {
        let working = !self.ended();
        if let Some(work) = self.work.take() {
            work.abort();
        }
        self.finish(world, "cancelled", None);
        working
    }

    fn ended(&self) -> bool {
        self.status.get() != "working"
    }

    pub fn status(&self) -> &'static str {
        self.status.get()
    }

    /// Waits for the end of the task: what its call ends with.
    pub async fn outcome(&self) -> Outcome {
        let changed = self.changed.notified();
        if !self.ended() {
            changed.await;
        }
        let cancelled = || Err(Fault::params(format!("Task {} was cancelled", self.id)));
        self.outcome.borrow().clone().unwrap_or_else(cancelled)
    }

    /// As 2025-11-25 has it (basic/utilities/tasks).
    pub fn legacy(&self) -> Value {
        let mut task = self.common();
        task["ttl"] = json!(self.ttl_ms());
        task["pollInterval"] = json!(POLL);
        task
    }

    /// As the extension has it, with the result or error of an ended task.
    pub fn modern(&self) -> Value {
        let mut task = self.common();
        task["ttlMs"] = json!(self.ttl_ms());
        task["pollIntervalMs"] = json!(POLL);
        match &*self.outcome.borrow() {
            Some(Ok(result)) => task["result"] = serde_json::to_value(result).unwrap_or_default(),
            Some(Err(fault)) => task["error"] = serde_json::to_value(fault).unwrap_or_default(),
            None => {}
        }
        task
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    fn common(&self) -> Value {
        json!({
            "taskId": self.id,
            "status": self.status.get(),
            "createdAt": date(self.created),
            "lastUpdatedAt": date(self.updated.get()),
        })
    }
}

/// A date as ISO 8601 writes it, in UTC, by counting days from 1 March 0000 in eras of 400 years.
fn date(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400 + 719_468, since.as_secs() % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_years() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59.000Z");
    }
}
