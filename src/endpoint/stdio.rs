//! Called by `connect` and by `serve --stdio`: the process's own stdin and stdout. The host, a shell or other children
//! may share them, so their flags stay as they are, and yet nobody waits in a read or a write.

mod stream;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, read, write};
use rustix::net::{RecvFlags, SendFlags, recv, send};

pub use stream::{Input, Output, closed, input, output};

/// What a pipe that is ready surely takes in one write.
const SURE: usize = 4096;

/// Stdin or stdout, to be read or written without waiting.
pub struct Descriptor {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Opened anew, so that the flag not to wait is our own.
    Own,
    /// Told with each read and write not to wait.
    Socket,
    /// A file or the null device: it keeps nobody waiting.
    Prompt,
    /// Cannot be opened anew: asked each time whether it is ready.
    Shared,
}

impl Descriptor {
    /// What the host writes.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn input() -> io::Result<Descriptor> {
        Descriptor::of(io::stdin().as_fd(), OFlags::RDONLY)
    }

    /// What the host reads.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn output() -> io::Result<Descriptor> {
        Descriptor::of(io::stdout().as_fd(), OFlags::WRONLY)
    }

    fn of(fd: BorrowedFd<'_>, way: OFlags) -> io::Result<Descriptor> {
        let anew = |fd: BorrowedFd<'_>| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            open(path, way | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        };
        let kind = match FileType::from_raw_mode(fstat(fd)?.st_mode) {
            FileType::Socket => Kind::Socket,
            FileType::Fifo => Kind::Own,
            FileType::CharacterDevice if rustix::termios::isatty(fd) => Kind::Own,
            _ => Kind::Prompt,
        };
        match kind {
            Kind::Own => match anew(fd) {
                Ok(fd) => Ok(Descriptor { fd, kind }),
                // It is another user's, or its other side is closed, or there is no /proc.
                Err(_) => Ok(Descriptor { fd: fd.try_clone_to_owned()?, kind: Kind::Shared }),
            },
            _ => Ok(Descriptor { fd: fd.try_clone_to_owned()?, kind }),
        }
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, or what the system reports.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let done = match self.kind {
                Kind::Own | Kind::Prompt => read(&self.fd, &mut *buffer),
                Kind::Socket => recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes),
                Kind::Shared if self.is(PollFlags::IN) => read(&self.fd, &mut *buffer),
                Kind::Shared => Err(Errno::AGAIN),
            };
            match done {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is taken, or what the system reports.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let done = match self.kind {
                Kind::Own | Kind::Prompt => write(&self.fd, bytes),
                Kind::Socket => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Kind::Shared if self.is(PollFlags::OUT) => write(&self.fd, &bytes[..bytes.len().min(SURE)]),
                Kind::Shared => Err(Errno::AGAIN),
            };
            match done {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Whether nobody is on the other side any more.
    pub fn is_closed(&self) -> bool {
        is_closed(&self.fd)
    }

    /// Whether it is ready for that, or has failed, which a read or write then tells.
    fn is(&self, ready: PollFlags) -> bool {
        now(&self.fd, ready).intersects(ready | PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether nobody is on the other side of a pipe or a socket any more: neither to write to it nor to read from it. A peer
/// that only says nothing more is there still.
pub fn is_closed(fd: impl AsFd) -> bool {
    now(fd, PollFlags::empty()).intersects(PollFlags::HUP | PollFlags::ERR)
}

/// How a descriptor stands.
fn now(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let fd = fd.as_fd();
    let mut one = [PollFd::new(&fd, events)];
    match poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => one[0].revents(),
        // Whoever asks asks again.
        Err(_) => PollFlags::empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};
    use std::os::unix::net::UnixStream;

    use rustix::fs::fcntl_getfl;

    use crate::endpoint::stdio::*;

    fn waits(fd: impl AsFd) -> bool {
        !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_pipe_is_read_and_written_without_waiting_and_its_flags_stay() {
        let (theirs, ours) = pipe().unwrap();
        let input = Descriptor::of(theirs.as_fd(), OFlags::RDONLY).unwrap();
        let output = Descriptor::of(ours.as_fd(), OFlags::WRONLY).unwrap();
        assert_eq!((input.kind, output.kind), (Kind::Own, Kind::Own));
        let mut buffer = [0; 10];
        assert_eq!(input.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((output.write(b"abc").unwrap(), input.read(&mut buffer).unwrap()), (3, 3));
        while output.write(&[0; 1 << 16]).is_ok() {}
        assert!(waits(&theirs) && waits(&ours));
        assert!(!output.is_closed());
        drop((theirs, input));
        assert!(output.is_closed());
    }

    #[test]
    fn what_cannot_be_opened_anew_is_used_when_it_is_ready() {
        let (theirs, ours) = pipe().unwrap();
        let input = Descriptor { fd: theirs.into(), kind: Kind::Shared };
        let output = Descriptor { fd: ours.into(), kind: Kind::Shared };
        let mut buffer = [0; 10];
        assert_eq!(input.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        while output.write(&[1; 1 << 16]).is_ok() {}
        assert_eq!(input.read(&mut buffer).unwrap(), 10);
    }

    #[test]
    fn a_socket_is_asked_each_time_and_half_of_it_may_be_closed() {
        let (mut host, ours) = UnixStream::pair().unwrap();
        let input = Descriptor::of(ours.as_fd(), OFlags::RDONLY).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(input.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        host.write_all(b"abc").unwrap();
        host.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!((input.read(&mut buffer).unwrap(), input.read(&mut buffer).unwrap()), (3, 0));
        assert!(!input.is_closed() && waits(&ours));
        assert_eq!(input.write(b"xyz").unwrap(), 3);
        host.read_exact(&mut buffer[..3]).unwrap();
        drop(host);
        assert!(input.is_closed());
    }

    #[test]
    fn a_file_keeps_nobody_waiting() {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let null = Descriptor::of(null.as_fd(), OFlags::RDWR).unwrap();
        assert_eq!((null.kind, null.read(&mut [0; 4]).unwrap(), null.write(b"abc").unwrap()), (Kind::Prompt, 0, 3));
    }
}
