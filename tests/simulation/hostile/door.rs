//! How the callers of a run with hostile peers come in: as the process that they say they are.

use std::cell::OnceCell;
use std::time::Duration;

use mcpool::caller::Peer;
use mcpool::config::Endpoint;
use mcpool::endpoint::connection;
use mcpool::mux::Handle;
use tokio::io::DuplexStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

/// How long after the end of its input a caller is seen to have left.
const LEAVES: Duration = Duration::from_millis(100);

/// A connection to an endpoint, and what serves it.
pub fn open(mux: &Handle, endpoint: &Endpoint, peer: Peer, size: usize) -> (DuplexStream, JoinHandle<bool>) {
    let (near, far) = tokio::io::duplex(size);
    let (mux, endpoint) = (mux.clone(), mux.with(|mux| mux.endpoint(endpoint)));
    let session = spawn_local(async move {
        let (reader, writer) = tokio::io::split(near);
        let since = OnceCell::new();
        let left = |_: &_| since.get_or_init(Instant::now).elapsed() >= LEAVES;
        connection::serve(mux, endpoint, peer, reader, writer, left).await
    });
    (far, session)
}
