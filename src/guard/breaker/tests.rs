//! When a breaker opens, for whom, and when it closes.

use std::num::NonZeroU32;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker(failures: u32) -> Breaker {
    let failures = NonZeroU32::new(failures);
    Breaker::new(config::Breaker { failures, open: SECOND * 10, open_max: SECOND * 30, per_tool: false })
}

fn who(process: i32) -> Principal {
    Principal::of(7, Some(process), Default::default())
}

/// A failure that no call caused.
fn fails(breaker: &mut Breaker, now: Instant, cause: &str) -> bool {
    breaker.failed(Ailment::of(&[], cause), now, 1.0).for_all
}

/// One that a call of somebody met.
fn meets(breaker: &mut Breaker, process: i32, trial: &Trial, now: Instant) -> Opened {
    let tries = breaker.tries(who(process), trial);
    breaker.failed(Ailment { met: &[who(process)], call: Some(tries), cause: "met" }, now, 1.0)
}

fn admit(breaker: &mut Breaker, process: i32, now: Instant) -> Result<Trial, Duration> {
    let mut trial = Trial::default();
    breaker.admit(who(process), &mut trial, now).map(|()| trial).map_err(|refusal| refusal.retry)
}

#[test]
fn opens_after_failures_in_a_row_only() {
    let (mut breaker, now) = (breaker(2), Instant::now());
    assert!(!fails(&mut breaker, now, "a"));
    breaker.succeeded(who(1));
    assert!(!fails(&mut breaker, now, "b") && fails(&mut breaker, now, "c"));
    assert_eq!(admit(&mut breaker, 1, now).unwrap_err(), SECOND * 10);
    assert_eq!((breaker.cause(), breaker.state(now)), ("c", State::Open));
    assert!(!breaker.succeeded(who(1)) && !fails(&mut breaker, now, "late"));
    assert_eq!((breaker.cause(), breaker.state(now)), ("c", State::Open));
}

#[test]
fn what_one_party_met_is_refused_to_that_one_alone() {
    let (mut breaker, now) = (breaker(3), Instant::now());
    for _ in 0..2 {
        assert_eq!(meets(&mut breaker, 1, &Trial::default(), now), Opened::default());
    }
    let opened = meets(&mut breaker, 1, &Trial::default(), now);
    assert_eq!(opened, Opened { for_all: false, for_parties: vec![who(1)] });
    for _ in 0..100 {
        meets(&mut breaker, 1, &Trial::default(), now);
    }
    assert_eq!(admit(&mut breaker, 1, now).unwrap_err(), SECOND * 10);
    assert!(breaker.refuses(who(1), now).is_some_and(|refusal| refusal.alone));
    assert!(admit(&mut breaker, 2, now).is_ok_and(|trial| !trial.decides()));
    assert_eq!((breaker.state(now), breaker.worst(now)), (State::Closed, State::Open));
    // Its own trial says whether that is over; what others are answered does not.
    breaker.succeeded(who(2));
    let later = now + SECOND * 10;
    let trial = admit(&mut breaker, 1, later).unwrap();
    assert!(trial.decides() && !breaker.tries(who(1), &trial).all);
    assert_eq!(meets(&mut breaker, 1, &trial, later).for_parties, [who(1)]);
    assert_eq!(admit(&mut breaker, 1, later).unwrap_err(), SECOND * 20);
    assert!(admit(&mut breaker, 1, later + SECOND * 20).is_ok() && breaker.succeeded(who(1)) && breaker.is_clean());
}

#[test]
fn what_several_parties_met_is_refused_to_all() {
    let (mut breaker, now) = (breaker(3), Instant::now());
    meets(&mut breaker, 1, &Trial::default(), now);
    meets(&mut breaker, 1, &Trial::default(), now);
    assert!(meets(&mut breaker, 2, &Trial::default(), now).for_all);
    assert!(admit(&mut breaker, 3, now).is_err());
}

#[test]
fn who_lost_the_last_trial_leaves_the_next_one_to_others() {
    let (mut breaker, now) = (breaker(1), Instant::now());
    fails(&mut breaker, now, "a");
    let later = now + SECOND * 10;
    let trial = admit(&mut breaker, 1, later).unwrap();
    assert!(meets(&mut breaker, 1, &trial, later).for_all);
    let again = later + SECOND * 20;
    assert_eq!(admit(&mut breaker, 1, again).unwrap_err(), SECOND);
    let other = admit(&mut breaker, 2, again).unwrap();
    assert!(breaker.tries(who(2), &other).all);
    drop(other);
    // If nobody else comes, it may after all.
    breaker.parties.clear();
    assert!(admit(&mut breaker, 1, again + SECOND * 20).is_ok());
}

#[test]
fn one_call_tries_at_a_time_and_another_if_that_one_ends_without_a_verdict() {
    let (mut breaker, now) = (breaker(1), Instant::now());
    fails(&mut breaker, now, "a");
    let later = now + SECOND * 10;
    let trial = admit(&mut breaker, 1, later).unwrap();
    assert!(breaker.tries(who(1), &trial).all && admit(&mut breaker, 2, later).unwrap_err() == SECOND);
    // What was sent before does not decide meanwhile.
    assert!(!meets(&mut breaker, 2, &Trial::default(), later).for_all);
    drop(trial);
    let _trial = admit(&mut breaker, 3, later).unwrap();
    assert!(breaker.succeeded(who(3)));
    assert!(admit(&mut breaker, 3, later).is_ok_and(|trial| !trial.decides()));
}

#[test]
fn the_right_to_try_is_over_when_the_breaker_opens_once_more() {
    let (mut breaker, now) = (breaker(1), Instant::now());
    fails(&mut breaker, now, "a");
    let later = now + SECOND * 10;
    let mut trial = admit(&mut breaker, 1, later).unwrap();
    // It is let through again for as long as it is the one that tries.
    assert!(breaker.admit(who(1), &mut trial, later).is_ok() && breaker.tries(who(1), &trial).all);
    fails(&mut breaker, later, "its instance died");
    let again = later + SECOND * 20;
    let second = admit(&mut breaker, 2, again).unwrap();
    // What becomes of it says nothing of the call that tries now, and it does not pass beside that.
    assert!(breaker.tries(who(2), &second).all && !breaker.tries(who(1), &trial).all);
    assert!(!meets(&mut breaker, 1, &trial, again).for_all);
    assert!(breaker.admit(who(1), &mut trial, again).is_err() && !trial.decides());
}

#[test]
fn each_trial_that_fails_doubles_the_time_up_to_the_most() {
    let (mut breaker, mut now) = (breaker(1), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..4 {
        assert!(fails(&mut breaker, now, "a"));
        let left = admit(&mut breaker, 1, now).unwrap_err();
        pauses.push(left.as_secs());
        now += left;
        let trial = admit(&mut breaker, 1, now).unwrap();
        assert!(breaker.tries(who(1), &trial).all);
    }
    assert_eq!(pauses, [10, 20, 30, 30]);
}

#[test]
fn without_a_limit_it_stays_closed() {
    let (mut breaker, now) = (breaker(0), Instant::now());
    assert!((0..1000).all(|_| !fails(&mut breaker, now, "a")));
    assert!(admit(&mut breaker, 1, now).is_ok_and(|trial| !trial.decides()));
}

#[test]
fn so_many_parties_are_told_apart_and_no_more() {
    let (mut breaker, now) = (breaker(1), Instant::now());
    for process in 1..1000 {
        meets(&mut breaker, process, &Trial::default(), now);
    }
    assert_eq!(breaker.parties.len(), PARTIES);
}
