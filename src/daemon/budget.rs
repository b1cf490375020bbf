//! Called by the daemon when it starts and when it gets another config: how its descriptors are shared out, so that
//! callers never take what instances, `mcpool status` and refusals need.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// What the daemon itself has: standard streams, the runtime's, its log, its watch on the config, its warden, and what
/// it opens for a moment to look at processes.
const OWN: u64 = 18;
/// A socket, its lock, and one kept to turn somebody away with.
const ENDPOINT: u64 = 3;
/// An instance's three streams, and what its end is told by.
const INSTANCE: u64 = 4;
/// What a start needs for a moment besides.
const START: u64 = 6;
/// Clients of the metrics port.
const METRICS: u64 = 64;

/// Who may have how many descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Callers, one each.
    pub callers: usize,
    /// Of those who ask on the admin socket, and of those who are refused, at once.
    pub visitors: usize,
    /// Instances that there is always room for.
    pub instances: usize,
}

impl Budget {
    /// As this process's limit is.
    pub fn now(config: &Config) -> Budget {
        Budget::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), config)
    }

    /// Shares out `limit`: at least half of what the daemon does not need itself is the callers'.
    pub fn of(limit: u64, config: &Config) -> Budget {
        let visitors = if limit < 256 { 2 } else { 16 };
        let metrics = if config.admin.metrics.is_some() { METRICS.min(limit / 16) } else { 0 };
        let fixed = OWN + ENDPOINT * (config.endpoints.len() as u64 + 1) + 2 * visitors + metrics;
        let room = limit.saturating_sub(fixed);
        let wanted: u64 = config.servers.iter().map(|server| server.instances.processes() as u64).sum();
        let kept = (wanted.saturating_mul(INSTANCE) + START).min(room / 2);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Budget {
            callers: count(room - kept).max(1),
            visitors: count(visitors),
            instances: count(kept.saturating_sub(START) / INSTANCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;

    fn servers(count: usize) -> Config {
        Config::of((0..count).map(|number| Server::new(format!("s{number}"), "x")).collect())
    }

    #[test]
    fn instances_have_room_for_all_that_may_run_where_the_limit_allows_it() {
        let budget = Budget::of(1024, &servers(3));
        assert_eq!((budget.instances, budget.visitors), (118, 16));
        assert_eq!(budget.callers, 1024 - 18 - 3 * 5 - 32 - 479);
        let many = Budget::of(1 << 20, &servers(30));
        assert!(many.instances == 1530 && many.callers > 1_000_000, "{many:?}");
    }

    #[test]
    fn a_small_limit_is_shared_and_never_leaves_nobody_a_place() {
        let small = Budget::of(48, &servers(2));
        assert!(small.callers >= 3 && small.instances <= small.callers, "{small:?}");
        assert_eq!(Budget::of(10, &servers(2)).callers, 1);
        assert_eq!(Budget::of(10, &servers(2)).instances, 0);
    }
}
