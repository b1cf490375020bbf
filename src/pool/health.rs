//! Called by `mux` for what is sent to an instance and what it says or leaves unsaid: whether it still answers. What
//! counts is since when it has said no word while it owed one; a call that is given up does not erase that time.

use std::time::Duration;

use tokio::time::Instant;

use crate::guard::evidence::Evidence;
use crate::guard::principal::Principal;

/// What is known of an instance's answering.
#[derive(Debug)]
pub struct Health {
    /// Since when it owes a word, as far as that was looked at.
    silent: Option<Instant>,
    /// Calls in a row that ran out of time.
    overdue: Evidence,
    /// Probes in a row that it did not answer in time.
    missed: u32,
    /// When it was probed last.
    probed: Instant,
    /// Whether it answers a list request but no `ping`.
    ignores_ping: bool,
}

/// What calls that run out of time in a row come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// There are not so many yet.
    Few,
    /// One party alone met them.
    OfOne,
    /// More than one met them.
    OfSeveral,
}

impl Health {
    /// Returns the health of an instance that is about to start.
    pub fn new(now: Instant) -> Health {
        Health { silent: None, overdue: Evidence::default(), missed: 0, probed: now, ignores_ping: false }
    }

    /// Notes that the instance was given work.
    pub fn given_work(&mut self, now: Instant) {
        self.silent.get_or_insert(now);
    }

    /// Notes that the instance said something, or that it waits for somebody else's word.
    pub fn spoke(&mut self) {
        self.silent = None;
    }

    /// Notes that the instance answered work, or a question about its health.
    pub fn answered(&mut self, work: bool) {
        self.missed = 0;
        if work {
            self.overdue.clear();
        }
    }

    /// Notes that the instance is asked whether it answers.
    pub fn asked(&mut self, now: Instant) {
        self.probed = now;
    }

    /// Notes that the instance answered a list request. Returns whether it is news that it answers no `ping`.
    pub fn answered_list(&mut self) -> bool {
        !std::mem::replace(&mut self.ignores_ping, true)
    }

    /// Returns whether it answers a list request but no `ping`.
    pub fn ignores_ping(&self) -> bool {
        self.ignores_ping
    }

    /// Notes that the instance left a probe unanswered. Returns how many in a row that makes.
    pub fn missed_one(&mut self) -> u32 {
        self.missed += 1;
        self.missed
    }

    /// Returns how many probes in a row it left unanswered.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// Returns when the instance must be asked at the latest: after it said nothing for so long. `idle` says since when
    /// it has no work.
    pub fn due(&mut self, idle: Option<Instant>, every: Duration, now: Instant) -> Instant {
        let silent = match (self.silent, idle) {
            (Some(since), _) | (None, Some(since)) => since,
            (None, None) => *self.silent.insert(now),
        };
        silent.max(self.probed) + every
    }

    /// Returns whether an unanswered probe counts although the instance had work: it has said nothing for so long, and
    /// nothing since it was asked.
    pub fn is_silent_for(&self, long: Duration, now: Instant) -> bool {
        self.silent.is_some_and(|since| since <= self.probed && since + long <= now)
    }

    /// Returns when it was asked last.
    pub fn asked_at(&self) -> Instant {
        self.probed
    }

    /// Notes that a caller's call ran out of time. Returns what that means if so many in a row are too many; then
    /// counting begins anew.
    pub fn ran_out_of_time(&mut self, who: Principal, many: u32) -> Overdue {
        self.overdue.note(&[who]);
        if !self.overdue.amounts_to(many) {
            return Overdue::Few;
        }
        let several = self.overdue.suffices(many);
        self.overdue.clear();
        if several { Overdue::OfSeveral } else { Overdue::OfOne }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_begins_with_work_and_ends_with_a_word_but_not_with_work_that_is_given_up() {
        let start = Instant::now();
        let (mut health, at) = (Health::new(start), |seconds| start + SECOND * seconds);
        health.given_work(at(1));
        // The call was given up, another came, and that was given up too.
        health.given_work(at(5));
        assert_eq!(health.due(Some(at(9)), SECOND * 10, at(9)), at(11));
        health.spoke();
        assert_eq!(health.due(Some(at(9)), SECOND * 10, at(9)), at(19));
        // It has work still: from now on, since it is not known when it spoke.
        assert_eq!(health.due(None, SECOND * 10, at(12)), at(22));
    }

    #[test]
    fn a_probe_counts_only_if_nothing_was_said_for_long_and_since_it_was_sent() {
        let start = Instant::now();
        let (mut health, at) = (Health::new(start), |seconds| start + SECOND * seconds);
        health.given_work(at(1));
        health.asked(at(4));
        assert!(!health.is_silent_for(SECOND * 10, at(9)) && health.is_silent_for(SECOND * 10, at(11)));
        health.spoke();
        health.given_work(at(8));
        assert!(!health.is_silent_for(SECOND, at(30)));
    }

    #[test]
    fn calls_that_run_out_of_time_are_told_apart_by_who_met_them() {
        let who = |process| Principal::of(7, Some(process), Default::default());
        let mut health = Health::new(Instant::now());
        let told = [1, 1, 1, 1, 2, 1].map(|process| health.ran_out_of_time(who(process), 3));
        assert_eq!(told[..3], [Overdue::Few, Overdue::Few, Overdue::OfOne]);
        assert_eq!(told[3..], [Overdue::Few, Overdue::Few, Overdue::OfSeveral]);
        health.ran_out_of_time(who(1), 3);
        health.answered(false);
        assert_ne!(health.ran_out_of_time(who(1), 2), Overdue::Few);
        health.ran_out_of_time(who(1), 3);
        health.answered(true);
        assert_eq!(health.ran_out_of_time(who(1), 2), Overdue::Few);
    }
}
