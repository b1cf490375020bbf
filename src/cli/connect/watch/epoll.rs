//! Called by `connect` on Linux: what is asked of a side stays asked, so that a line costs no more than a wait for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;

use super::{Came, Side, timeout};

/// What was asked so far.
pub struct Watch(OwnedFd);

/// What is asked before one wait.
pub struct Round<'a> {
    epoll: &'a OwnedFd,
    /// What is ready whenever it is asked.
    ready: Came,
}

/// A descriptor, and what is asked of it. When it is closed the system forgets what was asked.
pub struct Watched<F> {
    pub fd: F,
    asked: Option<PollFlags>,
    /// It is a file or the null device, for which nobody waits.
    prompt: bool,
}

impl<F> Watched<F> {
    pub fn new(fd: F) -> Watched<F> {
        Watched { fd, asked: None, prompt: false }
    }
}

impl Watch {
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> io::Result<Watch> {
        Ok(Watch(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Begins a round, in which every side is asked.
    pub fn round(&mut self) -> Round<'_> {
        Round { epoll: &self.0, ready: Came::new() }
    }
}

impl<'a> Round<'a> {
    /// Asks something of a side: with nothing in it only whether the side is gone, and with `None` not even that.
    ///
    /// # Errors
    /// What the system reports.
    pub fn ask<F: AsFd>(&mut self, side: Side, of: &'a mut Watched<F>, wanted: Option<PollFlags>) -> io::Result<()> {
        if of.prompt {
            self.ready.extend(wanted.filter(|wanted| !wanted.is_empty()).map(|wanted| (side, wanted)));
            return Ok(());
        }
        if of.asked == wanted {
            return Ok(());
        }
        let data = EventData::new_u64(side as u64);
        let done = match (of.asked, wanted) {
            (None, Some(wanted)) => epoll::add(self.epoll, &of.fd, data, flags(wanted)),
            (Some(_), Some(wanted)) => epoll::modify(self.epoll, &of.fd, data, flags(wanted)),
            (_, None) => epoll::delete(self.epoll, &of.fd),
        };
        match done {
            Err(Errno::PERM) => {
                of.prompt = true;
                return self.ask(side, of, wanted);
            }
            done => of.asked = done.map(|()| wanted)?,
        }
        Ok(())
    }

    /// Waits until a side has something; nothing if that takes too long or a signal came.
    ///
    /// # Errors
    /// What the system reports.
    pub fn wait(self, left: Option<Duration>) -> io::Result<Came> {
        let mut came = self.ready;
        let left = if came.is_empty() { timeout(left) } else { Some(Timespec::default()) };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; Side::ALL.len()];
        match epoll::wait(self.epoll, &mut events, left.as_ref()) {
            Ok((told, _)) => came.extend(told.iter().filter_map(|event| {
                let side = usize::try_from(event.data.u64()).ok().and_then(|at| Side::ALL.get(at))?;
                let how = event.flags;
                Some((*side, PollFlags::from_bits_retain(how.bits() as u16)))
            })),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(came)
    }
}

/// On Linux the two have the same bits.
fn flags(wanted: PollFlags) -> EventFlags {
    EventFlags::from_bits_retain(u32::from(wanted.bits()))
}
