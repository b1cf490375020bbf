//! Read by the daemon every few seconds: how much memory is left for another server process, of the machine and of the
//! control group that the daemon runs in.

use std::fs::read_to_string;

/// Where Linux tells what the machine has.
const MACHINE: &str = "/proc/meminfo";
/// Where it tells what a control group has, in containers the daemon's own.
const GROUP: &str = "/sys/fs/cgroup";

/// How many bytes are left; nothing where the system does not tell.
pub fn left() -> Option<u64> {
    let machine = read_to_string(MACHINE).ok().and_then(|text| available(&text));
    let file = |name: &str| read_to_string(format!("{GROUP}/{name}")).ok();
    let group = || of_group(&file("memory.max")?, &file("memory.current")?, &file("memory.stat")?);
    machine.into_iter().chain(group()).min()
}

/// What `/proc/meminfo` says is available.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What a control group with a limit has left, files that can be dropped from memory not counted as used.
fn of_group(max: &str, current: &str, stat: &str) -> Option<u64> {
    let (max, current): (u64, u64) = (max.trim().parse().ok()?, current.trim().parse().ok()?);
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    Some(max.saturating_sub(current.saturating_sub(files.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_from_what_linux_writes() {
        assert_eq!(available("MemTotal:  16 kB\nMemAvailable:   8 kB\n"), Some(8192));
        assert_eq!(available("MemTotal:  16 kB\n"), None);
        assert_eq!(of_group("1000\n", "800\n", "anon 1\ninactive_file 300\n"), Some(500));
        assert_eq!(of_group("1000\n", "1800\n", ""), Some(0));
        assert_eq!(of_group("max\n", "800\n", ""), None);
    }
}
