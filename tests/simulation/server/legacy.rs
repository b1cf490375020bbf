//! The legacy side of a model server: the handshake, subscriptions, and asks as requests of its own.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Server;
use super::act::Act;
use crate::simulation::json;
use crate::simulation::world::{Ask, ID, mark};

/// Longer than any ask may take.
const PATIENCE: Duration = Duration::from_secs(120);

impl Server {
    pub(super) fn initialize(&self, request: &Message, id: &str) {
        let chance = self.roll(100);
        if chance < self.habits.fails_to_start / 4 {
            return;
        }
        if !self.habits.legacy || chance < self.habits.fails_to_start / 3 {
            let code = if self.habits.legacy { -32603 } else { -32022 };
            return self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"}}}}"#));
        }
        let declared = request.raw(Field::Capabilities).unwrap_or("{}");
        let known = [
            ("sampling", "sampling/createMessage"),
            ("elicitation", "elicitation/create"),
            ("roots", "roots/list"),
            ("", "ping"),
        ];
        let can = known.into_iter().filter(|(name, _)| name.is_empty() || member(declared, name).is_some());
        *self.can_ask.borrow_mut() = can.map(|(_, method)| method).collect();
        let version = request.raw(Field::ProtocolVersion).unwrap_or_default();
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":{version},"capabilities":{{"logging":{{}},"prompts":{{}},"tools":{{"listChanged":true}},"resources":{{"subscribe":true}}}},"serverInfo":{{"name":"s{}","version":"1"}}}}}}"#,
            self.which
        ));
    }

    pub(super) fn initialized(self: &Rc<Server>, tasks: &mut JoinSet<()>) {
        if self.habits.wants_roots && self.can_ask.borrow().contains(&"roots/list") {
            let server = self.clone();
            tasks.spawn_local(async move { server.put("roots/list", "").await });
        }
    }

    pub(super) fn roots_changed(self: &Rc<Server>, tasks: &mut JoinSet<()>) {
        *self.roots.borrow_mut() = None;
        self.initialized(tasks);
    }

    pub(super) fn subscribe(&self, request: &Message, on: bool) -> String {
        let uri = request.text(Field::Uri).unwrap_or_default().into_owned();
        let mut subscribed = self.subscribed.borrow_mut();
        if on {
            subscribed.insert(uri)
        } else {
            subscribed.remove(&uri)
        };
        "{}".to_owned()
    }

    /// Asks the caller of a call and waits for the answer.
    pub(super) async fn ask(&self, act: &Act) {
        let method = {
            let can = self.can_ask.borrow();
            can[self.roll(can.len() as u32) as usize]
        };
        self.put(method, &act.cause).await;
    }

    async fn put(&self, method: &str, cause: &str) {
        let (nonce, id) = (format!("a{}", self.world.next()), self.ask_id());
        let x = json::value(&mut self.rng.borrow_mut(), 2);
        let params = if cause.is_empty() {
            String::new()
        } else {
            format!(r#","params":{{"cause":"{cause}","ask":"{nonce}","x":{x}}}"#)
        };
        let line = format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":"{method}"{params}}}"#);
        let ask = Ask { cause: cause.to_owned(), request: line.clone(), delivered: None, answer: None };
        self.world.asks.borrow_mut().insert(nonce.clone(), ask);
        let (answered, answer) = oneshot::channel();
        self.asks.borrow_mut().insert(id.clone(), (nonce, answered));
        self.say_with_id(&line, &id);
        let changes_its_mind = !cause.is_empty() && self.roll(8) == 0;
        let patience = if changes_its_mind { Duration::from_millis(self.roll(500).into()) } else { PATIENCE };
        if timeout(patience, answer).await.is_ok() {
            return;
        }
        if changes_its_mind {
            self.asks.borrow_mut().remove(&id);
            self.withdrawn.borrow_mut().insert(id.clone());
            self.say(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ));
        } else {
            self.world.fault(format!("{} got no answer to its `{method}` {id}", self.name()));
        }
    }

    /// An id in one of the forms that servers use, equal between copies.
    fn ask_id(&self) -> String {
        self.next.set(self.next.get() + 1);
        let next = self.next.get();
        match self.roll(4) {
            0 => format!("\"ask \\\"{next}\\\" \\u0061\""),
            1 => format!("-{next}"),
            2 => format!("{next}.5"),
            _ => (next - 1).to_string(),
        }
    }

    /// An answer of the client: to an ask that waits, and to the letter what its caller said.
    pub(super) fn ask_answered(&self, answer: &Message, line: &str) {
        let id = answer.raw(Field::Id).unwrap_or_default();
        let Some((nonce, waiting)) = self.asks.borrow_mut().remove(id) else {
            if !self.withdrawn.borrow().contains(id) {
                self.world.fault(format!("{} got an answer to no ask, or a second one: {line}", self.name()));
            }
            return;
        };
        let asks = self.world.asks.borrow();
        let ask = &asks[&nonce];
        let refused = line.contains(r#""code":-32603,"message":"mcpool refused"#);
        if ask.request.contains("\"roots/list\"") {
            self.told_roots(line, &ask.cause);
        } else if ask.request.contains("\"ping\"") {
            if answer.raw(Field::Result) != Some("{}") {
                self.world.fault(format!("{} got {line} for a ping", self.name()));
            }
        } else if !refused && ask.answer.as_ref().is_none_or(|expected| expected.replacen(ID, id, 1) != line) {
            self.world.fault(format!("{} got for its ask {nonce}\n  {line}\nand not\n  {:?}", self.name(), ask.answer));
        }
        drop(asks);
        let _ = waiting.send(());
    }

    /// The roots of whoever caused the question, or of whoever the copy was started for.
    fn told_roots(&self, line: &str, cause: &str) {
        let told = mark(line, "uri").map(str::to_owned);
        let fits =
            |truth: &mut crate::simulation::world::Truth| told.is_none() || self.world.had_roots(truth, told.as_ref());
        if !cause.is_empty() && self.world.truth(cause, fits) == Some(false) {
            self.world.fault(format!("{} was told {told:?} for {cause}", self.name()));
        }
        if !line.contains("mcpool refused") {
            *self.roots.borrow_mut() = Some(told);
        }
    }
}
