//! The legacy side of a model server: the handshake, subscriptions, and asks as requests of its own.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Server;
use super::act::Act;
use crate::simulation::json;
use crate::simulation::truth::Truth;
use crate::simulation::world::{ID, NOBODY, mark};

/// Longer than any ask may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon it is told that there is nobody who could answer.
const AT_ONCE: Duration = Duration::from_millis(50);

impl Server {
    pub(super) fn initialize(&self, request: &Message, id: &str) {
        let chance = self.roll(100);
        if chance < self.odds(self.habits.fails_to_start) / 4 {
            return;
        }
        if !self.habits.legacy {
            return self.refuse_era(id);
        }
        if chance < self.odds(self.habits.fails_to_start) / 3 {
            return self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"no"}}}}"#));
        }
        self.era.set(Some(false));
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
        *self.declared.borrow_mut() = (declared.to_owned(), version.trim_matches('"').to_owned());
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

    /// Asks the caller of a call, once or twice, and mostly waits for the answers.
    pub(super) async fn ask(self: &Rc<Server>, act: &Act) {
        let method = || {
            let can = self.can_ask.borrow();
            can[self.roll(can.len() as u32) as usize]
        };
        match self.roll(8) {
            // The answer may then come while the call is held. Before its caller has the question nobody could know
            // whose that is.
            0 => {
                let (server, method, cause) = (self.clone(), method(), act.cause.clone());
                let nonce = format!("a{}", self.world.next());
                let named = nonce.clone();
                let asking = tokio::task::spawn_local(async move { server.put_as(named, method, &cause).await });
                let delivered = || self.world.asks.borrow().get(&nonce).is_some_and(|ask| ask.delivered.is_some());
                while !asking.is_finished() && !delivered() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            1 | 2 => drop(tokio::join!(self.put(method(), &act.cause), self.put(method(), &act.cause))),
            _ => self.put(method(), &act.cause).await,
        }
    }

    pub(super) async fn put(&self, method: &'static str, cause: &str) {
        self.put_as(format!("a{}", self.world.next()), method, cause).await;
    }

    async fn put_as(&self, nonce: String, method: &'static str, cause: &str) {
        if self.mute.get() {
            return;
        }
        let id = self.ask_id();
        let params = if cause.is_empty() {
            String::new()
        } else {
            format!(r#","params":{}"#, self.question(method, cause, &nonce, true))
        };
        let line = format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":"{method}"{params}}}"#);
        self.world.put_ask(&nonce, cause, &line, false);
        if method == "roots/list" {
            self.world.wanted_roots.borrow_mut().insert(self.which);
        }
        self.world.breaker_closes(self.which);
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
        } else if self.world.reads(self.no) {
            self.world.fault(format!("{} got no answer to its `{method}` {id}", self.name()));
        }
    }

    /// What is asked; legacy servers name what is to be done on a web page.
    pub(super) fn question(&self, method: &str, cause: &str, nonce: &str, legacy: bool) -> String {
        let mut rng = self.rng.borrow_mut();
        let x = json::value(&mut rng, 2);
        let mode = match (method, rng.u32(..6)) {
            ("elicitation/create", 0) => r#""mode":"form","#.to_owned(),
            ("elicitation/create", 1) if legacy => format!(r#""mode":"url","elicitationId":"e{nonce}","#),
            ("elicitation/create", 1) => r#""mode":"url","#.to_owned(),
            (_, 2) if legacy => r#""_meta":{"k":1},"#.to_owned(),
            _ => String::new(),
        };
        format!(r#"{{{mode}"cause":"{cause}","ask":"{nonce}","x":{x}}}"#)
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
        let across = match ask.cause.as_str() {
            "" => false,
            NOBODY => ask.answer.is_none(),
            cause => self.world.truth(cause, |truth| truth.modern) == Some(true),
        };
        let right = if ask.request.contains("\"ping\"") {
            answer.raw(Field::Result) == Some("{}")
        } else if ask.request.contains("\"roots/list\"") {
            self.told_roots(line, &ask.cause);
            true
        } else if across {
            refused || ask.result.is_some() && answer.raw(Field::Result) == ask.result.as_deref()
        } else {
            refused || ask.answer.as_ref().is_some_and(|expected| expected.replacen(ID, id, 1) == line)
        };
        if !right {
            let (whole, result) = (&ask.answer, &ask.result);
            self.world
                .fault(format!("{} got for its ask {nonce}\n  {line}\nand not\n  {whole:?} {result:?}", self.name()));
        }
        // Asks that a client had when its input ended are refused at that moment.
        let silent = ask.delivered.and_then(|caller| self.world.silent.borrow().get(&caller).copied());
        let late = silent.is_some_and(|since| self.world.now() > since + AT_ONCE && ask.since <= since);
        if late && refused {
            self.world.fault(format!("{} was told too late that its ask {nonce} has no answer: {line}", self.name()));
        }
        if across && !refused {
            self.world.count("asks of legacy servers answered by modern callers");
        }
        drop(asks);
        let _ = waiting.send(());
    }

    /// The roots of whoever caused the question, or of whoever the copy was started for.
    fn told_roots(&self, line: &str, cause: &str) {
        let told = mark(line, "uri").map(str::to_owned);
        let fits = |truth: &mut Truth| told.is_none() || self.world.had_roots(truth, told.as_ref());
        if !cause.is_empty() && self.world.truth(cause, fits) == Some(false) {
            self.world.fault(format!("{} was told {told:?} for {cause}", self.name()));
        }
        if !line.contains("mcpool refused") {
            *self.roots.borrow_mut() = Some(told);
        }
    }
}
