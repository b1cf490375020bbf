//! Kept by each caller, and told of each call that is sent: which instance of each server it used last. A caller uses few
//! servers, so they are searched one by one.

use crate::key::{InstanceKey, ServerId};

/// By server.
#[derive(Default)]
pub struct Uses(Vec<Use>);

struct Use {
    server: ServerId,
    /// The instance that it used last.
    last: Option<InstanceKey>,
}

impl Uses {
    /// The instance of a server that was used last.
    pub fn last(&self, server: ServerId) -> Option<InstanceKey> {
        self.0.iter().find(|known| known.server == server)?.last
    }

    /// The instances that were used last, one of each server.
    pub fn all(&self) -> impl Iterator<Item = (ServerId, InstanceKey)> {
        self.0.iter().filter_map(|known| Some((known.server, known.last?)))
    }

    /// Notes which instance of a server is used.
    pub fn note(&mut self, server: ServerId, instance: InstanceKey) {
        self.of(server).last = Some(instance);
    }

    /// A server is gone.
    pub fn forget(&mut self, server: ServerId) {
        self.0.retain(|known| known.server != server);
    }

    fn of(&mut self, server: ServerId) -> &mut Use {
        let place = self.0.iter().position(|known| known.server == server).unwrap_or_else(|| {
            self.0.push(Use { server, last: None });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}
