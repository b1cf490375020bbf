//! How a model client answers what it is asked: at once, late, never, with an error.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;
use tokio::time::sleep;

use super::Caller;
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
        if !self.has(method.split('/').next().unwrap_or_default()) || !self.ready.get() {
            self.world.fault(format!("{} was asked what it did not declare, or too early: {line}", self.name()));
        }
        if method == "roots/list" {
            return self.tell_roots(id);
        }
        let nonce = mark(line, "ask").unwrap_or_default().to_owned();
        self.check_ask(&nonce, &id, line);
        let caller = self.clone();
        tokio::task::spawn_local(async move { caller.answer(&id, &nonce).await });
    }

    fn check_ask(&self, nonce: &str, id: &str, line: &str) {
        let mut asks = self.world.asks.borrow_mut();
        let Some(ask) = asks.get_mut(nonce) else {
            return self.world.fault(format!("{} was asked what no server asked: {line}", self.name()));
        };
        if ask.request.replacen(ID, id, 1) != line {
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

    fn tell_roots(self: &Rc<Caller>, id: String) {
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            caller.rest(100).await;
            let roots = caller.roots.borrow().clone();
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
        if self.asks.borrow().get(id) == Some(&false) && self.roll(2) == 0 {
            return;
        }
        let x = json::value(&mut self.rng.borrow_mut(), 2);
        let body = match chance % 5 {
            0 => format!(r#""error":{{"message":"{nonce}","code":-1,"data":{x}}}"#),
            _ => format!(r#""result":{{"x":{x} , "re":"{nonce}"}}"#),
        };
        let line = format!(r#"{{{body},"id":{ID},"jsonrpc":"2.0"}}"#);
        if let Some(ask) = self.world.asks.borrow_mut().get_mut(nonce) {
            ask.answer = Some(line.clone());
        }
        self.say(line.replacen(ID, id, 1)).await;
    }

    /// A modern server wants input: the client asks again with it, mostly.
    pub(super) fn wanted_input(self: &Rc<Caller>, answer: &Message, cause: &str) {
        let line = String::from_utf8_lossy(answer.line()).into_owned();
        let Some(nonce) = mark(&line, "ask").map(str::to_owned) else { return };
        let Some(said) = answer.raw(Field::ResultState).map(str::to_owned) else { return };
        let real = self.world.truth(cause, |truth| {
            truth.answer.as_ref().and_then(|(answer, _)| {
                let start = answer.rfind("\"requestState\":")? + "\"requestState\":".len();
                Some(answer[start..].trim_end_matches('}').to_owned())
            })
        });
        let Some(real) = real.flatten() else { return };
        if self.roll(5) == 0 || self.gone.get() {
            return;
        }
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            caller.rest(300).await;
            if caller.gone.get() {
                return;
            }
            let responses = format!(r#"{{"{nonce}":{{"action":"accept","content":{{"re":"{nonce}"}}}}}}"#);
            let server = caller.world.truth(&cause_of(&line), |truth| truth.server).unwrap_or_default();
            let params = vec![("name".to_owned(), "\"t1\"".to_owned()), ("inputResponses".to_owned(), responses)];
            let shown = caller.prefix.then(|| (format!("\"s{server}__t1\""), "\"t1\"".to_owned()));
            let line = caller.send_call(server, "tools/call", params, shown, Some((said, real)), None);
            caller.say(line).await;
        });
    }
}

fn cause_of(line: &str) -> String {
    mark(line, "cause").unwrap_or_default().to_owned()
}
