//! Called by `mux::owned` for `tasks/list` of a caller that has tasks at several instances: asks each for all of its
//! pages, and joins the caller's own tasks.

use std::collections::BTreeSet;

use crate::clock;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::call::{Place, Source};
use crate::mux::errand::{Errand, Order, Outcome};
use crate::mux::request::Accepted;
use crate::wire::message::{Kind, elements, member, unquote};
use crate::wire::scan::Field;

/// How many pages are asked of one instance.
const PAGES: usize = 100;

/// What was told so far.
pub(super) struct Gathering {
    /// How many instances have not told all.
    left: usize,
    tasks: Vec<String>,
    size: usize,
    /// Why one told nothing.
    failed: Option<Error>,
}

impl Mux {
    /// Returns the instances at which a caller has tasks.
    pub(super) fn instances_with_tasks<'a>(
        &self,
        caller: CallerKey,
        servers: impl Iterator<Item = &'a ServerId>,
    ) -> Vec<InstanceRef> {
        let mut all = Vec::new();
        for server in servers {
            let tasks = self.server(*server).owned.tasks.iter().filter(|(_, task)| task.caller == caller);
            let keys: BTreeSet<_> = tasks.map(|(_, task)| task.instance).collect();
            all.extend(keys.into_iter().map(|key| InstanceRef { server: *server, key }));
        }
        all
    }

    /// Asks each of these instances for its tasks.
    pub(super) fn gather_tasks(&mut self, mut accepted: Accepted, profile: Profile, all: &[InstanceRef]) {
        let Some(first) = all.first().map(|at| at.server) else { return };
        if let Err(error) = self.pass_rate(&mut accepted, first) {
            return accepted.refuse(&error);
        }
        let params = accepted.request.raw(Field::Params).unwrap_or("{}").to_owned();
        let deadline = clock::now() + self.server(first).config.timeout.call;
        let call = self.submit(accepted.call(first, profile));
        self.wait_at(call, Place::Behind, deadline);
        let gathering = Gathering { left: all.len(), tasks: Vec::new(), size: 0, failed: None };
        self.server_mut(first).owned.gatherings.insert(call, gathering);
        for at in all {
            self.ask_for_tasks(call, *at, 0, &params);
        }
    }

    fn ask_for_tasks(&mut self, asked_by: CallKey, at: InstanceRef, pages: usize, params: &str) {
        let caller = self.calls.get(asked_by).map(|call| call.caller);
        let profile = self.instance(at).map(|instance| instance.profile.clone());
        let (Some(caller), Some(profile)) = (caller, profile) else { return self.one_told_all(asked_by) };
        let errand = Errand::Tasks { asked_by, at, pages };
        if self.send_errand(Order::to(at, caller, profile, ("tasks/list", params)), errand).is_none() {
            self.one_told_all(asked_by);
        }
    }

    /// Handles a page of an instance's tasks, or that there will be none.
    pub(in crate::mux) fn tasks_told(
        &mut self,
        asked_by: CallKey,
        at: InstanceRef,
        pages: usize,
        outcome: Outcome<'_>,
    ) {
        let limit = self.config.limits.message;
        let Some(call) = self.calls.get(asked_by) else { return };
        let (caller, home) = (call.caller, call.server);
        let params = call.request.raw(Field::Params).unwrap_or("{}").to_owned();
        let own = &self.server(at.server).owned.tasks;
        let is_own = |task: &&str| {
            let id = member(task, "taskId").and_then(unquote).unwrap_or_default();
            own.get(at.key, &id).is_some_and(|task| task.caller == caller)
        };
        let (mut tasks, mut failed, mut next) = (Vec::new(), None, None);
        match outcome {
            Outcome::Answer(answer) if answer.kind() == Kind::Result => {
                let result = answer.raw(Field::Result).unwrap_or("{}");
                let told = member(result, "tasks").map(elements).unwrap_or_default();
                tasks = told.into_iter().filter(is_own).map(str::to_owned).collect();
                next = member(result, "nextCursor").filter(|cursor| cursor.starts_with('"')).map(str::to_owned);
            }
            Outcome::Answer(_) => {
                let server = self.server(at.server).config.name.clone();
                failed = Some(Error::ServerMisbehaved { server, detail: "it does not list its tasks".into() });
            }
            Outcome::Failed(error) => failed = Some(error),
        }
        let Some(gathering) = self.server_mut(home).owned.gatherings.get_mut(&asked_by) else { return };
        if gathering.size > limit {
            tasks.clear();
            next = None;
        }
        gathering.size += tasks.iter().map(String::len).sum::<usize>();
        gathering.tasks.extend(tasks);
        gathering.failed = gathering.failed.take().or(failed);
        match next.filter(|_| pages + 1 < PAGES) {
            Some(cursor) => self.ask_for_tasks(asked_by, at, pages + 1, &with_cursor(&params, &cursor)),
            None => self.one_told_all(asked_by),
        }
    }

    /// Notes that one instance has no more to tell. The request is answered when all have told everything.
    fn one_told_all(&mut self, asked_by: CallKey) {
        let Some(home) = self.calls.get(asked_by).map(|call| call.server) else { return };
        let (limit, server) = (self.config.limits.message, self.server(home).config.name.clone());
        let gatherings = &mut self.server_mut(home).owned.gatherings;
        let Some(gathering) = gatherings.get_mut(&asked_by) else { return };
        gathering.left = gathering.left.saturating_sub(1);
        if gathering.left > 0 {
            return;
        }
        let Some(gathered) = gatherings.remove(&asked_by) else { return };
        let Some(Source::Caller(reply, _permit)) = self.take_out(asked_by).map(|call| call.from) else { return };
        match gathered.failed.filter(|_| gathered.tasks.is_empty()) {
            Some(error) => reply.refuse(&error),
            None if gathered.size > limit => {
                reply.refuse(&Error::TooLarge { server: Some(server), size: gathered.size, limit });
            }
            None => reply.result(&format!(r#"{{"tasks":[{}]}}"#, gathered.tasks.join(","))),
        }
    }

    /// Drops what was gathered for a request that is over.
    pub(in crate::mux) fn gathers_no_more(&mut self, server: ServerId, asked_by: CallKey) {
        self.server_mut(server).owned.gatherings.remove(&asked_by);
    }
}

/// Returns the parameters of a request for the page behind a cursor.
fn with_cursor(params: &str, cursor: &str) -> String {
    let inner = params.trim().trim_start_matches('{').trim_start();
    let comma = if inner.starts_with('}') { "" } else { "," };
    format!(r#"{{"cursor":{cursor}{comma}{inner}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_put_before_whatever_else_is_said() {
        assert_eq!(with_cursor("{}", r#""c""#), r#"{"cursor":"c"}"#);
        assert_eq!(with_cursor(r#"{ "_meta":{} }"#, r#""c""#), r#"{"cursor":"c","_meta":{} }"#);
    }
}
