//! Called by `mux::bridge::across` for a legacy caller's call that its modern server ended with questions. They go to
//! the caller as requests. When all are answered, the call goes to the server again. The caller sees one call with
//! questions in the middle.

use super::{Bridge, fingerprint};
use crate::caller::roots::fixed;
use crate::caller::{Asked, Caller, SILENT, UNREAD};
use crate::clock;
use crate::era::bridge::seal::Purpose;
use crate::era::bridge::{ask, capabilities, content, request};
use crate::era::may_ask_in;
use crate::era::profile::Legacy;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::call::{Call, Pin, Place};
use crate::plural::plural;
use crate::wire::id::AskId;
use crate::wire::message::{Message, member, members, unquote};
use crate::wire::scan::Field;
use crate::wire::splice::Splice;

/// A legacy caller's call of a modern server.
pub struct LegacyCaller {
    /// What the caller declared, in modern words.
    pub capabilities: String,
    pub revision: &'static str,
    /// How often the server has asked.
    rounds: usize,
    /// The server's `requestState`, as it wrote it.
    state: Option<String>,
    /// Answers that have come, by the server's keys.
    responses: Vec<(String, String)>,
    /// Questions that are not answered yet.
    waiting: usize,
    /// Elicitations that end on a web page, by the ids that the caller was given.
    pub elicitations: Vec<String>,
}

impl LegacyCaller {
    pub(super) fn new(client: &Legacy) -> LegacyCaller {
        LegacyCaller {
            capabilities: capabilities::client_to_modern(&client.capabilities),
            revision: client.revision,
            rounds: 0,
            state: None,
            responses: Vec::new(),
            waiting: 0,
            elicitations: Vec::new(),
        }
    }
}

impl Mux {
    /// Handles the questions with which a modern server ended a legacy caller's call.
    pub(super) fn ask_rounds(&mut self, at: InstanceRef, mut call: Box<Call>, answer: &Message) {
        let server = self.server(at.server).config.name.clone();
        let most = self.config.limits.rounds;
        let result = answer.raw(Field::Result).unwrap_or("{}");
        let Some(Bridge::Legacy(legacy)) = &mut call.bridge else { return };
        legacy.rounds += 1;
        let wrong = if !may_ask_in(&call.request.method()) {
            Some(format!("it asks in the middle of `{}`, which it may not", call.request.method()))
        } else if legacy.rounds > most {
            Some(format!("it asked {} in one call (see `limits.rounds`)", plural(most + 1, "time")))
        } else {
            None
        };
        legacy.state = member(result, "requestState").filter(|state| state.starts_with('"')).map(str::to_owned);
        legacy.responses.clear();
        legacy.waiting = 0;
        let requests: Vec<(String, String)> = member(result, "inputRequests").map_or_else(Vec::new, |requests| {
            members(requests).into_iter().map(|(key, request)| (key.to_owned(), request.to_owned())).collect()
        });
        call.pin = Some(Pin { to: at.key, or_any: true });
        let key = self.submit(call);
        if let Some(detail) = wrong {
            return self.todo.fail(key, Error::ServerMisbehaved { server, detail });
        }
        let until = clock::now() + self.server(at.server).config.timeout.ask;
        self.wait_at(key, Place::Asking, until);
        if let Some(instance) = self.instance_mut(at) {
            instance.asks.sends_away(key);
        }
        for (name, request) in requests {
            if let Err(error) = self.put_question(key, name, &request) {
                return self.give_up(key, error);
            }
        }
        self.next_round(key);
    }

    /// Asks the caller of a call one of the server's questions.
    fn put_question(&mut self, key: CallKey, name: String, request: &str) -> Result<(), Error> {
        let Mux { calls, callers, tokens, servers, .. } = self;
        let Some(call) = calls.get_mut(key) else { return Ok(()) };
        let Some(Bridge::Legacy(legacy)) = &mut call.bridge else { return Ok(()) };
        let method = member(request, "method").and_then(unquote).unwrap_or_default();
        let params = member(request, "params");
        let elicitation = method == "elicitation/create";
        let takes = crate::era::is_ask(&method) && ask::declared(&legacy.capabilities, &method, params);
        // What a caller told of itself holds when it can be asked no more.
        let told = |caller: &Caller| caller.roots.known().filter(|_| caller.silent && takes);
        let known = callers.get(call.caller).and_then(|caller| fixed(&caller.access).or_else(|| told(caller)));
        let known = known.as_deref().filter(|_| method == "roots/list");
        if let Some(roots) = known.and_then(|known| known.strip_prefix(r#""result":"#)) {
            legacy.responses.push((name, roots.to_owned()));
            return Ok(());
        }
        let Some(caller) = callers.get_mut(call.caller).filter(|caller| takes && !caller.silent) else {
            if !elicitation {
                let why = if takes { SILENT } else { "it did not declare that it can" };
                return Err(Error::Unanswered { what: method.into_owned(), why: why.into() });
            }
            legacy.responses.push((name, CANCELLED.into()));
            return Ok(());
        };
        let ours = caller.next_ask();
        let about = fingerprint(&call.request);
        let elicitation_id = tokens.give(Purpose::Elicitation, ours.0, (call.caller, about), "", call.deadline);
        let mut given = ask::legacy_params(&method, params, &elicitation_id);
        if caller.endpoint.prefix {
            given = ask::signed(Some(&given), &servers[call.server.0].config.name, "0");
        }
        if member(&given, "elicitationId").is_some() {
            legacy.elicitations.push(elicitation_id);
        }
        if let Some(fitting) = content::fit_ask(&method, &given, legacy.revision) {
            given = fitting;
        }
        let line = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{given}}}"#, ours.0);
        if !caller.outbox.ask(&Splice::new(line.into())) {
            return Err(Error::Unanswered { what: method.into_owned(), why: UNREAD.into() });
        }
        legacy.waiting += 1;
        caller.asks.insert(ours, Asked::Input { call: key, key: name, elicitation });
        Ok(())
    }

    /// Handles a caller's answer to a question: a result, an error, or something that nobody can use.
    pub(in crate::mux) fn input_answered(
        &mut self,
        key: CallKey,
        name: String,
        elicitation: bool,
        answer: Result<&str, String>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let method = if elicitation { "elicitation/create" } else { "sampling/createMessage or roots/list" };
        let Some(Bridge::Legacy(legacy)) = &mut call.bridge else { return };
        legacy.waiting -= 1;
        match answer {
            Ok(result) => legacy.responses.push((name, result.to_owned())),
            Err(_) if elicitation => legacy.responses.push((name, CANCELLED.into())),
            Err(why) => return self.give_up(key, Error::Unanswered { what: method.into(), why }),
        }
        self.next_round(key);
    }

    /// Sends a call to its server again once everything is answered.
    fn next_round(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(Bridge::Legacy(legacy)) = &mut call.bridge else { return };
        if legacy.waiting > 0 {
            return;
        }
        let line = request::retry(&call.request, &std::mem::take(&mut legacy.responses), legacy.state.as_deref());
        match Message::read(line.into(), self.config.limits.nesting) {
            Ok(request) => {
                call.splice = request.splice();
                call.request = request;
                call.place = Place::Nowhere;
                let (server, pin) = (call.server, call.pin);
                self.todo.place(key);
                self.asked_no_more(key, server, pin);
            }
            Err(malformed) => self.give_up(key, Error::Internal(malformed.why)),
        }
    }

    /// Notes that a call does not wait for its caller's answers any more, and that its instance does not wait for the
    /// call.
    pub(in crate::mux) fn asked_no_more(&mut self, key: CallKey, server: ServerId, pin: Option<Pin>) {
        let Some(at) = pin.map(|pin| InstanceRef { server, key: pin.to }) else { return };
        let Some(instance) = self.instance_mut(at) else { return };
        if instance.asks.is_back(key) {
            // It may have been the last that it was kept for.
            self.alarm.at(clock::now());
        }
    }

    /// Tells the caller of a call that it need not answer its questions any more.
    pub(super) fn recall_inputs(&mut self, key: CallKey) {
        let Some(caller) = self.calls.get(key).map(|call| call.caller) else { return };
        let Some(caller) = self.callers.get_mut(caller) else { return };
        let of_call = |asked: &Asked| matches!(asked, Asked::Input { call, .. } if *call == key);
        let over: Vec<AskId> = caller.asks.iter().filter(|(_, asked)| of_call(asked)).map(|(id, _)| *id).collect();
        for id in over {
            caller.asks.remove(&id);
            caller.notify("notifications/cancelled", &format!(r#"{{"requestId":{}}}"#, id.0));
        }
    }

    /// Tells a caller that its web pages are done, because the call that needed them went well.
    pub(super) fn elicitations_done(&self, caller: CallerKey, legacy: &LegacyCaller) {
        let Some(caller) = self.callers.get(caller) else { return };
        for id in &legacy.elicitations {
            caller.notify("notifications/elicitation/complete", &format!(r#"{{"elicitationId":"{id}"}}"#));
        }
    }
}

/// What stands for the answer of a person who did not answer.
const CANCELLED: &str = r#"{"action":"cancel"}"#;
