//! Called by `pool::placing` for every call: which instance it goes to, as a pure function of how each instance looks
//! to that call.

use std::time::Duration;

use tokio::time::Instant;

use super::GIVE_WAY;
use super::sizes::Sizes;
use super::view::View;
use crate::key::InstanceKey;

/// What was used within this time is in use: it gives way to nobody who has not waited.
pub const RESTED: Duration = Duration::from_secs(60);

/// What picking needs to know of the pool.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// How many instances may have been told what the call needs.
    pub max: usize,
    /// How many instances there may be.
    pub total: usize,
    pub sizes: Sizes,
    /// There is no memory for another instance.
    pub short: bool,
    pub concurrency: usize,
    /// An instance serves one caller at a time.
    pub alone: bool,
    /// Calls in the queue that the same instances can serve.
    pub waiting: usize,
    /// How long this call has waited.
    pub waited: Duration,
    /// How long calls may wait in the queue.
    pub patience: Duration,
    /// Nothing is started for a while, since a start failed.
    pub backs_off: bool,
    /// Temporary instances that may still be started beyond `max`.
    pub spare: usize,
    /// The call must not cost anybody an instance that was used lately.
    pub modest: bool,
    pub now: Instant,
}

impl Situation {
    /// Returns whether another instance may be started for the call. A process that is still ending counts: `total`
    /// bounds processes, not intentions.
    fn has_room(&self) -> bool {
        let Sizes { own, living, processes, .. } = self.sizes;
        own < self.max && living < self.total && processes < self.total && !self.short
    }
}

/// What to do for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Send it to this instance.
    Use(InstanceKey),
    /// Start an instance; the call waits for it.
    Start,
    /// Stop this idle instance of another profile; one is started in its place once its process is gone.
    Replace(InstanceKey),
    /// Drain this busy instance of another profile: nothing fits the call and nothing is idle.
    GiveWay(InstanceKey),
    /// Start a temporary instance beyond `max`; the call waits for it.
    Overflow,
    /// Wait for what is on its way.
    Wait,
    /// Wait until others are done: every instance is busy, and no other may be started.
    Full,
}

/// Picks for one call: the instance that its caller used last, else the least busy one, else what helps to get one. The
/// state of the pool matters only for the last, and costs a look at all instances.
pub fn pick(views: impl Iterator<Item = View> + Clone, pool: impl FnOnce() -> Situation) -> Pick {
    let usable = views.clone().filter(View::is_usable);
    match usable.min_by_key(|view| (view.crowded, view.unheard, view.temporary, !view.last, view.in_flight)) {
        Some(view) if !view.crowded => Pick::Use(view.key),
        Some(view) => apart(views, &pool(), view.unheard).unwrap_or(Pick::Use(view.key)),
        None => otherwise(views, &pool()),
    }
}

/// Returns what helps to get an instance without calls of others, if that is worth waiting for. Who would hear nothing of its
/// call beside theirs waits longer for one that is starting: for half of its time in the queue.
fn apart(views: impl Iterator<Item = View> + Clone, pool: &Situation, unheard: bool) -> Option<Pick> {
    let patience = pool.patience / 2;
    if pool.waited >= if unheard { patience } else { patience.min(GIVE_WAY) } || pool.backs_off {
        return None;
    }
    if views.clone().any(|view| view.fits && view.starting) {
        return Some(Pick::Wait);
    }
    pool.has_room().then_some(Pick::Start)
}

/// Returns what helps to get an instance if none can be used at once.
fn otherwise(views: impl Iterator<Item = View> + Clone, pool: &Situation) -> Pick {
    // One that serves a caller alone is started for that caller, and fits no other.
    let starting = views.clone().filter(|view| view.fits && view.starting).count();
    let expected = if pool.alone { starting > 0 } else { starting * pool.concurrency >= pool.waiting.max(1) };
    if expected {
        return Pick::Wait;
    }
    let Sizes { own, living, processes, .. } = pool.sizes;
    if pool.has_room() {
        return Pick::Start;
    }
    let full = own >= pool.max;
    if !full && living < pool.total && !pool.short {
        // A process is still ending.
        return Pick::Wait;
    }
    // One of the same kind that serves this caller no more; or, where there is no room for another kind, one of these.
    let waited = pool.waited >= GIVE_WAY && !pool.modest;
    let now = pool.now;
    let useless = |view: &View| if full { !view.foreign } else { waited || now >= view.idle_since + RESTED };
    let idle = views.clone().filter(|view| view.alive && !view.fits && view.idle && !view.temporary && useless(view));
    if let Some(idle) = idle.min_by_key(|view| view.idle_since) {
        return if processes == living { Pick::Replace(idle.key) } else { Pick::Wait };
    }
    if pool.spare > 0 {
        return Pick::Overflow;
    }
    let served = views.clone().any(|view| !view.foreign && view.alive);
    let draining = processes > living;
    if !served
        && !draining
        && waited
        && let Some(other) = views
            .filter(|view| view.ready && view.foreign && !view.kept && !view.stays)
            .min_by_key(|view| (view.needed, view.in_flight))
    {
        return Pick::GiveWay(other.key);
    }
    Pick::Full
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn pool() -> Situation {
        Situation {
            max: 2,
            total: 2,
            sizes: Sizes { own: 1, living: 1, processes: 1, overflow: 0, introducing: 0 },
            short: false,
            concurrency: 4,
            alone: false,
            waiting: 1,
            waited: Duration::ZERO,
            patience: GIVE_WAY * 10,
            backs_off: false,
            spare: 0,
            modest: false,
            now: Instant::now(),
        }
    }

    fn views<const N: usize>(change: [fn(&mut View); N]) -> Vec<View> {
        let mut keys = SlotMap::<InstanceKey, ()>::with_key();
        change
            .into_iter()
            .map(|change| {
                let key = keys.insert(());
                let mut view = View {
                    key,
                    fits: true,
                    foreign: false,
                    kept: false,
                    ready: true,
                    starting: false,
                    alive: true,
                    idle: false,
                    idle_since: Instant::now(),
                    room: true,
                    crowded: false,
                    unheard: false,
                    in_flight: 1,
                    last: false,
                    temporary: false,
                    needed: false,
                    stays: false,
                };
                change(&mut view);
                view
            })
            .collect()
    }

    #[test]
    fn the_last_used_comes_first_then_the_least_busy() {
        let all = views([|view| view.in_flight = 0, |view| view.last = true]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Use(all[1].key));
        let all = views([|view| view.in_flight = 3, |view| view.in_flight = 2]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Use(all[1].key));
    }

    #[test]
    fn a_temporary_one_is_used_only_where_no_other_has_room() {
        let all = views([|view| (view.temporary, view.last) = (true, true), |view| view.in_flight = 3]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Use(all[1].key));
        let all = views([|view| view.temporary = true, |view| view.room = false]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Use(all[0].key));
    }

    #[test]
    fn who_listens_to_log_lines_shares_no_instance_while_there_is_room_for_another() {
        let all = views([|view| (view.crowded, view.last) = (true, true), |view| view.in_flight = 3]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Use(all[1].key));
        let all = views([|view| view.crowded = true]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Start);
        for full in [
            Situation { sizes: Sizes { own: 2, living: 2, processes: 2, ..pool().sizes }, ..pool() },
            Situation { backs_off: true, ..pool() },
            Situation { waited: GIVE_WAY, ..pool() },
        ] {
            assert_eq!(pick(all.iter().copied(), || full), Pick::Use(all[0].key));
        }
        let all = views([|view| view.crowded = true, |view| (view.ready, view.starting) = (false, true)]);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Wait);
    }

    #[test]
    fn who_would_hear_nothing_waits_for_half_of_its_time_for_an_instance_that_is_starting() {
        let mut all = views([|view| view.crowded = true, |view| (view.ready, view.starting) = (false, true)]);
        let after = |waited| move || Situation { waited, ..pool() };
        assert_eq!(pick(all.iter().copied(), after(GIVE_WAY)), Pick::Use(all[0].key));
        all[0].unheard = true;
        assert_eq!(pick(all.iter().copied(), after(GIVE_WAY * 4)), Pick::Wait);
        assert_eq!(pick(all.iter().copied(), after(GIVE_WAY * 5)), Pick::Use(all[0].key));
        // One beside which it is heard is there.
        let all = views([|view| (view.crowded, view.unheard) = (true, true), |view| view.crowded = true]);
        assert_eq!(pick(all.iter().copied(), after(GIVE_WAY)), Pick::Use(all[1].key));
        // Nobody waits where nobody may.
        let hasty = Situation { patience: Duration::ZERO, ..pool() };
        assert_eq!(pick(all.iter().copied(), || hasty), Pick::Use(all[1].key));
    }

    #[test]
    fn one_start_serves_all_that_fit_into_it() {
        let all = views([|view| (view.ready, view.starting) = (false, true)]);
        assert_eq!(pick(all.iter().copied(), || Situation { waiting: 4, ..pool() }), Pick::Wait);
        assert_eq!(pick(all.iter().copied(), || Situation { waiting: 5, ..pool() }), Pick::Start);
        assert_eq!(pick(all.iter().copied(), || Situation { alone: true, ..pool() }), Pick::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_gives_way_to_another_profile_and_what_is_in_use_only_after_a_while() {
        let full = Situation { total: 1, sizes: Sizes { own: 0, ..pool().sizes }, ..pool() };
        let idle = views([|view| (view.fits, view.foreign, view.idle) = (false, true, true)]);
        assert_eq!(pick(idle.iter().copied(), || full), Pick::Full);
        assert_eq!(pick(idle.iter().copied(), || Situation { waited: GIVE_WAY, ..full }), Pick::Replace(idle[0].key));
        let modest = Situation { waited: GIVE_WAY, modest: true, ..full };
        assert_eq!(pick(idle.iter().copied(), || modest), Pick::Full);
        tokio::time::advance(RESTED).await;
        let (full, modest) = (Situation { now: Instant::now(), ..full }, Situation { now: Instant::now(), ..modest });
        assert_eq!(pick(idle.iter().copied(), || modest), Pick::Replace(idle[0].key));
        assert_eq!(pick(idle.iter().copied(), || full), Pick::Replace(idle[0].key));
        let busy = views([|view| (view.fits, view.foreign) = (false, true)]);
        assert_eq!(pick(busy.iter().copied(), || full), Pick::Full);
        assert_eq!(pick(busy.iter().copied(), || Situation { waited: GIVE_WAY, ..full }), Pick::GiveWay(busy[0].key));
        let tried = views([|view| (view.fits, view.foreign, view.stays) = (false, true, true)]);
        assert_eq!(pick(tried.iter().copied(), || Situation { waited: GIVE_WAY, ..full }), Pick::Full);
    }

    #[test]
    fn nothing_gives_way_to_another_profile_while_there_is_room_and_memory() {
        let idle = views([|view| (view.fits, view.foreign, view.idle) = (false, true, true)]);
        let room = Situation { waited: GIVE_WAY, sizes: Sizes { own: 0, ..pool().sizes }, ..pool() };
        assert_eq!(pick(idle.iter().copied(), || room), Pick::Start);
        assert_eq!(pick(idle.iter().copied(), || Situation { short: true, ..room }), Pick::Replace(idle[0].key));
        let ending = Sizes { processes: 2, ..room.sizes };
        assert_eq!(pick(idle.iter().copied(), || Situation { sizes: ending, ..room }), Pick::Wait);
    }

    #[test]
    fn what_belongs_to_another_caller_never_gives_way() {
        let waited = Situation { total: 1, waited: GIVE_WAY, alone: true, ..pool() };
        let of_another = views([|view| (view.fits, view.kept) = (false, true)]);
        assert_eq!(pick(of_another.iter().copied(), || waited), Pick::Full);
        let foreign_and_kept = views([|view| (view.fits, view.foreign, view.kept) = (false, true, true)]);
        assert_eq!(pick(foreign_and_kept.iter().copied(), || waited), Pick::Full);
    }

    #[test]
    fn a_full_pool_of_fitting_instances_is_waited_for() {
        let all = views([|view| view.room = false]);
        assert_eq!(pick(all.iter().copied(), || Situation { max: 1, waited: GIVE_WAY, ..pool() }), Pick::Full);
        assert_eq!(pick(all.iter().copied(), pool), Pick::Start);
    }

    #[test]
    fn a_temporary_instance_is_started_only_when_nothing_else_helps() {
        let full = Situation { max: 1, spare: 1, waited: GIVE_WAY, ..pool() };
        let busy = views([|view| view.room = false]);
        assert_eq!(pick(busy.iter().copied(), || full), Pick::Overflow);
        let starting = views([|view| (view.ready, view.starting) = (false, true)]);
        assert_eq!(pick(starting.iter().copied(), || full), Pick::Wait);
        let idle = views([|view| (view.fits, view.idle) = (false, true)]);
        assert_eq!(pick(idle.iter().copied(), || full), Pick::Replace(idle[0].key));
        assert_eq!(pick(busy.iter().copied(), || Situation { spare: 1, ..pool() }), Pick::Start);
    }
}
