//! What reaches a model client, each message checked: asked for, for this client, unchanged, once, in time.

use std::rc::Rc;

use mcpool::wire::message::{Kind, Message, elements, member};
use mcpool::wire::scan::Field;

use super::{Caller, Request, What};
use crate::simulation::world::mark;

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
        if request.cancelled.is_some_and(|since| since + self.world.reads_late() < self.world.now())
            && !in_batch
            && !self.gone.get()
        {
            self.world.fault(format!("{} got an answer to what it had cancelled: {line}", self.name()));
        }
        let batch = request.batch;
        self.check_answer(request, answer, id, line);
        batch
    }

    fn notified(&self, message: &Message, line: &str) {
        let stream = message.raw(Field::MetaSubscription);
        match (message.method().as_ref(), stream) {
            ("notifications/progress", None) => self.progressed(message, line),
            ("notifications/message", None) => self.logged(line),
            ("notifications/cancelled", None) => self.ask_withdrawn(message, line),
            ("notifications/elicitation/complete", None) => {
                let page = message.raw(Field::ElicitationId).unwrap_or_default();
                if !self.pages.borrow_mut().remove(page) {
                    self.world.fault(format!("{} was told of a page that it was never sent to: {line}", self.name()));
                }
            }
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
        let start = format!(r#""cause":"{cause}","progress":"#);
        let number = line.find(&start).and_then(|place| {
            let digits = &line[place + start.len()..];
            digits.split('}').next()?.parse::<u32>().ok()
        });
        let good = self.world.truth(cause, |truth| {
            let last = std::mem::replace(&mut truth.progress.1, number.unwrap_or_default());
            // What was said while nobody waited for it went nowhere.
            number.is_some_and(|number| number == last + 1 || truth.was_held && number > last)
        });
        if good != Some(true) {
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
        const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        let said = mark(line, "level").and_then(rank);
        let now = self.world.now();
        let wanted = |request: &Request| {
            let open = request.cancelled.is_none_or(|since| since == now);
            open && request.level.and_then(rank).is_some_and(|level| said >= Some(level))
        };
        if self.kind.is_modern() && !self.pending.borrow().values().any(wanted) {
            self.world.fault(format!("{} got a log line that no request of it wants: {line}", self.name()));
        }
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
        let Some(sequence) = mark(line, "seq").map(str::to_owned) else {
            return self
                .world
                .known_fault("shortened update", format!("{} got a shortened update: {line}", self.name()));
        };
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
        let cancelled = self.pending.borrow().get(id).is_none_or(|request| {
            request.cancelled.is_some_and(|since| since + self.world.reads_late() < self.world.now())
        });
        let streams = self.streams.borrow();
        !cancelled && streams.get(id).is_some_and(|stream| stream.acknowledged && stream.wanted.contains(wanted))
    }
}
