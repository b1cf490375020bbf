//! The second kind of run: modest callers beside hostile ones and a hostile server. What must hold is that the modest never
//! suffer from that: none is refused, none waits longer than the config says (`hostile/bound`), none hears a word of
//! another's (`hostile/field`). Callers of a hostile server see its own words and errors that name it.

mod bound;
mod door;
mod field;
mod instance;
mod malign;
mod modest;
mod offer;
mod plan;
mod raider;
mod sound;
mod watch;
mod yard;

use std::rc::Rc;
use std::time::Duration;

use mcpool::mux::{Handle, Parts};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::run::{Outcome, left, panics, prepare};
use field::Field;
use modest::Modest;
use raider::Raider;
use yard::Yard;

/// In virtual time: longer than a run can take unless something waits for ever.
const FOR_EVER: Duration = Duration::from_secs(1800);
/// After this long without callers nothing may be left of them.
const CALM: Duration = Duration::from_secs(40);
/// How often, and after how long, it is looked again whether something is left.
const AGAIN: usize = 4;
const GLANCE: Duration = Duration::from_millis(3700);
/// What the pipe of a modest caller holds.
const PIPE: usize = 1 << 20;

/// Runs one seed; `aloud` prints every message.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    prepare();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let field = runtime.block_on(async {
        let field = Rc::new(Field::new(seed, aloud));
        let tasks = LocalSet::new();
        if tasks.run_until(timeout(FOR_EVER, story(field.clone(), seed))).await.is_err() {
            field.fault("something waits for ever");
        }
        field
    });
    let mut faults = field.take_faults();
    faults.extend(panics());
    Outcome { seed, digest: field.digest(), faults, tally: field.take_tally() }
}

async fn story(field: Rc<Field>, seed: u64) {
    let config = Rc::new(field.plan.config.clone());
    let plan = &field.plan;
    for part in [format!("{:?}", plan.servers), format!("{:?}", plan.guests), format!("{:?}", plan.raids)] {
        field.note("plan", &part);
    }
    let launcher = Rc::new(Yard(field.clone()));
    let mux = Handle::new(Parts { config: config.clone(), launcher, catalogue: None, seed, key: [seed as u8; 32] });
    let watching = spawn_local(watch::watch(field.clone(), mux.clone()));
    let raids: Vec<_> =
        field.plan.raids.iter().map(|raid| Raider::new(field.clone(), mux.clone(), raid.clone())).collect();
    let raids: Vec<_> = raids.into_iter().map(|raider| spawn_local(raider.rage())).collect();
    let lives: Vec<_> = field
        .plan
        .guests
        .iter()
        .enumerate()
        .map(|(no, guest)| {
            let endpoint = match guest.server {
                Some(server) => &config.endpoints[server],
                None => &config.endpoints[config.servers.len()],
            };
            let (far, _) = door::open(&mux, endpoint, guest.peer, PIPE);
            spawn_local(Modest::new(field.clone(), no, far).live())
        })
        .collect();
    for life in lives {
        // One that panicked is told by the hook.
        let _ = life.await;
    }
    field.ends();
    for raid in raids {
        let _ = raid.await;
    }
    watching.abort();
    sleep(CALM).await;
    for _ in 0..AGAIN {
        if left(&mux.with(|mux| mux.status())).is_none() {
            break;
        }
        // A probe may be on its way.
        sleep(GLANCE).await;
    }
    let status = mux.with(|mux| mux.status());
    if let Some(what) = left(&status) {
        field.fault(format!("{what} left of callers that are gone: {status}"));
    }
    mux.with(mcpool::mux::Mux::shut_down);
    sleep(CALM).await;
    if field.running() > 0 {
        field.fault(format!("{} servers run after the end", field.running()));
    }
}
