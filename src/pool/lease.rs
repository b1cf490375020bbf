//! Called by `mux` when it places a call: which kind of lease a server gives and why.

pub mod signs;

use crate::catalogue::seen::{PROVEN, Seen};
use crate::config::{Keeps, Known, LeaseChoice};

/// How an instance is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lease {
    /// Calls of many callers interleave.
    Shared,
    /// One caller at a time, as long as it has calls in flight.
    Call,
    /// One caller until it disconnects.
    Session,
}

impl Lease {
    /// Returns the word for it in configuration and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Lease::Shared => "shared",
            Lease::Call => "call",
            Lease::Session => "session",
        }
    }
}

/// Why a server gives the lease it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Configured,
    /// It is a published server, and how it may be shared is known.
    Known(Known),
    /// The server was seen to ask its client in mid-call.
    Asks,
    /// Nobody knows whether it asks: so many calls in which it might have were answered without a question.
    Unproven(u8),
    /// Nobody said, and it is not known.
    Default,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Configured => f.write_str("configured"),
            Why::Known(Known { package, keeps, why, .. }) => match keeps {
                Keeps::Nothing => write!(f, "`{package}` keeps nothing: {why}"),
                Keeps::Outside => write!(f, "`{package}` keeps what it has outside the process: {why}"),
                Keeps::Directory => write!(f, "`{package}` has one subject: {why}"),
                Keeps::Asks => write!(f, "`{package}` asks its client: {why}"),
                Keeps::State => write!(f, "`{package}` keeps state for its client: {why}"),
            },
            Why::Asks => f.write_str("the server asks its client in mid-call"),
            Why::Unproven(quiet) => write!(
                f,
                "not known: if it keeps state for its client, say `lease: session`; shared by all after {PROVEN} calls without a question, {quiet} so far"
            ),
            Why::Default => f.write_str("not known: if it keeps state for its client, say `lease: session`"),
        }
    }
}

/// What may be known of a server that says how its instances are to be shared.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The table of published servers has it.
    pub known: Option<Known>,
    pub seen: Seen,
}

/// Returns the lease that a server gives, and why. `answers` says that the caller can be asked.
pub fn lease(choice: LeaseChoice, evidence: Evidence, answers: bool) -> (Lease, Why) {
    match choice {
        LeaseChoice::Shared => return (Lease::Shared, Why::Configured),
        LeaseChoice::Call => return (Lease::Call, Why::Configured),
        LeaseChoice::Session => return (Lease::Session, Why::Configured),
        LeaseChoice::Auto => {}
    }
    match evidence.known {
        Some(known) if known.keeps == Keeps::State => (Lease::Session, Why::Known(known)),
        Some(known) if known.keeps == Keeps::Asks && answers => (Lease::Call, Why::Known(known)),
        _ if evidence.seen.has_asked() && answers => (Lease::Call, Why::Asks),
        Some(known) => (Lease::Shared, Why::Known(known)),
        None if answers && !evidence.seen.is_proven() => (Lease::Call, Why::Unproven(evidence.seen.quiet())),
        None => (Lease::Shared, Why::Default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(keeps: Keeps) -> Option<Known> {
        Some(Known { package: "p", keeps, why: "so", basis: None })
    }

    #[test]
    fn what_keeps_state_is_one_callers_and_what_asks_is_so_during_the_calls_of_who_can_be_asked() {
        let seen = |has_asked: bool| {
            let mut seen = Seen::default();
            assert!((0..PROVEN).all(|_| seen.was_quiet()) && (!has_asked || seen.asked()));
            seen
        };
        let of =
            |known, has_asked, answers| lease(LeaseChoice::Auto, Evidence { known, seen: seen(has_asked) }, answers).0;
        assert_eq!(of(known(Keeps::State), false, false), Lease::Session);
        assert_eq!(of(known(Keeps::Asks), false, true), Lease::Call);
        assert_eq!(of(known(Keeps::Asks), true, false), Lease::Shared);
        assert_eq!(of(known(Keeps::Nothing), true, true), Lease::Call, "what was seen counts too");
        assert_eq!(of(None, false, true), Lease::Shared);
    }

    #[test]
    fn a_server_that_nobody_knows_may_ask_until_it_has_answered_a_hundred_calls_without_a_question() {
        let mut seen = Seen::default();
        let of = |seen, known, answers| lease(LeaseChoice::Auto, Evidence { known, seen }, answers);
        assert_eq!(of(seen, None, true), (Lease::Call, Why::Unproven(0)));
        assert_eq!(of(seen, None, false).0, Lease::Shared, "who cannot be asked has nothing to lose");
        assert_eq!(of(seen, known(Keeps::Nothing), true).0, Lease::Shared, "it is known");
        assert!((0..PROVEN).all(|_| seen.was_quiet()) && !seen.was_quiet());
        assert_eq!(of(seen, None, true), (Lease::Shared, Why::Default));
        assert!(seen.asked() && !seen.asked());
        assert_eq!(of(seen, None, true), (Lease::Call, Why::Asks));
    }

    #[test]
    fn the_config_has_the_last_word() {
        let evidence = Evidence { known: known(Keeps::State), seen: Seen::default() };
        assert_eq!(lease(LeaseChoice::Shared, evidence, true), (Lease::Shared, Why::Configured));
    }
}
