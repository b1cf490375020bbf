//! Kept by the legacy demo server: the requests that it has sent to its client and that wait for an answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::line::{Out, Raw, raw};

/// A result or an error, to the letter.
type Answer = Result<Raw, Raw>;

#[derive(Default)]
pub struct Asks {
    next: Cell<u64>,
    waiting: Rc<RefCell<HashMap<u64, oneshot::Sender<Answer>>>>,
}

impl Asks {
    /// Sends a request; its answer comes through what is returned.
    pub async fn send(&self, out: &Out, method: &str, params: Option<Value>) -> Asked {
        let id = self.next.replace(self.next.get() + 1);
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        let asked = Asked { id, answer, waiting: Rc::clone(&self.waiting), out: out.clone() };
        if let Ok(id) = raw(&id) {
            out.request(&id, method, params).await;
        }
        asked
    }

    /// Hands an answer to who waits for it; one that nobody waits for is dropped.
    pub fn answer(&self, id: &RawValue, answer: Answer) {
        let waiting = id.get().parse().ok().and_then(|id: u64| self.waiting.borrow_mut().remove(&id));
        if let Some(sender) = waiting {
            let _ = sender.send(answer);
        }
    }
}

/// A request that waits. Dropped before its answer, since its call was cancelled, it is cancelled too.
pub struct Asked {
    id: u64,
    answer: oneshot::Receiver<Answer>,
    waiting: Rc<RefCell<HashMap<u64, oneshot::Sender<Answer>>>>,
    out: Out,
}

impl Asked {
    pub async fn wait(mut self) -> Answer {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            // Cannot be: the sender stays in the map until it answers.
            Err(_) => Err(RawValue::NULL.to_owned()),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.waiting.borrow_mut().remove(&self.id).is_some() {
            let why = json!({ "requestId": self.id, "reason": "the call that asked has ended" });
            self.out.mention("notifications/cancelled", why);
        }
    }
}
