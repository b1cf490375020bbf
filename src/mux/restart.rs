//! Called by `admin` for `mcpool restart`: new instances of a server for old ones, gently.

use super::Mux;
use crate::key::{InstanceKey, InstanceRef};
use crate::pool::instance::State;
use crate::pool::reason::StopReason;

impl Mux {
    /// Replaces the instances of a server, and returns how many. Old instances get nothing new, and end when they have
    /// nothing left to do. Failed starts are forgotten.
    ///
    /// # Errors
    /// In words: no such server, or mcpool is ending.
    pub fn restart_server(&mut self, name: &str) -> Result<usize, String> {
        if self.is_draining() {
            return Err("mcpool is ending".into());
        }
        let Some(id) = self.configured_as(name) else {
            let names: Vec<&str> = self.config.servers.iter().map(|server| server.name.as_str()).collect();
            return Err(format!("no server is called {name:?}; there are: {}", names.join(", ")));
        };
        let server = self.server_mut(id);
        server.gate.reset(name, "the operator wants the server restarted");
        let pool = &mut server.pool;
        pool.setbacks.forgive();
        let alive = pool.instances.iter().filter(|(_, instance)| instance.alive()).map(|(key, _)| key);
        let alive: Vec<InstanceKey> = alive.collect();
        alive.iter().for_each(|key| self.replace_or_drain(InstanceRef { server: id, key: *key }));
        self.prestart();
        self.todo.serve(id);
        Ok(alive.len())
    }

    /// Replaces an instance. If it works, it stays until its successor is ready, where there is room for both.
    fn replace_or_drain(&mut self, at: InstanceRef) {
        if self.instance(at).is_some_and(|instance| instance.state == State::Ready && instance.bound.is_none()) {
            return self.replace(at, StopReason::Restarted);
        }
        self.drain(at, StopReason::Restarted);
    }
}
