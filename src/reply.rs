//! Made by `mux` with each call, and completed by it: the caller's side of a call. Nothing else answers a caller.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use crate::error::Error;
use crate::metrics::{Account, Outcome};
use crate::wire::id::RawId;
use crate::wire::message::{Kind, Message, member};
use crate::wire::outbox::{Outbox, Topic};
use crate::wire::scan::Field;
use crate::wire::splice::Splice;

/// The caller's side of a call: on it come, in order, notifications and one terminal response. Whoever holds it must
/// answer. A reply that is dropped answers by itself, so that every request has its one answer even if a part forgets
/// it.
pub struct Reply {
    outbox: Outbox,
    batch: Option<Rc<Batch>>,
    id: RawId,
    token: Option<RawId>,
    account: Account,
    talked: bool,
    /// Whether something was passed on that may be about it, and about other calls of its caller.
    touched: bool,
    open: bool,
}

impl Reply {
    /// The reply side of the request `id`, whose progress the caller wants under `token`.
    pub fn new(outbox: Outbox, batch: Option<Rc<Batch>>, id: RawId, token: Option<RawId>, account: Account) -> Reply {
        Reply { outbox, batch, id, token, account, talked: false, touched: false, open: true }
    }

    /// The id that the caller gave the request.
    pub fn id(&self) -> &RawId {
        &self.id
    }

    /// The caller's progress token, if it wants progress.
    pub fn token(&self) -> Option<&RawId> {
        self.token.as_ref()
    }

    /// What is told of it when it ends.
    pub fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Whether anything was passed on besides the answer.
    pub fn has_talked(&self) -> bool {
        self.talked
    }

    /// Whether anything was passed on that may have been about it: a question, a log line, progress.
    pub fn is_touched(&self) -> bool {
        self.touched || self.talked
    }

    /// Notes that something was passed on that may be about it.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// Passes a notification on, if its caller keeps up. SDKs lose a progress notification that arrives in one read with the
    /// answer, so the answer is later kept out of its write.
    pub fn notify(&mut self, notification: &Splice) {
        self.outbox.news(&self.account.server().unheard, Topic::None, notification);
        self.talked = true;
    }

    /// Passes a progress notification on, under the caller's own token; `false` if it wanted none.
    pub fn progress(&mut self, notification: &Message) -> bool {
        let Some(token) = &self.token else { return false };
        let mut splice = notification.splice();
        splice.put_if(notification.span(Field::ProgressToken), token.as_str());
        self.outbox.news(&self.account.server().unheard, Topic::Progress(token.as_str()), &splice);
        self.talked = true;
        true
    }

    /// The terminal response: the server's, under the caller's own id.
    pub fn answer(mut self, answer: &Message, mut splice: Splice) {
        splice.put_if(answer.span(Field::Id), self.id.as_str());
        if let Err(unread) = self.say(&splice) {
            return self.refuse(&unread);
        }
        match answer.raw(Field::Error).filter(|_| answer.kind() == Kind::Error) {
            Some(error) => self.account.end(Outcome::Error, member(error, "code").unwrap_or_default()),
            None => self.account.end(Outcome::Ok, ""),
        }
    }

    /// The terminal response: a result that mcpool knows.
    pub fn result(mut self, result: &str) {
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", self.id.as_str());
        match self.say(&Splice::new(line.into())) {
            Ok(()) => self.account.end(Outcome::Ok, ""),
            Err(unread) => self.refuse(&unread),
        }
    }

    /// The terminal response: an error of mcpool's own.
    pub fn refuse(mut self, error: &Error) {
        self.must_say(error.reply(Some(&self.id)).into());
        self.account.refused(error);
    }

    /// No response: the caller cancelled the request or is gone; which, in words.
    pub fn forget(mut self, why: &str) {
        self.open = false;
        self.account.end(Outcome::Cancelled, why);
    }

    /// Says the terminal response if there is room for it.
    fn say(&mut self, line: &Splice) -> Result<(), Error> {
        let size = line.size();
        if let Some(batch) = &self.batch {
            batch.add(|| line.to_bytes(), size)?;
        } else if self.outbox.fits(size) {
            self.before();
            self.outbox.splice(line);
        } else {
            return Err(Error::NotRead { size, waiting: self.outbox.waiting() });
        }
        self.open = false;
        Ok(())
    }

    /// Says a terminal response that is short.
    fn must_say(&mut self, line: Bytes) {
        self.open = false;
        if let Some(batch) = &self.batch {
            return batch.must_add(line);
        }
        self.before();
        self.outbox.splice(&Splice::new(line));
    }

    /// What there was to hear before the terminal response is over.
    fn before(&self) {
        if self.talked {
            if let Some(token) = &self.token {
                self.outbox.settled(Topic::Progress(token.as_str()));
            }
            self.outbox.cut();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.open {
            tracing::error!(id = self.id.as_str(), "a call was lost inside mcpool");
            let lost = Error::Internal("mcpool lost the call; this is a bug of mcpool".into());
            self.must_say(lost.reply(Some(&self.id)).into());
            self.account.refused(&lost);
        }
    }
}

/// The answers to one JSON-RPC batch (revision 2025-03-26, page "Overview"): said as one array when the last
/// reply that belongs to it is gone. Until then they take up room in the outbox.
pub struct Batch {
    outbox: Outbox,
    parts: RefCell<Vec<Bytes>>,
    /// The room that is kept.
    aside: Cell<usize>,
}

impl Batch {
    /// A batch whose answers go to `outbox`.
    pub fn new(outbox: Outbox) -> Rc<Batch> {
        Rc::new(Batch { outbox, parts: RefCell::default(), aside: Cell::new(0) })
    }

    /// Adds an answer of so many bytes, if there is room for it.
    ///
    /// # Errors
    /// There is not.
    fn add(&self, line: impl FnOnce() -> Bytes, size: usize) -> Result<(), Error> {
        if !self.outbox.set_aside(size) {
            return Err(Error::NotRead { size, waiting: self.outbox.waiting() });
        }
        self.aside.set(self.aside.get() + size);
        self.must_add(line());
        Ok(())
    }

    /// Adds an answer that is short.
    pub fn must_add(&self, line: Bytes) {
        self.parts.borrow_mut().push(line);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let parts = self.parts.take();
        self.outbox.give_back(self.aside.get());
        if !parts.is_empty() {
            self.outbox.line(&[b"[".as_slice(), &parts.join(b",".as_slice()), b"]"].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn account() -> Account {
        Account::open(crate::metrics::Metrics::default().own().clone(), "ping", 0, "7")
    }

    async fn written(outbox: &Outbox) -> String {
        outbox.close();
        let mut written = Vec::new();
        outbox.write_to(&mut written, Duration::ZERO).await.unwrap();
        String::from_utf8(written).unwrap()
    }

    #[tokio::test]
    async fn a_reply_that_is_dropped_answers_all_the_same() {
        let outbox = Outbox::new(1000);
        drop(Reply::new(outbox.clone(), None, RawId::new("7").unwrap(), None, account()));
        assert!(written(&outbox).await.starts_with(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603"#));
    }

    #[tokio::test]
    async fn a_batch_is_answered_as_one_array_when_its_last_call_ends() {
        let outbox = Outbox::new(1000);
        let batch = Batch::new(outbox.clone());
        let reply =
            |id: &str| Reply::new(outbox.clone(), Some(batch.clone()), RawId::new(id).unwrap(), None, account());
        let (first, second, third) = (reply("1"), reply("2"), reply("3"));
        drop(batch);
        second.result("{}");
        third.forget("");
        // Its answers take up room, though none is said.
        assert_eq!((outbox.waiting(), outbox.said()), (36, 0));
        first.result("1");
        assert_eq!(
            written(&outbox).await,
            "[{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}},{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}]\n"
        );
    }
}
