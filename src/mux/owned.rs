//! Called by `mux::request` for requests about tasks and by `mux::complete` for answers that create something: what
//! servers keep for one caller under an id of their own. These are tasks (revision 2025-11-25, page "Tasks", and the
//! extension `io.modelcontextprotocol/tasks`) and elicitations that end on a web page. News of one goes to its caller
//! alone, and a request about a task only to the instance that has it.

mod gather;
mod tasks;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Pin, Source, Then};
use super::request::Accepted;
use crate::clock;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::pool::elicitations::Elicitations;
use crate::wire::id::{RawId, WireId};
use crate::wire::message::{Message, elements, member, unquote};
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;
use crate::wire::splice::Splice;
use gather::Gathering;
use tasks::{Stage, Task, Tasks};

/// How long a task is remembered whose server does not say how long it keeps it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What one server keeps for callers.
#[derive(Default)]
pub struct Owned {
    pub tasks: Tasks,
    /// Lists of tasks that are being asked of several instances, by the request for them.
    gatherings: BTreeMap<CallKey, Gathering>,
    pub elicitations: Elicitations,
}

impl Owned {
    /// Returns the caller of the progress that comes under a token of ours, if the token belongs to a task.
    pub fn progress_of(&self, instance: InstanceKey, id: WireId) -> Option<(CallerKey, RawId)> {
        let of = |task: &Task| task.instance == instance && task.progress.as_ref().is_some_and(|(wire, _)| *wire == id);
        let (_, task) = self.tasks.iter().find(|(_, task)| of(task))?;
        task.progress.as_ref().map(|(_, token)| (task.caller, token.clone()))
    }

    /// Forgets what an instance kept, because it is gone.
    pub fn forget_instance(&mut self, instance: InstanceKey) {
        self.tasks.forget_instance(instance);
        self.elicitations.forget_instance(instance);
    }
}

impl Mux {
    /// Sends a request about a task to the instance that has the task, if the task is the caller's.
    pub(crate) fn forward_task(&mut self, mut accepted: Accepted, profile: Profile, list: bool) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let servers: Vec<ServerId> = caller.endpoint.servers.clone();
        let restricted = caller.access.named.is_some();
        let mine = |task: &&Task| task.caller == accepted.caller;
        let id = accepted.request.text(Field::TaskId).unwrap_or_default();
        let named = |server: &ServerId| {
            let tasks = self.server(*server).owned.tasks.iter();
            let tasks = tasks.filter(|(known, task)| if list { mine(task) } else { *known == id });
            // Two instances may have given one id to two callers: the caller's own comes first.
            tasks
                .map(|(_, task)| task)
                .max_by_key(|task| (mine(task), task.until))
                .map(|task| (*server, task.instance, mine(&task)))
        };
        // Tasks of a server that a reload took away live as long as its instances.
        let retired = self.retired();
        if list && member(accepted.request.raw(Field::Params).unwrap_or("{}"), "cursor").is_none() {
            let all = self.instances_with_tasks(accepted.caller, retired.iter().chain(&servers));
            if all.len() > 1 {
                return self.gather_tasks(accepted, profile, &all);
            }
        }
        let own = retired.iter().filter_map(named).filter(|(.., mine)| *mine);
        let found = own.chain(servers.iter().filter_map(named)).max_by_key(|(.., mine)| *mine);
        let (server, pin) = match (found, servers.as_slice()) {
            (Some((.., false)), _) => {
                return accepted.refuse(&Error::InvalidParams("no task of this connection has that `taskId`".into()));
            }
            (Some((server, instance, true)), _) => (server, Some(Pin { to: instance, or_any: list })),
            // Nobody's task: the server has its own words for that, if they are words of the caller's era.
            (None, [only]) if !list && (restricted || self.server(*only).owned.tasks.may_be_left(&id)) => {
                return accepted.refuse(&Error::InvalidParams("no task of this connection has that `taskId`".into()));
            }
            (None, [only]) if !self.offer(*only, &profile, "{}").bridged => (*only, None),
            (None, [_]) => {
                let what = accepted.request.method().into_owned();
                return accepted
                    .refuse(&Error::MethodNotFound(format!("`{what}`: tasks do not cross the protocol's eras")));
            }
            (None, _) if list => return accepted.result(r#"{"tasks":[]}"#),
            (None, _) => {
                return accepted.refuse(&Error::InvalidParams("no task of this connection has that `taskId`".into()));
            }
        };
        let then = if list { Then::ShowOwnTasks } else { Then::AboutTask(id.into()) };
        if let Err(error) = self.pass_rate(&mut accepted, server) {
            return accepted.refuse(&error);
        }
        let key = self.submit(Call { pin, then, ..accepted.call(server, profile) });
        self.place(key);
    }

    /// Notes the task, or the elicitation, that an answer created.
    pub(crate) fn note_created(&mut self, at: InstanceRef, call: &Call, answer: &Message) {
        let legacy = answer.raw(Field::ResultTask).filter(|_| call.request.span(Field::Task).found());
        let modern = answer.raw(Field::Result).filter(|_| answer.raw(Field::ResultType) == Some(r#""task""#));
        let Some(task) = legacy.or(modern) else { return };
        let inner = member(task, "task").unwrap_or(task);
        let Some(id) = member(inner, "taskId").and_then(unquote) else { return };
        let ttl = member(inner, "ttl")
            .or_else(|| member(inner, "ttlMs"))
            .and_then(|ttl| ttl.parse().ok())
            .map_or(KEPT, Duration::from_millis);
        let progress = match (&call.from, &call.place) {
            (Source::Caller(reply, _), super::call::Place::On(_, wire)) => {
                reply.token().map(|token| (*wire, token.clone()))
            }
            _ => None,
        };
        let config = self.config.clone();
        let since = clock::now();
        let until = since + ttl.min(KEPT);
        let tasks = &mut self.server_mut(at.server).owned.tasks;
        if let Err(limit) = tasks.make_room(call.caller, &config.limits) {
            tasks.leave((at.key, id.into_owned()));
            let server = &self.server(at.server).config.name;
            return tracing::warn!(server, limit, "a task is not followed: there are too many (see `limits.tasks`)");
        }
        let stage = Stage::told("", inner);
        tasks.insert(id.into_owned(), Task { caller: call.caller, instance: at.key, progress, stage, since, until });
        self.count_all_tasks(at.server);
        self.alarm.at(until);
    }

    /// Makes room for a request that wants a task.
    ///
    /// # Errors
    /// Too many work already.
    pub(crate) fn admit_task(&mut self, accepted: &Accepted, server: ServerId) -> Result<(), Error> {
        if !accepted.request.span(Field::Task).found() {
            return Ok(());
        }
        let config = self.config.clone();
        let room = self.server_mut(server).owned.tasks.make_room(accepted.caller, &config.limits);
        self.count_all_tasks(server);
        room.map_err(|limit| Error::TooManyTasks { limit })
    }

    /// Notes how far a task has come.
    fn task_came_to(&mut self, at: InstanceRef, id: &str, stage: Stage) {
        if self.server_mut(at.server).owned.tasks.came_to(at.key, id, stage) {
            self.count_tasks(at);
        }
    }

    /// The server answered a request about a task.
    pub(crate) fn told_of_task(&mut self, at: InstanceRef, id: &str, request: &Message, answer: &Message) {
        let stage = Stage::told(&request.method(), answer.raw(Field::Result).unwrap_or("{}"));
        self.task_came_to(at, id, stage);
    }

    /// Notes elicitations that an error asks for (`-32042`, revision 2025-11-25, page "Elicitation").
    pub(crate) fn note_elicitations(&mut self, at: InstanceRef, caller: CallerKey, answer: &Message) {
        let data = answer.raw(Field::Error).and_then(|error| member(error, "data"));
        let list = data.and_then(|data| member(data, "elicitations")).map(elements).unwrap_or_default();
        for id in list.into_iter().filter_map(|item| unquote(member(item, "elicitationId")?)) {
            self.server_mut(at.server).owned.elicitations.note(at.key, &id, caller);
        }
    }

    /// Leaves only the caller's own tasks in a list of them.
    pub(crate) fn hide_foreign_tasks(&self, at: InstanceRef, caller: CallerKey, answer: &Message, splice: &mut Splice) {
        let result = answer.raw(Field::Result).unwrap_or("{}");
        let Some(tasks) = member(result, "tasks") else { return };
        let owned = &self.server(at.server).owned;
        let own = |item: &&str| {
            let id = member(item, "taskId").and_then(unquote).unwrap_or_default();
            owned.tasks.get(at.key, &id).is_some_and(|task| task.caller == caller)
        };
        let kept: Vec<&str> = elements(tasks).into_iter().filter(own).collect();
        // The list is a slice of the result, which is a slice of the line.
        let start = answer.span(Field::Result).start + (tasks.as_ptr() as usize - result.as_ptr() as usize) as u32;
        let span = crate::wire::scan::Span { start, end: start + tasks.len() as u32 };
        splice.put(span, format!("[{}]", kept.join(",")));
    }

    /// Handles a change of a task's status.
    pub(crate) fn task_status(&mut self, at: InstanceRef, message: &Message) {
        let id = message.text(Field::TaskId).unwrap_or_default();
        let owner = self.server(at.server).owned.tasks.get(at.key, &id).map(|task| task.caller);
        self.task_came_to(at, &id, Stage::told("", message.raw(Field::Params).unwrap_or("{}")));
        match owner.and_then(|owner| self.callers.get(owner)) {
            Some(caller) => {
                caller.hear(
                    self.server(at.server).speaker(),
                    Topic::State { what: &id, stream: "task" },
                    &message.splice(),
                );
            }
            None => self.drop_from(at, "owner_unknown", &message.method()),
        }
    }

    /// Handles the end of an elicitation on its web page.
    pub(crate) fn elicitation_complete(&mut self, at: InstanceRef, message: &Message) {
        let id = message.text(Field::ElicitationId).unwrap_or_default();
        let owner = self.server_mut(at.server).owned.elicitations.complete(at.key, &id);
        match owner.and_then(|owner| self.callers.get(owner)) {
            Some(caller) => {
                let topic = Topic::State { what: &id, stream: "elicitation" };
                caller.hear(self.server(at.server).speaker(), topic, &message.splice());
            }
            None => self.drop_from(at, "owner_unknown", &message.method()),
        }
    }

    /// Forgets what servers keep for a caller that is gone. Nobody else gets it, and nothing is kept running for it.
    pub(crate) fn forget_owned(&mut self, server: ServerId, caller: CallerKey) {
        let owned = &mut self.server_mut(server).owned;
        owned.elicitations.forget_caller(caller);
        if owned.tasks.forget_caller(caller) {
            self.count_all_tasks(server);
        }
    }

    /// Forgets tasks that their server does not keep any more, and returns when the next will be.
    pub(crate) fn sweep_tasks(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        if self.server_mut(server).owned.tasks.forget_old(now) {
            self.count_all_tasks(server);
        }
        self.server(server).owned.tasks.next()
    }

    fn count_all_tasks(&mut self, server: ServerId) {
        let instances: Vec<InstanceKey> = self.server(server).pool.instances.keys().collect();
        instances.into_iter().for_each(|key| self.count_tasks(InstanceRef { server, key }));
    }

    /// Counts the tasks in an instance whose results are not fetched: with such tasks it is not idle.
    fn count_tasks(&mut self, at: InstanceRef) {
        let count = self.server(at.server).owned.tasks.living_in(at.key);
        let Some(instance) = self.instance_mut(at) else { return };
        if std::mem::replace(&mut instance.tasks, count) > count && count == 0 {
            // It may have been kept for them alone.
            self.alarm.at(clock::now());
        }
    }
}
