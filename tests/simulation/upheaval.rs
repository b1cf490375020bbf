//! What an operator does in the middle of a run: servers are restarted, another config is put in force, the daemon is
//! drained. Whoever is connected must not feel more of it than what is said of that.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::mux::Handle;
use tokio::time::{sleep, timeout};

use super::settings;
use super::world::World;

/// Does a few things at random times, from the beginning of a run on.
pub async fn rage(world: Rc<World>, mux: Handle, mut rng: Rng) {
    let often = [0, 0, 1, 3][rng.usize(..4)];
    for _ in 0..rng.usize(..=often) {
        sleep(Duration::from_millis(rng.u64(..6000))).await;
        match rng.u32(..12) {
            0 => return drain(&world, &mux, &mut rng).await,
            1..=5 => restart(&world, &mux, &mut rng),
            _ => reload(&world, &mux, &mut rng),
        }
    }
}

fn restart(world: &World, mux: &Handle, rng: &mut Rng) {
    let which = rng.usize(..world.servers.len());
    world.note("operator", &format!("restarts s{which}"));
    world.count("restarts");
    world.forget_limits(which);
    if let Err(why) = mux.with(|mux| mux.restart_server(&format!("s{which}"))) {
        world.fault(format!("s{which} cannot be restarted: {why}"));
    }
}

/// Another config comes in force, in which some servers are started or treated in another way.
fn reload(world: &World, mux: &Handle, rng: &mut Rng) {
    let mut config = (*world.config()).clone();
    for (which, server) in config.servers.iter_mut().enumerate() {
        match rng.u32(..4) {
            0 => {
                server.args.push("--other".to_owned());
                world.generations.borrow_mut()[which] += 1;
            }
            1 => settings::treat_otherwise(server, rng),
            _ => continue,
        }
        world.forget_limits(which);
    }
    world.count("reloads");
    world.note("operator", "reloads");
    world.configure(config.clone());
    let changes = mux.with(|mux| mux.reload(config));
    world.note("operator", &changes.to_string());
}

/// The daemon is told to end, and does so as `daemon` does.
async fn drain(world: &World, mux: &Handle, rng: &mut Rng) {
    world.note("operator", "drains");
    world.count("drains");
    world.drains();
    let drained = mux.with(|mux| {
        mux.begin_drain();
        mux.drained.clone()
    });
    let patience = Duration::from_millis(rng.u64(..20_000));
    let hurried = timeout(patience, drained.notified()).await.is_err();
    if hurried && mux.with(|mux| mux.running()) == 0 {
        world.fault("nothing runs any more, and nobody was told");
    }
    world.note("operator", "ends");
    world.ends();
    mux.with(mcpool::mux::Mux::shut_down);
}
