//! Things that servers keep for one caller and name by an id of their own: tasks (revision 2025-11-25, page
//! "Tasks", and the extension `io.modelcontextprotocol/tasks`) and elicitations that end on a web page. What is
//! said of them later goes to that caller, and requests about a task only to the instance that has it.

use std::collections::{BTreeMap, VecDeque};
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
    /// By instance and the server's id, since two instances may count alike.
    tasks: BTreeMap<(InstanceKey, String), Task>,
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
    pub fn task(&self, instance: InstanceKey, id: &str) -> Option<&Task> {
        self.tasks.get(&(instance, id.to_owned()))
    }

    /// Whose progress comes under a token of ours that belongs to a task.
    pub fn progress_of(&self, instance: InstanceKey, id: WireId) -> Option<(CallerKey, RawId)> {
        let task = self
            .tasks
            .values()
            .find(|task| task.instance == instance && task.progress.as_ref().is_some_and(|(wire, _)| *wire == id))?;
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
    pub(crate) fn forward_task(&mut self, mut accepted: Accepted, profile: Profile, list: bool) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let servers: Vec<ServerId> = caller.endpoint.servers.clone();
        let mine = |task: &&Task| task.caller == accepted.caller;
        let id = accepted.request.text(Field::TaskId).unwrap_or_default();
        let named = |server: &ServerId| {
            let tasks = self.server(*server).owned.tasks.iter();
            let tasks = tasks.filter(|((_, known), task)| if list { mine(task) } else { *known == id });
            // Two instances may have given one id to two callers: the caller's own comes first.
            tasks
                .map(|(_, task)| task)
                .max_by_key(|task| (mine(task), task.until))
                .map(|task| (*server, task.instance, mine(&task)))
        };
        // Tasks of a server that a reload took away live as long as its instances.
        let retired = self.retired();
        let own = retired.iter().filter_map(named).filter(|(.., mine)| *mine);
        let found = own.chain(servers.iter().filter_map(named)).max_by_key(|(.., mine)| *mine);
        let (server, pin) = match (found, servers.as_slice()) {
            (Some((.., false)), _) => {
                return accepted.refuse(&Error::InvalidParams("no task of this connection has that `taskId`".into()));
            }
            (Some((server, instance, true)), _) => (server, Some(Pin { to: instance, or_any: list })),
            // Nobody's task: the server has its own words for that, if they are words of the caller's era.
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
        let then = if list { Then::ShowOwnTasks } else { Then::Nothing };
        drop(id);
        if let Err(error) = self.pass_rate(&mut accepted, server) {
            return accepted.refuse(&error);
        }
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
        let limit = self.config.limits.tasks;
        let until = Instant::now() + ttl.min(KEPT);
        let owned = &mut self.server_mut(at.server).owned;
        if owned.tasks.values().filter(|task| task.caller == call.caller).count() < limit {
            owned
                .tasks
                .insert((at.key, id.into_owned()), Task { caller: call.caller, instance: at.key, progress, until });
            self.count_tasks(at);
            self.alarm.at(until);
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
            owned.task(at.key, &id).is_some_and(|task| task.caller == caller)
        };
        let kept: Vec<&str> = elements(tasks).into_iter().filter(own).collect();
        // The list is a slice of the result, which is a slice of the line.
        let start = answer.span(Field::Result).start + (tasks.as_ptr() as usize - result.as_ptr() as usize) as u32;
        let span = crate::wire::scan::Span { start, end: start + tasks.len() as u32 };
        splice.put(span, format!("[{}]", kept.join(",")));
    }

    /// The status of a task changed.
    pub(crate) fn task_status(&mut self, at: InstanceRef, message: &Message) {
        let owner =
            message.text(Field::TaskId).and_then(|id| Some(self.server(at.server).owned.task(at.key, &id)?.caller));
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

    /// A caller is gone: nobody else gets what a server keeps for it, and nothing is kept running for it.
    pub(crate) fn forget_owned(&mut self, server: ServerId, caller: CallerKey) {
        self.count_all_tasks(server);
        self.server_mut(server).owned.elicitations.retain(|(_, owner)| *owner != caller);
    }

    /// Forgets tasks that their server does not keep any more; when the next will be.
    pub(crate) fn sweep_tasks(&mut self, server: ServerId, now: Instant) -> Option<Instant> {
        let tasks = &mut self.server_mut(server).owned.tasks;
        let before = tasks.len();
        tasks.retain(|_, task| task.until > now);
        if tasks.len() != before {
            self.count_all_tasks(server);
        }
        self.server(server).owned.tasks.values().map(|task| task.until).min()
    }

    fn count_all_tasks(&mut self, server: ServerId) {
        let instances: Vec<InstanceKey> = self.server(server).pool.instances.keys().collect();
        instances.into_iter().for_each(|key| self.count_tasks(InstanceRef { server, key }));
    }

    /// An instance with tasks of callers that are connected is not idle.
    fn count_tasks(&mut self, at: InstanceRef) {
        let tasks = self.server(at.server).owned.tasks.values();
        let count = tasks.filter(|task| task.instance == at.key && self.callers.contains_key(task.caller)).count();
        if let Some(instance) = self.instance_mut(at) {
            instance.tasks = count;
        }
    }
}
