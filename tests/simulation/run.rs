//! One seed from beginning to end: a multiplexer of random configuration, callers that come and go, and then
//! the questions that can be asked only when all of them are gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use fastrand::Rng;
use mcpool::caller::session;
use mcpool::config::{Config, EraChoice, LeaseChoice, Limits, Server};
use mcpool::mux::callers::{Endpoint, Peer};
use mcpool::mux::{Handle, Parts};
use serde_json::Value;
use tokio::io::{DuplexStream, ReadHalf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::simulation::caller::Caller;
use crate::simulation::server::Yard;
use crate::simulation::world::World;

/// In virtual time: longer than a run can take unless something waits for ever.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// After this long without callers nothing may be left of them.
const CALM: Duration = Duration::from_secs(60);

/// The numbers of callers that come when nothing goes wrong any more begin here.
const LATE: usize = 100;

/// What became of a seed.
pub struct Outcome {
    pub seed: u64,
    pub digest: u64,
    pub faults: Vec<String>,
    /// How often what is rare came about.
    pub tally: BTreeMap<&'static str, usize>,
}

thread_local! {
    /// Panics on this thread, also of tasks whose end nobody awaits.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs one seed; `aloud` prints every message.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = runtime.block_on(async {
        let world = Rc::new(World::new(seed, aloud));
        let tasks = LocalSet::new();
        if tasks.run_until(timeout(FOR_EVER, story(world.clone(), seed))).await.is_err() {
            world.fault("something waits for ever");
        }
        world
    });
    let mut faults = world.faults();
    faults.extend(PANICS.take());
    let mut tally = world.tally.take();
    tally.extend(world.known.take());
    Outcome { seed, digest: world.digest(), faults, tally }
}

async fn story(world: Rc<World>, seed: u64) {
    let mut rng = world.fork();
    let config = Rc::new(config(&world, &mut rng));
    world.configure(config.clone());
    world.note("config", &format!("{:?} {:?}", config.servers, world.servers));
    let launcher = Rc::new(Yard(world.clone()));
    let mux = Handle::new(Parts { config: config.clone(), launcher, catalogue: None, seed, key: [seed as u8; 32] });
    let endpoints: Vec<_> = config.endpoints.iter().map(|endpoint| mux.with(|mux| mux.endpoint(endpoint))).collect();
    let rush = [1, 100, 5000][rng.usize(..3)];
    let lives: Vec<_> = (0..rng.usize(1..8))
        .map(|no| {
            let endpoint = endpoints[rng.usize(..endpoints.len())].clone();
            let (start, linger) = (Duration::from_millis(rng.u64(..rush)), Duration::from_secs(rng.u64(..2)));
            let (mux, world) = (mux.clone(), world.clone());
            let size = [50, 2000, 100_000][rng.usize(..3)];
            spawn_local(async move {
                sleep(start).await;
                let (caller, reader, session) = connect(world, mux, endpoint, no, size, linger);
                caller.live(reader).await;
                // The connection closes with its last half.
                let _ = timeout(CALM, session).await;
            })
        })
        .collect();
    for life in lives {
        // A caller that panicked is told by the hook.
        let _ = life.await;
    }
    let rest = [Duration::ZERO, CALM][rng.usize(..2)];
    sleep(rest).await;
    if !rest.is_zero() {
        check_calm(&world, &mux);
    }
    world.calm_down();
    let late: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| !endpoint.prefix)
        .enumerate()
        .map(|(no, endpoint)| {
            let (world, mux, endpoint) = (world.clone(), mux.clone(), endpoint.clone());
            spawn_local(async move {
                let mut until = None;
                for turn in 1.. {
                    let no = LATE * turn + no;
                    let (caller, reader, _) =
                        connect(world.clone(), mux.clone(), endpoint.clone(), no, 2000, Duration::ZERO);
                    let until = *until.get_or_insert_with(|| caller.recovery());
                    if caller.live_late(reader, until).await {
                        return;
                    }
                }
            })
        })
        .collect();
    for life in late {
        let _ = life.await;
    }
    sleep(CALM).await;
    check_calm(&world, &mux);
    for (which, running) in world.running.borrow().iter().enumerate() {
        if *running > world.server(which).instances.min {
            world.fault(format!("{running} copies of s{which} run with nothing to do"));
        }
    }
    mux.with(mcpool::mux::Mux::shut_down);
    sleep(CALM).await;
    if world.running.borrow().iter().any(|running| *running > 0) {
        world.fault(format!("servers run after the end: {:?}", world.running.borrow()));
    }
}

/// A client of an endpoint, its end of the connection, and what serves it.
fn connect(
    world: Rc<World>,
    mux: Handle,
    endpoint: Rc<Endpoint>,
    no: usize,
    size: usize,
    linger: Duration,
) -> (Rc<Caller>, ReadHalf<DuplexStream>, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(size);
    let (reader, writer) = tokio::io::split(far);
    let (servers, prefix) = (endpoint.servers.iter().map(|id| id.0).collect(), endpoint.prefix);
    let session = spawn_local(async move {
        let (reader, writer) = tokio::io::split(near);
        session::serve(mux, endpoint, Peer::default(), reader, writer, linger).await;
    });
    (Caller::new(world, no, servers, prefix, writer), reader, session)
}

/// Nothing may be left of callers that are gone.
fn check_calm(world: &World, mux: &Handle) {
    let status = mux.with(|mux| mux.status());
    let instances: Vec<&Value> =
        list(&status["servers"]).iter().flat_map(|server| list(&server["instances"])).collect();
    let busy = instances
        .iter()
        .any(|instance| instance["in_flight"] != 0 || instance["asks"] != 0 || instance["subscriptions"] != 0);
    let waiting = list(&status["servers"]).iter().any(|server| server["queue"] != 0);
    let held = |value: &Value| value["held"].as_u64().unwrap_or_default() > 0;
    let holds = held(&status) || list(&status["servers"]).iter().any(held) || status["calls"] != 0;
    if busy || waiting || holds || !list(&status["callers"]).is_empty() {
        world.fault(format!("something is left of callers that are gone: {status}"));
    }
    let left: Vec<String> =
        world.calls.borrow().iter().filter(|(_, truth)| truth.held.is_some()).map(|(cause, _)| cause.clone()).collect();
    for cause in left.into_iter().filter(|cause| world.runs(cause)) {
        world.fault(format!("{cause} is held, and its caller is gone"));
    }
    let counted: Vec<u64> = list(&status["servers"]).iter().filter_map(|server| server["processes"].as_u64()).collect();
    let running: Vec<u64> = world.running.borrow().iter().map(|running| *running as u64).collect();
    if counted != running {
        world.fault(format!("{running:?} copies run, and the status says {counted:?}"));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A configuration by chance: small limits, so that they are reached.
fn config(world: &World, rng: &mut Rng) -> Config {
    let limits = Limits {
        held: [1, 2, 16][rng.usize(..3)],
        held_total: [2, 256][rng.usize(..2)],
        rounds: [1, 3, 32][rng.usize(..3)],
        message: [64 << 10, 10 << 20][rng.usize(..2)],
        ..Limits::default()
    };
    let server = |(which, habits): (usize, &crate::simulation::server::Habits)| {
        let mut server = Server::new(format!("s{which}"), "model");
        server.era = match (habits.legacy, habits.modern, rng.bool()) {
            (true, false, true) => EraChoice::Legacy,
            (false, true, true) => EraChoice::Modern,
            // What speaks both may be used in one for all.
            (true, true, true) => [EraChoice::Auto, EraChoice::Legacy, EraChoice::Modern][rng.usize(..3)],
            _ => EraChoice::Auto,
        };
        server.lease =
            [LeaseChoice::Auto, LeaseChoice::Auto, LeaseChoice::Shared, LeaseChoice::Call, LeaseChoice::Session]
                [rng.usize(..5)];
        server.instances.max = rng.usize(1..4);
        server.concurrency = rng.usize(1..6);
        server.queue.size = [2, 64][rng.usize(..2)];
        let seconds = |most: u64, rng: &mut Rng| Duration::from_secs(rng.u64(1..=most));
        let timeouts = &mut server.timeout;
        timeouts.start = seconds(6, rng);
        timeouts.discover = seconds(3, rng);
        timeouts.call = seconds(10, rng);
        timeouts.max = timeouts.call * 3;
        timeouts.ask = seconds(20, rng);
        timeouts.hold = seconds(4, rng);
        timeouts.stop = seconds(3, rng);
        server.queue.timeout = seconds(10, rng);
        server.recycle.idle = seconds(30, rng);
        server.stdout_errors = 5;
        if habits.is_sound() {
            make_roomy(&mut server);
        }
        server
    };
    Config { limits, ..Config::of(world.servers.iter().enumerate().map(server).collect()) }
}

/// As much of everything as all callers together can want, so that nothing keeps a call from being answered.
fn make_roomy(server: &mut Server) {
    server.instances.max = 32;
    server.queue.size = 1000;
    server.queue.timeout = Duration::from_secs(60);
    server.timeout.call = Duration::from_secs(30);
    server.timeout.max = Duration::from_secs(90);
}
