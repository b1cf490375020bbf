//! Things that servers keep for one caller and name by an id of their own: tasks (revision 2025-11-25, page
//! "Tasks", and the extension `io.modelcontextprotocol/tasks`) and elicitations that end on a web page. What is
//! said of them later goes to that caller, and requests about a task only to the instance that has it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Pin, Source, Then};
use super::request::Accepted;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::pool::instance::{InstanceKey, InstanceRef, ServerId};
use crate::reply::CallerKey;
use crate::wire::id::{RawId, WireId};
use crate::wire::message::{Message, elements, member, unquote};
use crate::wire::scan::Field;
use crate::wire::splice::Splice;

/// How many elicitations of a server are remembered.
const ELICITATIONS: usize = 1024;
/// How long a task is remembered whose server does not say how long it keeps it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What one server keeps for callers.
#[derive(Default)]
pub struct Owned {
    tasks: HashMap<String, Task>,
    elicitations: VecDeque<(String, CallerKey)>,
}

/// A task of a caller.
pub struct Task {
    pub caller: CallerKey,
    pub instance: InstanceKey,
    /// The request that created it, under whose token its progress comes, and the caller's own token.
    progress: Option<(WireId, RawId)>,
    until: Instant,
}

impl Owned {
    /// A task by the server's id of it.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// Whose progress comes under a token of ours that belongs to a task.
    pub fn progress_of(&self, instance: InstanceKey, id: WireId) -> Option<(CallerKey, RawId)> {
        let task = self.tasks.values().find(|task| task.instance == instance && task.progress.as_ref().is_some_and(|(wire, _)| *wire == id))?;
        task.progress.as_ref().map(|(_, token)| (task.caller, token.clone()))
    }

    /// Remembers for whom an elicitation is.
    pub fn note_elicitation(&mut self, id: &str, caller: CallerKey) {
        if self.elicitations.len() == ELICITATIONS {
            self.elicitations.pop_front();
        }
        self.elicitations.push_back((id.to_owned(), caller));
    }

    /// Forgets the tasks of an instance that is gone.
    pub fn forget_instance(&mut self, instance: InstanceKey) {
        self.tasks.retain(|_, task| task.instance != instance);
    }
}

impl Mux {
    /// A request about tasks goes to the instance that has the task, and only if the task is the caller's.
    pub(crate) fn forward_task(&mut self, accepted: Accepted, profile: Profile, what: &str) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let mine = |task: &&Task| task.caller == accepted.caller;
        let servers = caller.endpoint.servers.iter().copied();
        let found = if what == "list" {
            let mut newest = servers.flat_map(|id| self.server(id).owned.tasks.values().filter(mine).map(move |task| (id, task)));
            newest.next().map(|(id, task)| (id, task.instance))
        } else {
            let id = accepted.request.text(Field::TaskId).unwrap_or_default();
            let mut tasks = servers.filter_map(|server| Some((server, self.server(server).owned.task(&id).filter(mine)?.instance)));
            tasks.next()
        };
        let Some((server, instance)) = found else {
            return match what {
                "list" => accepted.result(r#"{"tasks":[]}"#),
                _ => accepted.refuse(&Error::InvalidParams("no task of this connection has that `taskId`".into())),
            };
        };
        let pin = Some(Pin { to: instance, or_any: false });
        let then = if what == "list" { Then::ShowOwnTasks } else { Then::Nothing };
        let call = Call { pin, then, ..accepted.call(server, profile) };
        let key = self.submit(call);
        self.place(key);
    }

    /// Notes the task, or the elicitation, that an answer created.
    pub(crate) fn note_created(&mut self, at: InstanceRef, call: &Call, answer: &Message) {
        let legacy = answer.raw(Field::ResultTask).filter(|_| call.request.span(Field::Task).found());
        let modern = answer.raw(Field::Result).filter(|_| answer.raw(Field::ResultType) == Some(r#""task""#));
        let Some(task) = legacy.or(modern) else { return };
        let inner = member(task, "task").unwrap_or(task);
        let Some(id) = member(inner, "taskId").and_then(unquote) else { return };
        let ttl = member(inner, "ttl").or_else(|| member(inner, "ttlMs")).and_then(|ttl| ttl.parse().ok()).map_or(KEPT, Duration::from_millis);
        let progress = match (&call.from, &call.place) {
            (Source::Caller(reply, _), super::call::Place::On(_, wire)) => reply.token().map(|token| (*wire, token.clone())),
            _ => None,
        };
        let limit = self.config.limits.tasks;
        let until = Instant::now() + ttl.min(KEPT);
        let owned = &mut self.server_mut(at.server).owned;
        if owned.tasks.values().filter(|task| task.caller == call.caller).count() < limit {
            owned.tasks.insert(id.into_owned(), Task { caller: call.caller, instance: at.key, progress, until });
            self.count_tasks(at);
        }
    }

    /// Notes elicitations that an error asks for (`-32042`, revision 2025-11-25, page "Elicitation").
    pub(crate) fn note_elicitations(&mut self, at: InstanceRef, caller: CallerKey, answer: &Message) {
        let data = answer.raw(Field::Error).and_then(|error| member(error, "data"));
        let list = data.and_then(|data| member(data, "elicitations")).map(elements).unwrap_or_default();
        for id in list.into_iter().filter_map(|item| unquote(member(item, "elicitationId")?)) {
            self.server_mut(at.server).owned.note_elicitation(&id, caller);
        }
    }

    /// Leaves only the caller's own tasks in a list of them.
    pub(crate) fn hide_foreign_tasks(&self, at: InstanceRef, caller: CallerKey, answer: &Message, splice: &mut Splice) {
        let result = answer.raw(Field::Result).unwrap_or("{}");
        let Some(tasks) = member(result, "tasks") else { return };
        let owned = &self.server(at.server).owned;
        let own = |item: &&str| {
            let id = member(item, "taskId").and_then(unquote).unwrap_or_default();
            owned.task(&id).is_some_and(|task| task.caller == caller)
        };
        let kept: Vec<&str> = elements(tasks).into_iter().filter(own).collect();
        // The list is a slice of the result, which is a slice of the line.
        let start = answer.span(Field::Result).start + (tasks.as_ptr() as usize - result.as_ptr() as usize) as u32;
        let span = crate::wire::scan::Span { start, end: start + tasks.len() as u32 };
        splice.put(span, format!("[{}]", kept.join(",")));
    }

    /// The status of a task changed.
    pub(crate) fn task_status(&mut self, at: InstanceRef, message: &Message) {
        let owner = message.text(Field::TaskId).and_then(|id| Some(self.server(at.server).owned.task(&id)?.caller));
        self.pass_to(at, owner, message);
    }

    /// An elicitation ended on its web page.
    pub(crate) fn elicitation_complete(&mut self, at: InstanceRef, message: &Message) {
        let id = message.text(Field::ElicitationId).unwrap_or_default();
        let elicitations = &mut self.server_mut(at.server).owned.elicitations;
        let place = elicitations.iter().position(|(known, _)| *known == id);
        let owner = place.and_then(|place| elicitations.remove(place)).map(|(_, caller)| caller);
        self.pass_to(at, owner, message);
    }

    fn pass_to(&mut self, at: InstanceRef, owner: Option<CallerKey>, message: &Message) {
        match owner.and_then(|owner| self.callers.get(owner)) {
            Some(caller) => caller.outbox.splice(&message.splice()),
            None => self.drop_from(at, "owner_unknown", &message.method()),
        }
    }

    /// Forgets what a server keeps for a caller that is gone.
    pub(crate) fn forget_owned(&mut self, server: ServerId, caller: CallerKey) {
        self.forget_tasks(server, |task| task.caller == caller);
        self.server_mut(server).owned.elicitations.retain(|(_, owner)| *owner != caller);
    }

    /// Forgets tasks that their server does not keep any more; when the next will be.
    pub(crate) fn sweep_tasks(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        self.forget_tasks(server, |task| task.until <= now);
        self.server(server).owned.tasks.values().map(|task| task.until).min()
    }

    fn forget_tasks(&mut self, server: ServerId, gone: impl Fn(&Task) -> bool) {
        let owned = &mut self.server_mut(server).owned;
        if owned.tasks.values().any(&gone) {
            owned.tasks.retain(|_, task| !gone(task));
            let instances: Vec<InstanceKey> = self.server(server).pool.instances.keys().collect();
            instances.into_iter().for_each(|key| self.count_tasks(InstanceRef { server, key }));
        }
    }

    fn count_tasks(&mut self, at: InstanceRef) {
        let count = self.server(at.server).owned.tasks.values().filter(|task| task.instance == at.key).count();
        if let Some(instance) = self.instance_mut(at) {
            instance.tasks = count;
        }
    }
}
