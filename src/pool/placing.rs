//! Called by `mux::flight` for every call: gives it an instance, at once or after it has waited. `pick` decides which,
//! and `queue` who is next.

use std::time::Duration;

use super::Pool;
use super::instance::Instance;
use super::lease::Lease;
use super::need::Need;
use super::pick::{self, Pick, Situation};
use super::queue::{LineKey, Ticket, Turn};
use super::reason::{StartReason, StopReason};
use super::view::{Seeker, View};
use crate::clock;
use crate::config::WhenFull;
use crate::error::Error;
use crate::guard::principal::Principal;
use crate::key::{CallKey, CallerKey, InstanceKey};

impl Pool {
    /// Returns what can be done at once for a call that just came. It overtakes no call that waits for the same.
    pub fn pick_now(&self, seeker: &Seeker<'_>) -> Pick {
        let waiting = self.queue.waiting_like(seeker.need);
        if waiting == 0
            && let Some(key) = self.same_again(seeker)
        {
            return Pick::Use(key);
        }
        match pick::pick(self.views(seeker), || self.situation(seeker, waiting + 1, Duration::ZERO)) {
            Pick::Use(_) if waiting > 0 => Pick::Wait,
            pick => pick,
        }
    }

    /// Returns the instance that a caller used last, if the next call can go there. None is better.
    fn same_again(&self, seeker: &Seeker<'_>) -> Option<InstanceKey> {
        let key = seeker.last?;
        let view = self.instances.get(key)?.view(key, seeker, &self.config);
        (view.is_usable() && !view.temporary && !view.crowded).then_some(key)
    }

    /// Returns whether the call must wait for other calls to finish. A call that waits for an instance to start has a
    /// slot in that instance, and takes none in the queue.
    pub fn is_full_for(&self, picked: Pick, caller: CallerKey, need: &Need) -> bool {
        match picked {
            Pick::Full => true,
            Pick::Start | Pick::Overflow | Pick::Replace(_) if self.setbacks.back_off(need.profile()) => true,
            // One that serves a caller alone takes so many of its calls.
            _ if need.lease() != Lease::Shared
                && self.queue.waiting_like_of(need, caller) >= self.config.concurrency =>
            {
                true
            }
            // More would not find a place there, whatever has to end first.
            _ => {
                let limits = &self.config.instances;
                let takes = |most: usize| (most + limits.overflow).saturating_mul(self.config.concurrency);
                self.queue.placeless_like(need) >= takes(limits.most(need.lease() != Lease::Shared))
                    || self.queue.placeless() >= takes(limits.total)
            }
        }
    }

    /// Lets a call wait for an instance. If it takes the place of another call, that call is returned.
    ///
    /// # Errors
    /// `pool_exhausted` if the queue is full, `start_failed` while a failed start is being backed off from.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Option<CallKey>, Error> {
        let failure = self.setbacks.of(ticket.need.profile());
        if let Some(failure) = failure.filter(|_| !self.has_alive(ticket.need.told())) {
            return Err(self.start_failed(failure));
        }
        let mut crowded_out = None;
        if ticket.full && self.queue.places() >= self.config.queue.size {
            // The place goes to whom it is owed: a greedy caller does not keep a modest one out.
            crowded_out = self.queue.crowd_out(ticket.principal).map(|out| out.call);
            if crowded_out.is_none() {
                return Err(Error::PoolExhausted { server: self.config.name.clone() });
            }
        }
        self.queue.push(ticket);
        Ok(crowded_out)
    }

    /// Places the next waiting call for which there is room, and starts and stops instances on the way. It looks at
    /// each line once, however many calls wait in it.
    pub fn next(&mut self, last_of: impl Fn(CallerKey) -> Option<InstanceKey>) -> Option<(CallKey, InstanceKey)> {
        let (mut rank, last) = (0, self.queue.last_rank());
        while let Some((next, line)) = self.queue.line_after(rank).filter(|(rank, _)| *rank <= last) {
            if let Some(found) = self.next_in(line, &last_of) {
                return Some(found);
            }
            rank = next;
        }
        None
    }

    /// Does the same for one line. If nothing can be done for the caller whose turn it is, nothing can be done for the
    /// others behind it, except for callers that have an instance of their own.
    fn next_in(
        &mut self,
        line: LineKey,
        last_of: &impl Fn(CallerKey) -> Option<InstanceKey>,
    ) -> Option<(CallKey, InstanceKey)> {
        let mut turn = Turn::default();
        while let Some((next, ticket)) = self.queue.next_in(line, turn) {
            turn = next;
            let (call, caller, leisurely) = (ticket.call, ticket.caller, ticket.leisurely);
            match self.pick_for(ticket, last_of(caller)) {
                Pick::Use(key) => return self.serve(call, key),
                pick => {
                    let client = Client::of(ticket);
                    if !self.help(pick, &client) && !leisurely && !self.favours(caller) {
                        break;
                    }
                }
            }
        }
        let kept = self.instances.values().find_map(|instance| {
            let caller = instance.favours()?;
            let ticket = self.queue.head_of(line, caller)?;
            if self.ends_with_its_calls(instance, ticket) {
                return None;
            }
            match self.pick_for(ticket, last_of(caller)) {
                Pick::Use(key) => Some((ticket.call, key)),
                _ => None,
            }
        });
        let (call, key) = kept?;
        self.serve(call, key)
    }

    /// Returns whether the caller that has an instance gets it for no further call before its turn: others wait for the same,
    /// and it ends what it has there. Its questions may need further calls to be answered, and a session is its own.
    fn ends_with_its_calls(&self, instance: &Instance, ticket: &Ticket) -> bool {
        let of_session = ticket.need.lease() == Lease::Session;
        let (all, own) = (&ticket.need, self.queue.waiting_like_of(&ticket.need, ticket.caller));
        !of_session && instance.asks.put() == 0 && self.queue.waiting_like(all) > own
    }

    fn pick_for(&self, ticket: &Ticket, last: Option<InstanceKey>) -> Pick {
        let Ticket { caller, need, apart, introduces, since, .. } = ticket;
        let seeker = Seeker { caller: *caller, need, apart: *apart, introduces: *introduces, last };
        pick::pick(self.views(&seeker), || self.situation(&seeker, self.queue.waiting_like(need), since.elapsed()))
    }

    /// Does what helps a call that has to wait. Returns whether anything was done.
    fn help(&mut self, pick: Pick, client: &Client) -> bool {
        let need = &client.need;
        let starts = matches!(pick, Pick::Start | Pick::Overflow | Pick::Replace(_));
        if starts && self.setbacks.back_off(need.profile()) || client.leisurely && self.has_alive(need.told()) {
            return false;
        }
        let costs = starts || matches!(pick, Pick::GiveWay(_));
        if costs && !self.newcomers.admit(need.told(), client.principal) {
            return false;
        }
        match pick {
            Pick::Start => drop(self.start(client.caller, need, StartReason::Call)),
            Pick::Overflow if client.introduces => {
                let key = self.start(client.caller, need, StartReason::Introduction);
                self.instances[key].becomes_temporary(true);
            }
            Pick::Overflow => {
                let key = self.start(client.caller, need, StartReason::Overflow);
                self.instances[key].becomes_temporary(false);
                self.metrics.overflowed();
            }
            Pick::Replace(key) => self.stop(key, StopReason::GivesWay),
            Pick::GiveWay(key) => self.drain(key, StopReason::GivesWay),
            Pick::Use(_) | Pick::Wait | Pick::Full => return false,
        }
        true
    }

    /// Returns whether an instance is kept for a caller, or is being started for it.
    fn favours(&self, caller: CallerKey) -> bool {
        self.instances.values().any(|instance| instance.favours() == Some(caller))
    }

    fn serve(&mut self, call: CallKey, by: InstanceKey) -> Option<(CallKey, InstanceKey)> {
        self.queue.serve(call).map(|_| (call, by))
    }

    fn views<'a>(&'a self, seeker: &'a Seeker<'a>) -> impl Iterator<Item = View> + Clone + 'a {
        self.instances.iter().map(move |(key, instance)| instance.view(key, seeker, &self.config))
    }

    /// Returns how the pool looks to a call, with so many waiting that the same instances can serve.
    fn situation(&self, seeker: &Seeker<'_>, waiting: usize, waited: Duration) -> Situation {
        let (limits, alone) = (&self.config.instances, seeker.need.lease() != Lease::Shared);
        let sizes = self.sizes(seeker.need.told());
        let spare = match self.config.when_full {
            // An introduction needs no place in the pool.
            _ if seeker.introduces => 1usize.saturating_sub(sizes.introducing),
            WhenFull::Overflow => limits.overflow.saturating_sub(sizes.overflow),
            WhenFull::Wait | WhenFull::Reject => 0,
        };
        Situation {
            max: limits.most(alone),
            total: limits.total,
            sizes,
            short: self.memory_is_short && sizes.living > 0,
            concurrency: self.config.concurrency,
            alone,
            waiting,
            waited,
            patience: self.config.queue.timeout,
            backs_off: self.setbacks.back_off(seeker.need.profile()),
            spare,
            modest: seeker.introduces,
            now: clock::now(),
        }
    }
}

/// For whom an instance is to be had.
struct Client {
    caller: CallerKey,
    principal: Principal,
    need: Need,
    leisurely: bool,
    introduces: bool,
}

impl Client {
    fn of(ticket: &Ticket) -> Client {
        let Ticket { caller, principal, leisurely, introduces, .. } = *ticket;
        Client { caller, principal, need: ticket.need.clone(), leisurely, introduces }
    }
}
