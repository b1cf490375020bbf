//! Called by `cli`: everything put together and run until it is told to end.

use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::caller::listener::{Listener, Taken};
use crate::caller::{session, sockets, stdio};
use crate::config::Config;
use crate::mux::callers::Peer;
use crate::mux::{Handle, Parts};
use crate::pool::process::Processes;
use crate::{admin, tasks};

/// How long the last calls of a caller on stdio may take after the end of its input.
const LINGER: Duration = Duration::from_secs(2);

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Socket(#[from] Taken),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("the system gives no random key: {0}")]
    Key(getrandom::Error),
    #[error("no endpoint is called {0:?}; there are: {1}")]
    NoEndpoint(String, String),
}

/// Runs the daemon on the sockets of its endpoints until SIGTERM or SIGINT.
///
/// # Errors
/// A socket is held by another daemon, or cannot be made.
pub async fn serve(config: Config) -> Result<(), Failure> {
    raise_limit();
    let ends = Ends::new()?;
    serve_until(config, ready, async || ends.first().await).await
}

/// Runs the daemon; calls `ready` when callers can come. It ends when `ended` is over; if that is over once more
/// meanwhile, it does not wait for servers to end.
///
/// # Errors
/// A socket is held by another daemon, or cannot be made.
pub async fn serve_until(config: Config, ready: impl FnOnce(), ended: impl AsyncFn()) -> Result<(), Failure> {
    LocalSet::new()
        .run_until(async {
            let config = Rc::new(config);
            let mut listeners = Vec::new();
            for endpoint in &config.endpoints {
                listeners.push((endpoint, Listener::bind(&sockets::path(&config, &endpoint.name), &endpoint.users)?));
            }
            let admin = Listener::bind(&sockets::path(&config, sockets::ADMIN), &[])?;
            let mux = Handle::new(parts(&config)?);
            let mut accepting = vec![tasks::spawn("admin", admin::serve(admin, mux.clone()))];
            for (endpoint, listener) in listeners {
                let shown = mux.with(|mux| mux.endpoint(endpoint));
                accepting.push(tasks::spawn("listener", accept(listener, mux.clone(), shown)));
            }
            mux.with(|mux| mux.prestart());
            tracing::info!(pid = std::process::id(), servers = config.servers.len(), directory = %sockets::directory(&config).display(), "listening");
            ready();
            ended().await;
            accepting.into_iter().for_each(|task| task.abort());
            end(&mux, ended).await;
            Ok(())
        })
        .await
}

/// Serves one caller on stdio with one endpoint, without any socket.
///
/// # Errors
/// There is no such endpoint.
pub async fn serve_stdio(config: Config, endpoint: &str) -> Result<(), Failure> {
    LocalSet::new()
        .run_until(async {
            let config = Rc::new(config);
            let ends = Ends::new()?;
            let mux = Handle::new(parts(&config)?);
            let Some(endpoint) = config.endpoint(endpoint) else {
                let names =
                    config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Failure::NoEndpoint(endpoint.to_owned(), names));
            };
            let shown = mux.with(|mux| mux.endpoint(endpoint));
            let peer = Peer { uid: rustix::process::getuid().as_raw(), pid: None };
            let session = session::serve(mux.clone(), shown, peer, stdio::input(), stdio::output(), LINGER);
            tokio::select! {
                () = session => {}
                () = ends.first() => {}
            }
            end(&mux, async || ends.first().await).await;
            Ok(())
        })
        .await
}

async fn accept(listener: Listener, mux: Handle, endpoint: Rc<crate::mux::callers::Endpoint>) {
    loop {
        let (stream, peer) = listener.accept().await;
        let (reader, writer) = stream.into_split();
        tasks::spawn("caller", session::serve(mux.clone(), endpoint.clone(), peer, reader, writer, Duration::ZERO));
    }
}

/// Ends every instance; `hurry` ends the wait for them.
async fn end(mux: &Handle, hurry: impl AsyncFn()) {
    let (quiet, patience) = mux.with(|mux| {
        let stop = mux.config.servers.iter().map(|server| server.timeout.stop).max().unwrap_or_default();
        mux.shut_down();
        (mux.quiet.clone(), stop * 3 + Duration::from_secs(1))
    });
    tokio::select! {
        _ = timeout(patience, quiet.notified()) => {}
        () = hurry() => {}
    }
    // Tasks that say goodbye to callers get their turn.
    tokio::task::yield_now().await;
}

fn parts(config: &Rc<Config>) -> Result<Parts, Failure> {
    let cache = || Some(std::env::home_dir()?.join(".cache").join("mcpool"));
    let catalogue: Option<PathBuf> = config.catalogue.dir.clone().or_else(cache);
    let cwd = config.file.as_ref().and_then(|file| file.parent()).map(PathBuf::from);
    let launcher = Rc::new(Processes::new(cwd));
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(Failure::Key)?;
    Ok(Parts { config: config.clone(), launcher, catalogue, seed: fastrand::u64(..), key })
}

/// Tells whoever started the daemon that callers can come.
fn ready() {
    let mut out = std::io::stdout();
    // Nobody needs to be listening.
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}

/// A caller costs a descriptor, an instance three.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        tracing::debug!("the limit on open files stays as it is");
    }
}

/// The signals that end the daemon.
struct Ends {
    terminate: std::cell::RefCell<Signal>,
    interrupt: std::cell::RefCell<Signal>,
}

impl Ends {
    fn new() -> Result<Ends, Failure> {
        let listen = |kind| signal(kind).map(std::cell::RefCell::new).map_err(Failure::Signals);
        Ok(Ends { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    async fn first(&self) {
        std::future::poll_fn(|context| {
            let terminated = self.terminate.borrow_mut().poll_recv(context).is_ready();
            let interrupted = self.interrupt.borrow_mut().poll_recv(context).is_ready();
            if terminated || interrupted { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}
