//! What the rows read off processes: processor time, memory, children; and the limits that the bench itself needs.
use std::{fs, time::Duration};

use crate::Result;

/// Processor time that a process has used, all its threads.
///
/// The kernel counts it in nanoseconds for each thread; without such accounting, in hundredths of a second.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the look.
        if let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) {
            nanos += schedstat.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
    }
    if nanos > 0 {
        return Ok(Duration::from_nanos(nanos));
    }
    let ticks = |n: usize| stat(pid).and_then(|fields| fields.get(n)?.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis(10 * (ticks(11) + ticks(12))))
}

/// Memory of a process in bytes: all that is resident, and the part of it that is this process's alone.
pub fn memory(pid: u32) -> Result<(f64, f64)> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sum = |keys: &[&str]| -> f64 {
        let lines = rollup.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
        lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()).sum::<f64>() * 1024.0
    };
    Ok((sum(&["Rss:"]), sum(&["Private_Clean:", "Private_Dirty:"])))
}

/// Resident memory of a process in bytes, without the pages of its program, which are on disk and shared by all that run it.
pub fn beyond_program(pid: u32) -> Result<f64> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut own, mut sum) = (false, 0.0);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("Rss:") if !own => sum += words.next().ok_or("no size")?.parse::<f64>()? * 1024.0,
            Some(word) if !word.ends_with(':') => own = line.ends_with(&*program.to_string_lossy()),
            _ => {}
        }
    }
    Ok(sum)
}

/// The servers that `pid` has started and that still run. Its warden is not one of them: that runs the same program.
pub fn servers(pid: u32) -> Result<Vec<u32>> {
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = program(pid);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(candidate) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let is_child = stat(candidate).and_then(|fields| fields.get(1)?.parse().ok()) == Some(pid);
        if is_child && program(candidate) != own {
            found.push(candidate);
        }
    }
    Ok(found)
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything: state, parent, ...
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Two sockets a caller, one of them here: ten thousand callers need more than the usual limit.
pub fn raise_open_files() -> Result {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// While it lives, this thread and the processes that it starts run on one core only.
pub struct OneCore {
    before: rustix::thread::CpuSet,
}

impl OneCore {
    pub fn pin() -> Result<Self> {
        let before = rustix::thread::sched_getaffinity(None)?;
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&core| before.is_set(core)).ok_or("no core")?;
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one)?;
        Ok(OneCore { before })
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        // Nothing to be done about a refusal: the next rows would run on one core, and say so by their figures.
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}
