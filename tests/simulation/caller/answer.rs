//! How a model client answers what it is asked: at once, late, never, with an error.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;
use tokio::time::sleep;

use super::Caller;
use crate::simulation::across;
use crate::simulation::json;
use crate::simulation::world::{ID, mark};

impl Caller {
    /// The client was asked something: it must be about a call of its own.
    pub(super) fn asked(self: &Rc<Caller>, ask: &Message, line: &str) {
        let id = ask.raw(Field::Id).unwrap_or_default().to_owned();
        if self.asks.borrow_mut().insert(id.clone(), true).is_some() {
            self.world.fault(format!("{} was asked {id} twice", self.name()));
        }
        let method = ask.method().into_owned();
        if method == "ping" {
            let caller = self.clone();
            tokio::task::spawn_local(async move {
                caller.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await
            });
            return;
        }
        self.check_may_be_asked(line);
        let known = mark(line, "ask").map(str::to_owned);
        if self.kind.is_modern() || !self.has(method.split('/').next().unwrap_or_default()) || !self.ready.get() {
            self.world.fault(format!("{} was asked what it did not declare, or too early: {line}", self.name()));
        }
        if let Some(page) = ask.raw(Field::ElicitationId) {
            self.pages.borrow_mut().insert(page.to_owned());
        }
        if let Some(nonce) = &known {
            self.check_ask(nonce, ask, line);
        }
        if method == "roots/list" {
            return self.tell_roots(id, known);
        }
        let nonce = known.unwrap_or_default();
        let caller = self.clone();
        tokio::task::spawn_local(async move { caller.answer(&id, &nonce).await });
    }

    fn check_ask(&self, nonce: &str, request: &Message, line: &str) {
        let mut asks = self.world.asks.borrow_mut();
        let Some(ask) = asks.get_mut(nonce) else {
            return self.world.fault(format!("{} was asked what no server asked: {line}", self.name()));
        };
        let id = request.raw(Field::Id).unwrap_or_default();
        let (method, params) = (request.raw(Field::Method), request.raw(Field::Params));
        let same = match self.world.truth(&ask.cause, |truth| (truth.crossed, truth.capabilities.clone())) {
            Some((true, capabilities)) => {
                let plain = request.method();
                let of_a_page = params.and_then(|params| member(params, "mode")) == Some("\"url\"");
                across::same_ask(&ask.request, method, params)
                    && across::declared(&capabilities, &plain, params.unwrap_or("{}"))
                    && of_a_page == request.span(Field::ElicitationId).found()
            }
            // Among several servers a question says whose it is.
            _ if self.prefix => across::same_ask(&ask.request, method, params),
            _ => ask.request.replacen(ID, id, 1) == line,
        };
        if !same {
            self.world.fault(format!("{} was asked\n  {line}\nand not\n  {}", self.name(), ask.request));
        }
        if let Some(other) = ask.delivered.replace(self.no) {
            self.world.fault(format!("ask {nonce} went to c{other} and to {}", self.name()));
        }
        self.check_own(&ask.cause, "an ask");
    }

    /// What a server says about a call goes to the caller of that call alone.
    pub(super) fn check_own(&self, cause: &str, what: &str) {
        let Some((owner, abandoned)) = self.world.truth(cause, |truth| (truth.caller, truth.abandoned)) else { return };
        if owner == self.no {
            return;
        }
        let text = format!("{} got {what} about {cause}", self.name());
        match abandoned {
            Some(since) => self
                .world
                .known_fault("late talk", format!("{text}, which was given up at {:.3}s", since.as_secs_f64())),
            None => self.world.fault(text),
        }
    }

    fn tell_roots(self: &Rc<Caller>, id: String, nonce: Option<String>) {
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            caller.rest(100).await;
            if !caller.can_speak() {
                return;
            }
            let roots = caller.roots.borrow().clone();
            let cause = nonce.and_then(|nonce| Some(caller.world.asks.borrow().get(&nonce)?.cause.clone()));
            if let Some(cause) = cause.filter(|_| roots.is_none()) {
                caller.world.truth(&cause, |truth| truth.ask_refused = true);
            }
            let body = match roots {
                Some(roots) => format!(r#""result":{{"roots":[{{"uri":"{roots}"}}]}}"#),
                None if caller.no.is_multiple_of(2) => return,
                None => r#""error":{"code":-32601,"message":"no roots today"}"#.to_owned(),
            };
            caller.say(format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#)).await;
        });
    }

    async fn answer(&self, id: &str, nonce: &str) {
        let chance = self.roll(20);
        match chance {
            0 | 1 => return,
            2..=4 => sleep(Duration::from_millis(self.roll(6000).into())).await,
            5..=9 => self.rest(100).await,
            _ => {}
        }
        if !self.can_speak() {
            return;
        }
        if self.asks.borrow().get(id) == Some(&false) && self.roll(2) == 0 {
            return;
        }
        let x = json::value(&mut self.rng.borrow_mut(), 2);
        let refuses = chance.is_multiple_of(5);
        let value = format!(r#"{{"x":{x} , "re":"{nonce}"}}"#);
        let body = match refuses {
            true => format!(r#""error":{{"message":"{nonce}","code":-1,"data":{x}}}"#),
            false => format!(r#""result":{value}"#),
        };
        let line = format!(r#"{{{body},"id":{ID},"jsonrpc":"2.0"}}"#);
        if let Some(ask) = self.world.asks.borrow_mut().get_mut(nonce) {
            ask.answer = Some(line.clone());
            ask.result = (!refuses).then_some(value);
            self.world.truth(&ask.cause, |truth| {
                truth.ask_refused |= refuses && truth.crossed;
                truth.asked = true;
            });
        }
        self.say(line.replacen(ID, id, 1)).await;
    }
}
