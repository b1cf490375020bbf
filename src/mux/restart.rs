//! Called by `admin` for `mcpool restart`: new instances of a server for old ones, gently.

use super::Mux;
use crate::pool::instance::{InstanceKey, ServerId};

impl Mux {
    /// Replaces the instances of a server: nothing new goes to the old ones, which end when they have nothing left to do.
    /// What kept the server from being started is forgotten. How many are replaced.
    ///
    /// # Errors
    /// In words: no such server, or mcpool is ending.
    pub fn restart_server(&mut self, name: &str) -> Result<usize, String> {
        if self.draining {
            return Err("mcpool is ending".into());
        }
        let Some(id) = self.configured_as(name) else {
            let names: Vec<&str> = self.config.servers.iter().map(|server| server.name.as_str()).collect();
            return Err(format!("no server is called {name:?}; there are: {}", names.join(", ")));
        };
        let pool = &mut self.server_mut(id).pool;
        pool.forgive();
        let alive = pool.instances.iter().filter(|(_, instance)| instance.alive()).map(|(key, _)| key);
        let alive: Vec<InstanceKey> = alive.collect();
        alive.iter().for_each(|key| self.replace_instance(id, *key, "it is restarted"));
        self.prestart();
        self.dispatch(id);
        Ok(alive.len())
    }

    /// Ends an instance gently; others are started as calls need them.
    fn replace_instance(&mut self, server: ServerId, key: InstanceKey, why: &str) {
        self.server_mut(server).pool.drain(key, why);
    }
}
