//! Answers to a model client: what the server said, whole and unchanged but for its era, or an error for a reason.

use std::rc::Rc;

use mcpool::wire::message::{Message, elements, member};
use mcpool::wire::scan::Field;

use super::kind::Kind;
use super::refused::{is_too_much, reason};
use super::{Caller, Hope, Request, What};
use crate::simulation::across;
use crate::simulation::truth::Truth;
use crate::simulation::world::ID;

impl Caller {
    /// An answer to a request.
    pub(super) fn check_answer(self: &Rc<Caller>, request: Request, answer: &Message, id: &str, line: &str) {
        self.check_time(&request, line);
        let result = answer.raw(Field::Result);
        let good = match &request.what {
            What::Call(cause) => return self.check_call(&request, cause, answer, id, line),
            What::Open => {
                self.opened.set(Some(result.is_some()));
                result.is_none_or(|result| self.introduces(result))
            }
            What::Probe => result.is_none_or(|result| member(result, "supportedVersions").is_some()),
            What::List(kind) => result.is_none_or(|result| {
                self.fits_era(result, "x/list") && self.is_whole(kind, member(result, kind).unwrap_or("1"))
            }),
            What::Subscribe(uri) => {
                if result.is_none() {
                    self.subscribed.borrow_mut().remove(uri);
                }
                true
            }
            What::Unsubscribe(uri) => {
                if result.is_some() {
                    self.subscribed.borrow_mut().remove(uri);
                }
                true
            }
            What::Listen => {
                self.streams.borrow_mut().remove(id);
                true
            }
            What::Nothing => result.is_none_or(|result| result == "{}"),
        };
        if !good {
            self.world.fault(format!("{} got a strange answer: {line}", self.name()));
        }
        if result.is_none() {
            // A server may have no streams.
            let streams = matches!(request.what, What::Listen | What::Subscribe(_) | What::Unsubscribe(_));
            // Subscriptions and levels go where the roots of their client lead.
            let rooted = streams || request.what == What::Nothing;
            let plain = match streams {
                _ if rooted && self.lacks_roots(answer) => &["-32601", "-32603"][..],
                true => &["-32601"],
                false => &[],
            };
            self.check_refusal(answer, line, plain);
        }
    }

    /// A call is answered with the very answer that the server gave, or refused for a reason.
    fn check_call(self: &Rc<Caller>, request: &Request, cause: &str, answer: &Message, id: &str, line: &str) {
        if request.hope == Hope::Vain || is_used_up(request, answer) {
            return self.check_vain(request, cause, answer, line);
        }
        // A return that was one call too many leaves its state as good as it was.
        if request.hope == Hope::Spoilt && is_too_much(answer) {
            return;
        }
        if request.hope == Hope::Spoilt {
            self.world.truth(cause, |truth| truth.spent = true);
        }
        if Caller::is_held(answer) {
            return self.asked_by_answer(request, cause, answer, line);
        }
        let method = self.world.truth(cause, |truth| truth.method.clone()).unwrap_or_default();
        let (modern, now) = (self.kind.is_modern(), self.world.now());
        let Some(Found { same, said, late, missed, plain: codes }) = self.world.truth(cause, |truth| Found {
            same: truth.answer.as_ref().is_some_and(|(said, _)| match truth.crossed {
                true => across::same_answer(&said.replacen(ID, id, 1), line, modern, &method),
                false => said_alike(&said.replacen(ID, id, 1), line),
            }),
            said: truth.answer.as_ref().map(|(said, _)| said.clone()),
            // What a copy says after it was told to end is not heard. Its call may wait for another copy by then, and be
            // refused there.
            late: truth
                .answer
                .as_ref()
                .is_some_and(|(_, at)| *at < now && truth.arrived.is_some_and(|copy| self.world.hears(copy, *at)))
                && request.batch.is_none(),
            missed: (truth.progress.0 != truth.progress.1 && !truth.was_held).then_some(truth.progress),
            plain: plain_codes(truth),
        }) else {
            return;
        };
        self.check_breaker(request, cause, line);
        self.note_admitted(request, cause);
        if same {
            self.served.set(self.served.get() + 1);
            if let Some((sent, seen)) = missed.filter(|_| request.token.is_some()) {
                self.world.fault(format!("{} saw {seen} of {sent} progress notifications of {cause}", self.name()));
            }
            if answer.raw(Field::ResultType) == Some("\"input_required\"") && request.cancelled.is_none() {
                self.wanted_input(answer, cause);
            }
            return;
        }
        let silent = self.is_unanswered(request, cause, answer, line);
        let undeclared = silent || modern && said.as_ref().is_some_and(|said| said.contains("-32042"));
        // One call too many, or too late, may be the one that comes back for what is answered.
        let refused = is_too_much(answer) || reason(answer) == "\"draining\"";
        let too_many = request.hope != Hope::Fresh && refused;
        match said {
            Some(said) if !too_many && (line.contains("\"cause\"") || late) && !undeclared => {
                self.world.fault(format!("{} got for {cause}\n  {line}\nand not\n  {said}", self.name()));
            }
            _ if answer.raw(Field::Result).is_some() => {
                self.world.fault(format!("{} got a result that no server gave: {line}", self.name()))
            }
            _ => {
                self.check_service(request, cause, answer, line);
                self.check_reason(request, cause, answer, line);
                self.abandon(request);
                let silence: &[&str] = if silent { &["-32603"] } else { &[] };
                self.check_refusal(answer, line, &[&codes, silence].concat());
            }
        }
    }

    fn check_vain(&self, request: &Request, cause: &str, answer: &Message, line: &str) {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let message = member(error, "message").unwrap_or_default();
        let told = member(error, "code") == Some("-32602") && message.starts_with("\"invalid params: ");
        let good = match request.hope {
            // Before that it must be known who has the resource, and in what era the server is used.
            Hope::Vain => {
                let others = [
                    "\"start_failed\"",
                    "\"pool_exhausted\"",
                    "\"rate_limited\"",
                    "\"breaker_open\"",
                    "\"caller_overloaded\"",
                    "\"memory_full\"",
                    "\"draining\"",
                    "\"queue_timeout\"",
                ];
                let unknown = error.contains("resource not found") || others.contains(&reason(answer));
                // A server that was taken out is not known by its names any more.
                let server = self.world.truth(cause, |truth| truth.server).unwrap_or_default();
                let gone = self.world.removed.borrow().contains_key(&server) && message.contains("unknown name");
                told && (message.contains("requestState") || gone) || unknown
            }
            Hope::Returns(until) => {
                // One that brought nonsense may have been taken instead, if the server wants no answers any more.
                let waits = |other: &Request| other.hope == Hope::Spoilt && other.what == request.what;
                let spent = self.world.truth(cause, |truth| truth.spent) == Some(true);
                if spent || self.pending.borrow().values().any(waits) {
                    return;
                }
                self.abandon(request);
                // The era of a server whose word nobody can rely on may turn out to be the other after all: then the
                // request is begun anew, and its state is used.
                let server = self.world.truth(cause, |truth| truth.server).unwrap_or_default();
                told && (self.world.now() > until || self.world.servers[server].is_fickle())
            }
            _ => told,
        };
        if !good {
            let hope = request.hope;
            self.world.fault(format!("{} came with a state for {cause} ({hope:?}) and got {line}", self.name()));
        }
    }

    fn check_refusal(&self, answer: &Message, line: &str, plain: &[&str]) {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let reasoned = error.contains(r#""mcpool":{"reason":"#);
        let code = member(error, "code").unwrap_or_default();
        let plain = plain.contains(&code) || self.prefix && matches!(code, "-32602" | "-32002" | "-32601");
        if line.contains("bug of mcpool") || !(reasoned || plain) {
            self.world.fault(format!("{} got an error for no reason: {line}", self.name()));
        }
    }

    /// What a server, or a common endpoint, says of itself.
    fn introduces(&self, result: &str) -> bool {
        let versions = member(result, "supportedVersions");
        let about = member(result, "serverInfo");
        let named = about.is_some_and(|about| member(about, "name").is_some() && member(about, "version").is_some());
        let era = match &self.kind {
            Kind::Modern { .. } => versions.is_some_and(|versions| versions.contains("\"2026-07-28\"")),
            Kind::Legacy { revision, .. } => {
                named && member(result, "protocolVersion") == Some(format!("\"{revision}\"").as_str())
            }
        };
        era && member(result, "capabilities").is_some() && self.fits_era(result, "server/discover")
    }

    /// Whether a result has the members of this client's era. What a server said in that era itself is its own affair.
    fn fits_era(&self, result: &str, method: &str) -> bool {
        let modern = self.kind.is_modern();
        let crosses = |server: &usize| !self.world.servers[*server].modern;
        if modern && !self.servers.iter().all(crosses) {
            return true;
        }
        across::of_its_era(result, modern, method)
    }

    /// Whether a list shows all that each server has, or nothing of it, and nothing else.
    fn is_whole(&self, kind: &str, items: &str) -> bool {
        let key = if kind == "resources" { "uri" } else { "name" };
        let names: Vec<String> =
            elements(items).iter().filter_map(|item| member(item, key)).map(str::to_owned).collect();
        let name = |server: usize, n: usize| match (kind, self.prefix) {
            ("resources", _) => format!("\"{}\"", crate::simulation::server::uri(server, n)),
            (_, false) => format!("\"{}{n}\"", &kind[..1]),
            (_, true) => format!("\"s{server}__{}{n}\"", &kind[..1]),
        };
        let mut rest = names.as_slice();
        for server in &self.servers {
            let all: Vec<String> = (0..3).map(|n| name(*server, n)).collect();
            rest = rest.strip_prefix(all.as_slice()).unwrap_or(rest);
        }
        rest.is_empty() && (self.prefix || !names.is_empty())
    }
}

/// What is known of a call when its answer comes.
struct Found {
    same: bool,
    said: Option<String>,
    late: bool,
    missed: Option<(u32, u32)>,
    plain: Vec<&'static str>,
}

/// Codes with which a call may be refused without a reason in mcpool's own words.
fn plain_codes(truth: &Truth) -> Vec<&'static str> {
    let mut codes = Vec::new();
    if truth.modern && matches!(truth.method.as_str(), "ping" | "logging/setLevel") {
        codes.push("-32601");
    }
    if truth.ask_refused {
        codes.push(if truth.modern { "-32602" } else { "-32603" });
    }
    if truth.answer.as_ref().is_some_and(|(said, _)| truth.modern && said.contains("-32042")) {
        codes.push("-32021");
    }
    codes
}

/// Whether a request that came back too late, or with nonsense, is told so.
fn is_used_up(request: &Request, answer: &Message) -> bool {
    let error = answer.raw(Field::Error).unwrap_or("{}");
    let message = member(error, "message").unwrap_or_default();
    let told = member(error, "code") == Some("-32602") && message.starts_with("\"invalid params: ");
    let state = message.contains("requestState");
    match request.hope {
        Hope::Returns(_) => told && state,
        Hope::Spoilt => told,
        Hope::Fresh | Hope::Vain => false,
    }
}

/// Whether a caller got a server's answer unchanged, but for a request state, which is sealed. Whether the server gets
/// its own back is for the server to say.
fn said_alike(said: &str, got: &str) -> bool {
    const STATE: &str = "\"requestState\":";
    if !got.contains(&format!("{STATE}\"mcpool.asked.")) {
        return said == got;
    }
    let before = |line: &str| line.rfind(STATE).map(|start| line[..start].to_owned());
    before(said) == before(got)
}
