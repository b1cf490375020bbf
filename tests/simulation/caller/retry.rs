//! How a modern client comes back with answers: at once, late, never, with some of them, with too many, twice.

use std::rc::Rc;
use std::time::Duration;

use mcpool::wire::message::{Message, members};
use mcpool::wire::scan::Field;

use super::call::Draft;
use super::input::Question;
use super::{Caller, Hope, Request, What};
use crate::simulation::json;
use crate::simulation::truth::State;
use crate::simulation::world::{ID, TOKEN, mark};

/// What mcpool may need to find out that a person was too slow.
const GRAIN: Duration = Duration::from_millis(100);

/// What a modern server may ask in.
const METHODS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

impl Caller {
    /// Comes back some time, or does not.
    pub(super) fn plan_return(self: &Rc<Caller>, state: State, questions: Vec<Question>) {
        let server = self.world.truth(&state.cause, |truth| truth.server).unwrap_or_default();
        let ask = self.world.server(server).timeout.ask;
        let wait = match self.roll(20) {
            0 | 1 => return self.world.count("held calls that nobody came back for"),
            2 => ask + Duration::from_millis(self.roll(3000).into()),
            3..=6 => Duration::from_millis(self.roll(4000).into()),
            7..=12 => Duration::from_millis(self.roll(100).into()),
            _ => Duration::ZERO,
        };
        self.returns.set(self.returns.get() + 1);
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            if caller.can_speak() {
                caller.return_with(&state, &questions, ask).await;
            }
            caller.returns.set(caller.returns.get() - 1);
            caller.answered.notify_one();
        });
    }

    async fn return_with(self: &Rc<Caller>, state: &State, questions: &[Question], ask: Duration) {
        if self.roll(12) == 0 {
            let spoilt: Vec<String> = questions.iter().map(|question| format!("\"{}\":7", question.key)).collect();
            let line = self.again(state, &format!("{{{}}}", spoilt.join(",")), Hope::Spoilt);
            self.say(line).await;
        }
        if self.can_speak()
            && self.roll(6) == 0
            && let Some(line) = self.spoil(state)
        {
            self.say(line).await;
        }
        if !self.can_speak() {
            return;
        }
        let first_asked = |question: &Question| {
            question.nonce.as_ref().and_then(|nonce| Some(self.world.asks.borrow().get(nonce)?.since))
        };
        let since = questions.iter().filter_map(first_asked).min().unwrap_or(state.since);
        let responses = self.responses(state, questions);
        let line = self.again(state, &responses, Hope::Returns((since + ask).saturating_sub(GRAIN)));
        self.world.count("returns with answers");
        if let Some(known) = self.world.states.borrow_mut().iter_mut().find(|known| known.raw == state.raw) {
            known.used = true;
        }
        self.say(line).await;
        if self.can_speak()
            && self.roll(8) == 0
            && let Some(line) = self.vain(state, state.raw.clone(), "", &responses)
        {
            self.say(line).await;
        }
    }

    /// Answers to most questions, and to some that nobody put.
    fn responses(&self, state: &State, questions: &[Question]) -> String {
        let mut given: Vec<(String, String)> = Vec::new();
        let partly = self.roll(6) == 0;
        let mut accepted = !questions.is_empty();
        for question in questions {
            if partly && self.roll(2) == 0 {
                accepted = false;
                continue;
            }
            let (value, good) = self.response(question);
            accepted &= good;
            given.push((question.key.clone(), value));
        }
        // What was asked for by an error is not asked of the server again: the whole call is made anew.
        self.world.truth(&state.cause, |truth| {
            truth.held = None;
            let required = questions.iter().any(|question| question.required);
            if required && accepted {
                (truth.answer, truth.arrived, truth.ended) = (None, None, None);
            }
            truth.ask_refused |= required && !accepted;
        });
        if self.roll(6) == 0 {
            given.push(("ask-999999".to_owned(), "{\"action\":\"accept\"}".to_owned()));
            given.push(("ü".to_owned(), "{}".to_owned()));
        }
        json::members_in_any_order(&mut self.rng.borrow_mut(), given)
    }

    fn response(&self, question: &Question) -> (String, bool) {
        if question.method == "roots/list" {
            let roots = self.roots.borrow().clone();
            let list = roots.map(|uri| format!(r#"{{"uri":"{uri}"}}"#)).unwrap_or_default();
            return (format!(r#"{{"roots":[{list}]}}"#), true);
        }
        let nonce = question.nonce.clone().unwrap_or_default();
        let x = json::value(&mut self.rng.borrow_mut(), 2);
        let accepts = self.roll(5) > 0;
        let action = if accepts { "accept" } else { "decline" };
        let value = format!(r#"{{"x":{x} , "action":"{action}", "re":"{nonce}"}}"#);
        if let Some(ask) = self.world.asks.borrow_mut().get_mut(&nonce) {
            ask.result = Some(value.clone());
        }
        (value, accepts)
    }

    /// The same request once more, with answers and the state.
    pub(super) fn again(&self, state: &State, responses: &str, hope: Hope) -> String {
        let id = self.fresh_id();
        let known = self.world.truth(&state.cause, |truth| (truth.request.clone(), truth.server)).unwrap_or_default();
        let (request, server) = known;
        let (line, token) = self.spoken(&with_state(&request, responses, &state.raw), &id, server);
        let level = Message::read(line.clone().into(), 1000).ok().and_then(|line| {
            let level = line.text(Field::MetaLogLevel)?.into_owned();
            ["debug", "info", "error"].into_iter().find(|known| *known == level)
        });
        self.expect(id, Request { token, level, hope, ..Request::new(What::Call(state.cause.clone())) });
        line
    }

    /// A modern server wants input: the client asks again with it, mostly.
    pub(super) fn wanted_input(self: &Rc<Caller>, answer: &Message, cause: &str) {
        let line = String::from_utf8_lossy(answer.line()).into_owned();
        let Some(nonce) = mark(&line, "ask").map(str::to_owned) else { return };
        let Some(said) = answer.raw(Field::ResultState).map(str::to_owned) else { return };
        let real = self.world.truth(cause, |truth| {
            let (answer, _) = truth.answer.as_ref()?;
            let start = answer.rfind("\"requestState\":")? + "\"requestState\":".len();
            let real = answer[start..].trim_end_matches('}').to_owned();
            let method = METHODS.into_iter().find(|known| *known == truth.method)?;
            Some((truth.server, real, method, own_params(&truth.request)))
        });
        let Some((server, real, method, mut params)) = real.flatten() else { return };
        if self.roll(5) == 0 || !self.can_speak() {
            return;
        }
        let caller = self.clone();
        tokio::task::spawn_local(async move {
            caller.rest(300).await;
            if !caller.can_speak() {
                return;
            }
            let responses = format!(r#"{{"{nonce}":{{"action":"accept","content":{{"re":"{nonce}"}}}}}}"#);
            params.push(("inputResponses".to_owned(), responses));
            let draft = Draft { server, method, params, batch: None, state: Some((said, real)) };
            let line = caller.send_call(draft);
            caller.say(line).await;
        });
    }
}

/// The parameters of a request that a retry repeats.
fn own_params(request: &str) -> Vec<(String, String)> {
    let request = request.replace([ID, TOKEN], "0");
    let Ok(request) = Message::read(request.into(), 1000) else { return Vec::new() };
    let of_retry = ["_meta", "inputResponses", "requestState"];
    let own = members(request.raw(Field::Params).unwrap_or("{}"));
    let own = own.into_iter().filter(|(key, _)| !of_retry.contains(key));
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A request with answers and a state among its parameters.
pub(super) fn with_state(request: &str, responses: &str, state: &str) -> String {
    let Some(place) = params_of(request) else { return request.to_owned() };
    let (before, after) = request.split_at(place + 1);
    format!(r#"{before}"inputResponses":{responses},"requestState":{state},{after}"#)
}

/// Where the parameters of a noted request begin. Its id and its token are not there yet.
pub(super) fn params_of(request: &str) -> Option<usize> {
    use crate::simulation::world::{ID, TOKEN};
    // One character each, as what stands for them.
    let line = request.replacen(ID, "1", 1).replacen(TOKEN, "1", 1);
    let message = Message::read(line.into(), 1000).ok()?;
    Some(message.span(Field::Params).start as usize)
}
