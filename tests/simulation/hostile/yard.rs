//! Starts the copies of a run with hostile peers for the multiplexer, no more than its config allows, and ends them.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use mcpool::config;
use mcpool::pool::launch::{Connection, Launcher};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio::task::spawn_local;

use super::field::Field;
use super::instance::Instance;

/// What a pipe holds, in bytes.
const PIPE: usize = 64 << 10;

/// Starts copies.
pub struct Yard(pub Rc<Field>);

impl Launcher for Yard {
    fn launch(&self, config: &config::Server) -> io::Result<Connection> {
        let which: usize = config.name[1..].parse().map_err(io::Error::other)?;
        let field = self.0.clone();
        let running = field.starts(which);
        if running > config.instances.processes() - config.instances.overflow {
            field.fault(format!("{running} copies of {} run, with {:?}", config.name, config.instances));
        }
        let ((stdin, writer), (stdout, reader)) = (tokio::io::duplex(PIPE), tokio::io::duplex(PIPE));
        let (copy, lines) = Instance::new(field, which);
        copy.field.note(&copy.name(), "starts");
        let leash = Leash { stdout: reader, copy: copy.clone() };
        spawn_local(copy.run(stdin, stdout, lines));
        Ok(Connection { reader: Box::new(leash), writer: Box::new(writer), stderr: None, pid: None, process: None })
    }
}

/// The end of a copy's stdout that the multiplexer holds. Where a process would be killed at last, this is dropped.
struct Leash {
    stdout: DuplexStream,
    copy: Rc<Instance>,
}

impl AsyncRead for Leash {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buf)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.copy.ends.notify_one();
    }
}
