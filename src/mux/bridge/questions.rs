//! Kept by such a call: what its legacy server wants to know of its modern caller, until that is answered.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::{Bridge, fingerprint};
use crate::clock;
use crate::era::bridge::ask;
use crate::era::may_ask_in;
use crate::era::roots::RootList;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef};
use crate::mux::Mux;
use crate::mux::call::Call;
use crate::mux::offer::declared;
use crate::pool::asks::AskedOf;
use crate::wire::id::RawId;
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// Asks that come within this time go to a modern caller together.
const GATHER: Duration = Duration::from_millis(20);

/// A modern caller's call of a legacy server.
pub struct ModernCaller {
    /// What the caller declared in the request.
    pub capabilities: String,
    /// Tells the request from others: a retry must be the same one.
    pub(super) request: [u8; 32],
    /// The body of the answer to `roots/list`, once the caller told its roots for this call.
    pub roots: Option<RootList>,
    /// What the caller is to answer, by the key under which it is asked.
    pub(super) questions: Vec<Named>,
    /// How many keys were given.
    keys: usize,
    /// How the call ended while its caller was away.
    pub(super) outcome: Option<Outcome>,
}

/// A question and the key under which it is asked.
pub(super) type Named = (String, Question);

/// What a modern caller is asked.
pub(super) enum Question {
    /// What an instance asks, by its own id of that.
    Ask(InstanceRef, RawId),
    /// Its roots, because the server decides by them what it may touch.
    Roots,
    /// To visit a web page; the parameters of the elicitation.
    Page(String),
}

/// How a call ended while its caller was away.
pub(super) enum Outcome {
    Answer(InstanceRef, Message),
    Failed(Error),
}

impl ModernCaller {
    pub(super) fn new(original: &Message) -> ModernCaller {
        ModernCaller {
            capabilities: declared(original).to_owned(),
            request: fingerprint(original),
            roots: None,
            questions: Vec::new(),
            keys: 0,
            outcome: None,
        }
    }

    /// Asks the caller for its roots before the call goes anywhere.
    pub(in crate::mux) fn ask_for_roots(&mut self) {
        self.put(Question::Roots);
    }

    /// Notes the caller's roots for this call, unless they are known.
    pub(in crate::mux) fn has_roots(&mut self, roots: impl FnOnce() -> Option<RootList>) {
        self.roots = self.roots.take().or_else(roots);
    }

    /// Returns the instances that have open questions for the caller.
    pub(super) fn asked_by(&self) -> Vec<InstanceRef> {
        let ask = |(_, question): &Named| if let Question::Ask(at, _) = question { Some(*at) } else { None };
        self.questions.iter().filter_map(ask).collect()
    }

    /// Asks the caller to visit a web page.
    pub(super) fn visit(&mut self, page: &str) {
        self.put(Question::Page(page.to_owned()));
    }

    /// Returns whether the caller must visit a web page before its call is made again.
    pub(super) fn is_to_visit(&self) -> bool {
        self.questions.iter().any(|(_, question)| matches!(question, Question::Page(_)))
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
    pub(in crate::mux) fn modern(&mut self) -> Option<&mut ModernCaller> {
        match &mut self.bridge {
            Some(Bridge::Modern(modern)) => Some(modern),
            _ => None,
        }
    }
}

impl Mux {
    /// Asks the caller of a call what an instance wants to know.
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
        if let Some(instance) = self.instance_mut(at) {
            instance.asks.put_to(id, AskedOf::Retry(key));
        }
        if !held {
            self.gather(key);
        }
    }

    /// Waits a moment for further questions of the same call.
    pub(super) fn gather(&mut self, key: CallKey) {
        if !self.held.gathering.iter().any(|(_, other)| *other == key) {
            let until = clock::now() + GATHER;
            self.held.gathering.push((until, key));
            self.alarm.at(until);
        }
    }

    /// Puts the questions that were gathered. Returns when the next are to be put.
    pub(in crate::mux) fn sweep_gathering(&mut self, now: Instant) -> Option<Instant> {
        let (due, later) = std::mem::take(&mut self.held.gathering).into_iter().partition(|(until, _)| *until <= now);
        self.held.gathering = later;
        let due: Vec<(Instant, CallKey)> = due;
        due.into_iter().for_each(|(_, key)| self.hold(key));
        self.held.gathering.iter().map(|(until, _)| *until).min()
    }

    /// Returns the open questions of a call, as members of a JSON object; none if there are none.
    pub(super) fn input_requests(&self, key: CallKey) -> Option<String> {
        let call = self.calls.get(key)?;
        let Some(Bridge::Modern(modern)) = &call.bridge else { return None };
        let among = self.callers.get(call.caller).is_some_and(|caller| caller.endpoint.prefix);
        let server = among.then(|| self.server(call.server).config.name.as_str());
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
        if let Some(server) = server {
            requests = ask::all_fronted(&format!("{{{requests}}}"), server);
            requests = requests.trim_start_matches('{').strip_suffix('}').unwrap_or_default().to_owned();
        }
        (!requests.is_empty()).then_some(requests)
    }

    /// Answers the questions of instances for a call with errors, because nobody else will.
    pub(in crate::mux) fn refuse_questions(&mut self, key: CallKey, why: &str) {
        let Some(modern) = self.calls.get_mut(key).and_then(|call| call.modern()) else { return };
        for (_, question) in std::mem::take(&mut modern.questions) {
            if let Question::Ask(at, id) = question {
                self.refuse_ask(at, &id, why);
            }
        }
    }

    /// Takes the questions of instances from a call that is over, or was given up. Another call of its caller may have
    /// caused them, and is asked in its place. A question that was put already is refused, since nobody answers it.
    pub(in crate::mux) fn hand_back_questions(&mut self, key: CallKey, why: &str) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let (held, caller) = (call.is_held(), call.caller);
        let Some(modern) = call.modern() else { return };
        for (_, question) in std::mem::take(&mut modern.questions) {
            let Question::Ask(at, id) = question else { continue };
            match self.instance_mut(at).filter(|instance| !held && instance.pending.has(caller)) {
                // It finds its new owner when the call is released.
                Some(instance) => instance.asks.hand_back(&id),
                None => self.refuse_ask(at, &id, why),
            }
        }
    }

    /// Forgets a question that another call answered, or that is not asked any more.
    pub(in crate::mux) fn forget_question(&mut self, key: CallKey, at: InstanceRef, id: &RawId) {
        if let Some(modern) = self.calls.get_mut(key).and_then(|call| call.modern()) {
            modern.forget(at, id);
        }
    }
}
