//! What the multiplexer is told in one run: a configuration by chance.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use fastrand::Rng;
use mcpool::config::{
    Breaker, Config, Endpoint, EraChoice, Grants, LeaseChoice, Life, Limits, Probe, Rate, RateLimit, Recycle, Retry,
    Roots, Server, WhenFull,
};

use super::scale;
use super::server::Habits;
use super::world::World;

/// A configuration by chance: small limits, so that they are reached.
pub fn config(world: &World, rng: &mut Rng) -> Config {
    let mut limits = Limits {
        memory: Some(1 << 30),
        held: [1, 2, 16][rng.usize(..3)],
        held_total: [2, 256][rng.usize(..2)],
        rounds: [1, 3, 32][rng.usize(..3)],
        message: [64 << 10, 10 << 20][rng.usize(..2)],
        outgoing: [256 << 10, 64 << 20][rng.usize(..2)],
        unread: Duration::from_secs([5, 60][rng.usize(..2)]),
        in_flight_total: [8, 65_536, 65_536][rng.usize(..3)],
        ..Limits::default()
    };
    if limits.message < 1 << 20 {
        // What a few callers of one process may have in flight together.
        limits.memory = Some(384 << 10);
    }
    let server = |(which, habits): (usize, &Habits)| {
        let mut server = Server::new(format!("s{which}"), "model");
        server.era = match (habits.legacy, habits.modern, rng.bool()) {
            (true, false, true) => EraChoice::Legacy,
            (false, true, true) => EraChoice::Modern,
            // What speaks both may be used in one for all.
            (true, true, true) => [EraChoice::Auto, EraChoice::Legacy, EraChoice::Modern][rng.usize(..3)],
            _ => EraChoice::Auto,
        };
        server.lease =
            [LeaseChoice::Auto, LeaseChoice::Auto, LeaseChoice::Shared, LeaseChoice::Call, LeaseChoice::Session]
                [rng.usize(..5)];
        let instances = &mut server.instances;
        instances.max = rng.usize(1..4);
        instances.max_alone = rng.usize(1..4);
        instances.total = instances.max.max(instances.max_alone) + rng.usize(..3);
        instances.asking = rng.usize(..4);
        server.concurrency = rng.usize(1..6);
        server.queue.size = [2, 64][rng.usize(..2)];
        let seconds = |most: u64, rng: &mut Rng| Duration::from_secs(rng.u64(1..=most));
        let timeouts = &mut server.timeout;
        timeouts.start = seconds(6, rng);
        timeouts.start_max = timeouts.start * 2;
        timeouts.discover = seconds(3, rng);
        timeouts.call = seconds(10, rng);
        timeouts.max = timeouts.call * 3;
        timeouts.ask = seconds(20, rng);
        timeouts.hold = seconds(4, rng);
        timeouts.stop = seconds(3, rng);
        server.queue.timeout = seconds(10, rng);
        server.stdout_errors = 5;
        make_resilient(&mut server, rng);
        if habits.is_sound() {
            make_roomy(&mut server);
        }
        server
    };
    let life = Life { drain: Duration::from_secs(200), ..Life::default() };
    let mut config = Config { limits, life, ..Config::of(world.servers.iter().enumerate().map(server).collect()) };
    if rng.u32(..4) == 0 && !world.servers.iter().any(Habits::is_sound) {
        config.endpoints.iter_mut().for_each(name_everything);
    }
    config
}

/// Names all that there is, so that a tool must be listed and nothing else is other than without a word about it.
fn name_everything(endpoint: &mut Endpoint) {
    let all = || Some(vec!["*".to_owned()]);
    let (roots, asks) = (Some(Roots::Client), Some(true));
    endpoint.grants = Grants { tools: all(), prompts: all(), resources: all(), methods: all(), roots, asks };
}

/// As much of everything as all callers together can want, so that nothing keeps a call from being answered.
fn make_roomy(server: &mut Server) {
    (server.instances.max, server.instances.max_alone, server.instances.total) = (32, 32, 64);
    server.rate_limit.kinds = None;
    server.when_full = WhenFull::Wait;
    (server.breaker, server.rate_limit) = Default::default();
    server.queue.size = 1000;
    server.queue.timeout = Duration::from_secs(60);
    server.timeout.call = Duration::from_secs(30);
    server.timeout.max = Duration::from_secs(90);
}

/// Another treatment of the same server: nothing that bounds how long things take.
pub fn treat_otherwise(server: &mut Server, rng: &mut Rng) {
    server.recycle.calls = Some(rng.u64(1..20));
    server.retry.attempts = rng.u8(..3);
    server.instances.overflow = rng.usize(2..4);
    if server.rate_limit.total != RateLimit::default().total {
        server.rate_limit.per_caller = None;
        server.rate_limit.total = None;
    }
}

/// What is done about trouble, so much of it that it shows within seconds.
fn make_resilient(server: &mut Server, rng: &mut Rng) {
    let seconds = |most: u64, rng: &mut Rng| Duration::from_secs(rng.u64(1..=most));
    let rarely = |rng: &mut Rng| rng.u32(..4) == 0;
    server.instances.min = if rarely(rng) { 1 } else { 0 };
    server.instances.overflow = rng.usize(..3);
    server.when_full = [WhenFull::Wait, WhenFull::Wait, WhenFull::Overflow, WhenFull::Reject][rng.usize(..4)];
    server.recycle = Recycle {
        idle: seconds(20, rng),
        age: rarely(rng).then(|| Duration::from_secs(10) + seconds(30, rng)),
        calls: rarely(rng).then(|| rng.u64(1..20)),
        memory: rarely(rng).then(|| scale::LEAST * rng.usize(2..12)),
    };
    server.probe = Probe {
        every: (!rarely(rng)).then(|| Duration::from_secs(rng.u64(2..7))),
        timeout: seconds(3, rng),
        failures: rng.u32(1..4),
    };
    let open = seconds(10, rng);
    server.breaker = Breaker {
        failures: NonZeroU32::new([0, 1, 2, 5][rng.usize(..4)]),
        open,
        open_max: open * rng.u32(1..5),
        per_tool: rarely(rng),
    };
    let mut rate = || {
        let count = NonZeroU32::new(rng.u32(1..10))?;
        (rng.u32(..4) == 0).then(|| Rate { count, per: Duration::from_secs(rng.u64(1..6)) })
    };
    let (per_caller, total) = (rate(), rate());
    let tools = rate().map(|rate| ("t2".to_owned(), rate)).into_iter().collect();
    server.rate_limit = RateLimit { per_caller, total, tools, kinds: rate() };
    server.retry = Retry {
        attempts: rng.u8(..3),
        budget: [0, 10, 50, 100][rng.usize(..4)],
        tools: if rng.bool() { [("t0".to_owned(), rng.u8(1..3))].into() } else { BTreeMap::new() },
    };
}
