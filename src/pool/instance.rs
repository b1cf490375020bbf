//! Kept by the pool for each process: one running copy of a server, as the pool and `mux` know it. `pool::launch` runs
//! its process.

use tokio::time::Instant;

use super::asks::Asks;
use super::handshake::Stage;
use super::health::Health;
use super::lease::Lease;
use super::need::{Need, Told};
use super::pending::{InFlightOf, Pending};
use super::reason::StopReason;
use super::tail::Tail;
use super::ties::Users;
use crate::clock;
use crate::era::legacy::Offers;
use crate::era::level::Level;
use crate::era::profile::Profile;
use crate::era::roots::RootList;
use crate::guard::principal::Principal;
use crate::key::{CallerKey, InstanceKey, InstanceRef};
use crate::wire::id::WireId;
use crate::wire::outbox::{Outbox, Speaker};

/// The life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The handshake is under way.
    Starting,
    /// It takes calls.
    Ready,
    /// It finishes the calls it has and is then stopped.
    Draining,
    /// Its process is being ended.
    Stopping,
}

impl State {
    /// Returns the word for it in status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Draining => "draining",
            State::Stopping => "stopping",
        }
    }
}

/// One running copy of a server.
pub struct Instance {
    pub at: InstanceRef,
    /// Counts the instances of a server; names this one in logs and status.
    pub serial: u64,
    pub profile: Profile,
    /// The roots that it was told, where its server asks for them.
    pub roots: Option<RootList>,
    /// Whether it has asked for them.
    pub told_roots: bool,
    pub state: State,
    pub stage: Stage,
    pub offers: Offers,
    pub outbox: Outbox,
    /// Its server, as who says what may be lost.
    speaker: Speaker,
    pub stderr: Tail,
    pub pid: Option<u32>,
    /// Whether its process was started at all.
    pub launched: bool,
    /// Whether it is there only until it has nothing to do: an overflow of the pool.
    pub temporary: bool,
    /// Whether it was started beyond what may be only to introduce itself.
    introduces: bool,
    /// Who used it last.
    principal: Principal,
    /// A factor around 1, by which its age and its calls are stretched.
    pub lifespan: f64,
    /// Whether it was asked for one era first and refused it.
    pub reopened: bool,
    pub born: Instant,
    /// When it was asked to introduce itself.
    pub opened_at: Instant,
    /// The first question of a start that did not answer it, if it was asked for the other era too.
    pub asked_before: Option<WireId>,
    /// What it said of itself as a modern server after it was asked to `initialize` too, and when.
    pub discovered: Option<(String, Instant)>,
    /// When it was looked at last whether a start that takes long still writes; none before `timeout.start` was over.
    pub looked_at: Option<Instant>,
    /// Whether its process has ended, though what it wrote may not have been read.
    pub ended: bool,
    /// Since when it has no calls in flight.
    pub idle_since: Instant,
    pub pending: Pending,
    pub users: Users,
    /// The caller that it is reserved for, by a `call` or `session` lease.
    pub bound: Option<(CallerKey, Lease)>,
    /// What it asks and nobody has answered.
    pub asks: Asks,
    /// The log level that it was set to.
    pub level: Option<Level>,
    /// Whether it was told a level and has not answered yet.
    pub takes_level: bool,
    /// Tasks that live in it, of callers that have not fetched the results yet.
    pub tasks: usize,
    /// What it said of itself: the raw `InitializeResult` or `DiscoverResult`.
    pub introduction: Option<Box<str>>,
    /// Calls answered.
    pub served: u64,
    /// Whether a caller's call was ever sent to it.
    pub leased: bool,
    /// Why it is drained or stopped.
    pub leaves: Option<StopReason>,
    pub health: Health,
    /// Resident memory of its process tree in bytes, when that was looked at last.
    pub memory: u64,
    /// Since when it is drained.
    pub drained_since: Option<Instant>,
    /// Until when it is not asked to make room for others: it was, and what it does takes long.
    pub stays_until: Option<Instant>,
    /// Since when it is to be replaced.
    pub worn_since: Option<Instant>,
    /// The instance that takes its place once that is ready, and why.
    pub successor: Option<(InstanceKey, StopReason)>,
    /// Lines in a row that were no messages.
    pub garbage: usize,
}

impl Instance {
    /// An instance that is about to be started for `caller`.
    pub fn new(
        at: InstanceRef,
        serial: u64,
        need: &Need,
        caller: CallerKey,
        (outbox, speaker): (Outbox, Speaker),
    ) -> Instance {
        let now = clock::now();
        Instance {
            at,
            serial,
            profile: need.profile().clone(),
            roots: need.roots().cloned(),
            told_roots: false,
            state: State::Starting,
            stage: Stage::Unopened,
            offers: Offers::default(),
            outbox,
            speaker,
            stderr: Tail::default(),
            pid: None,
            launched: false,
            temporary: false,
            introduces: false,
            principal: Principal::MCPOOL,
            lifespan: 1.0,
            reopened: false,
            born: now,
            opened_at: now,
            asked_before: None,
            discovered: None,
            looked_at: None,
            ended: false,
            idle_since: now,
            pending: Pending::default(),
            users: Users::Only(caller),
            bound: (need.lease() != Lease::Shared).then_some((caller, need.lease())),
            asks: Asks::default(),
            level: None,
            takes_level: false,
            tasks: 0,
            introduction: None,
            served: 0,
            leased: false,
            leaves: None,
            health: Health::new(now),
            memory: 0,
            drained_since: None,
            stays_until: None,
            worn_since: None,
            successor: None,
            garbage: 0,
        }
    }

    /// Opens the instance again for what a caller of the other era needs.
    pub fn reopen(&mut self, caller: CallerKey, profile: Profile) {
        self.profile = profile;
        self.free_from_call_lease();
        self.users = Users::Only(caller);
        self.roots = None;
        self.reopened = true;
        self.opened_at = clock::now();
        (self.asked_before, self.discovered, self.looked_at) = (None, None, None);
        // It answered; what it writes from now on is about this.
        self.stderr.takes_note();
        self.open();
    }

    /// Asks the instance for the other era too, for what a caller needs in that. It has not said a word, and lives.
    pub fn ask_otherwise(&mut self, caller: CallerKey, profile: Profile) {
        if let Stage::Opening(id) = self.stage {
            self.asked_before = Some(id);
        }
        self.profile = profile;
        self.free_from_call_lease();
        self.users = Users::Only(caller);
        self.roots = None;
        self.open();
    }

    /// Frees the instance from the `call` lease of the caller for whom it was started. Opened again, it may serve
    /// everybody.
    fn free_from_call_lease(&mut self) {
        self.bound = self.bound.filter(|(_, lease)| *lease != Lease::Call);
    }

    /// Returns whether nobody has anything in the instance yet, so that it may become another caller's.
    pub fn is_blank(&self) -> bool {
        self.state == State::Starting && matches!(self.stage, Stage::Unopened | Stage::Opening(_)) && !self.leased
    }

    /// Notes that a call of `caller` was sent under a lease of this kind. Returns whether it is the first call that the
    /// instance gets.
    pub fn lease(&mut self, caller: CallerKey, principal: Principal, lease: Lease) -> bool {
        self.principal = principal;
        if self.users == Users::Nobody {
            self.users = Users::Only(caller);
        } else if self.users != Users::Only(caller) {
            self.users = Users::Many;
        }
        if lease != Lease::Shared {
            self.bound = Some((caller, lease));
        }
        !std::mem::replace(&mut self.leased, true)
    }

    /// Gives a `call` lease back once its caller has nothing in flight.
    pub fn release(&mut self) {
        if self.pending.rests() && self.pending.has_worked() {
            self.idle_since = clock::now();
        }
        if let Some((caller, Lease::Call)) = self.bound
            && !self.pending.has(caller)
        {
            self.bound = None;
        }
    }

    /// Returns whether the instance is not on its way out.
    pub fn alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Ready)
    }

    /// Returns whether the instance was told exactly this.
    pub fn serves(&self, told: &Told) -> bool {
        self.profile == told.profile && self.roots == told.roots
    }

    /// Returns what it was told.
    pub fn told(&self) -> Told {
        Told { profile: self.profile.clone(), roots: self.roots.clone() }
    }

    /// Returns the need that the instance serves. What it says is filed under that need.
    pub fn need(&self) -> Need {
        match self.bound {
            Some((owner, Lease::Session)) => Need::new(self.profile.clone(), self.roots.clone(), Lease::Session, owner),
            _ => Need::of_nobody(self.told()),
        }
    }

    /// Returns its server as the speaker of messages that may be lost.
    pub(super) fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// Returns whether the instance reads what it is sent, or at least little waits for it. Otherwise it gets no new
    /// calls.
    pub fn reads(&self) -> bool {
        self.outbox.waiting() < self.outbox.limit() / 8
    }

    /// Returns whether so little waits for the instance that messages nobody waits for take no room from calls.
    pub fn keeps_up(&self) -> bool {
        self.outbox.waiting() < self.outbox.limit() / 64
    }

    /// Returns whether an ask waits for its owner to become known. Then the instance gets nothing new.
    pub fn holds_an_ask(&self) -> bool {
        self.asks.holds_any()
    }

    /// It was started beyond `instances.max`; so that it introduces itself, or because all others are busy.
    pub(super) fn becomes_temporary(&mut self, introduces: bool) {
        (self.temporary, self.introduces) = (true, introduces);
    }

    /// Returns whether it was started beyond `instances.max` so that it introduces itself.
    pub(super) fn introduces(&self) -> bool {
        self.introduces
    }

    /// Returns whose call it took last.
    pub(super) fn principal(&self) -> Principal {
        self.principal
    }

    /// Returns whether all that it has to do waits for people to answer what it asked.
    pub fn awaits_a_person(&self) -> bool {
        let working = self.pending.working();
        working > 0 && self.asks.put() >= working
    }

    /// Returns whether nobody would miss the instance: it has nothing in flight and keeps nothing.
    pub fn idle(&self) -> bool {
        self.rests() && self.pending.is_idle()
    }

    /// Returns whether the instance does nothing, although a caller may listen.
    pub fn rests(&self) -> bool {
        self.has_no_work() && !matches!(self.bound, Some((_, Lease::Session)))
    }

    pub(super) fn has_no_work(&self) -> bool {
        self.state == State::Ready && self.pending.rests() && self.asks.is_empty() && !self.is_irreplaceable()
    }

    /// Returns whether no other instance could go on with what this one has begun and is not in flight.
    pub fn is_irreplaceable(&self) -> bool {
        // The process that asked is the one that can read the state that it gave with the question.
        self.tasks > 0 || self.asks.awaits_calls(clock::now())
    }

    /// Returns whose an ask is that names no call: the caller with calls in flight if there is only one, or the only
    /// caller that ever used the instance.
    pub fn owner(&self, at: Instant) -> InFlightOf {
        self.owner_among(self.pending.talked_of(at))
    }

    /// Returns whose a line is that names no call and may come after the answer to the call that it is about.
    pub fn owner_of_line(&self, now: Instant) -> InFlightOf {
        self.owner_among(self.pending.spoken_of(now))
    }

    fn owner_among(&self, calls: InFlightOf) -> InFlightOf {
        match (calls, self.bound, self.users) {
            (InFlightOf::Nobody, Some((caller, Lease::Session)), _) => InFlightOf::One(caller),
            (InFlightOf::Nobody, _, Users::Only(caller)) => InFlightOf::One(caller),
            (of, ..) => of,
        }
    }
}
