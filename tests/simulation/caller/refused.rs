//! Refusals of mcpool's own, as a model client checks them: limits, breakers, and when to try again.

use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;

use super::{Caller, Hope, Request};

/// What those are told who come while one call tries.
const TRYING: Duration = Duration::from_secs(1);

impl Caller {
    /// A call was refused for a reason: what that says, and whether it is true.
    pub(super) fn check_reason(&self, request: &Request, cause: &str, answer: &Message, line: &str) {
        let reason = reason(answer);
        let retry =
            mcpool(answer).and_then(|data| member(data, "retryAfterMs")?.parse().ok()).map(Duration::from_millis);
        let (server, arrived) =
            self.world.truth(cause, |truth| (truth.server, truth.arrived.is_some())).unwrap_or_default();
        let fresh = request.hope == Hope::Fresh;
        match reason {
            "\"rate_limited\"" => {
                self.world.count("calls that came too fast");
                self.world.truth(cause, |truth| truth.barred |= fresh);
                if arrived && fresh || retry.is_none() {
                    self.world.fault(format!("{} was told wrongly that {cause} comes too fast: {line}", self.name()));
                }
            }
            "\"forbidden\"" => {
                self.world.count("calls of what is not listed");
                self.world.truth(cause, |truth| truth.barred |= fresh);
                if arrived && fresh {
                    self.world.fault(format!("{} was told wrongly that {cause} is forbidden: {line}", self.name()));
                }
            }
            "\"breaker_open\"" => {
                self.world.count("calls refused by breakers");
                match retry {
                    Some(TRYING) => {}
                    Some(retry) if request.batch.is_none() && self.world.breakers_are_simple(server) => {
                        let alone = line.contains("for this client").then_some(self.no);
                        self.world.breaker_is_open(server, alone, retry)
                    }
                    Some(_) => {}
                    None => self.world.fault(format!("{} was not told when to try again: {line}", self.name())),
                }
            }
            _ => {}
        }
    }

    /// While the breaker of a server is open, a call of it is refused in no time.
    pub(super) fn check_breaker(&self, request: &Request, cause: &str, line: &str) {
        let server = self.world.truth(cause, |truth| truth.server).unwrap_or_default();
        let took = self.world.now() - request.since;
        let alone = request.batch.is_none() && !self.prefix && request.hope == Hope::Fresh;
        if alone
            && !took.is_zero()
            && self.world.breakers_are_simple(server)
            && self.world.was_open(server, self.no, request.since)
        {
            self.world.fault(format!("{} waited {took:?} though the breaker was open: {line}", self.name()));
        }
    }
}

fn mcpool(answer: &Message) -> Option<&str> {
    member(member(answer.raw(Field::Error)?, "data")?, "mcpool")
}

/// Returns whether a request was refused because its caller, or all callers, have too much already.
pub(super) fn is_too_much(answer: &Message) -> bool {
    matches!(reason(answer), "\"caller_overloaded\"" | "\"memory_full\"")
}

/// Why mcpool refused a request; empty if it did not.
pub(super) fn reason(answer: &Message) -> &str {
    mcpool(answer).and_then(|data| member(data, "reason")).unwrap_or_default()
}
