//! Called by `connect` where there is no epoll: the same, and the system is told each time what is asked.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::{Came, Side, timeout};

/// Nothing is remembered.
pub struct Watch;

/// What is asked before one wait.
#[derive(Default)]
pub struct Round<'a> {
    sides: SmallVec<[Side; Side::ALL.len()]>,
    asked: SmallVec<[PollFd<'a>; Side::ALL.len()]>,
}

/// A descriptor that is asked about.
pub struct Watched<F> {
    pub fd: F,
}

impl<F> Watched<F> {
    pub fn new(fd: F) -> Watched<F> {
        Watched { fd }
    }
}

impl Watch {
    /// # Errors
    /// None: as its like has them.
    pub fn new() -> io::Result<Watch> {
        Ok(Watch)
    }

    /// Begins a round, in which every side is asked.
    pub fn round<'a>(&'a mut self) -> Round<'a> {
        Round::default()
    }
}

impl<'a> Round<'a> {
    /// Asks something of a side: with nothing in it only whether the side is gone, and with `None` not even that.
    ///
    /// # Errors
    /// None: as its like has them.
    pub fn ask<F: AsFd>(&mut self, side: Side, of: &'a mut Watched<F>, wanted: Option<PollFlags>) -> io::Result<()> {
        if let Some(wanted) = wanted {
            self.sides.push(side);
            self.asked.push(PollFd::from_borrowed_fd(of.fd.as_fd(), wanted));
        }
        Ok(())
    }

    /// Waits until a side has something; nothing if that takes too long or a signal came.
    ///
    /// # Errors
    /// What the system reports.
    pub fn wait(mut self, left: Option<Duration>) -> io::Result<Came> {
        match poll(&mut self.asked, timeout(left).as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Came::new()),
            Err(error) => return Err(error.into()),
        }
        let came = self.sides.into_iter().zip(self.asked.iter().map(PollFd::revents));
        Ok(came.filter(|(_, how)| !how.is_empty()).collect())
    }
}
