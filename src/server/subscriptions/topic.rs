//! Kept by `server::subscriptions`: one resource at one instance. A caller's wish counts from when it says so. The
//! instance is told when the first wish comes and when the last one ends, by one request at a time. Callers that come
//! meanwhile wait for its answer, and are answered in turn.

use std::collections::{BTreeMap, VecDeque};

use crate::key::CallKey;
use crate::pool::ties::Subscriber;
use crate::wire::message::Message;

/// What a request says of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Subscribe,
    Unsubscribe,
}

/// A request that has come to an instance.
pub struct Request {
    pub call: CallKey,
    pub what: What,
    /// On whose behalf.
    pub who: Vec<Subscriber>,
    /// Whether mcpool made it.
    pub own: bool,
}

/// What is to be done next.
pub enum Next {
    /// Nothing before something else happens.
    Wait,
    /// Nothing ever: nobody wants it, and the instance knows that.
    Over,
    /// This request goes to the instance.
    Send(CallKey),
    /// This one comes to what the instance was told already.
    Accept(CallKey),
    /// This one gets the refusal that the one before it got, and these lose it by that.
    Refuse(CallKey, Box<Message>, Vec<Subscriber>),
    /// Nobody wants it any more: mcpool is to unsubscribe.
    Leave,
    /// It is not known whether the instance still has it: mcpool is to subscribe again.
    Renew,
}

/// What the instance was told last.
enum Said {
    /// Nothing, or it took what ended it.
    Nothing,
    /// This one is not answered.
    Asked(Turn),
    /// It is subscribed.
    Taken,
    /// A request to subscribe came to nothing: it may have been carried out.
    Unknown,
    /// It refused, and so many who came before the answer get the same one.
    Refused(Box<Message>, usize),
}

/// A request and when it came, counted.
struct Turn {
    request: Request,
    serial: u64,
}

/// Whether somebody wants to hear.
struct Want {
    /// The first request since the last that ended it.
    since: u64,
    /// How many of its requests are not decided.
    open: usize,
    /// Whether one was granted.
    sure: bool,
}

/// One resource at one instance.
pub struct Topic {
    wants: BTreeMap<Subscriber, Want>,
    said: Said,
    waiting: VecDeque<Turn>,
    serial: u64,
    /// Whether mcpool is about to send a request of its own.
    promised: bool,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { wants: BTreeMap::new(), said: Said::Nothing, waiting: VecDeque::new(), serial: 0, promised: false }
    }
}

impl Topic {
    /// Those who want to hear.
    pub fn wanting(&self) -> impl Iterator<Item = Subscriber> {
        self.wants.keys().copied()
    }

    /// Whether the instance has it, or is asked to.
    pub fn is_there(&self) -> bool {
        match &self.said {
            Said::Taken => true,
            Said::Asked(turn) => turn.request.what == What::Subscribe,
            Said::Nothing | Said::Unknown | Said::Refused(..) => false,
        }
    }

    /// A request comes; those who did not want before.
    pub fn arrives(&mut self, request: Request) -> Vec<Subscriber> {
        self.serial += 1;
        self.promised &= !request.own;
        let mut new = Vec::new();
        if request.what == What::Subscribe {
            for who in &request.who {
                let serial = self.serial;
                let want = self.wants.entry(*who).or_insert_with(|| {
                    new.push(*who);
                    Want { since: serial, open: 0, sure: false }
                });
                want.open += 1;
            }
        }
        self.waiting.push_back(Turn { request, serial: self.serial });
        new
    }

    /// Somebody wants it no more.
    pub fn leaves(&mut self, who: Subscriber) {
        self.wants.remove(&who);
    }

    /// What is to be done next. It is taken for done.
    pub fn next(&mut self) -> Next {
        if matches!(self.said, Said::Asked(_)) {
            return Next::Wait;
        }
        let Some(turn) = self.waiting.pop_front() else { return self.without_requests() };
        let call = turn.request.call;
        if let Said::Refused(answer, left) = &mut self.said {
            let answer = answer.clone();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.said = Said::Nothing;
            }
            return match turn.request.what {
                What::Subscribe => Next::Refuse(call, answer, self.fail(&turn)),
                What::Unsubscribe => Next::Accept(call),
            };
        }
        let settled = match (turn.request.what, &self.said) {
            (What::Subscribe, said) => matches!(said, Said::Taken),
            (What::Unsubscribe, Said::Nothing) => turn.request.own || !self.wants.is_empty(),
            (What::Unsubscribe, _) => !self.wants.is_empty(),
        };
        if settled {
            if turn.request.what == What::Subscribe {
                self.grant(&turn);
            }
            return Next::Accept(call);
        }
        self.said = Said::Asked(turn);
        Next::Send(call)
    }

    fn without_requests(&mut self) -> Next {
        match (&self.said, self.wants.is_empty()) {
            _ if self.promised => Next::Wait,
            (Said::Taken | Said::Unknown, true) => {
                self.promised = true;
                Next::Leave
            }
            (Said::Unknown, false) => {
                self.promised = true;
                Next::Renew
            }
            (Said::Refused(..), _) => {
                self.said = Said::Nothing;
                self.without_requests()
            }
            (Said::Nothing, true) => Next::Over,
            (Said::Nothing | Said::Taken | Said::Asked(_), _) => Next::Wait,
        }
    }

    /// The instance answered the request that it was sent; those who lose it by that.
    pub fn answered(&mut self, refusal: Option<&Message>) -> Vec<Subscriber> {
        let Said::Asked(turn) = std::mem::replace(&mut self.said, Said::Nothing) else { return Vec::new() };
        match (turn.request.what, refusal) {
            (What::Unsubscribe, _) => Vec::new(),
            (What::Subscribe, None) => {
                self.grant(&turn);
                self.said = Said::Taken;
                Vec::new()
            }
            (What::Subscribe, Some(answer)) => {
                if !self.waiting.is_empty() {
                    self.said = Said::Refused(Box::new(answer.clone()), self.waiting.len());
                }
                // Whoever had it before has it no more, but for those whose requests wait.
                self.wants.values_mut().for_each(|want| want.sure = false);
                let mut lost = self.fail(&turn);
                self.wants.retain(|who, want| {
                    if want.open == 0 {
                        lost.push(*who);
                    }
                    want.open > 0
                });
                lost
            }
        }
    }

    /// A request ended without an answer; those who lose it by that.
    pub fn ended(&mut self, call: CallKey) -> Vec<Subscriber> {
        if let Said::Asked(turn) = &self.said
            && turn.request.call == call
        {
            let Said::Asked(turn) = std::mem::replace(&mut self.said, Said::Nothing) else { return Vec::new() };
            if turn.request.what == What::Subscribe {
                self.said = Said::Unknown;
            }
            return self.fail(&turn);
        }
        let place = self.waiting.iter().position(|turn| turn.request.call == call);
        let Some(turn) = place.and_then(|place| self.waiting.remove(place)) else { return Vec::new() };
        if let Said::Refused(_, left) = &mut self.said
            && place.is_some_and(|place| place < *left)
        {
            *left -= 1;
            if *left == 0 {
                self.said = Said::Nothing;
            }
        }
        self.fail(&turn)
    }

    fn grant(&mut self, turn: &Turn) {
        for who in &turn.request.who {
            if let Some(want) = self.wants.get_mut(who).filter(|want| want.since <= turn.serial) {
                want.open = want.open.saturating_sub(1);
                want.sure = true;
            }
        }
    }

    fn fail(&mut self, turn: &Turn) -> Vec<Subscriber> {
        let mut lost = Vec::new();
        if turn.request.what == What::Unsubscribe {
            return lost;
        }
        for who in &turn.request.who {
            let Some(want) = self.wants.get_mut(who).filter(|want| want.since <= turn.serial) else { continue };
            want.open = want.open.saturating_sub(1);
            if want.open == 0 && !want.sure {
                self.wants.remove(who);
                lost.push(*who);
            }
        }
        lost
    }

    /// Those who had it for certain, and the requests that wait, when the instance is gone.
    pub fn into_parts(self) -> (Vec<Subscriber>, Vec<CallKey>) {
        let sure = self.wants.iter().filter(|(_, want)| want.sure).map(|(who, _)| *who).collect();
        (sure, self.waiting.into_iter().map(|turn| turn.request.call).collect())
    }
}
