//! What an operator does in the middle of a run: servers are restarted, another config is put in force, the daemon is
//! drained. Whoever is connected must not feel more of it than what is said of that.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::config::Config;
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
    if !world.is_configured(which) {
        return;
    }
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
    if rng.u32(..3) == 0 {
        add_or_remove(world, &mut config, rng);
    }
    for server in &mut config.servers {
        let Ok(which) = server.name[1..].parse() else { continue };
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

/// Takes a server out of the config, or puts one back that is not in it.
fn add_or_remove(world: &World, config: &mut Config, rng: &mut Rng) {
    let which = rng.usize(..world.servers.len());
    match config.servers.iter().position(|server| server.name == format!("s{which}")) {
        Some(_) if config.servers.len() == 1 => return,
        Some(place) => {
            world.count("servers that were taken out");
            world.removed.borrow_mut().insert(which, world.now());
            drop(config.servers.remove(place));
        }
        None => {
            world.count("servers that were put back");
            world.generations.borrow_mut()[which] += 1;
            config.servers.push(world.server(which));
            config.servers.sort_by(|one, other| one.name.cmp(&other.name));
        }
    }
    config.endpoints = Config::of(config.servers.clone()).endpoints;
    world.forget_limits(which);
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
