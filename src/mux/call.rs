//! Made by `mux` for each request that is sent on, and kept in `Mux::calls` until it is answered: what is known of one
//! call on its way.

use std::rc::Rc;
use std::time::Duration;

use slotmap::SlotMap;
use tokio::time::Instant;

use super::Mux;
use super::bridge::Bridge;
use super::errand::Errand;
use super::gate::Trials;
use super::own_roots::Rooted;
use super::servers::Server;
use crate::caller::Caller;
use crate::catalogue::list::ListKind;
use crate::config;
use crate::era::level::Level;
use crate::era::profile::Profile;
use crate::guard::inflight::{Away, Permit};
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, InstanceKey, ServerId};
use crate::reply::Reply;
use crate::server::awaited::Word;
use crate::wire::id::WireId;
use crate::wire::message::Message;
use crate::wire::splice::Splice;

/// A stream that is open has no deadline.
pub(super) const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

/// One call. It leaves `mux.calls` exactly once, and whoever takes it out answers it.
pub struct Call {
    pub from: Source,
    /// For whom it is made: whose turn it takes in the queue, whose profile it needs.
    pub caller: CallerKey,
    pub server: ServerId,
    pub request: Message,
    /// The request's line with what must be replaced besides ids.
    pub splice: Splice,
    pub profile: Profile,
    /// The instance that it must go to.
    pub pin: Option<Pin>,
    pub then: Then,
    /// What is kept for a caller of the other era than its server's; none where the two speak the same.
    pub bridge: Option<Bridge>,
    /// The log level that a modern request asks for.
    pub level: Option<Level>,
    pub place: Place,
    /// Since when it is where it is.
    pub since: Instant,
    pub deadline: Instant,
    /// The deadline that progress cannot move.
    pub limit: Instant,
    /// Until when it may wait in the queue, however often it comes back there before it is sent.
    pub queue_until: Option<Instant>,
    /// Whether it is the one that tries whether its server works again.
    pub trials: Trials,
    /// How often it was sent again.
    pub repeats: u8,
    /// What is kept of one whose server was told roots by mcpool.
    pub rooted: Option<Box<Rooted>>,
}

/// Who wants the answer.
pub enum Source {
    /// A caller's request.
    Caller(Reply, Permit),
    /// A modern caller, when it comes back with what its legacy server asks; by the serial of the request state.
    Held { serial: u64, since: Instant, kept: Away },
    /// mcpool itself.
    Mcpool(Errand),
}

/// Where a call is. Each place but the last is bounded by the call's deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not placed yet.
    Nowhere,
    /// Until the roots of its caller are known.
    Roots,
    /// In the pool's queue.
    Queue,
    /// Behind other requests about the same resource.
    Behind,
    /// With an instance.
    On(InstanceKey, WireId),
    /// Until these servers have introduced themselves.
    Introductions(Vec<ServerId>),
    /// Until these servers' lists are there.
    Lists(ListKind, Vec<ServerId>),
    /// Nowhere, until its caller comes back.
    Held,
    /// Until its caller has answered what the server wants to know.
    Asking,
    /// An open `subscriptions/listen`: once acknowledged, it ends when caller or server says so.
    Listening,
}

/// An instance that alone can serve a call.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    pub to: InstanceKey,
    /// Whether another instance will do if that one is gone.
    pub or_any: bool,
}

/// What else an answer means, beyond being passed on.
#[derive(Clone, Debug)]
pub enum Then {
    Nothing,
    /// The caller subscribes to this resource.
    Subscribes(Rc<str>),
    /// The caller ends its subscription to this resource.
    Unsubscribes(Rc<str>),
    /// The answer may create a task, or end in a question with a state.
    MayCreate,
    /// The answer lists tasks, of which only the caller's own are shown.
    ShowOwnTasks,
    /// The answer tells how far this task is.
    AboutTask(Rc<str>),
}

impl Place {
    /// The servers that have not said what a call waits for here.
    fn missing(&self) -> Option<(Word, &[ServerId])> {
        match self {
            Place::Introductions(missing) => Some((Word::Introduction, missing)),
            Place::Lists(kind, missing) => Some((Word::List(*kind), missing)),
            _ => None,
        }
    }

    /// A call comes here, or leaves: the servers that have to say something know of it.
    pub(super) fn note(&self, servers: &mut [Server], key: CallKey, comes: bool) {
        for (word, server) in self.missing().into_iter().flat_map(|(word, all)| all.iter().map(move |it| (word, it))) {
            let awaited = servers[server.0].awaited_mut();
            if comes { awaited.begins(word, key) } else { awaited.ends(word, key) }
        }
    }

    /// What of a server a call waits for here.
    pub(super) fn awaits(&self, server: ServerId) -> Option<Word> {
        self.missing().filter(|(_, missing)| missing.contains(&server)).map(|(word, _)| word)
    }
}

impl Mux {
    /// The calls that wait for a word of a server.
    pub(crate) fn waiting_for(&self, server: ServerId, word: Word, waits: impl Fn(&Call) -> bool) -> Vec<CallKey> {
        let waiting = self.server(server).awaited().waiting(word).iter().copied();
        waiting.filter(|key| self.calls.get(*key).is_some_and(|call| waits(call))).collect()
    }

    /// Notes that a server that calls waited for is done. Tells those that wait for no other one, and whether each is
    /// of an endpoint with that server alone, so that what the server said is the answer.
    pub(crate) fn done_waiting(&mut self, server: ServerId, waiting: Vec<CallKey>) -> Vec<(CallKey, bool)> {
        let Mux { calls, callers, servers, .. } = self;
        let mut done = Vec::new();
        for key in waiting {
            let Some(call) = calls.get_mut(key) else { continue };
            let Some(word) = call.place.awaits(server) else { continue };
            servers[server.0].awaited_mut().ends(word, key);
            let (Place::Introductions(missing) | Place::Lists(_, missing)) = &mut call.place else { continue };
            missing.retain(|other| *other != server);
            if missing.is_empty() {
                let alone = callers.get(call.caller).is_some_and(|caller| !caller.endpoint.prefix);
                done.push((key, alone));
            }
        }
        done
    }
}

impl Call {
    /// Whether it is a caller's request, as opposed to an errand.
    pub fn is_callers(&self) -> bool {
        matches!(self.from, Source::Caller(..))
    }

    /// Whether its request is worded as the server reads it, and not as its caller wrote it.
    pub(super) fn is_worded(&self) -> bool {
        self.bridge.is_some() || self.rooted.is_some()
    }

    /// Whose trouble it is if it fails: its caller's. Nobody causes what mcpool asks for itself.
    pub(super) fn met_by(&self, callers: &SlotMap<CallerKey, Caller>) -> Principal {
        match self.from {
            Source::Caller(..) | Source::Held { .. } => {
                callers.get(self.caller).map_or(Principal::MCPOOL, |caller| caller.principal)
            }
            Source::Mcpool(_) => Principal::MCPOOL,
        }
    }

    /// Whether its caller is to come back for it.
    pub fn is_held(&self) -> bool {
        matches!(self.from, Source::Held { .. })
    }

    /// Until when it may wait in the queue if an instance is starting for it: as long as a start may take, from when it
    /// began to wait.
    pub(super) fn latest_start(&self, config: &config::Server) -> Instant {
        let extra = config.timeout.start.saturating_sub(config.queue.timeout);
        let latest = self.queue_until.unwrap_or(self.deadline) + extra;
        if self.keeps_limit() { latest.min(self.limit) } else { latest }
    }

    /// Whether it has what is left of its time: it was sent before. Each round of questions begins anew.
    pub(super) fn keeps_limit(&self) -> bool {
        self.repeats > 0 && self.bridge.is_none()
    }

    /// Notes that it is sent.
    pub(super) fn sent(&mut self, now: Instant, timeout: &config::Timeouts) {
        // The next wait is another one.
        self.queue_until = None;
        if !self.keeps_limit() {
            self.limit = now + timeout.max;
        }
        self.deadline = (now + timeout.call).min(self.limit);
    }

    /// Whether it waits as long as a start takes: it is mcpool's own, and whoever wants to know is refused in time.
    pub(super) fn goes_with_a_start(&self) -> bool {
        matches!(self.from, Source::Mcpool(Errand::Introduce(_) | Errand::List { .. }))
    }

    /// Whether its caller listens to what is logged about it: it asked for a level, with the call or for all of its calls.
    pub(super) fn listens(&self, caller: Option<&Caller>) -> bool {
        let session = || caller.and_then(|caller| caller.session.as_ref()?.level);
        self.is_callers() && (self.level.is_some() || session().is_some())
    }

    /// Whom its being in flight says something about.
    pub fn owner(&self) -> Option<CallerKey> {
        self.is_callers().then_some(self.caller)
    }
}
