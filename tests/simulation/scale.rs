//! The processes that model servers would be, as far as their memory goes: some grow, and the multiplexer is told of it
//! through the same door that the daemon uses.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use mcpool::mux::Handle;
use mcpool::pool::process::Tree;
use tokio::time::{Instant, sleep};

use super::server::Server;
use super::world::World;

/// How often the multiplexer is told.
const EVERY: Duration = Duration::from_secs(2);
/// Above what any system gives, so that nobody mistakes one for a process that runs.
const FIRST: u32 = 1 << 30;
/// How much a copy begins with, and the most that it may get to, in bytes.
pub const LEAST: usize = 1 << 20;

/// One copy on the scale.
pub struct Weight {
    server: Rc<Server>,
    born: Instant,
    /// Bytes in a second.
    growth: u64,
    /// It was told that it is too heavy.
    told: bool,
}

/// Puts a copy on the scale, if its memory is bounded; what it is known by.
pub fn weighed(world: &World, server: &Rc<Server>, limit: Option<usize>, growth: u64) -> Option<u32> {
    limit?;
    let pid = FIRST + u32::try_from(world.next()).ok()?;
    world
        .weights
        .borrow_mut()
        .insert(pid, Weight { server: server.clone(), born: Instant::now(), growth, told: false });
    Some(pid)
}

/// Tells the multiplexer what its processes weigh, for as long as anything runs.
pub async fn watch(world: Rc<World>, mux: Handle) {
    loop {
        sleep(EVERY).await;
        let pids = mux.with(|mux| mux.to_be_measured());
        let mut trees = HashMap::new();
        for pid in pids {
            match weigh(&world, pid) {
                Some(bytes) => drop(trees.insert(pid, Tree { bytes, processes: 2 })),
                None => world.fault(format!("{pid} is to be measured, and is no process")),
            }
        }
        if !trees.is_empty() {
            mux.with(|mux| mux.measured(&trees));
        }
    }
}

/// What a copy weighs. If that is too much, it must be replaced in time.
fn weigh(world: &Rc<World>, pid: u32) -> Option<u64> {
    let mut weights = world.weights.borrow_mut();
    let weight = weights.get_mut(&pid)?;
    let grown = if world.is_calm() && !weight.told { 0 } else { weight.born.elapsed().as_secs() * weight.growth };
    let bytes = LEAST as u64 + grown;
    let limit = world.server(weight.server.which()).recycle.memory;
    if limit.is_some_and(|limit| bytes >= limit as u64) && !std::mem::replace(&mut weight.told, true) {
        world.count("copies that grow too large");
        weight.server.must_be_replaced();
    }
    Some(bytes)
}
