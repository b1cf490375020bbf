//! Made by `pool::placing` for a call and each instance: how the instance looks to a call that needs one.

use tokio::time::Instant;

use super::instance::{Instance, State};
use super::lease::Lease;
use super::need::Need;
use super::pending::InFlightOf;
use super::ties::Users;
use crate::era::Era;
use crate::key::{CallerKey, InstanceKey};
use crate::{clock, config};

/// A call that looks for an instance.
#[derive(Clone, Copy, Debug)]
pub struct Seeker<'a> {
    pub caller: CallerKey,
    pub need: &'a Need,
    /// It wants no call of another caller beside it, where there is room.
    pub apart: bool,
    /// It is mcpool's own and only wants the server to introduce itself.
    pub introduces: bool,
    /// The instance that its caller used last.
    pub last: Option<InstanceKey>,
}

/// What picking needs to know of one instance, seen by one call.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub key: InstanceKey,
    /// It was told what the call needs it to have been told, and belongs to no other caller.
    pub fits: bool,
    /// It was told something else, so that it can never serve the call.
    pub foreign: bool,
    /// It belongs to its caller for the whole session.
    pub kept: bool,
    /// It takes calls now.
    pub ready: bool,
    /// It is on its way to take calls.
    pub starting: bool,
    /// It is not on its way out.
    pub alive: bool,
    /// Nobody would miss it: no calls, and nothing that binds it to a caller.
    pub idle: bool,
    /// Since when it has nothing to do, if it has nothing.
    pub idle_since: Instant,
    /// Calls in flight are fewer than it takes.
    pub room: bool,
    /// There are calls of others, so that nobody could tell whose a log line is that the call's caller, or one of those,
    /// wants to hear.
    pub crowded: bool,
    /// Beside these, no log line about the call could be told to its caller, who listens.
    pub unheard: bool,
    pub in_flight: usize,
    /// The instance that this caller used last.
    pub last: bool,
    /// It is to go as soon as it has nothing to do.
    pub temporary: bool,
    /// Something lives in it that is not in flight and that no other can go on with.
    pub needed: bool,
    /// It was to make room and could not soon, so that it is not asked again for a while.
    pub stays: bool,
}

impl View {
    /// Returns whether the call can be sent there at once.
    pub fn is_usable(&self) -> bool {
        self.fits && self.ready && self.room
    }
}

impl Instance {
    /// Returns whether a call of `caller` would run beside calls of others here, where one of them listens to log
    /// lines.
    fn is_crowded(&self, caller: CallerKey, apart: bool) -> bool {
        let logs = self.profile.era() == Era::Modern || self.offers.logging;
        logs && (apart && self.pending.spoken_of(clock::now()).includes_others(caller)
            || self.pending.is_listened_to_by_others(caller))
    }

    /// Returns whether a log line about a call of `caller`, who listens, could as well be about a call of others here. What
    /// a modern instance logs can only be about calls that asked for it.
    fn is_unheard(&self, caller: CallerKey) -> bool {
        let (now, pending) = (clock::now(), &self.pending);
        match self.profile.era() {
            Era::Legacy => pending.spoken_of(now).includes_others(caller),
            Era::Modern => {
                pending.is_listened_to_by_others(caller) || pending.listened_lately(now).any(|it| it != caller)
            }
        }
    }

    /// How a call sees the instance when it picks one.
    pub fn view(&self, key: InstanceKey, seeker: &Seeker<'_>, config: &config::Server) -> View {
        let Seeker { caller, need, apart, last, .. } = *seeker;
        let talked_of = || self.pending.talked_of(clock::now());
        let own = match (self.bound, need.lease()) {
            (Some((owner, _)), _) => owner == caller,
            (None, Lease::Shared) => true,
            (None, Lease::Call) => !talked_of().includes_others(caller),
            (None, Lease::Session) => matches!(self.users, Users::Nobody) || self.users == Users::Only(caller),
        };
        // An instance that is a caller's own for the session is told when that caller's roots change.
        let tells = self.roots.as_ref() == need.roots() || self.roots.is_none();
        let crowded = self.is_crowded(caller, apart);
        let own_session = self.bound == Some((caller, Lease::Session));
        let its_own = own_session && self.profile == *need.profile() && tells;
        View {
            key,
            fits: its_own || own && self.serves(need.told()),
            foreign: !its_own && !self.serves(need.told()),
            // Its own caller may need another one in its place.
            kept: matches!(self.bound, Some((owner, Lease::Session)) if owner != caller),
            ready: self.state == State::Ready && !self.holds_an_ask(),
            starting: self.state == State::Starting,
            alive: self.alive(),
            // What its own caller keeps is missed by nobody else, and an instance of nobody's is of no use to a session.
            idle: self.idle()
                || own_session && self.has_no_work() && self.pending.is_idle()
                || need.lease() == Lease::Session && self.rests(),
            crowded,
            unheard: crowded && apart && self.is_unheard(caller),
            idle_since: self.idle_since,
            room: self.pending.working() < config.concurrency && self.reads(),
            in_flight: self.pending.working(),
            last: last == Some(key),
            temporary: self.temporary,
            needed: self.is_irreplaceable(),
            stays: self.stays_until.is_some_and(|until| clock::now() < until),
        }
    }

    /// Returns the caller that the instance may serve though it serves nobody else.
    pub fn favours(&self) -> Option<CallerKey> {
        let talks_of = || match self.pending.talked_of(clock::now()) {
            InFlightOf::One(caller) => Some(caller),
            InFlightOf::Nobody | InFlightOf::Several => None,
        };
        self.bound.map(|(owner, _)| owner).or_else(talks_of).or(self.users.only())
    }
}
