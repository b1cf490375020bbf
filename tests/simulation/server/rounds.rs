//! A model modern server asks a legacy caller: its request comes again, with the answers and the state.

use mcpool::wire::message::{Message, member, members};
use mcpool::wire::scan::Field;
use serde_json::{Value, json};

use super::Server;
use super::act::Act;
use crate::simulation::across;
use crate::simulation::json;
use crate::simulation::truth::{Ask, Round, Truth};
use crate::simulation::world::ID;

impl Server {
    /// Answers a call with none, one or two questions.
    pub(super) fn want_round(&self, act: &Act) {
        let capabilities = self.world.truth(&act.cause, |truth| truth.capabilities.clone()).unwrap_or_default();
        let mut questions = Vec::new();
        let mut asked = Vec::new();
        for n in 0..self.roll(3) {
            let nonce = format!("a{}", self.world.next());
            let method = ["sampling/createMessage", "elicitation/create", "roots/list"][self.roll(3) as usize];
            let params = self.question(method, &act.cause, &nonce, false);
            let declared = across::declared(&capabilities, method, &params);
            if !declared && self.roll(8) > 0 {
                continue;
            }
            let key = [format!("q{n}"), format!("q \\\"{n}\\\""), format!("{n}")][self.roll(3) as usize].clone();
            let request = format!(r#"{{"method":"{method}","params":{params}}}"#);
            self.world.put_ask(&nonce, &act.cause, &request, false);
            asked.push((key.clone(), request));
            questions.push((key, method, nonce, declared));
        }
        let mut rng = self.rng.borrow_mut();
        let state = (questions.is_empty() || rng.u32(..6) > 0)
            .then(|| format!(r#""r\u006fund {} of \"{}\" {}""#, self.world.next(), act.cause, self.no));
        let mut result = vec![("resultType".to_owned(), "\"input_required\"".to_owned())];
        result.extend(state.clone().map(|state| ("requestState".to_owned(), state)));
        if !asked.is_empty() {
            result.push(("inputRequests".to_owned(), json::members_in_any_order(&mut rng, asked)));
        }
        let result = json::members_in_any_order(&mut rng, result);
        drop(rng);
        // Without these answers the call cannot go on; nobody knows here whether they will come.
        let hard = questions.iter().any(|(_, method, _, declared)| !declared && *method != "elicitation/create");
        self.world.truth(&act.cause, |truth| {
            truth.ask_refused |= hard;
            truth.rounds += 1;
            truth.round = Some(Round { state, questions, issuer: self.no });
            if truth.rounds == 3 {
                self.world.count("third rounds of modern servers with legacy callers");
            }
        });
        self.world.breaker_closes(self.which);
        self.say_with_id(&format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{result}}}"#), &act.id);
    }

    /// The request came again: with the answers that its caller gave, to the copy that asked while that lives.
    pub(super) fn check_round(&self, truth: &Truth, round: &Round, request: &Message) -> Option<String> {
        let fault = |why: &str| Some(format!("{}: {why} in {:?}", self.name(), request.raw(Field::Params)));
        if self.no != round.issuer && self.world.reads(round.issuer) {
            return fault(&format!("what #{} asked comes back here", round.issuer));
        }
        if request.raw(Field::RequestState) != round.state.as_deref() {
            return fault(&format!("the state is not {:?}", round.state));
        }
        let responses = request.raw(Field::Params).and_then(|params| member(params, "inputResponses")).unwrap_or("{}");
        let given = members(responses);
        if given.len() != round.questions.len() {
            return fault("too many or too few answers");
        }
        for (key, method, nonce, declared) in &round.questions {
            let Some(value) = given.iter().find(|(given, _)| given == key).map(|(_, value)| *value) else {
                return fault(&format!("no answer to {key}"));
            };
            if !self.is_answer(truth, method, nonce, *declared, value) {
                return fault(&format!("not the answer of c{} to {key}", truth.caller));
            }
        }
        self.world.count("rounds of modern servers with legacy callers");
        None
    }

    fn is_answer(&self, truth: &Truth, method: &str, nonce: &str, declared: bool, value: &str) -> bool {
        let cancelled = || serde_json::from_str::<Value>(value).is_ok_and(|value| value == json!({"action": "cancel"}));
        let asks = self.world.asks.borrow();
        match (method, declared) {
            ("elicitation/create", false) => cancelled(),
            (_, false) => false,
            ("roots/list", true) => {
                let told = crate::simulation::world::mark(value, "uri").map(str::to_owned);
                self.world.had_roots(truth, told.as_ref())
            }
            _ => match &asks[nonce] {
                Ask { result: Some(result), .. } => result == value,
                Ask { answer: Some(_), .. } => method == "elicitation/create" && cancelled(),
                // Nobody is there any more who could say something.
                _ => method == "elicitation/create" && self.world.says_no_more(truth.caller) && cancelled(),
            },
        }
    }

    /// An error that asks the caller to see to something on web pages (revision 2025-11-25, page "Elicitation").
    pub(super) fn want_elicitation(&self, cause: &str) -> String {
        let elicitation = |_| {
            let nonce = format!("a{}", self.world.next());
            let params = format!(
                r#"{{"mode":"url","elicitationId":"e{nonce}","url":"https://example.org/","message":"m","cause":"{cause}","ask":"{nonce}"}}"#
            );
            let request = format!(r#"{{"method":"elicitation/create","params":{params}}}"#);
            self.world.put_ask(&nonce, cause, &request, true);
            params
        };
        let list: Vec<String> = (0..1 + self.world.next() % 2).map(elicitation).collect();
        format!(r#"{{"code":-32042,"message":"a page wants you","data":{{"elicitations":[{}]}}}}"#, list.join(","))
    }
}
