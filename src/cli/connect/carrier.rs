//! Called by `connect`: what is to be done with what either side said, and what waits for either. It waits for nothing
//! itself: whoever drives it reads a side only while it is wanted, and writes what waits.

use std::collections::HashSet;

use super::ledger::{Heard, Ledger, Said};
use super::lines::{Cut, Lines};
use super::pile::Pile;
use crate::error::Error;

/// How much may wait for a side before the other is not read from.
pub struct Marks {
    /// For the daemon.
    pub unsent: usize,
    /// For the host. It is so much because a host may do something else for a while, and the daemon leaves who reads nothing
    /// for `limits.unread`.
    pub unread: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { unsent: 1 << 20, unread: 256 << 20 }
    }
}

/// The lines between a host and a daemon.
#[derive(Default)]
pub struct Carrier {
    pub marks: Marks,
    from_host: Lines,
    from_daemon: Lines,
    /// What is to be written.
    pub to_host: Pile,
    pub to_daemon: Pile,
    /// Lines of the host that wait for the session to be open.
    held: Pile,
    ledger: Ledger,
    link: Link,
    host_ended: bool,
}

/// How it stands with the daemon.
#[derive(Default)]
enum Link {
    /// There is none, and there will be one soon.
    #[default]
    Away,
    /// There is none, and nobody knows when there will be: this is told to the host.
    Refusing(Error),
    /// There is one, but the session with it is not what it was yet.
    Opening,
    Open,
}

impl Carrier {
    /// Whether the host is to be read from.
    pub fn wants_host(&self) -> bool {
        let room = match self.link {
            Link::Open => self.to_daemon.waiting() < self.marks.unsent,
            Link::Away | Link::Opening => self.held.waiting() < self.marks.unsent,
            Link::Refusing(_) => true,
        };
        room && !self.host_ended && self.to_host.waiting() < self.marks.unread
    }

    /// Whether the daemon is to be read from.
    pub fn wants_daemon(&self) -> bool {
        self.to_host.waiting() < self.marks.unread
    }

    /// Whether everything that the host asked was answered, it says no more, and it was told everything.
    pub fn is_over(&self) -> bool {
        self.host_ended && self.is_served() && self.to_daemon.waiting() == 0
    }

    /// Whether all requests that the host has sent so far are answered, and the answers written.
    pub fn is_served(&self) -> bool {
        self.ledger.is_served() && self.held.waiting() == 0 && self.to_host.waiting() == 0
    }

    /// Whether each request that the host has sent so far is answered under its id, and the answers written.
    pub fn is_answered(&self) -> bool {
        self.is_served() && !self.ledger.is_unaddressed()
    }

    /// Whether the session with the daemon is not yet what it was.
    pub fn is_opening(&self) -> bool {
        matches!(self.link, Link::Opening)
    }

    /// Whether the host is told that there is no daemon.
    pub fn is_refusing(&self) -> bool {
        matches!(self.link, Link::Refusing(_))
    }

    /// Takes what the host wrote.
    pub fn host_said(&mut self, read: &[u8]) {
        let mut lines = std::mem::take(&mut self.from_host);
        lines.feed(read, |line| self.host_line(line));
        self.from_host = lines;
    }

    /// The host says no more.
    pub fn host_ended(&mut self) {
        self.host_ended = true;
        let mut last = self.from_host.end();
        if last.trim_ascii().is_empty() {
            return;
        }
        // A whole message without a line end is one. Half of one waits for an answer all the same.
        if super::ledger::is_whole(&last) {
            last.push(b'\n');
            return self.host_line(Cut::Gathered(last));
        }
        self.ledger.cut_off(&last).iter().for_each(|reply| self.tell(reply));
    }

    /// Whether the daemon has got all that the host said, and nothing more comes.
    pub fn has_said_all(&self) -> bool {
        let open = matches!(self.link, Link::Open);
        self.host_ended && open && self.held.waiting() == 0 && self.to_daemon.waiting() == 0
    }

    /// Whether the daemon has said all that the host waits for, and the host asks no more.
    pub fn wants_no_more(&self) -> bool {
        self.has_said_all() && self.ledger.is_served()
    }

    fn host_line(&mut self, line: Cut<'_>) {
        let said = match (&line, &self.link) {
            (Cut::TooLong(size, skim), _) => {
                let error = Error::TooLarge { server: None, size: *size, limit: *size };
                return self.ledger.refused(skim, &error).iter().for_each(|reply| self.tell(reply));
            }
            (Cut::Here(_) | Cut::Gathered(_), Link::Refusing(error)) => {
                let reply = self.ledger.refuse(text(&line), error);
                return reply.iter().for_each(|reply| self.tell(reply));
            }
            (_, Link::Away | Link::Opening) if !self.ledger.answers(text(&line)) => {
                return add(&mut self.held, line);
            }
            (_, Link::Away | Link::Opening | Link::Open) => self.ledger.host_said(text(&line)),
        };
        match said {
            Said::PassOn => add(&mut self.to_daemon, line),
            Said::Drop => {}
            Said::Reply(reply) => self.tell(&reply),
        }
    }

    /// Takes what the daemon wrote; an error if it does not open the session.
    pub fn daemon_said(&mut self, read: &[u8]) -> Result<(), String> {
        let (mut lines, mut result) = (std::mem::take(&mut self.from_daemon), Ok(()));
        lines.feed(read, |line| {
            if let Err(why) = self.daemon_line(line) {
                result = Err(why);
            }
        });
        self.from_daemon = lines;
        result
    }

    fn daemon_line(&mut self, line: Cut<'_>) -> Result<(), String> {
        if matches!(line, Cut::TooLong(..)) {
            return Err("it sent a line of more than 1 GiB".into());
        }
        match self.ledger.daemon_said(text(&line)) {
            Heard::Ours(answer) if self.is_opening() => {
                answer?;
                self.open();
            }
            Heard::Ours(_) => {}
            Heard::PassOn => add(&mut self.to_host, line),
            Heard::PassOnApart => {
                self.to_host.cut();
                add(&mut self.to_host, line);
            }
        }
        Ok(())
    }

    /// There is a connection to a daemon.
    pub fn linked(&mut self) {
        match self.ledger.opening() {
            Some(line) => {
                self.link = Link::Opening;
                say(&mut self.to_daemon, &line);
            }
            None => self.open(),
        }
    }

    fn open(&mut self) {
        self.link = Link::Open;
        for line in self.ledger.told_again() {
            say(&mut self.to_daemon, &line);
        }
        let held = self.held.unwritten();
        Lines::default().feed(&held, |line| self.host_line(line));
    }

    /// The connection to the daemon has ended. What was not sent to it waits for the next one.
    pub fn link_lost(&mut self) {
        let (unsent, waiting) = (self.to_daemon.unwritten(), self.held.unwritten());
        let mut ids = HashSet::new();
        let ledger = &self.ledger;
        let held = &mut self.held;
        Lines::default().feed(&unsent, |line| {
            if ledger.keeps(text(&line), &mut ids) {
                add(held, line);
            }
        });
        Lines::default().feed(&waiting, |line| add(held, line));
        self.link = Link::Away;
        self.from_daemon = Lines::default();
        let told = self.ledger.daemon_lost(&ids, &Error::DaemonLost);
        told.iter().for_each(|line| self.tell(line));
    }

    /// Nobody knows when there will be a daemon: what waits for one, and what the host asks from now on, is refused.
    pub fn refuse(&mut self, error: Error) {
        let told = self.ledger.daemon_lost(&HashSet::new(), &error);
        told.iter().for_each(|line| self.tell(line));
        self.to_daemon = Pile::default();
        self.link = Link::Refusing(error);
        let held = self.held.unwritten();
        Lines::default().feed(&held, |line| self.host_line(line));
    }

    fn tell(&mut self, line: &[u8]) {
        say(&mut self.to_host, line);
    }
}

fn text<'a>(line: &'a Cut<'_>) -> &'a [u8] {
    match line {
        Cut::Here(line) => line,
        Cut::Gathered(line) => line,
        Cut::TooLong(..) => &[],
    }
}

fn add(pile: &mut Pile, line: Cut<'_>) {
    match line {
        Cut::Here(line) => pile.line(line),
        Cut::Gathered(line) => pile.gathered(line),
        Cut::TooLong(..) => {}
    }
}

/// Adds a line of our own, which has no end yet.
fn say(pile: &mut Pile, line: &[u8]) {
    pile.gathered([line, b"\n"].concat());
}
