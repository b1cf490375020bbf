//! A host and daemons that come and go around a carrier, with pipes that hold little and turns in random order: what is
//! to be true of every session, asked of many seeds. Time stands still; what could wait for ever is found because
//! nothing moves.

mod daemon;
mod host;
mod pipe;

use fastrand::Rng;

use super::carrier::{Carrier, Marks};
use crate::error::Error;
use daemon::Daemon;
use host::Host;
use pipe::{PIPE, Pipe};

/// More turns than any session needs.
const TURNS: usize = 120_000;
/// No line is longer.
const LONGEST: usize = 30_000;
/// So that the marks are met.
const MARKS: Marks = Marks { unsent: 5000, unread: 8000 };

struct World {
    rng: Rng,
    carrier: Carrier,
    host: Host,
    daemon: Option<Daemon>,
    host_out: Pipe,
    host_in: Pipe,
    daemon_out: Pipe,
    daemon_in: Pipe,
    /// The last request that any daemon has seen.
    seen: u64,
    daemons: u64,
    deaths: u32,
    /// The host is told that there is no daemon.
    refused: bool,
    /// Bytes that the carrier itself had to say to the host.
    own: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let (host, deaths) = (Host::new(&mut rng), rng.u32(..6));
        let [host_out, host_in, daemon_out, daemon_in] = Default::default();
        let mut carrier = Carrier::default();
        carrier.marks = MARKS;
        let (daemon, refused) = (None, false);
        World {
            rng,
            carrier,
            host,
            daemon,
            host_out,
            host_in,
            daemon_out,
            daemon_in,
            seen: 0,
            daemons: 0,
            deaths,
            refused,
            own: 0,
        }
    }

    fn run(mut self) {
        for turn in 0..TURNS {
            match self.rng.u8(..6) {
                0 => self.host_says(),
                1 => self.host.reads(&mut self.host_in, &mut self.rng),
                2 => self.carrier_reads(),
                3 => self.carrier_writes(),
                4 => self.daemon_turns(),
                _ => self.fate(),
            }
            self.is_bounded();
            if self.host.ended && self.host_in.is_empty() && self.carrier.is_over() {
                return self.is_over(turn);
            }
        }
        panic!("it hangs: {:?} wait, {} unread", self.host.waits, self.carrier.to_host.waiting());
    }

    fn is_over(&self, turn: usize) {
        assert!(self.host.waits.is_empty(), "over, and {:?} wait", self.host.waits);
        assert!(self.host.has_said_all() && turn > 10 && self.host.is_open());
        assert_eq!(self.host.strays.0, self.host.strays.1, "each stray line is told");
        assert_eq!(self.carrier.is_answered(), self.host.strays.0 == 0);
    }

    /// However little either reads, no more than the marks wait for it, one line, and what was lost.
    fn is_bounded(&self) {
        let (unsent, unread) = (self.carrier.to_daemon.waiting(), self.carrier.to_host.waiting());
        assert!(unsent <= 2 * MARKS.unsent + LONGEST + PIPE, "{unsent} wait for the daemon");
        assert!(unread <= MARKS.unread + LONGEST + PIPE + self.own, "{unread} wait for the host");
    }

    fn host_says(&mut self) {
        if self.host.says(&mut self.host_out, &mut self.rng) {
            self.carrier.host_ended();
        }
    }

    fn carrier_reads(&mut self) {
        if self.carrier.wants_host() {
            let read = self.host_out.take(&mut self.rng);
            self.carrier.host_said(&read);
        }
        if self.daemon.is_some() && self.carrier.wants_daemon() {
            let read = self.daemon_out.take(&mut self.rng);
            self.carrier.daemon_said(&read).expect("the session is opened");
        }
    }

    fn carrier_writes(&mut self) {
        let next = self.carrier.to_host.next();
        let text = String::from_utf8_lossy(next);
        let talk = text.find("notifications/progress");
        assert!(talk.is_none_or(|at| !text[at..].contains("\"result\"")), "progress and answer in one write: {text}");
        let written = self.host_in.write(next, &mut self.rng);
        self.carrier.to_host.wrote(written);
        if self.daemon.as_ref().is_some_and(|daemon| !daemon.dying) {
            let written = self.daemon_in.write(self.carrier.to_daemon.next(), &mut self.rng);
            self.carrier.to_daemon.wrote(written);
        }
    }

    fn daemon_turns(&mut self) {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| !daemon.dying) else { return };
        daemon.reads(&mut self.daemon_in, &mut self.seen, &mut self.rng);
        daemon.says(&mut self.daemon_out, !self.host.ended, &mut self.rng);
    }

    /// A daemon dies, wherever it stands, or comes.
    fn fate(&mut self) {
        let dies = self.deaths > 0 && self.rng.u8(..100) == 0 && self.host.is_open();
        let Some(daemon) = &mut self.daemon else {
            if self.rng.u8(..20) == 0 {
                self.looks();
            }
            return;
        };
        if !daemon.dying && dies {
            self.deaths -= 1;
            daemon.dying = true;
        } else if daemon.dying && (self.daemon_out.is_empty() || self.rng.u8(..10) == 0) {
            // What it has said is read, and then that it is gone; unless the connection was torn.
            self.loses();
        }
    }

    fn loses(&mut self) {
        self.daemon = None;
        (self.daemon_in, self.daemon_out) = Default::default();
        let before = self.carrier.to_host.waiting();
        self.carrier.link_lost();
        self.own += self.carrier.to_host.waiting() - before;
    }

    /// The carrier finds a daemon, or none for so long that the host is told.
    fn looks(&mut self) {
        if !self.refused && self.host.is_open() && self.rng.u8(..4) == 0 {
            self.refused = true;
            let before = self.carrier.to_host.waiting();
            self.carrier.refuse(Error::Unreachable("nobody listens".into()));
            self.own += self.carrier.to_host.waiting() - before;
            return;
        }
        self.refused = false;
        self.daemons += 1;
        self.daemon = Some(Daemon::new(self.daemons));
        self.carrier.linked();
    }
}

#[test]
fn whatever_the_order_each_request_has_one_answer_and_nothing_goes_astray() {
    let seeds = std::env::var("MCPOOL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let told = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(told.is_ok(), "seed {seed}");
    }
}
