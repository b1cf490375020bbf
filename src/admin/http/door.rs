//! Called by `admin::http`: where readers of metrics come in, a loopback address or a Unix socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::config::MetricsAt;
use crate::endpoint::listener::{Listener, Taken};

/// How long nothing is accepted after that failed: out of descriptors, most likely, and those in use will be given back.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A place that is listened on.
pub enum Door {
    Tcp(TcpListener),
    Unix(Box<Listener>),
}

impl Door {
    /// Listens; nothing if another program has the place, which may give it up.
    ///
    /// # Errors
    /// It cannot be listened on, and not because it is in use.
    pub async fn open(at: &MetricsAt) -> io::Result<Option<Door>> {
        match at {
            MetricsAt::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Some(Door::Tcp(listener))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
                Err(error) => Err(error),
            },
            MetricsAt::Unix(path) => match Listener::bind(path, &[]) {
                Ok(listener) => Ok(Some(Door::Unix(Box::new(listener)))),
                Err(Taken::Daemon { .. }) => Ok(None),
                Err(taken) => Err(io::Error::other(taken)),
            },
        }
    }

    /// One in the place of this, if its socket is not there any more; an address cannot vanish.
    ///
    /// # Errors
    /// Somebody else has the place by now, or it cannot be had.
    pub fn renewed(&self) -> io::Result<Option<Door>> {
        match self {
            Door::Tcp(_) => Ok(None),
            Door::Unix(listener) => {
                let renewed = listener.renewed().map_err(io::Error::other)?;
                Ok(renewed.map(|listener| Door::Unix(Box::new(listener))))
            }
        }
    }

    /// Where it is, with the port that was given to it.
    pub fn place(&self, at: &MetricsAt) -> String {
        match self {
            Door::Tcp(listener) => listener.local_addr().map_or_else(|_| at.to_string(), |address| address.to_string()),
            Door::Unix(_) => at.to_string(),
        }
    }

    /// Whether web pages could be behind it, which is not so for a Unix socket.
    pub fn is_open_to_browsers(&self) -> bool {
        matches!(self, Door::Tcp(_))
    }

    /// The next reader.
    pub async fn accept(&self) -> Box<dyn Stream> {
        loop {
            match self {
                Door::Unix(listener) => return Box::new(listener.accept().await.0),
                Door::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => return Box::new(stream),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a reader of metrics");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}
