//! Called by `cli`: everything put together and run until it is told to end.

mod budget;
mod desk;
mod doors;
mod memory;
mod reload;
mod vigil;
mod watch;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::admin::Order;
use crate::admin::http::Readers;
use crate::audit::Trail;
use crate::caller::Peer;
use crate::config::strict::Distrust;
use crate::config::{Config, place};
use crate::endpoint::entrance::Entrance;
use crate::endpoint::listener::{Listener, Taken};
use crate::endpoint::signpost::Signpost;
use crate::endpoint::{connection, sockets, stdio};
use crate::mux::{Handle, Parts};
use crate::pool::process::inherit::Inherited;
use crate::pool::process::{self, Processes};
use crate::{clock, tasks};
use budget::Budget;
use desk::{Desk, Visitors};
use doors::Doors;
use vigil::Vigil;
use watch::Watch;

/// How often the memory of servers is looked at.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// How long callers may take to read what they are told at the very end.
const GOODBYE: Duration = Duration::from_millis(200);

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Socket(#[from] Taken),
    #[error("cannot use {0} for sockets: {1}; {help}", help = .1.help())]
    Directory(PathBuf, Distrust),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot use stdin and stdout: {0}")]
    Stdio(std::io::Error),
    #[error("nobody reads stdout any more, and calls were not answered")]
    Unheard,
    #[error("the system gives no random key: {0}")]
    Key(getrandom::Error),
    #[error("cannot serve metrics on {0}: {1}; give `admin.metrics` another place; a port 0 is any that is free")]
    Metrics(String, std::io::Error),
    #[error("{0}")]
    Audit(String),
    #[error("no endpoint is called {0:?}; there are: {1}")]
    NoEndpoint(String, String),
}

/// Runs the daemon on the sockets of its endpoints until SIGTERM or SIGINT. `relevel` sets what is logged.
///
/// # Errors
/// A socket is held by another daemon, or cannot be made.
pub async fn serve(config: Config, inherited: Inherited, relevel: impl Fn(&str) + 'static) -> Result<(), Failure> {
    raise_limit();
    let (ends, hangups) = (Signals::ends()?, Signals::hangups()?);
    let (ended, reload) = (async move || ends.next().await, async move || hangups.next().await);
    tasks::run(run(config, inherited, ready, Told { ended, reload, relevel: Box::new(relevel) })).await
}

/// Runs the daemon; calls `ready` when callers can come. It ends when `ended` is over; if that is over once more
/// meanwhile, it does not wait for calls and servers to end.
///
/// # Errors
/// A socket is held by another daemon, or cannot be made.
pub async fn serve_until(
    config: Config,
    ready: impl FnOnce() + 'static,
    ended: impl AsyncFn() + 'static,
) -> Result<(), Failure> {
    let told = Told { ended, reload: async || std::future::pending().await, relevel: Box::new(|_| {}) };
    tasks::run(run(config, Inherited::kept(), ready, told)).await
}

/// How the daemon is told what to do, besides the admin socket.
struct Told<E, R> {
    ended: E,
    reload: R,
    relevel: Box<dyn Fn(&str)>,
}

async fn run<E: AsyncFn(), R: AsyncFn()>(
    config: Config,
    inherited: Inherited,
    ready: impl FnOnce(),
    told: Told<E, R>,
) -> Result<(), Failure> {
    let config = Rc::new(config);
    let processes = processes(&config, inherited);
    let mux = Handle::new(parts(&config, &processes)?);
    audit(&config, &mux)?;
    let budget = Budget::now(&config);
    let entrance = Rc::new(Entrance::new(mux.clone(), processes, budget.visitors));
    let directory = sockets::directory(&config);
    sockets::prepare(&directory, sockets::mode(&config)).map_err(|why| Failure::Directory(directory.clone(), why))?;
    let mut doors = Doors::new(mux.clone(), entrance.clone());
    let ajar = doors.unlock(&config)?;
    let admin = Listener::bind(&sockets::path(&config, sockets::ADMIN), &[])?;
    let mut signpost = Signpost::put(&config).unwrap_or_else(|error| {
        tracing::warn!(%error, "if the config cannot be read one day, this daemon will not be found");
        None
    });
    let (orders, mut ordered) = mpsc::channel(1);
    let mut desk = Desk::open(admin, Visitors { entrance, most: budget.visitors }, mux.clone(), orders);
    let mut readers = match &config.admin.metrics {
        Some(at) => Some(Readers::invite(at, &mux).await.map_err(|error| Failure::Metrics(at.to_string(), error))?),
        None => None,
    };
    doors.open(&config, ajar).await;
    let mut watch = config.file.clone().map(|file| Watch::new(file, config.digest.clone()));
    mux.with(|mux| mux.prestart());
    tasks::spawn("memory", watch_memory(mux.clone()));
    tracing::info!(pid = std::process::id(), servers = config.servers.len(), directory = %directory.display(), "listening");
    ready();
    let mut vigil = Vigil::begin();
    loop {
        let order = tokio::select! {
            biased;
            () = (told.ended)() => Order::Drain,
            Some(order) = ordered.recv() => order,
            () = (told.reload)() => Order::Reload(oneshot::channel().0),
            () = changed(&mut watch) => {
                if !mux.with(|mux| mux.config.life.reload) {
                    continue;
                }
                Order::Reload(oneshot::channel().0)
            }
            () = vigil.time() => {
                let config = mux.with(|mux| mux.config.clone());
                let mut renewed = renew(&config, &mut doors, &mut desk, &mut signpost);
                if let Some(readers) = &mut readers {
                    let count = usize::from(readers.renew().await);
                    renewed = renewed.map(|others| others + count);
                }
                if vigil.goes_on(renewed) {
                    continue;
                }
                Order::Drain
            }
        };
        let Order::Reload(tell) = order else { break };
        let trusted = watch.as_ref().is_none_or(Watch::is_trusted);
        let done = reload::reload(&mux, &mut doors, &told.relevel).await;
        if let Some(watch) = &mut watch {
            watch.was_read(trusted);
        }
        // Nobody may want to know.
        let _ = tell.send(done.map(|changes| changes.to_string()));
    }
    drop((ordered, signpost));
    // A new daemon may come once both are closed. Who looks for one asks on the admin socket first.
    doors.close().await;
    desk.close().await;
    end(&mux, told.ended).await;
    Ok(())
}

/// Opens anew what is gone of the sockets; how many those are.
fn renew(config: &Config, doors: &mut Doors, desk: &mut Desk, signpost: &mut Option<Signpost>) -> Result<usize, Taken> {
    let directory = sockets::directory(config);
    if !directory.exists() {
        sockets::prepare(&directory, sockets::mode(config)).map_err(|why| Taken::Distrusted(directory, why))?;
    }
    // Who comes asks on the admin socket first, so that is there first.
    let renewed = usize::from(desk.renew()?) + doors.renew()?;
    if signpost.as_ref().is_some_and(Signpost::is_gone) {
        drop(signpost.take());
        *signpost = Signpost::put(config).unwrap_or_default();
    }
    Ok(renewed)
}

/// Tells the multiplexer how much memory the processes of its servers take up, for as long as the daemon runs.
async fn watch_memory(mux: Handle) {
    loop {
        sleep(MEASURED_EVERY).await;
        let pids = mux.with(|mux| mux.to_be_measured());
        if pids.is_empty() {
            continue;
        }
        // It reads much of /proc, which may take long on a busy machine.
        if let Ok((trees, left)) = spawn_blocking(move || (process::trees(&pids), memory::left())).await {
            mux.with(|mux| {
                mux.measured(&trees);
                mux.memory_left(left);
            });
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Serves one caller on stdio with one endpoint, without any socket. `fresh` takes nothing from the catalogue on disk and
/// leaves nothing in it.
///
/// # Errors
/// There is no such endpoint.
pub async fn serve_stdio(config: Config, inherited: Inherited, endpoint: &str, fresh: bool) -> Result<(), Failure> {
    let endpoint = endpoint.to_owned();
    tasks::run(async move {
        let config = Rc::new(config);
        let ends = Signals::ends()?;
        let parts = parts(&config, &processes(&config, inherited))?;
        let catalogue = parts.catalogue.clone().filter(|_| !fresh);
        let mux = Handle::new(Parts { catalogue, ..parts });
        audit(&config, &mux)?;
        let Some(endpoint) = config.endpoint(&endpoint) else {
            let names = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::NoEndpoint(endpoint, names));
        };
        let shown = mux.with(|mux| mux.endpoint(endpoint));
        let peer = Peer { uid: rustix::process::getuid().as_raw(), pid: None };
        // A task of its own, so that it goes on while everything is ended: running calls are answered still.
        let (input, output) = stdio::input().and_then(|input| Ok((input, stdio::output()?))).map_err(Failure::Stdio)?;
        let session = connection::serve(mux.clone(), shown, peer, input, output, |_| false);
        let heard = Rc::new(Cell::new(true));
        let told = heard.clone();
        let mut session = tasks::spawn("caller", async move { told.set(session.await) });
        tokio::select! {
            _ = &mut session => {}
            () = ends.next() => {}
            // Whatever it says from here on, it would hear no answer: what it waits for is cancelled.
            () = stdio::closed() => {
                if mux.with(|mux| mux.running() > 0) {
                    heard.set(false);
                }
                session.abort();
            }
        }
        end(&mux, async || ends.next().await).await;
        if heard.get() { Ok(()) } else { Err(Failure::Unheard) }
    })
    .await
}

/// Ends everything: what runs may end by itself for a while, then instances are stopped. `hurry` ends the wait.
async fn end(mux: &Handle, hurry: impl AsyncFn()) {
    let (drained, patience) = mux.with(|mux| {
        mux.begin_drain();
        tracing::info!(calls = mux.running(), patience = %clock::rounded(mux.config.life.drain), "draining");
        (mux.drained.clone(), mux.config.life.drain)
    });
    let hurried = tokio::select! {
        _ = timeout(patience, drained.notified()) => false,
        () = hurry() => true,
    };
    let (quiet, patience) = mux.with(|mux| {
        let stop = mux.config.servers.iter().map(|server| server.timeout.stop).max().unwrap_or_default();
        mux.shut_down();
        (mux.quiet.clone(), stop * 4 + Duration::from_secs(1))
    });
    if !hurried {
        tokio::select! {
            _ = timeout(patience, quiet.notified()) => {}
            () = hurry() => {}
        }
    }
    // Tasks that say goodbye to callers get their turn.
    let left = async {
        while mux.with(|mux| mux.has_callers()) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = timeout(GOODBYE, left).await;
}

/// Where what is remembered of servers lies, and what confined servers may write to.
pub fn cache(config: &Config) -> Option<PathBuf> {
    config.catalogue.dir.clone().or_else(|| place::cache(&|name| std::env::var_os(name)).ok())
}

/// Has requests told of where the config says.
fn audit(config: &Config, mux: &Handle) -> Result<(), Failure> {
    if let Some(trail) = Trail::start(&config.audit).map_err(Failure::Audit)? {
        // It is the first one.
        let _ = mux.with(|mux| mux.metrics.audit.set(trail));
    }
    Ok(())
}

fn processes(config: &Config, inherited: Inherited) -> Rc<Processes> {
    let cwd = config.file.as_ref().and_then(|file| file.parent()).map(PathBuf::from);
    Rc::new(Processes::new(cwd, cache(config).as_deref(), inherited))
}

fn parts(config: &Rc<Config>, processes: &Rc<Processes>) -> Result<Parts, Failure> {
    let (catalogue, launcher) = (cache(config), processes.clone());
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

/// Signals that mean one thing.
struct Signals(RefCell<Vec<Signal>>);

impl Signals {
    /// Those that end the daemon.
    fn ends() -> Result<Signals, Failure> {
        Signals::of(&[SignalKind::terminate(), SignalKind::interrupt()])
    }

    /// The one that has the config read anew.
    fn hangups() -> Result<Signals, Failure> {
        Signals::of(&[SignalKind::hangup()])
    }

    fn of(kinds: &[SignalKind]) -> Result<Signals, Failure> {
        let signals: Result<Vec<Signal>, std::io::Error> = kinds.iter().map(|kind| signal(*kind)).collect();
        signals.map(|signals| Signals(RefCell::new(signals))).map_err(Failure::Signals)
    }

    /// Waits for the next of them.
    async fn next(&self) {
        poll_fn(|context| {
            let mut signals = self.0.borrow_mut();
            // Each is asked, so that each wakes.
            let came = signals.iter_mut().filter_map(|signal| signal.poll_recv(context).is_ready().then_some(()));
            if came.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
