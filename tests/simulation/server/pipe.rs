//! What stands between a model server and the multiplexer in place of a process: its stdout, and the end that comes
//! when the multiplexer lets go of it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::Server;

/// What a server does to its stdout.
#[derive(Debug)]
pub enum Output {
    Line(String),
    /// The beginning of a line, after which nothing comes.
    Half(String),
    /// It is closed, and the server lives.
    Close,
    /// The server ends.
    End,
}

/// Writes what a server says, until it ends by itself or nobody listens.
pub async fn write(mut stdout: DuplexStream, mut outputs: mpsc::UnboundedReceiver<Output>) {
    while let Some(output) = outputs.recv().await {
        let written = match output {
            Output::Line(line) => stdout.write_all(format!("{line}\n").as_bytes()).await,
            Output::Half(start) => {
                let _ = stdout.write_all(start.as_bytes()).await;
                return std::future::pending().await;
            }
            Output::Close => {
                drop(stdout);
                return std::future::pending().await;
            }
            Output::End => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The end of a model server's stdout that the multiplexer holds. Where a process would be killed at last, this is
/// dropped.
pub struct Leash {
    pub stdout: DuplexStream,
    pub server: Rc<Server>,
}

impl AsyncRead for Leash {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buf)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.server.over("is killed");
        self.server.crash.notify_one();
    }
}
