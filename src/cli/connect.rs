//! `mcpool connect`: the host's stdio on one side, an endpoint of the daemon on the other. It stays when the
//! daemon goes: what was in flight is answered with an error, and the session is opened anew.
//!
//! One loop carries lines in all four directions, and waits in one place only, for all of them at once.

pub mod carrier;
mod glance;
mod ledger;
mod lines;
mod pile;
mod watch;
mod way;
#[cfg(test)]
mod world;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::termios::isatty;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use tokio::time::Instant;

use super::print;
use super::reach::Target;
use crate::endpoint::stdio::Descriptor;
use crate::error::Error;
use carrier::Carrier;
use watch::{Came, Side, Watch, Watched};
use way::Way;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How often one side is written to before the others have their turn.
const TURN: usize = 16;
/// How long a new daemon may take to open the session.
const OPENING: Duration = Duration::from_secs(60);
/// How long the host may take to read what it is told when it has ended this.
const FAREWELL: Duration = Duration::from_millis(200);
/// How long a host is waited for that is to be told why there is no session: for its first request, and for the next one.
const TELL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// Serves the host until it closes its side and has its answers, or is gone, or says so with a signal. Ends with 0 if
/// every request was answered.
///
/// # Errors
/// Stdin or stdout cannot be used.
pub fn run(target: Result<Target, String>, name: &str) -> Result<ExitCode, String> {
    let failed = |error: io::Error| format!("cannot use stdin and stdout: {error}");
    let mut shim = Shim::new().map_err(failed)?;
    let way = match target {
        Ok(target) => Some(Way::new(target)),
        Err(why) => {
            shim.fail(&why);
            None
        }
    };
    if way.is_some() && isatty(&shim.input.fd) {
        print::complain(format_args!(
            "mcpool: this is what hosts run; it reads JSON-RPC, one message a line, and ends with Ctrl-D. People may try `mcpool tools {name}`"
        ));
    }
    shim.way = way;
    shim.serve().map_err(failed)
}

struct Shim {
    watch: Watch,
    input: Watched<Descriptor>,
    output: Watched<Descriptor>,
    signals: Watched<UnixStream>,
    carrier: Carrier,
    daemon: Option<Daemon>,
    way: Option<Way>,
    scratch: Box<[u8]>,
    phase: Phase,
    /// When the phase, or the opening of the session, is given up.
    deadline: Option<Instant>,
    /// There was no session at all.
    failed: bool,
}

/// A connection to the daemon.
struct Daemon {
    stream: Watched<UnixStream>,
    /// It takes nothing more; what it has said may be there still.
    deaf: bool,
    /// It was told that nothing more comes.
    told: bool,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// There was no daemon yet.
    Starting,
    Serving,
    /// There is none, and the host is told why.
    Failed,
    /// It was told to end.
    Leaving,
    Over,
}

impl Shim {
    fn new() -> io::Result<Shim> {
        let (signals, raised) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        pipe::register(SIGINT, raised.try_clone()?)?;
        pipe::register(SIGTERM, raised)?;
        Ok(Shim {
            watch: Watch::new()?,
            input: Watched::new(Descriptor::input()?),
            output: Watched::new(Descriptor::output()?),
            signals: Watched::new(signals),
            carrier: Carrier::default(),
            daemon: None,
            way: None,
            scratch: vec![0; CHUNK].into_boxed_slice(),
            phase: Phase::Starting,
            deadline: None,
            failed: false,
        })
    }

    fn serve(mut self) -> io::Result<ExitCode> {
        loop {
            self.look_for_the_daemon();
            self.write();
            if self.is_over() {
                let well = !self.failed && self.carrier.is_answered();
                return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            let came = self.wait()?;
            came.into_iter().for_each(|(side, how)| self.came(side, how));
            self.look_at_the_clock();
        }
    }

    fn is_over(&self) -> bool {
        match self.phase {
            // Why there is none is worth the wait.
            Phase::Starting => false,
            Phase::Serving | Phase::Failed => self.carrier.is_over(),
            Phase::Leaving => self.carrier.is_served(),
            Phase::Over => true,
        }
    }

    fn look_for_the_daemon(&mut self) {
        let (None, Some(way)) = (&self.daemon, &mut self.way) else { return };
        let now = Instant::now();
        let found = way.look(now).map(|found| {
            let stream = found?;
            // It is nobody else's.
            stream.set_nonblocking(true).map_err(|error| format!("the connection cannot be used: {error}"))?;
            Ok(stream)
        });
        match found {
            None => {}
            Some(Ok(stream)) => {
                self.daemon = Some(Daemon { stream: Watched::new(stream), deaf: false, told: false });
                self.carrier.linked();
                self.phase = Phase::Serving;
                self.deadline = self.carrier.is_opening().then(|| now + OPENING);
            }
            Some(Err(why)) => self.no_way(now, why),
        }
    }

    /// There is no session with a daemon for now, or none at all if there never was.
    fn no_way(&mut self, now: Instant, why: String) {
        if self.phase == Phase::Starting {
            return self.fail(&why);
        }
        if self.way.as_mut().is_some_and(|way| way.failed(now)) {
            if !self.carrier.is_refusing() {
                print::complain(format_args!("mcpool: {why}"));
            }
            self.carrier.refuse(Error::Unreachable(why));
        }
    }

    /// There will be no session. A person sees what hosts show of an answer, and seldom their logs.
    fn fail(&mut self, why: &str) {
        print::complain(format_args!("mcpool: {why}"));
        self.carrier.refuse(Error::NoSession(why.to_owned()));
        self.way = None;
        self.failed = true;
        self.phase = if isatty(&self.input.fd) { Phase::Over } else { Phase::Failed };
        self.deadline = Some(Instant::now() + TELL.0);
    }

    /// Writes what waits, as far as it is taken.
    fn write(&mut self) {
        for _ in 0..TURN {
            let next = self.carrier.to_host.next();
            if next.is_empty() {
                break;
            }
            match self.output.fd.write(next) {
                Ok(bytes) => self.carrier.to_host.wrote(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return self.output_failed(&error),
            }
        }
        let Some(daemon) = &mut self.daemon else { return };
        for _ in 0..TURN {
            let next = self.carrier.to_daemon.next();
            if next.is_empty() || daemon.deaf {
                break;
            }
            match daemon.stream.fd.write(next) {
                Ok(bytes) => self.carrier.to_daemon.wrote(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // That it is gone is seen when what it said last is read.
                Err(_) => daemon.deaf = true,
            }
        }
        if self.carrier.has_said_all() && !std::mem::replace(&mut daemon.told, true) {
            // Then it asks the host nothing that nobody would answer. If it is gone, that is seen when it is read.
            let _ = daemon.stream.fd.shutdown(Shutdown::Write);
        }
    }

    /// Nothing more reaches the host, which is gone, or has a full disk in the place of a pipe.
    fn output_failed(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            print::complain(format_args!("mcpool: cannot write to stdout, so that answers are lost: {error}"));
        }
        self.phase = Phase::Over;
    }

    /// Waits until something can be done; what that is. A side that is not wanted is not looked at: that it has ended would
    /// be told again and again.
    fn wait(&mut self) -> io::Result<Came> {
        let carrier = &self.carrier;
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        let deadline = [self.deadline, self.way.as_ref().and_then(Way::deadline)].into_iter().flatten().min();
        let mut round = self.watch.round();
        round.ask(Side::Signals, &mut self.signals, Some(PollFlags::IN))?;
        if let Some(news) = self.way.as_mut().and_then(Way::news) {
            round.ask(Side::News, news, Some(PollFlags::IN))?;
        }
        // Looked at in any case: when its reader is gone, so is the host.
        round.ask(Side::Output, &mut self.output, Some(when(carrier.to_host.waiting() > 0, PollFlags::OUT)))?;
        if let Some(daemon) = &mut self.daemon {
            let write = carrier.to_daemon.waiting() > 0 && !daemon.deaf;
            let wanted = when(carrier.wants_daemon(), PollFlags::IN) | when(write, PollFlags::OUT);
            round.ask(Side::Daemon, &mut daemon.stream, (!wanted.is_empty()).then_some(wanted))?;
        }
        let input = carrier.wants_host() && self.phase != Phase::Leaving;
        round.ask(Side::Input, &mut self.input, input.then_some(PollFlags::IN))?;
        round.wait(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))
    }

    fn came(&mut self, side: Side, how: PollFlags) {
        match side {
            Side::Signals => self.signalled(),
            Side::News => {}
            Side::Output if how.intersects(PollFlags::HUP | PollFlags::ERR) => self.phase = Phase::Over,
            Side::Output => {}
            Side::Daemon if self.carrier.wants_daemon() => self.read_daemon(),
            Side::Daemon => {}
            Side::Input => self.read_host(),
        }
    }

    fn signalled(&mut self) {
        let mut signals = [0; 16];
        let count = self.signals.fd.read(&mut signals).unwrap_or(0);
        if self.phase == Phase::Leaving || count > 1 {
            return self.phase = Phase::Over;
        }
        // To close the connection is to cancel what is in flight.
        (self.daemon, self.way) = (None, None);
        self.carrier.refuse(Error::Drained);
        (self.phase, self.deadline) = (Phase::Leaving, Some(Instant::now() + FAREWELL));
    }

    fn read_daemon(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let done = match daemon.stream.fd.read(&mut self.scratch) {
            Ok(0) => Err("it ended the connection".to_owned()),
            Ok(bytes) => self.carrier.daemon_said(&self.scratch[..bytes]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = done {
            self.lost(why);
        } else if self.deadline.is_some() && !self.carrier.is_opening() {
            self.deadline = None;
        }
    }

    /// The connection to the daemon is of no use any more.
    fn lost(&mut self, why: String) {
        let (opening, now) = (self.carrier.is_opening(), Instant::now());
        (self.daemon, self.deadline) = (None, None);
        if self.carrier.wants_no_more() {
            // It has answered everything, and closes what was closed already.
            return self.way = None;
        }
        self.carrier.link_lost();
        if opening {
            self.no_way(now, format!("the daemon did not open the session anew: {why}"));
        } else if let Some(way) = &mut self.way {
            way.lost(now);
        }
    }

    fn read_host(&mut self) {
        match self.input.fd.read(&mut self.scratch) {
            Ok(0) => self.carrier.host_ended(),
            Ok(bytes) => {
                self.carrier.host_said(&self.scratch[..bytes]);
                if self.phase == Phase::Failed {
                    self.deadline = Some(Instant::now() + TELL.1);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.carrier.host_ended(),
        }
    }

    fn look_at_the_clock(&mut self) {
        if self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        self.deadline = None;
        match self.phase {
            Phase::Failed | Phase::Leaving => self.phase = Phase::Over,
            Phase::Serving => self.lost(format!("not within {OPENING:?}")),
            Phase::Starting | Phase::Over => {}
        }
    }
}
