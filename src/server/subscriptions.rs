//! Kept for each legacy server, and called by `mux::subscriptions`: who hears of which resource through which instance,
//! and who waits for an instance that could tell. It is kept by subscriber too, so that leaving costs what the
//! subscriber had.

mod strays;
mod topic;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::rc::Rc;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::key::{CallKey, InstanceKey};
use crate::pool::ties::Subscriber;
use crate::wire::message::Message;
pub use strays::{Errand, Strays};
use topic::Topic;
pub use topic::{Next, Request, What};

/// Where somebody has a subscription: at an instance, or nowhere for now.
type Home = (Rc<str>, Option<InstanceKey>);

/// The subscriptions at one server.
#[derive(Default)]
pub struct Subscriptions {
    topics: BTreeMap<InstanceKey, BTreeMap<Rc<str>, Topic>>,
    /// The instances that have a topic of a resource.
    hosts: HashMap<Rc<str>, BTreeSet<InstanceKey>, RandomState>,
    of: HashMap<Subscriber, BTreeSet<Home>, RandomState>,
    /// Requests that wait at a topic, or are with its instance.
    calls: HashMap<CallKey, (InstanceKey, Rc<str>), RandomState>,
    /// Requests that come behind one of the same caller that has not come to an instance yet.
    behind: HashMap<CallKey, Vec<CallKey>, RandomState>,
    /// Instances that are gone, whose subscribers are still to be led away.
    gone: Vec<InstanceKey>,
    strays: Strays,
}

/// What somebody left who wants to hear of a resource no more.
#[derive(Default)]
pub struct Left {
    /// Instances that had it for it.
    pub homes: Vec<InstanceKey>,
    /// Whether it waited for one that would.
    pub stray: bool,
}

/// What is left of a topic whose instance is gone.
pub struct Lost {
    pub uri: Rc<str>,
    /// Those who are to get it back.
    pub subscribers: Vec<Subscriber>,
    /// Those who want it, certain or not.
    pub wanted: Vec<Subscriber>,
    /// Requests that had not been sent.
    pub waiting: Vec<CallKey>,
}

impl Subscriptions {
    /// Whether nobody has anything here, nor waits for it.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.of.is_empty()
    }

    /// All who have one, or wait for one.
    #[cfg(debug_assertions)]
    pub fn everybody(&self) -> impl Iterator<Item = Subscriber> {
        self.of.keys().copied()
    }

    /// How many subscriptions somebody has, those among them that wait for an instance.
    pub fn count(&self, who: Subscriber) -> usize {
        self.of.get(&who).map_or(0, BTreeSet::len)
    }

    /// How many resources an instance has subscribers of.
    pub fn at(&self, instance: InstanceKey) -> usize {
        self.topics.get(&instance).map_or(0, BTreeMap::len)
    }

    /// The instances that have a resource, or are being asked for it.
    pub fn hosts(&self, uri: &str) -> impl Iterator<Item = InstanceKey> {
        let hosts = self.hosts.get(uri).into_iter().flatten().copied();
        hosts.filter(|host| self.topic(*host, uri).is_some_and(Topic::is_there))
    }

    fn topic(&self, at: InstanceKey, uri: &str) -> Option<&Topic> {
        self.topics.get(&at)?.get(uri)
    }

    fn topic_mut(&mut self, at: InstanceKey, uri: &str) -> Option<&mut Topic> {
        self.topics.get_mut(&at)?.get_mut(uri)
    }

    /// A request comes to an instance. What mcpool asks for those who lost theirs is for those who still want it.
    pub fn arrives(&mut self, at: InstanceKey, uri: &Rc<str>, mut request: Request) {
        if request.own {
            let waits = |who: &Subscriber| self.of.get(who).is_some_and(|of| of.contains(&(uri.clone(), None)));
            request.who.retain(waits);
        }
        for who in &request.who {
            self.not_stray(*who, uri);
        }
        self.calls.insert(request.call, (at, uri.clone()));
        self.hosts.entry(uri.clone()).or_default().insert(at);
        let topic = self.topics.entry(at).or_default().entry(uri.clone()).or_default();
        for who in topic.arrives(request) {
            self.of.entry(who).or_default().insert((uri.clone(), Some(at)));
        }
    }

    /// What is to be done next for a resource at an instance.
    pub fn next(&mut self, at: InstanceKey, uri: &Rc<str>) -> Next {
        let Some(topic) = self.topic_mut(at, uri) else { return Next::Wait };
        let next = topic.next();
        match &next {
            Next::Accept(call) => drop(self.calls.remove(call)),
            Next::Refuse(call, _, lost) => {
                self.calls.remove(call);
                self.lose(lost, uri, at);
            }
            Next::Over => self.end_topic(at, uri),
            Next::Wait | Next::Send(_) | Next::Leave | Next::Renew => {}
        }
        next
    }

    fn end_topic(&mut self, at: InstanceKey, uri: &Rc<str>) {
        if let Some(topics) = self.topics.get_mut(&at) {
            topics.remove(uri);
            if topics.is_empty() {
                self.topics.remove(&at);
            }
        }
        self.not_host(at, uri);
    }

    fn not_host(&mut self, at: InstanceKey, uri: &Rc<str>) {
        if let Some(hosts) = self.hosts.get_mut(uri) {
            hosts.remove(&at);
            if hosts.is_empty() {
                self.hosts.remove(uri);
            }
        }
    }

    /// Somebody is not subscribed through an instance any more.
    fn lose(&mut self, lost: &[Subscriber], uri: &Rc<str>, at: InstanceKey) {
        lost.iter().for_each(|who| _ = self.forget(*who, &(uri.clone(), Some(at))));
    }

    /// Forgets where somebody has a subscription; whether it was known.
    fn forget(&mut self, who: Subscriber, home: &Home) -> bool {
        let Some(of) = self.of.get_mut(&who) else { return false };
        let known = of.remove(home);
        if of.is_empty() {
            self.of.remove(&who);
        }
        known
    }

    /// The instance answered a request; where, and who lost the subscription by that.
    pub fn answered(
        &mut self,
        call: CallKey,
        refusal: Option<&Message>,
    ) -> Option<(InstanceKey, Rc<str>, Vec<Subscriber>)> {
        let (at, uri) = self.calls.remove(&call)?;
        let lost = self.topic_mut(at, &uri)?.answered(refusal);
        self.lose(&lost, &uri, at);
        Some((at, uri, lost))
    }

    /// A request ended in another way; where it was, and those who come behind it. For whom mcpool made it waits again.
    pub fn ended(&mut self, call: CallKey, own: bool) -> Ended {
        let behind = self.behind.remove(&call).unwrap_or_default();
        let Some((at, uri)) = self.calls.remove(&call) else { return Ended { at: None, behind } };
        let lost = self.topic_mut(at, &uri).map(|topic| topic.ended(call)).unwrap_or_default();
        self.lose(&lost, &uri, at);
        for who in lost.into_iter().filter(|_| own) {
            self.of.entry(who).or_default().insert((uri.clone(), None));
        }
        Ended { at: Some((at, uri)), behind }
    }

    /// A request waits for one of the same caller that has not come to an instance.
    pub fn comes_behind(&mut self, first: CallKey, call: CallKey) {
        self.behind.entry(first).or_default().push(call);
    }

    /// Those that wait for a request, which has come to an instance.
    pub fn take_behind(&mut self, first: CallKey) -> Vec<CallKey> {
        if self.behind.is_empty() { Vec::new() } else { self.behind.remove(&first).unwrap_or_default() }
    }

    /// Whether a request has come to an instance.
    pub fn has_come(&self, call: CallKey) -> bool {
        self.calls.contains_key(&call)
    }

    /// Somebody wants to hear of a resource no more.
    pub fn leave(&mut self, who: Subscriber, uri: &Rc<str>) -> Left {
        let mut left = Left { homes: Vec::new(), stray: self.not_stray(who, uri) };
        let Some(of) = self.of.get(&who) else { return left };
        let from = (uri.clone(), None);
        let homes: Vec<Home> = of.range(from..).take_while(|(of, _)| of == uri).cloned().collect();
        for home in homes {
            if let Some(at) = home.1 {
                self.topic_mut(at, uri).into_iter().for_each(|topic| topic.leaves(who));
                left.homes.push(at);
            }
            self.forget(who, &home);
        }
        left
    }

    /// Somebody is gone; where it leaves something behind.
    pub fn leave_all(&mut self, who: Subscriber) -> Vec<(InstanceKey, Rc<str>)> {
        let mut left = Vec::new();
        for (uri, at) in self.of.remove(&who).unwrap_or_default() {
            match at {
                Some(at) => {
                    self.topic_mut(at, &uri).into_iter().for_each(|topic| topic.leaves(who));
                    left.push((at, uri));
                }
                None => self.strays.remove(who, &uri),
            }
        }
        left
    }

    /// Somebody who lost a subscription, or a stream that has none yet, is to get one.
    pub fn stray(&mut self, who: Subscriber, uri: Rc<str>, first: bool) {
        if self.of.entry(who).or_default().insert((uri.clone(), None)) {
            self.strays.insert(who, uri, first);
        }
    }

    /// Whether somebody waits for an instance that tells of a resource.
    pub fn is_stray(&self, who: Subscriber, uri: &Rc<str>) -> bool {
        self.of.get(&who).is_some_and(|of| of.contains(&(uri.clone(), None)))
    }

    /// Somebody waits no more for a resource; whether it did.
    pub fn not_stray(&mut self, who: Subscriber, uri: &Rc<str>) -> bool {
        let was = self.is_stray(who, uri);
        if was {
            self.strays.remove(who, uri);
            self.forget(who, &(uri.clone(), None));
        }
        was
    }

    /// Somebody for whom a request was on its way is to be asked for again.
    pub fn asks_anew(&mut self, who: Subscriber, uri: &Rc<str>, first: bool) {
        if self.is_stray(who, uri) {
            self.strays.insert(who, uri.clone(), first);
        }
    }

    /// Somebody could not get a subscription, and is to wait and try again; until when.
    pub fn fails(&mut self, who: Subscriber, uri: Rc<str>, now: Instant, strange: bool) -> Instant {
        self.of.entry(who).or_default().insert((uri.clone(), None));
        self.strays.fail(who, uri, now, strange)
    }

    /// Whether some wait for it to be known how the server is spoken to.
    pub fn are_strange(&self) -> bool {
        self.strays.are_strange()
    }

    /// Those who wait, and what mcpool is about to ask for them.
    pub fn strays(&mut self) -> &mut Strays {
        &mut self.strays
    }

    /// Whom an update of a resource is for: those who are subscribed to it, or else to what it is a part of.
    pub fn told(&self, at: InstanceKey, uri: &str) -> Vec<Subscriber> {
        let Some(topics) = self.topics.get(&at) else { return Vec::new() };
        if let Some(topic) = topics.get(uri).filter(|topic| topic.wanting().next().is_some()) {
            return topic.wanting().collect();
        }
        let mut told: Vec<Subscriber> = wholes(topics, uri).flat_map(Topic::wanting).collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    /// An instance is gone, and everybody loses what it told.
    pub fn instance_gone(&mut self, at: InstanceKey) -> bool {
        let had = self.topics.contains_key(&at);
        if had && !self.gone.contains(&at) {
            self.gone.push(at);
        }
        had
    }

    /// Every instance is as good as gone.
    pub fn all_gone(&mut self) {
        self.gone = self.topics.keys().copied().collect();
    }

    /// Takes one more topic of the instances that are gone.
    pub fn next_lost(&mut self) -> Option<Lost> {
        loop {
            let at = *self.gone.last()?;
            let Some((uri, topic)) = self.topics.get_mut(&at).and_then(BTreeMap::pop_first) else {
                self.topics.remove(&at);
                self.gone.pop();
                continue;
            };
            self.not_host(at, &uri);
            let all: Vec<Subscriber> = topic.wanting().collect();
            self.lose(&all, &uri, at);
            let (subscribers, waiting) = topic.into_parts();
            waiting.iter().for_each(|call| drop(self.calls.remove(call)));
            return Some(Lost { uri, subscribers, wanted: all, waiting });
        }
    }

    /// Takes everybody who waits, to wait elsewhere.
    pub fn take_strays(&mut self) -> Vec<(Subscriber, Rc<str>)> {
        let mut all = self.strays.take_all();
        // Of those who were to try later some want nothing more.
        all.retain(|(who, uri)| self.forget(*who, &(uri.clone(), None)));
        all
    }
}

/// What became of a request that was not answered.
pub struct Ended {
    pub at: Option<(InstanceKey, Rc<str>)>,
    pub behind: Vec<CallKey>,
}

/// Whether a resource is a subscribed one, or a part of it.
pub fn is_part_of(whole: &str, uri: &str) -> bool {
    let rest = uri.strip_prefix(whole).filter(|_| !whole.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

/// What is known of everything that a resource is a part of. The longest comes first; what stands between two in the order
/// of the map is not looked at.
pub fn wholes<'a, T>(map: &'a BTreeMap<Rc<str>, T>, uri: &'a str) -> impl Iterator<Item = &'a T> {
    let mut rest = Some(uri);
    std::iter::from_fn(move || {
        while let Some(upto) = rest {
            let below = (Bound::Unbounded, Bound::Included(upto));
            let (known, thing) = map.range::<str, _>(below).next_back()?;
            let common = common(known, upto);
            if common < known.len() {
                // Everything that begins `uri` and is longer would stand behind it.
                rest = uri.get(..common);
                continue;
            }
            rest = known.char_indices().next_back().and_then(|(last, _)| uri.get(..last));
            if is_part_of(known, uri) {
                return Some(thing);
            }
        }
        None
    })
}

/// How many bytes of whole letters two texts have in common at their beginnings.
fn common(one: &str, other: &str) -> usize {
    let alike = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    (0..=alike).rev().find(|end| one.is_char_boundary(*end) && other.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
