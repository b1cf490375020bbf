//! Called by `pool::process`: what only some systems have, each with what is done instead elsewhere.

use rustix::process::{Pid, Signal};

use super::tree::Entry;

/// Returns the id as the system's calls want it.
pub fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Makes this process the parent of whatever below it loses its own, which would be process 1 otherwise.
#[cfg(target_os = "linux")]
pub fn adopt_orphans() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Orphans are left to process 1: groups are ended, what left its group is not found.
#[cfg(not(target_os = "linux"))]
pub fn adopt_orphans() -> std::io::Result<()> {
    Ok(())
}

/// The limit that tags are drawn below; the first `None` where the system has no such limit, the second where there is none.
#[cfg(target_os = "linux")]
pub fn tag_limit() -> Option<Option<u64>> {
    use rustix::process::{Resource, getrlimit};

    Some(getrlimit(Resource::Locks).maximum)
}

/// There are no tags.
#[cfg(not(target_os = "linux"))]
pub fn tag_limit() -> Option<Option<u64>> {
    None
}

/// Tags this process and all that descend from it.
#[cfg(target_os = "linux")]
pub fn be_tagged(tag: u64) {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Lowering it is always allowed. Where something else forbids it, the mark is left.
    let _ = setrlimit(Resource::Locks, Rlimit { current: Some(tag), maximum: Some(tag) });
}

/// There are no tags.
#[cfg(not(target_os = "linux"))]
pub fn be_tagged(_tag: u64) {}

/// A handle of whoever connected, which no later process of the same id has; from Linux 6.5 on.
#[cfg(target_os = "linux")]
pub fn peer(of: &impl std::os::fd::AsFd) -> Option<std::os::fd::OwnedFd> {
    nix::sys::socket::getsockopt(of, nix::sys::socket::sockopt::PeerPidfd).ok()
}

/// There are no handles of processes.
#[cfg(not(target_os = "linux"))]
pub fn peer(_of: &impl std::os::fd::AsFd) -> Option<std::os::fd::OwnedFd> {
    None
}

/// Returns whether a handle is of the process that has this id now.
pub fn is_now(handle: &std::os::fd::OwnedFd, pid: u32) -> bool {
    use std::os::fd::AsRawFd;

    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).unwrap_or_default();
    told.lines().find_map(|line| line.strip_prefix("Pid:")).is_some_and(|told| told.trim() == pid.to_string())
}

/// Sends a signal to this process and to no later one of the same id.
#[cfg(target_os = "linux")]
pub fn signal(to: &Entry, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    let Some(handle) = pid(to.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
    // The handle is of whoever had the id when it was opened: now it is certain who that was.
    if super::tree::one(to.pid).is_some_and(|now| now.start == to.start) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(handle, signal);
    }
}

/// Waits until a process has ended, if it is the parent of this one; for some seconds at most.
#[cfg(target_os = "linux")]
pub fn outlive(parent: u32) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, getppid, pidfd_open};

    const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
    let Some(parent) = pid(parent) else { return };
    let Ok(handle) = pidfd_open(parent, PidfdFlags::empty()) else { return };
    // The handle is of the parent if that is the parent still.
    if getppid() == Some(parent) {
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&PATIENCE));
    }
}

/// Nobody asks for the parent there.
#[cfg(not(target_os = "linux"))]
pub fn outlive(_parent: u32) {}

/// Nobody is known by anything but an id, and an id alone is not to be trusted.
#[cfg(not(target_os = "linux"))]
pub fn signal(_to: &Entry, _signal: Signal) {}

/// Where this very program is, even if another was put in its place since it was started.
#[cfg(target_os = "linux")]
pub fn this_program() -> std::io::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

/// Where this program was.
#[cfg(not(target_os = "linux"))]
pub fn this_program() -> std::io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Lets nobody but the administrator look into this process or trace it, and leaves no image of it behind.
#[cfg(target_os = "linux")]
pub fn be_opaque() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    // Always allowed.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The system keeps it so without being asked: only the administrator looks into processes.
#[cfg(not(target_os = "linux"))]
pub fn be_opaque() {}

/// From here on no program that this process runs has more rights than it has itself, whatever its mode says.
#[cfg(target_os = "linux")]
pub fn gain_nothing() -> std::io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// There is no such thing.
#[cfg(not(target_os = "linux"))]
pub fn gain_nothing() -> std::io::Result<()> {
    Ok(())
}

/// Shows a name of this process in lists of processes.
#[cfg(target_os = "linux")]
pub fn be_called(name: &std::ffi::CStr) {
    // Daemons know each other by it; one that has no name passes for any other program.
    let _ = rustix::thread::set_name(name);
}

/// The name stays that of the program.
#[cfg(not(target_os = "linux"))]
pub fn be_called(_name: &std::ffi::CStr) {}
