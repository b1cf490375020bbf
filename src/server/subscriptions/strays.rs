//! Called by `server::subscriptions`: subscribers that mcpool itself subscribes, and the requests that it makes for
//! them. They have a lane of their own with a small window: however many there are, few are on their way at once.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::key::{CallKey, InstanceKey};
use crate::pool::ties::Subscriber;

/// How many requests of mcpool's own are on their way to a server at once.
const WINDOW: usize = 32;
/// How long until a subscription that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What mcpool is to ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Errand {
    /// That this instance tells no more of a resource.
    Leave(InstanceKey, Rc<str>),
    /// That it does, once more.
    Renew(InstanceKey, Rc<str>),
    /// That some instance does, for somebody; whether that is asked for the first time.
    Subscribe { who: Subscriber, uri: Rc<str>, first: bool },
}

/// How many of those who come later are looked at in one go.
const SLICE: usize = 256;

/// Who wants what.
#[derive(Default)]
struct Wanted(BTreeMap<Rc<str>, BTreeSet<Subscriber>>);

impl Wanted {
    fn insert(&mut self, uri: Rc<str>, who: Subscriber) {
        self.0.entry(uri).or_default().insert(who);
    }

    fn remove(&mut self, uri: &Rc<str>, who: Subscriber) -> bool {
        let Some(all) = self.0.get_mut(uri) else { return false };
        let was = all.remove(&who);
        if all.is_empty() {
            self.0.remove(uri);
        }
        was
    }

    fn pop(&mut self) -> Option<(Rc<str>, Subscriber)> {
        let (uri, who) = self.0.iter().next().and_then(|(uri, all)| Some((uri.clone(), *all.first()?)))?;
        self.remove(&uri, who);
        Some((uri, who))
    }

    fn take(self) -> impl Iterator<Item = (Subscriber, Rc<str>)> {
        self.0.into_iter().flat_map(|(uri, all)| all.into_iter().map(move |who| (who, uri.clone())))
    }
}

/// Those who wait.
#[derive(Default)]
pub struct Strays {
    /// Streams that ask for the first time.
    first: Wanted,
    /// Those who lost what they had.
    lost: Wanted,
    /// Those who could not get it back, and when it is tried again.
    later: VecDeque<(Instant, Rc<str>, Subscriber)>,
    /// Instances that are to be told something first.
    told: VecDeque<Errand>,
    /// When those who lost something are asked for.
    from: Option<Instant>,
    /// When that was begun last.
    begun: Option<Instant>,
    /// Whether some wait for it to be known how the server is spoken to.
    strange: bool,
    /// Whether that has changed since, and not all of them were looked at yet.
    woken: bool,
    open: HashSet<CallKey, RandomState>,
}

impl Strays {
    pub(super) fn insert(&mut self, who: Subscriber, uri: Rc<str>, first: bool) {
        let wanted = if first { &mut self.first } else { &mut self.lost };
        wanted.insert(uri, who);
    }

    pub(super) fn remove(&mut self, who: Subscriber, uri: &Rc<str>) {
        // Of those who come later, it is seen then that they want nothing more.
        if !self.first.remove(uri, who) {
            self.lost.remove(uri, who);
        }
    }

    pub(super) fn take_all(&mut self) -> Vec<(Subscriber, Rc<str>)> {
        let first = std::mem::take(&mut self.first).take();
        let later = std::mem::take(&mut self.later).into_iter().map(|(_, uri, who)| (who, uri));
        self.told.clear();
        first.chain(std::mem::take(&mut self.lost).take()).chain(later).collect()
    }

    /// Something was lost. It is asked for at once, but not again and again: the server may have ended because of it.
    pub fn lose(&mut self, now: Instant) -> Instant {
        let from = self.begun.map_or(now, |begun| now.max(begun + AGAIN));
        self.from = Some(from);
        from
    }

    /// It could not be had: it is tried again.
    pub fn fail(&mut self, who: Subscriber, uri: Rc<str>, now: Instant, strange: bool) -> Instant {
        let again = now + AGAIN;
        self.later.push_back((again, uri, who));
        self.strange |= strange;
        again
    }

    /// An instance is to be told something.
    pub fn tell(&mut self, errand: Errand) {
        self.told.push_back(errand);
    }

    /// Whether some wait for it to be known how the server is spoken to, or are still to see whether it is by now.
    pub fn are_strange(&self) -> bool {
        self.strange || self.woken
    }

    /// It is known how the server is spoken to, or not to be known; whether somebody waited for that.
    pub fn known(&mut self) -> bool {
        let strange = std::mem::take(&mut self.strange);
        if strange {
            self.woken = true;
            for (_, uri, who) in std::mem::take(&mut self.later) {
                self.lost.insert(uri, who);
            }
        }
        strange
    }

    /// Takes what is to be asked next, if there is room for it.
    pub fn next(&mut self, now: Instant) -> Option<Errand> {
        if self.open.len() >= WINDOW {
            return None;
        }
        if let Some(errand) = self.told.pop_front() {
            return Some(errand);
        }
        if let Some((uri, who)) = self.first.pop() {
            return Some(Errand::Subscribe { who, uri, first: true });
        }
        for _ in 0..SLICE {
            if self.later.front().is_none_or(|(again, ..)| *again > now) {
                break;
            }
            self.later.pop_front().into_iter().for_each(|(_, uri, who)| self.lost.insert(uri, who));
        }
        if self.from.is_some_and(|from| from > now) {
            return None;
        }
        let next = self.lost.pop();
        self.woken &= !self.lost.0.is_empty();
        let (uri, who) = next?;
        self.begun = Some(now);
        Some(Errand::Subscribe { who, uri, first: false })
    }

    /// Takes those who want the same for whom `alike` says so, as many as may be.
    pub fn take_alike(
        &mut self,
        uri: &Rc<str>,
        first: bool,
        most: usize,
        alike: impl Fn(Subscriber) -> bool,
    ) -> Vec<Subscriber> {
        let wanted = if first { &mut self.first } else { &mut self.lost };
        let all = wanted.0.get(uri).into_iter().flatten().take(most);
        let taken: Vec<Subscriber> = all.copied().filter(|who| alike(*who)).collect();
        for who in &taken {
            wanted.remove(uri, *who);
        }
        taken
    }

    /// A request of mcpool's own is on its way.
    pub fn sent(&mut self, call: CallKey) {
        self.open.insert(call);
    }

    /// One is over; whether another may go.
    pub fn over(&mut self, call: CallKey) -> bool {
        self.open.remove(&call) && self.has_work()
    }

    /// Whether somebody waits.
    pub fn has_work(&self) -> bool {
        !(self.told.is_empty() && self.first.0.is_empty() && self.lost.0.is_empty() && self.later.is_empty())
    }

    /// When there is something to do next.
    pub fn due(&self) -> Option<Instant> {
        let lost = self.from.filter(|_| !self.lost.0.is_empty());
        [lost, self.later.front().map(|(again, ..)| *again)].into_iter().flatten().min()
    }
}
