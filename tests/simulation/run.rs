//! One seed from beginning to end: a multiplexer of random configuration, callers that come and go, and then
//! the questions that can be asked only when all of them are gone.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use mcpool::caller::Peer;
use mcpool::config::Endpoint;
use mcpool::endpoint::connection;
use mcpool::mux::{Handle, Parts};
use serde_json::Value;
use tokio::io::{DuplexStream, ReadHalf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::simulation::caller::Caller;
use crate::simulation::server::Yard;
use crate::simulation::world::World;
use crate::simulation::{scale, settings, upheaval};

/// In virtual time: longer than a run can take unless something waits for ever.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// After this long without callers nothing may be left of them.
const CALM: Duration = Duration::from_secs(40);

/// How often, and after how long, it is looked again whether something is left.
const AGAIN: u32 = 4;
const GLANCE: Duration = Duration::from_millis(3700);
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
    /// Panics on this thread, also of tasks whose end nobody awaits, and parts that do not agree.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes that parts of the multiplexer do not agree after a turn. What is wrong once is wrong in many turns.
#[cfg(debug_assertions)]
fn note_discord(fault: String) {
    PANICS.with_borrow_mut(|panics| {
        if panics.len() < 10 && !panics.contains(&fault) {
            panics.push(fault);
        }
    });
}

/// From now on panics on this thread are noted, and parts of the multiplexer that do not agree.
pub fn prepare() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
    #[cfg(debug_assertions)]
    mcpool::mux::check::report_to(note_discord);
}

/// What was noted since.
pub fn panics() -> Vec<String> {
    PANICS.take()
}

/// Runs one seed; `aloud` prints every message.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    prepare();
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
    faults.extend(panics());
    let mut tally = world.tally.take();
    tally.extend(world.known.take());
    Outcome { seed, digest: world.digest(), faults, tally }
}

async fn story(world: Rc<World>, seed: u64) {
    let mut rng = world.fork();
    let config = Rc::new(settings::config(&world, &mut rng));
    world.configure((*config).clone());
    world.tell("config", &format!("{:?} {:?}", config.servers, world.servers));
    let launcher = Rc::new(Yard(world.clone()));
    let mux = Handle::new(Parts { config: config.clone(), launcher, catalogue: None, seed, key: [seed as u8; 32] });
    let endpoints = &config.endpoints;
    let raging = spawn_local(upheaval::rage(world.clone(), mux.clone(), rng.fork()));
    let weighing = spawn_local(scale::watch(world.clone(), mux.clone()));
    let rush = [1, 100, 5000][rng.usize(..3)];
    let lives: Vec<_> = (0..rng.usize(1..8))
        .map(|no| {
            let endpoint = endpoints[rng.usize(..endpoints.len())].clone();
            let (start, linger) = (Duration::from_millis(rng.u64(..rush)), Duration::from_secs(rng.u64(..2)));
            let (mux, world) = (mux.clone(), world.clone());
            let size = [50, 2000, 100_000][rng.usize(..3)];
            spawn_local(async move {
                sleep(start).await;
                if world.config().endpoint(&endpoint.name).is_none() {
                    // Nobody listens there any more.
                    return;
                }
                let (caller, reader, session) = connect(world, mux, &endpoint, no, size, linger);
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
    let _ = raging.await;
    if world.draining().is_some() {
        return check_end(&world, &mux).await;
    }
    let rest = [Duration::ZERO, CALM][rng.usize(..2)];
    sleep(rest).await;
    if !rest.is_zero() {
        check_calm(&world, &mux).await;
    }
    world.check_deaths(&mux.with(|mux| mux.status()));
    world.calm_down();
    let config = world.config();
    let late: Vec<_> = config
        .endpoints
        .iter()
        .filter(|endpoint| !endpoint.prefix)
        .enumerate()
        .map(|(no, endpoint)| {
            let (world, mux, endpoint) = (world.clone(), mux.clone(), endpoint.clone());
            spawn_local(async move {
                let mut until = None;
                for turn in 1.. {
                    let no = LATE * turn + no;
                    let (caller, reader, _) = connect(world.clone(), mux.clone(), &endpoint, no, 2000, Duration::ZERO);
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
    check_calm(&world, &mux).await;
    check_rest(&world, &mux).await;
    world.check_ledgers();
    mux.with(mcpool::mux::Mux::shut_down);
    check_end(&world, &mux).await;
    weighing.abort();
}

/// Nothing may be left when everything has ended.
async fn check_end(world: &World, mux: &Handle) {
    sleep(CALM).await;
    let status = mux.with(|mux| mux.status());
    if let Some(what) = left(&status) {
        world.fault(format!("{what} left after the end: {status}"));
    }
    if world.running.borrow().iter().any(|running| *running > 0) {
        world.fault(format!("servers run after the end: {:?}", world.running.borrow()));
    }
}

/// A client of an endpoint, its end of the connection, and what serves it.
fn connect(
    world: Rc<World>,
    mux: Handle,
    endpoint: &Endpoint,
    no: usize,
    size: usize,
    linger: Duration,
) -> (Rc<Caller>, ReadHalf<DuplexStream>, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(size);
    let (reader, writer) = tokio::io::split(far);
    let number = |name: &String| name[1..].parse().ok();
    let (servers, prefix) = (endpoint.servers.iter().filter_map(number).collect(), endpoint.prefix);
    let endpoint = mux.with(|mux| mux.endpoint(endpoint));
    let caller = Caller::new(world, no, servers, prefix, writer);
    let stays = caller.stays.clone();
    let session = spawn_local(async move {
        let (reader, writer) = tokio::io::split(near);
        let since = OnceCell::new();
        let left = |_: &_| !stays.get() && since.get_or_init(Instant::now).elapsed() >= linger;
        // Some are connections of one process.
        let peer = Peer { pid: Some(1 + no as i32 % 3), ..Peer::default() };
        connection::serve(mux, endpoint, peer, reader, writer, left).await;
    });
    (caller, reader, session)
}

/// No more copies may run than are to be there at all times. Where they are replaced for their age again and again, two
/// may be seen for a moment, but not each time.
async fn check_rest(world: &World, mux: &Handle) {
    let mut busy: Vec<usize> = (0..world.servers.len()).collect();
    for again in 0..=AGAIN {
        let running = world.running.borrow().clone();
        busy.retain(|which| {
            running[*which] > if world.is_configured(*which) { world.server(*which).instances.min } else { 0 }
        });
        if busy.is_empty() {
            return;
        }
        if again < AGAIN {
            sleep(GLANCE).await;
        }
    }
    for which in busy {
        let (running, status) = (world.running.borrow()[which], mux.with(|mux| mux.status()));
        world.fault(format!("{running} copies of s{which} run with nothing to do: {status}"));
    }
}

/// Nothing may be left of callers that are gone.
async fn check_calm(world: &World, mux: &Handle) {
    for _ in 0..AGAIN {
        if left(&mux.with(|mux| mux.status())).is_none() {
            break;
        }
        // A probe may be on its way.
        sleep(GLANCE).await;
    }
    let status = mux.with(|mux| mux.status());
    if let Some(what) = left(&status) {
        world.fault(format!("{what} left of callers that are gone: {status}"));
    }
    let counters = &status["counters"];
    let ended: u64 =
        counters["ended"].as_object().into_iter().flat_map(|ended| ended.values()).filter_map(Value::as_u64).sum();
    if counters["calls"] != ended {
        world.fault(format!("requests do not end in one count each: {counters}"));
    }
    let left: Vec<String> =
        world.calls.borrow().iter().filter(|(_, truth)| truth.held.is_some()).map(|(cause, _)| cause.clone()).collect();
    for cause in left.into_iter().filter(|cause| world.runs(cause)) {
        world.fault(format!("{cause} is held, and its caller is gone"));
    }
    let mut counted = vec![0; world.servers.len()];
    for server in list(&status["servers"]) {
        let which = server["name"].as_str().and_then(|name| name[1..].parse::<usize>().ok()).unwrap_or_default();
        counted[which] += server["processes"].as_u64().unwrap_or_default();
    }
    let running: Vec<u64> = world.running.borrow().iter().map(|running| *running as u64).collect();
    if counted != running {
        world.fault(format!("{running:?} copies run, and the status says {counted:?}"));
    }
}

/// What is left of callers.
pub fn left(status: &Value) -> Option<&'static str> {
    let servers = || list(&status["servers"]).iter();
    let instances = || servers().flat_map(|server| list(&server["instances"]));
    let some = |value: &Value| value.as_u64() != Some(0);
    let what = [
        ("callers", !list(&status["callers"]).is_empty()),
        ("calls", some(&status["calls"])),
        ("held calls", some(&status["held"]) || servers().any(|server| some(&server["held"]))),
        ("waiting calls", servers().any(|server| some(&server["queue"]))),
        ("calls of instances", instances().any(|instance| some(&instance["in_flight"]))),
        ("asks", instances().any(|instance| some(&instance["asks"]))),
        ("places of calls", some(&status["shares"]["in_flight"]["taken"])),
        ("places of held calls", some(&status["shares"]["held"]["taken"])),
        ("bytes", some(&status["shares"]["memory_bytes"]["taken"])),
        ("subscriptions", instances().any(|instance| some(&instance["subscriptions"]))),
    ];
    what.into_iter().find(|(_, there)| *there).map(|(what, _)| what)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
