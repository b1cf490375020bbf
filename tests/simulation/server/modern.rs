//! The modern side of a model server: discovery, streams, and asks as results that want input.

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field;

use super::Server;
use super::act::Act;
use crate::simulation::json;
use crate::simulation::world::{ID, mark};

impl Server {
    pub(super) fn discover(&self, id: &str) {
        if self.by_chance(self.habits.fails_to_start / 4) {
            return;
        }
        if !self.habits.modern {
            return self.refuse_era(id);
        }
        // What it was initialised in binds it; that it was asked before, and answers late, does not.
        if self.era.get().is_none() {
            self.era.set(Some(true));
        }
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{{"logging":{{}},"prompts":{{}},"tools":{{"listChanged":true}},"resources":{{"subscribe":true}}}},"ttlMs":0,"cacheScope":"public"}}}}"#
        ));
    }

    /// Opens a stream; now and then it grants less than was wanted, or nothing, or ends it soon.
    pub(super) fn listen(&self, request: &Message, id: &str) {
        if self.by_chance(self.habits.fails_to_start / 4) {
            return self
                .say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no streams"}}}}"#));
        }
        let filter = request.raw(Field::Notifications).unwrap_or("{}");
        let granted = match self.roll(5) {
            0 => format!(r#"{{"resourceSubscriptions":{}}}"#, member(filter, "resourceSubscriptions").unwrap_or("[]")),
            _ => filter.to_owned(),
        };
        self.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{granted}}}}}"#
        ));
        self.streams.borrow_mut().insert(id.to_owned(), granted);
    }

    /// Wants input instead of answering; the request comes again with it.
    pub(super) fn want_input(&self, act: &Act) {
        let nonce = format!("a{}", self.world.next());
        let x = json::value(&mut self.rng.borrow_mut(), 2);
        let state = format!(r#""st\u0061te \"{nonce}\" of {}\\""#, self.no);
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"cause":"{}","resultType":"input_required","inputRequests":{{"{nonce}":{{"method":"elicitation/create","params":{{"ask":"{nonce}","x":{x}}}}}}},"requestState":{state}}}}}"#,
            act.cause
        );
        self.states.borrow_mut().insert(nonce, state);
        self.end(act, &line);
    }

    /// Whether a request is one that comes again; its state must be one that this copy issued, unless the copy
    /// that issued it is gone.
    pub(super) fn resumes(&self, request: &Message, line: &str) -> bool {
        let Some(state) = request.raw(Field::RequestState) else { return false };
        let nonce = mark(line, "re").unwrap_or_default();
        match self.states.borrow().get(nonce) {
            Some(issued) if issued == state => {}
            Some(issued) => self.world.fault(format!("{} issued {issued} and got {state}", self.name())),
            None => {
                let issuer = state
                    .rsplit(" of ")
                    .next()
                    .and_then(|rest| rest.trim_end_matches(['"', '\\']).parse::<usize>().ok());
                let replaced = self.world.generations.borrow()[self.which] > 0;
                if issuer.is_none_or(|issuer| !replaced && self.world.reading.borrow().contains(&issuer)) {
                    self.world.fault(format!("{} got the state of another copy that runs: {state}", self.name()));
                }
            }
        }
        true
    }
}
