//! Called for `limits.memory` where the config does not say it: how much memory this process may use at all, which is the
//! machine's or what its control group is allowed.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the machine does not tell.
const UNKNOWN: usize = 4 << 30;
/// What peers may take up at least, so that a few of the largest messages have room.
const LEAST: usize = 64 << 20;

/// Returns the bytes that may be kept for all peers: an eighth of what this process may use.
pub fn share() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let usable = machine.into_iter().chain(allowed()).min().unwrap_or(UNKNOWN);
    (usable / 8).max(LEAST)
}

fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// What the control groups of this process allow, in the unified hierarchy: each bounds those within.
fn allowed() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own: PathBuf = root.join(own);
    let limits = own.ancestors().take_while(|group| group.starts_with(root));
    limits.filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_of_what_this_process_may_use_is_for_peers() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("MemTotal: many\n"), None);
        assert!(share() >= LEAST);
    }
}
