//! Callers that subscribe, leave and change their minds on one resource of one instance: what the instance is asked,
//! and that it has in the end what is wanted.

use std::collections::VecDeque;

use slotmap::SlotMap;

use super::*;
use crate::key::CallerKey;

fn refusal() -> Message {
    let line = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no"}}"#;
    Message::read(line.into(), 64).expect("a message")
}

/// A server that has what it was told, in the order in which it was told.
#[derive(Default)]
struct Model {
    has: bool,
    sent: VecDeque<(CallKey, What)>,
}

/// Callers that change their minds, on one resource of one instance.
struct Play {
    subscriptions: Subscriptions,
    calls: SlotMap<CallKey, (What, Option<Subscriber>)>,
    callers: Vec<Subscriber>,
    model: Model,
    answered: Vec<CallKey>,
    at: InstanceKey,
    uri: Rc<str>,
}

impl Play {
    fn new() -> Play {
        let mut keys = SlotMap::<CallerKey, ()>::with_key();
        Play {
            subscriptions: Subscriptions::default(),
            calls: SlotMap::with_key(),
            callers: (0..3).map(|_| Subscriber::Session(keys.insert(()))).collect(),
            model: Model::default(),
            answered: Vec::new(),
            at: InstanceKey::default(),
            uri: "u".into(),
        }
    }

    fn settle(&mut self) {
        loop {
            match self.subscriptions.next(self.at, &self.uri.clone()) {
                Next::Wait | Next::Over => return,
                Next::Send(call) => {
                    let (what, _) = self.calls[call];
                    self.model.sent.push_back((call, what));
                    assert_eq!(self.model.sent.len(), 1, "one request at a time");
                }
                Next::Accept(call) | Next::Refuse(call, ..) => self.end(call),
                Next::Leave => self.own(What::Unsubscribe),
                Next::Renew => self.own(What::Subscribe),
            }
        }
    }

    fn end(&mut self, call: CallKey) {
        self.calls.remove(call);
        self.answered.push(call);
    }

    fn come(&mut self, what: What, who: Option<Subscriber>) -> CallKey {
        let call = self.calls.insert((what, who));
        let request = Request { call, what, who: who.into_iter().collect(), own: who.is_none() };
        self.subscriptions.arrives(self.at, &self.uri.clone(), request);
        call
    }

    fn own(&mut self, what: What) {
        self.come(what, None);
    }

    fn subscribe(&mut self, caller: usize) -> CallKey {
        let call = self.come(What::Subscribe, Some(self.callers[caller]));
        self.settle();
        call
    }

    fn unsubscribe(&mut self, caller: usize) -> CallKey {
        self.subscriptions.leave(self.callers[caller], &self.uri.clone());
        let call = self.come(What::Unsubscribe, Some(self.callers[caller]));
        self.settle();
        call
    }

    fn hang_up(&mut self, caller: usize) {
        let who = Some(self.callers[caller]);
        let own: Vec<CallKey> = self.calls.iter().filter(|(_, (_, of))| *of == who).map(|(key, _)| key).collect();
        for call in own {
            self.cancel(call);
        }
        self.subscriptions.leave_all(self.callers[caller]);
        self.settle();
    }

    /// The instance carries out what it was sent, though nobody waits for the answer.
    fn cancel(&mut self, call: CallKey) {
        if let Some(place) = self.model.sent.iter().position(|(sent, _)| *sent == call) {
            let (_, what) = self.model.sent.remove(place).expect("it is there");
            self.model.has = what == What::Subscribe;
        }
        self.calls.remove(call);
        self.subscriptions.ended(call, false);
        self.settle();
    }

    fn answer(&mut self, grants: bool) {
        let Some((call, what)) = self.model.sent.pop_front() else { return };
        let refused = refusal();
        // A server that refuses to begin or to end a subscription has none.
        self.model.has = grants && what == What::Subscribe;
        self.subscriptions.answered(call, (!grants).then_some(&refused));
        self.end(call);
        self.settle();
    }

    fn hears(&self, caller: usize) -> bool {
        self.model.has && self.subscriptions.told(self.at, "u").contains(&self.callers[caller])
    }
}

#[test]
fn who_comes_while_another_is_subscribed_waits_for_its_answer_and_one_request_is_sent() {
    let mut play = Play::new();
    let (first, second) = (play.subscribe(0), play.subscribe(1));
    assert_eq!((play.model.sent.len(), play.answered.len()), (1, 0));
    play.answer(true);
    assert_eq!(play.answered, [first, second]);
    assert!(play.hears(0) && play.hears(1));
}

#[test]
fn one_that_leaves_before_another_is_answered_takes_nothing_from_it() {
    let mut play = Play::new();
    play.subscribe(0);
    play.subscribe(1);
    play.answer(true);
    play.unsubscribe(0);
    assert!(play.model.sent.is_empty() && play.hears(1) && !play.hears(0));
}

#[test]
fn a_refusal_is_for_all_who_came_before_it_and_for_nobody_who_comes_later() {
    let mut play = Play::new();
    let (first, second) = (play.subscribe(0), play.subscribe(1));
    play.answer(false);
    assert_eq!(play.answered, [first, second]);
    play.subscribe(2);
    assert_eq!(play.model.sent.len(), 1, "it is asked for anew");
    play.answer(true);
    assert!(play.hears(2) && !play.hears(0) && !play.hears(1));
}

#[test]
fn what_was_asked_for_somebody_who_left_is_ended() {
    let mut play = Play::new();
    play.subscribe(0);
    play.hang_up(0);
    assert_eq!(play.model.sent.front().map(|(_, what)| *what), Some(What::Unsubscribe));
    play.answer(true);
    assert!(!play.model.has && play.subscriptions.is_empty());
}

#[test]
fn in_the_end_the_server_has_what_is_wanted_however_minds_change() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut play = Play::new();
        for _ in 0..random.usize(1..40) {
            let caller = random.usize(..3);
            match random.u8(..10) {
                0..4 => drop(play.subscribe(caller)),
                4..6 => drop(play.unsubscribe(caller)),
                6 => play.hang_up(caller),
                7 if !play.calls.is_empty() => {
                    let one = play.calls.keys().nth(random.usize(..play.calls.len()));
                    one.into_iter().for_each(|call| play.cancel(call));
                }
                _ => play.answer(random.u8(..8) > 0),
            }
        }
        while !play.model.sent.is_empty() {
            play.answer(true);
        }
        assert!(play.calls.is_empty(), "seed {seed}: everybody is answered");
        let wanted = (0..3).any(|caller| play.subscriptions.count(play.callers[caller]) > 0);
        assert_eq!(wanted, play.model.has, "seed {seed}: wanted, and had");
        for caller in 0..3 {
            let count = play.subscriptions.count(play.callers[caller]);
            assert_eq!(play.hears(caller), count > 0, "seed {seed}");
        }
        if !wanted {
            assert!(play.subscriptions.is_empty() && play.subscriptions.hosts.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn a_resource_is_a_part_of_all_that_it_begins_with_at_a_boundary() {
    let mut map: BTreeMap<Rc<str>, &str> = BTreeMap::new();
    for uri in ["a:", "a:b", "a:b/", "a:b/c", "a:b/c/d", "a:bx", "a:b-", "a:b/c?", "ä", "", "a:b/b"] {
        map.insert(uri.into(), uri);
    }
    for uri in ["a:b/c/d", "a:b/c", "a:b", "a:b/c?x", "a:b/c#x", "ä/b", "", "zz", "a:b/cx", "a:b/c/e/f"] {
        let mut expected: Vec<&str> = map.keys().map(|whole| &**whole).filter(|whole| is_part_of(whole, uri)).collect();
        let mut found: Vec<&str> = wholes(&map, uri).copied().collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{uri}");
    }
}
