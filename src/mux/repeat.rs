//! Called for each call whose instance is gone: sends it again, or fails it. A call is sent again only if nothing of it
//! had reached the instance, or if doing it twice does no harm.

use super::Mux;
use super::call::{Call, Place, Source};
use super::errand::Errand;
use crate::error::Error;
use crate::key::CallKey;
use crate::pool::pending::Entry;

impl Mux {
    /// Handles a call whose instance is gone: sends it again if that does no harm, else fails it. `kept_back` says that
    /// not one byte of it went out.
    pub(super) fn lost(&mut self, entry: Entry, kept_back: bool, error: &Error) {
        let key = entry.call;
        let repeats = self.calls.get(key).is_some_and(|call| self.may_repeat(call, kept_back));
        let Some(call) = self.calls.get(key).filter(|_| repeats) else { return self.todo.fail(key, error.clone()) };
        let server = call.server;
        if !self.server_mut(server).gate.budget.spend() {
            return self.todo.fail(key, error.clone());
        }
        self.server(server).pool.metrics.retried();
        self.repeat(key, error);
    }

    /// Returns whether a call may be sent a second time.
    fn may_repeat(&self, call: &Call, kept_back: bool) -> bool {
        let retry = &self.server(call.server).config.retry;
        let pinned = call.pin.is_some_and(|pin| !pin.or_any);
        let of_tool = if retry.tools.is_empty() { None } else { self.tool_called(call) };
        let of_tool = of_tool.and_then(|tool| retry.tools.get(&tool));
        if call.repeats >= *of_tool.unwrap_or(&retry.attempts) || pinned {
            return false;
        }
        match &call.from {
            // What it said already would be said again, and progress would go backwards.
            Source::Caller(reply, _) if reply.has_talked() => false,
            Source::Caller(..) if kept_back => true,
            // What was said on its behalf, or a person asked, would come twice.
            Source::Caller(reply, _) if reply.is_touched() => false,
            // Between the eras, something may have been asked and answered for it.
            Source::Caller(..) => call.bridge.is_none() && (of_tool.is_some() || self.is_safe(call)),
            Source::Mcpool(errand) => matches!(errand, Errand::List { .. }),
            Source::Held { .. } => false,
        }
    }

    /// Returns whether a call may be carried out twice, as far as its server says.
    fn is_safe(&self, call: &Call) -> bool {
        let method = call.request.method();
        if method != "tools/call" {
            return reads_only(&method);
        }
        self.tool_called(call).is_some_and(|tool| self.server(call.server).catalogue.is_marked_safe(&tool))
    }

    fn repeat(&mut self, key: CallKey, error: &Error) {
        let Some(call) = self.calls.get(key) else { return };
        let name = &self.server(call.server).config.name;
        tracing::info!(server = name, method = %call.request.method(), %error, "sends a call again");
        // On its way out the line had names and states of the server in it.
        let modern = call.profile == crate::era::profile::Profile::Modern;
        let routed = self.callers.get(call.caller).filter(|_| call.is_callers() && !call.is_worded());
        let worded = routed.map(|caller| {
            let mut route = self.route(caller, &call.request, modern)?;
            self.unwrap_state(call.server, call.caller, &call.request, modern, &mut route.splice)?;
            Ok(route.splice)
        });
        let splice = match worded {
            None => call.request.splice(),
            Some(Ok(splice)) => splice,
            Some(Err(error)) => return self.todo.fail(key, error),
        };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.splice = splice;
        call.place = Place::Nowhere;
        call.queue_until = None;
        call.repeats += 1;
        self.todo.place(key);
    }
}

/// Returns whether a method only reads.
fn reads_only(method: &str) -> bool {
    method.ends_with("/list") || matches!(method, "resources/read" | "prompts/get" | "completion/complete" | "ping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_is_not_among_what_only_reads() {
        assert!(["tools/list", "resources/templates/list", "prompts/get", "ping"].iter().all(|name| reads_only(name)));
        let others = ["tools/call", "resources/subscribe", "tasks/cancel", "logging/setLevel", "x/listing", ""];
        assert!(!others.iter().any(|name| reads_only(name)));
    }
}
