//! The launcher of a simulation: model servers in memory instead of processes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use mcpool::config::{self, WhenFull};
use mcpool::pool::launch::{Connection, Launcher};
use tokio::sync::mpsc;

use super::Server;
use super::pipe::Leash;
use crate::simulation::scale;
use crate::simulation::world::World;

/// Starts model servers.
pub struct Yard(pub Rc<World>);

impl Launcher for Yard {
    fn launch(&self, config: &config::Server) -> io::Result<Connection> {
        let which: usize = config.name[1..].parse().map_err(io::Error::other)?;
        let world = self.0.clone();
        let mut rng = world.fork();
        let habits = world.servers[which].clone();
        let out_of_order = habits.outage.is_some_and(|(start, end)| (start..end).contains(&world.now()));
        if !world.is_calm() && (out_of_order || rng.u32(..100) < habits.fails_to_start / 3) {
            return Err(io::Error::other("no such command"));
        }
        let running = {
            let mut running = world.running.borrow_mut();
            running[which] += 1;
            running[which]
        };
        let overflow = if config.when_full == WhenFull::Overflow { config.instances.overflow } else { 0 };
        let generations = 1 + world.generations.borrow()[which];
        let most = config.instances.processes() - config.instances.overflow + overflow;
        if running > most * generations {
            world.fault(format!("{running} copies of {} run, with {:?}", config.name, config.instances));
        }
        let size = [40, 1000, 100_000][rng.usize(..3)];
        let ((stdin, writer), (stdout, reader)) = (tokio::io::duplex(size), tokio::io::duplex(size));
        let (out, lines) = mpsc::unbounded_channel();
        let (no, stop, obstinacy) = (world.next() as usize, config.timeout.stop, config.timeout.hold);
        let server = Rc::new(Server {
            world,
            which,
            no,
            habits,
            rng: RefCell::new(rng),
            out,
            stop,
            obstinacy,
            ..Server::blank()
        });
        server.world.note(&server.name(), "starts");
        server.world.reading.borrow_mut().insert(no);
        let leash = Leash { stdout: reader, server: server.clone() };
        tokio::task::spawn_local(server.clone().run(stdin, stdout, lines));
        let growth = if server.roll(2) == 0 { u64::from(server.roll(4)) << 20 } else { 0 };
        let pid = scale::weighed(&server.world, &server, config.recycle.memory, growth);
        Ok(Connection { reader: Box::new(leash), writer: Box::new(writer), stderr: None, pid, process: None })
    }
}
