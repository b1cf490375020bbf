//! Called by `serve --stdio`: stdin and stdout for a session of the runtime.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use crate::endpoint::stdio::Descriptor;

/// What the host writes.
pub struct Input(Stream);

/// What the host reads.
pub struct Output(Stream);

enum Stream {
    Watched(AsyncFd<Descriptor>),
    /// Files are always ready, and nothing tells of them.
    Prompt(Descriptor),
}

/// Stdin.
///
/// # Errors
/// There are no descriptors left.
pub fn input() -> io::Result<Input> {
    Stream::of(Descriptor::input()?, Interest::READABLE).map(Input)
}

/// Stdout.
///
/// # Errors
/// There are no descriptors left.
pub fn output() -> io::Result<Output> {
    Stream::of(Descriptor::output()?, Interest::WRITABLE).map(Output)
}

/// Waits until nobody reads stdout any more.
pub async fn closed() {
    let Ok(Output(Stream::Watched(fd))) = output() else { return pending().await };
    while !fd.get_ref().is_closed() {
        match fd.writable().await {
            // That it can be written to is no news; that its other side is gone will be.
            Ok(mut news) => news.clear_ready_matching(Ready::WRITABLE),
            Err(_) => return pending().await,
        }
    }
}

impl Stream {
    fn of(descriptor: Descriptor, interest: Interest) -> io::Result<Stream> {
        #[expect(deprecated, reason = "its successor needs `unsafe`; a `Descriptor` owns what it says it is")]
        let watched = AsyncFd::try_with_interest(descriptor, interest);
        match watched {
            Ok(fd) => Ok(Stream::Watched(fd)),
            Err(refused) => match refused.into_parts() {
                (descriptor, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Ok(Stream::Prompt(descriptor))
                }
                (_, error) => Err(error),
            },
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let bytes = match &self.0 {
            Stream::Prompt(descriptor) => descriptor.read(buffer.initialize_unfilled())?,
            Stream::Watched(fd) => loop {
                let mut readable = ready!(fd.poll_read_ready(context))?;
                if let Ok(done) = readable.try_io(|fd| fd.get_ref().read(buffer.initialize_unfilled())) {
                    break done?;
                }
            },
        };
        buffer.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.0 {
            Stream::Prompt(descriptor) => Poll::Ready(descriptor.write(bytes)),
            Stream::Watched(fd) => loop {
                let mut writable = ready!(fd.poll_write_ready(context))?;
                if let Ok(done) = writable.try_io(|fd| fd.get_ref().write(bytes)) {
                    return Poll::Ready(done);
                }
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
