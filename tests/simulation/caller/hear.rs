//! What reaches a model client, each message checked: asked for, for this client, unchanged, once, in time.

use std::rc::Rc;

use mcpool::wire::message::{Kind, Message, elements, member};
use mcpool::wire::scan::Field;

use super::{Caller, Request, What};
use crate::simulation::world::{ID, mark};

impl Caller {
    /// A line arrived.
    pub(super) fn hear(self: &Rc<Caller>, line: &str) {
        if !line.starts_with('[') {
            self.hear_one(line, false);
            return self.answered.notify_one();
        }
        let Ok(parts) = Message::batch(&line.to_owned().into(), 1000, 10_000) else {
            return self.world.fault(format!("{} got half a batch: {line}", self.name()));
        };
        let batches: Vec<Option<u64>> =
            parts.iter().map(|part| self.hear_one(&String::from_utf8_lossy(part), true)).collect();
        let whole = batches.iter().all(|batch| *batch == batches[0]);
        let left = self.pending.borrow().values().any(|request| request.batch == batches[0] && request.waits())
            && !self.gone.get();
        if !self.kind.speaks_batches() || !whole || left {
            self.world.fault(format!("{} got a batch that is none of its batches: {line}", self.name()));
        }
        self.answered.notify_one();
    }

    /// One message; the batch that it answers a part of.
    fn hear_one(self: &Rc<Caller>, line: &str, in_batch: bool) -> Option<u64> {
        let message = match Message::read(line.to_owned().into(), 1000) {
            Ok(message) => message,
            Err(malformed) => {
                self.world.fault(format!("{} got what is no message ({}): {line}", self.name(), malformed.why));
                return None;
            }
        };
        match message.kind() {
            Kind::Result | Kind::Error => return self.answered_with(&message, line, in_batch),
            Kind::Request => self.asked(&message, line),
            Kind::Notification => self.notified(&message, line),
        }
        None
    }

    fn answered_with(self: &Rc<Caller>, answer: &Message, line: &str, in_batch: bool) -> Option<u64> {
        let id = answer.raw(Field::Id).unwrap_or_default();
        let Some(request) = self.pending.borrow_mut().remove(id) else {
            self.world.fault(format!("{} got an answer to nothing, or a second one: {line}", self.name()));
            return None;
        };
        if request.batch.is_some() != in_batch {
            self.world.fault(format!(
                "{} got an answer in a batch, or alone, that it did not ask for so: {line}",
                self.name()
            ));
        }
        if request.cancelled.is_some_and(|since| since < self.world.now()) && !in_batch && !self.gone.get() {
            self.world.fault(format!("{} got an answer to what it had cancelled: {line}", self.name()));
        }
        let batch = request.batch;
        self.check_answer(request, answer, id, line);
        batch
    }

    fn check_answer(self: &Rc<Caller>, request: Request, answer: &Message, id: &str, line: &str) {
        let result = answer.raw(Field::Result);
        let good = match &request.what {
            What::Call(cause) => return self.check_call(&request, cause, answer, id, line),
            What::Open => {
                self.opened.set(Some(result.is_some()));
                result.is_none_or(|result| member(result, "capabilities").is_some())
            }
            What::List(kind) => result.is_none_or(|result| self.is_whole(kind, member(result, kind).unwrap_or("1"))),
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
            self.check_refusal(answer, line);
        }
    }

    /// A call is answered with the very answer that the server gave, or refused for a reason.
    fn check_call(self: &Rc<Caller>, request: &Request, cause: &str, answer: &Message, id: &str, line: &str) {
        let truth = self.world.truth(cause, |truth| (truth.answer.clone(), truth.progress));
        let Some((said, (sent, seen))) = truth else { return };
        let plain = unwrapped(line);
        match said {
            Some((said, _)) if said.replacen(ID, id, 1) == plain => {
                if sent != seen && request.token.is_some() {
                    self.world.fault(format!("{} saw {seen} of {sent} progress notifications of {cause}", self.name()));
                }
                if answer.raw(Field::ResultType) == Some("\"input_required\"") && request.cancelled.is_none() {
                    self.wanted_input(answer, cause);
                }
            }
            Some((said, at)) if line.contains("\"cause\"") || at < self.world.now() && request.batch.is_none() => {
                self.world.fault(format!(
                    "{} got for {cause}\n  {line}\nand not, since {:.3}s,\n  {said}",
                    self.name(),
                    at.as_secs_f64()
                ));
            }
            _ if answer.raw(Field::Result).is_some() => {
                self.world.fault(format!("{} got a result that no server gave: {line}", self.name()))
            }
            _ => {
                self.abandon(request);
                self.check_refusal(answer, line);
            }
        }
    }

    fn check_refusal(&self, answer: &Message, line: &str) {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        let reasoned = error.contains(r#""mcpool":{"reason":"#);
        let code = member(error, "code").unwrap_or_default();
        let plain = matches!(code, "-32022" | "-32601") || self.prefix && matches!(code, "-32602" | "-32002");
        if line.contains("bug of mcpool") || !(reasoned || plain) {
            self.world.fault(format!("{} got an error for no reason: {line}", self.name()));
        }
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

    fn notified(&self, message: &Message, line: &str) {
        let stream = message.raw(Field::MetaSubscription);
        match (message.method().as_ref(), stream) {
            ("notifications/progress", None) => self.progressed(message, line),
            ("notifications/message", None) => self.logged(line),
            ("notifications/cancelled", None) => self.ask_withdrawn(message, line),
            ("notifications/subscriptions/acknowledged", Some(stream)) => self.acknowledged(stream, message, line),
            ("notifications/resources/updated", stream) => self.updated(stream, message, line),
            (method, stream) if method.ends_with("/list_changed") => self.changed(stream, line),
            _ => self.world.fault(format!("{} was told what is none of its business: {line}", self.name())),
        }
    }

    /// Progress: of a call that waits, under its own token, in order.
    fn progressed(&self, message: &Message, line: &str) {
        let token = message.raw(Field::ProgressToken);
        let pending = self.pending.borrow();
        let now = self.world.now();
        let wanted = |request: &&Request| {
            request.token.as_deref() == token && request.cancelled.is_none_or(|since| since == now)
        };
        let Some(Request { what: What::Call(cause), .. }) = pending.values().find(wanted) else {
            return self.world.fault(format!("{} got progress of nothing that it waits for: {line}", self.name()));
        };
        let expected = self.world.truth(cause, |truth| {
            truth.progress.1 += 1;
            format!(r#""cause":"{cause}","progress":{}}}"#, truth.progress.1)
        });
        if !expected.is_some_and(|expected| line.contains(&expected)) {
            self.world
                .fault(format!("{} got progress of another call, or out of order, for {cause}: {line}", self.name()));
        }
    }

    fn logged(&self, line: &str) {
        let (Some(cause), Some(log)) = (mark(line, "cause"), mark(line, "log")) else {
            return self.world.fault(format!("{} got a strange log line: {line}", self.name()));
        };
        if !self.logs.borrow_mut().insert(log.to_owned()) {
            self.world.fault(format!("{} got a log line twice: {line}", self.name()));
        }
        self.check_own(cause, "a log line");
    }

    fn ask_withdrawn(&self, message: &Message, line: &str) {
        let id = message.raw(Field::RequestId).unwrap_or_default();
        if self.asks.borrow_mut().insert(id.to_owned(), false).is_none() {
            self.world.fault(format!("{} was told to forget what it was never asked: {line}", self.name()));
        }
    }

    fn acknowledged(&self, id: &str, message: &Message, line: &str) {
        let mut streams = self.streams.borrow_mut();
        let granted = message.raw(Field::Notifications).unwrap_or("{}");
        let uris = member(granted, "resourceSubscriptions").map(elements).unwrap_or_default();
        let good = streams.get_mut(id).is_some_and(|stream| {
            let more = uris.iter().any(|uri| !stream.wanted.contains(uri));
            !std::mem::replace(&mut stream.acknowledged, true) && !more
        });
        if !good {
            self.world.fault(format!("{} got an acknowledgement that it did not wait for: {line}", self.name()));
        }
    }

    /// An update: of what it is subscribed to, once on each stream.
    fn updated(&self, stream: Option<&str>, message: &Message, line: &str) {
        let uri = message.text(Field::Uri).unwrap_or_default();
        let good = match stream {
            None => self.subscribed.borrow().contains(uri.as_ref()),
            Some(id) => self.listens(id, &format!("\"{uri}\"")),
        };
        if !good {
            self.world.fault(format!("{} got an update that it is not subscribed to: {line}", self.name()));
        }
        let sequence = mark(line, "seq").unwrap_or_default().to_owned();
        if !self.updates.borrow_mut().insert((sequence, stream.unwrap_or_default().to_owned())) {
            self.world.fault(format!("{} got an update twice: {line}", self.name()));
        }
    }

    fn changed(&self, stream: Option<&str>, line: &str) {
        let good = match stream {
            None => !self.kind.is_modern() && self.opened.get() == Some(true),
            Some(id) => self.listens(id, "toolsListChanged"),
        };
        if !good {
            self.world.fault(format!("{} was told of a change without having asked for it: {line}", self.name()));
        }
    }

    /// Whether a stream is open, acknowledged and wide enough; one that was cancelled just now counts.
    fn listens(&self, id: &str, wanted: &str) -> bool {
        let cancelled = self
            .pending
            .borrow()
            .get(id)
            .is_none_or(|request| request.cancelled.is_some_and(|since| since < self.world.now()));
        let streams = self.streams.borrow();
        !cancelled && streams.get(id).is_some_and(|stream| stream.acknowledged && stream.wanted.contains(wanted))
    }
}

/// A line without the wrapping of its request state.
fn unwrapped(line: &str) -> String {
    const WRAPPED: &str = "\"requestState\":\"mcpool.";
    let Some(start) = line.find(WRAPPED).map(|start| start + WRAPPED.len()) else { return line.to_owned() };
    let inner = line[start..].splitn(3, '.').nth(2).unwrap_or_default();
    format!("{}{inner}", &line[..start - "mcpool.".len()])
}
