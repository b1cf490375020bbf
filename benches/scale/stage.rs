//! A multiplexer of a few servers, with everything unbounded that is to be many.
use std::rc::Rc;
use std::time::Duration;

use mcpool::caller::Peer;
use mcpool::config::{Config, EraChoice, Limits, Probe, RateLimit, Server};
use mcpool::endpoint::connection;
use mcpool::mux::{Handle, Parts};
use tokio::io::duplex;
use tokio::task::spawn_local;

use crate::Result;
use crate::caller::Caller;
use crate::server::{Rack, Traits};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// More of anything than there is here.
const MANY: usize = 1 << 20;

pub struct Stage {
    pub mux: Handle,
}

impl Stage {
    /// A multiplexer of servers of these names; those that begin with `modern` are.
    pub fn new(names: &[&str], has: Traits, change: impl Fn(&mut Server)) -> Stage {
        let server = |name: &&str| {
            let mut server = Server::new(*name, *name);
            server.era = if name.starts_with("modern") { EraChoice::Modern } else { EraChoice::Legacy };
            server.rate_limit = RateLimit { per_caller: None, total: None, ..RateLimit::default() };
            server.probe = Probe { every: None, ..server.probe };
            server.concurrency = MANY;
            server.queue.size = MANY;
            (server.timeout.call, server.timeout.max, server.queue.timeout, server.recycle.idle) = (DAY, DAY, DAY, DAY);
            change(&mut server);
            server
        };
        let config = Config::of(names.iter().map(server).collect());
        let limits = Limits {
            callers: MANY,
            in_flight: MANY,
            in_flight_total: MANY,
            subscriptions: MANY,
            tasks: MANY,
            tasks_total: MANY,
            held: MANY,
            held_total: MANY,
            ..config.limits.clone()
        };
        let config = Rc::new(Config { limits, ..config });
        Stage {
            mux: Handle::new(Parts { config, launcher: Rc::new(Rack(has)), catalogue: None, seed: 7, key: [7; 32] }),
        }
    }

    /// Two legacy servers: the one where there is much of something, and another one.
    pub fn two() -> Stage {
        Stage::new(&["here", "there"], Traits::FEW, |_| {})
    }

    /// A caller of an endpoint that has opened its session.
    pub async fn caller(&self, endpoint: &str) -> Result<Caller> {
        let mut caller = self.dial(endpoint, false);
        caller.open().await?;
        Ok(caller)
    }

    pub fn modern_caller(&self, endpoint: &str) -> Caller {
        self.dial(endpoint, true)
    }

    fn dial(&self, endpoint: &str, modern: bool) -> Caller {
        let (near, far) = duplex(1 << 20);
        let mux = self.mux.clone();
        let endpoint = mux.with(|mux| {
            let config = mux.config.clone();
            mux.endpoint(config.endpoint(endpoint).expect("an endpoint of that name"))
        });
        spawn_local(async move {
            let (reader, writer) = tokio::io::split(near);
            connection::serve(mux, endpoint, Peer::default(), reader, writer, |_| true).await;
        });
        Caller::new(far, modern)
    }
}
