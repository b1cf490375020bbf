//! A modern caller's call in which its legacy server asks something: the caller is answered with the questions, the
//! call stays where it is, and whoever comes back with the answers and the sealed state takes it over.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use slotmap::Key;
use tokio::time::Instant;

use super::{Bridge, fingerprint};
use crate::era::bridge::ask;
use crate::era::bridge::seal::{self, Sealer};
use crate::era::may_ask_in;
use crate::era::profile::canonical;
use crate::error::Error;
use crate::mux::Mux;
use crate::mux::call::{Call, Place, Source};
use crate::mux::request::Accepted;
use crate::pool::instance::{InstanceRef, With};
use crate::reply::{CallKey, CallerKey};
use crate::wire::id::RawId;
use crate::wire::message::{Message, member, members};
use crate::wire::scan::Field;

/// Asks that come within this time go to a modern caller together.
const GATHER: Duration = Duration::from_millis(20);

/// The calls whose modern callers are to come back.
pub struct Held {
    sealer: Sealer,
    /// Expiries are told since then.
    since: Instant,
    last: u64,
    calls: BTreeMap<u64, CallKey>,
    /// Calls whose questions are being gathered, and until when.
    gathering: Vec<(Instant, CallKey)>,
}

impl Held {
    pub fn new(key: [u8; 32]) -> Held {
        Held { sealer: Sealer::new(key), since: Instant::now(), last: 0, calls: BTreeMap::new(), gathering: Vec::new() }
    }

    /// Forgets a call that is over or was come back for.
    pub fn remove(&mut self, serial: u64) {
        self.calls.remove(&serial);
    }

    /// How many calls are held.
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// The calls that are held.
    pub fn calls(&self) -> impl Iterator<Item = CallKey> {
        self.calls.values().copied()
    }
}

/// A modern caller's call of a legacy server.
pub struct ModernCaller {
    /// What the caller declared in the request.
    pub capabilities: String,
    /// Tells the request from others: a retry must be the same one.
    request: [u8; 32],
    /// The body of the answer to `roots/list`, once the caller told its roots for this call.
    pub roots: Option<Rc<str>>,
    /// What the caller is to answer, by the key under which it is asked.
    questions: Vec<(String, Question)>,
    /// How many keys were given.
    keys: usize,
    /// How the call ended while its caller was away.
    outcome: Option<Outcome>,
}

/// What a modern caller is asked.
enum Question {
    /// What an instance asks, by its own id of that.
    Ask(InstanceRef, RawId),
    /// Its roots, because the server decides by them what it may touch.
    Roots,
    /// To visit a web page; the parameters of the elicitation.
    Page(String),
}

/// How a call ended while its caller was away.
enum Outcome {
    Answer(InstanceRef, Message),
    Failed(Error),
}

impl ModernCaller {
    pub(super) fn new(original: &Message) -> ModernCaller {
        ModernCaller {
            capabilities: crate::mux::offer::declared(original).to_owned(),
            request: fingerprint(original),
            roots: None,
            questions: Vec::new(),
            keys: 0,
            outcome: None,
        }
    }

    /// Asks it to visit a web page.
    pub(super) fn visit(&mut self, page: &str) {
        self.put(Question::Page(page.to_owned()));
    }

    fn put(&mut self, question: Question) {
        self.keys += 1;
        self.questions.push((format!("ask-{}", self.keys), question));
    }

    fn forget(&mut self, at: InstanceRef, id: &RawId) {
        self.questions
            .retain(|(_, question)| !matches!(question, Question::Ask(of, known) if *of == at && known == id));
    }
}

impl Call {
    fn modern(&mut self) -> Option<&mut ModernCaller> {
        match &mut self.bridge {
            Some(Bridge::Modern(modern)) => Some(modern),
            _ => None,
        }
    }
}

impl Mux {
    /// An instance asks the caller of a call something.
    pub(in crate::mux) fn ask_call(&mut self, at: InstanceRef, id: &RawId, key: CallKey, asked: &Message) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let may_ask = may_ask_in(&call.request.method());
        let held = call.is_held();
        let Some(modern) = call.modern() else { return };
        if !may_ask {
            return self.refuse_ask(at, id, "the client's request is none in which it may be asked");
        }
        if !ask::declared(&modern.capabilities, &asked.method(), asked.raw(Field::Params)) {
            return self.refuse_ask(at, id, "the client did not declare that it can answer");
        }
        modern.put(Question::Ask(at, id.clone()));
        if let Some(ask) = self.instance_mut(at).and_then(|instance| instance.asks.get_mut(id)) {
            ask.with = Some(With::Retry(key));
        }
        if !held {
            self.gather(key);
        }
    }

    /// Asks the caller of a call for its roots before the call goes anywhere.
    pub(in crate::mux) fn ask_for_roots(&mut self, key: CallKey) {
        if let Some(modern) = self.calls.get_mut(key).and_then(Call::modern) {
            modern.put(Question::Roots);
            self.hold(key);
        }
    }

    /// Waits a moment for what else is asked for a call.
    fn gather(&mut self, key: CallKey) {
        if !self.held.gathering.iter().any(|(_, other)| *other == key) {
            let until = Instant::now() + GATHER;
            self.held.gathering.push((until, key));
            self.alarm.at(until);
        }
    }

    /// Puts the questions that were gathered; when the next are to be.
    pub(in crate::mux) fn sweep_gathering(&mut self, now: Instant) -> Option<Instant> {
        let (due, later) = std::mem::take(&mut self.held.gathering).into_iter().partition(|(until, _)| *until <= now);
        self.held.gathering = later;
        let due: Vec<(Instant, CallKey)> = due;
        due.into_iter().for_each(|(_, key)| self.hold(key));
        self.held.gathering.iter().map(|(until, _)| *until).min()
    }

    /// Answers the caller of a call with the questions that are open, and keeps the call until it comes back.
    pub(super) fn hold(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key).filter(|call| call.is_callers()) else { return };
        let (limits, caller, server) = (&self.config.limits, call.caller, call.server);
        let of_caller = self.held_for(caller).len();
        if of_caller >= limits.held || self.held.count() >= limits.held_total {
            let limit = if of_caller >= limits.held { limits.held } else { limits.held_total };
            return self.cannot_hold(key, limit);
        }
        let Some(requests) = self.input_requests(key) else { return };
        self.held.last += 1;
        let (serial, now) = (self.held.last, Instant::now());
        let until = now + self.server(server).config.timeout.ask;
        let info = self.own_info(&self.calls[key]);
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(request) = call.modern().map(|modern| modern.request) else { return };
        let expires_ms = (until - self.held.since).as_millis() as u64;
        let sealed = seal::Held { serial, caller: caller.data().as_ffi(), request, expires_ms };
        let state = self.held.sealer.seal(&sealed, nonce(serial));
        if !matches!(call.place, Place::On(..)) {
            call.place = Place::Held;
        }
        call.deadline = until;
        self.held.calls.insert(serial, key);
        self.alarm.at(until);
        if let Source::Caller(reply, _permit) = std::mem::replace(&mut call.from, Source::Held { serial, since: now }) {
            if let Some(caller) = self.callers.get_mut(caller) {
                caller.in_flight.remove(reply.id());
            }
            reply.result(&format!(
                r#"{{"resultType":"input_required","inputRequests":{{{requests}}},"requestState":"{state}","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#
            ));
        }
    }

    /// The open questions of a call, as members of a JSON object; none if there are none.
    fn input_requests(&self, key: CallKey) -> Option<String> {
        let Some(Bridge::Modern(modern)) = &self.calls.get(key)?.bridge else { return None };
        let mut requests = String::new();
        for (name, question) in &modern.questions {
            let request = match question {
                Question::Ask(at, id) => {
                    let asked = self.instance(*at).and_then(|instance| instance.asks.get(id));
                    let Some(asked) = asked.map(|ask| &ask.message) else { continue };
                    ask::input_request(&asked.method(), asked.raw(Field::Params))
                }
                Question::Roots => ask::input_request("roots/list", None),
                Question::Page(params) => ask::input_request("elicitation/create", Some(params)),
            };
            let comma = if requests.is_empty() { "" } else { "," };
            let _ = write!(requests, r#"{comma}"{name}":{request}"#);
        }
        (!requests.is_empty()).then_some(requests)
    }

    /// More calls are held than may be.
    fn cannot_hold(&mut self, key: CallKey, limit: usize) {
        if self.calls.get(key).is_some_and(|call| matches!(call.place, Place::On(..))) {
            return self
                .refuse_questions(key, "too many calls wait for their clients to come back (see `limits.held`)");
        }
        self.fail(key, Error::CallerOverloaded { limit });
    }

    /// Answers what instances ask for a call with errors, since nobody else will.
    pub(in crate::mux) fn refuse_questions(&mut self, key: CallKey, why: &str) {
        let Some(modern) = self.calls.get_mut(key).and_then(Call::modern) else { return };
        for (_, question) in std::mem::take(&mut modern.questions) {
            if let Question::Ask(at, id) = question {
                self.refuse_ask(at, &id, why);
            }
        }
    }

    /// A question was answered by somebody else, or is not asked any more.
    pub(in crate::mux) fn forget_question(&mut self, key: CallKey, at: InstanceRef, id: &RawId) {
        if let Some(modern) = self.calls.get_mut(key).and_then(Call::modern) {
            modern.forget(at, id);
        }
    }

    /// A request with a `requestState` of ours: its caller comes back for a held call.
    pub(super) fn come_back(&mut self, accepted: Accepted) {
        match self.claim(&accepted) {
            Ok((key, answers)) => self.resume(key, accepted, &answers),
            Err(why) => accepted.refuse(&Error::InvalidParams(why)),
        }
    }

    /// The held call that a request comes back for, and the answers that it brings.
    fn claim(&self, accepted: &Accepted) -> Result<(CallKey, Vec<(String, String)>), String> {
        let text = accepted.request.text(Field::RequestState).unwrap_or_default();
        let wrong = |why: &str| format!("requestState {why}; send the request anew without it");
        let state = self.held.sealer.open(&text).ok_or_else(|| wrong("is not one of mcpool's or was changed"))?;
        if state.caller != accepted.caller.data().as_ffi() {
            return Err(wrong("belongs to another caller"));
        }
        if state.request != fingerprint(&accepted.request) {
            return Err(wrong("belongs to another request"));
        }
        if self.held.since.elapsed() >= Duration::from_millis(state.expires_ms) {
            return Err(wrong("has expired"));
        }
        let gone = || wrong("was used already, or its call is over");
        let key = *self.held.calls.get(&state.serial).ok_or_else(gone)?;
        let responses = accepted.request.raw(Field::Params).and_then(|params| member(params, "inputResponses"));
        let responses = responses.map(members).unwrap_or_default();
        if let Some((name, _)) = responses.iter().find(|(_, value)| !value.starts_with('{')) {
            return Err(format!("`inputResponses.{name}` must be an object"));
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok((key, responses.into_iter().map(owned).collect()))
    }

    /// Gives a held call to the request that came back for it.
    fn resume(&mut self, key: CallKey, accepted: Accepted, answers: &[(String, String)]) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Source::Held { serial, since } = call.from else { return };
        self.held.remove(serial);
        let server = call.server;
        let level = accepted.level();
        let id = accepted.id().clone();
        let now = Instant::now();
        call.limit += now - since;
        call.level = level;
        // It may have been sent before, and be sent again.
        call.splice = call.request.splice();
        let place = call.place.clone();
        accepted.take_over(call);
        if let Some(caller) = self.callers.get_mut(call.caller) {
            caller.in_flight.insert(id, key);
        }
        let Some(modern) = call.modern() else { return };
        if let Some(outcome) = modern.outcome.take() {
            return self.end_with(key, outcome);
        }
        let (answered, open) = split(std::mem::take(&mut modern.questions), answers);
        let missing = !open.is_empty();
        modern.questions = open;
        let mut declined = false;
        let mut upstream = Vec::new();
        for (question, value) in answered {
            match question {
                Question::Ask(at, id) => upstream.push((at, id, value)),
                Question::Roots => modern.roots = Some(format!(r#""result":{}"#, canonical(value)).into()),
                Question::Page(_) => declined |= member(value, "action") != Some(r#""accept""#),
            }
        }
        if let Place::On(instance, wire) = place {
            call.deadline = (now + self.servers[server.0].config.timeout.call).min(call.limit);
            self.alarm.at(call.deadline);
            let at = InstanceRef { server, key: instance };
            if let Some(instance) = self.instance_mut(at) {
                instance.pending.set_level(wire, level);
            }
            self.raise_level(at, level);
            if missing {
                self.gather(key);
            }
        }
        upstream.into_iter().for_each(|(at, id, value)| self.answer_ask(at, &id, value));
        if self.calls.get(key).is_some_and(|call| call.place == Place::Held) {
            match (declined, missing) {
                (true, _) => self.fail(key, Error::InvalidParams("the web page that this needs was declined".into())),
                (_, true) => self.hold(key),
                _ => self.place(key),
            }
        }
    }

    /// A call of a caller that is away ended. The caller gets to know when it comes back.
    pub(in crate::mux) fn answered_while_held(&mut self, at: InstanceRef, key: CallKey, answer: &Message) {
        self.end_while_held(key, Outcome::Answer(at, answer.clone()));
    }

    /// A call of a caller that is away cannot be served any more.
    pub(in crate::mux) fn failed_while_held(&mut self, key: CallKey, error: Error) {
        self.end_while_held(key, Outcome::Failed(error));
    }

    fn end_while_held(&mut self, key: CallKey, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(key) {
            call.place = Place::Held;
            if let Some(modern) = call.modern() {
                modern.outcome = Some(outcome);
            }
            self.refuse_questions(key, "the call was answered already");
        }
    }

    fn end_with(&mut self, key: CallKey, outcome: Outcome) {
        match outcome {
            Outcome::Failed(error) => self.fail(key, error),
            Outcome::Answer(at, answer) => {
                if let Some(call) = self.take_out(key) {
                    self.deliver(at, call, &answer);
                }
            }
        }
    }

    /// The calls that are held for a caller.
    pub(in crate::mux) fn held_for(&self, caller: CallerKey) -> Vec<CallKey> {
        let of_caller = |key: &CallKey| self.calls.get(*key).is_some_and(|call| call.caller == caller);
        self.held.calls().filter(of_caller).collect()
    }
}

type Named = (String, Question);

/// The questions that are answered, with the answers, and those that are not.
fn split(questions: Vec<Named>, answers: &[(String, String)]) -> (Vec<(Question, &str)>, Vec<Named>) {
    let (mut answered, mut open) = (Vec::new(), Vec::new());
    for (name, question) in questions {
        match answers.iter().find(|(of, _)| *of == name) {
            Some((_, value)) => answered.push((question, value.as_str())),
            None => open.push((name, question)),
        }
    }
    (answered, open)
}

/// A nonce that is used once under a daemon's key: a serial is.
fn nonce(serial: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&serial.to_le_bytes());
    nonce
}
