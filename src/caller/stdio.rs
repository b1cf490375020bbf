//! Called by `connect` and by `serve --stdio`: the process's own stdin and stdout, without a thread in between
//! where they are pipes or sockets, as hosts make them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::fs::{FileType, fstat};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// What the host writes.
pub fn input() -> Box<dyn AsyncRead + Unpin> {
    match descriptor(io::stdin()) {
        Some((FileType::Fifo, fd)) => {
            pipe::Receiver::from_file(File::from(fd)).map_or_else(|_| threaded_input(), |pipe| Box::new(pipe) as _)
        }
        Some((FileType::Socket, fd)) => socket(fd).map_or_else(|_| threaded_input(), |socket| Box::new(socket) as _),
        _ => threaded_input(),
    }
}

/// What the host reads.
pub fn output() -> Box<dyn AsyncWrite + Unpin> {
    match descriptor(io::stdout()) {
        Some((FileType::Fifo, fd)) => {
            pipe::Sender::from_file(File::from(fd)).map_or_else(|_| threaded_output(), |pipe| Box::new(pipe) as _)
        }
        Some((FileType::Socket, fd)) => socket(fd).map_or_else(|_| threaded_output(), |socket| Box::new(socket) as _),
        _ => threaded_output(),
    }
}

fn descriptor(stream: impl AsFd) -> Option<(FileType, OwnedFd)> {
    let fd = stream.as_fd().try_clone_to_owned().ok()?;
    let kind = FileType::from_raw_mode(fstat(&fd).ok()?.st_mode);
    Some((kind, fd))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn threaded_input() -> Box<dyn AsyncRead + Unpin> {
    Box::new(tokio::io::stdin())
}

fn threaded_output() -> Box<dyn AsyncWrite + Unpin> {
    Box::new(tokio::io::stdout())
}
