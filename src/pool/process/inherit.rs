//! Called by `cli` first thing in a daemon and in its warden: what whoever started it left behind is given up, and what
//! others of the same user could read of it is closed to them. Servers get the limits and the mask as they were.

use std::fs;
use std::sync::Arc;

use nix::sys::signal::SigSet;
use nix::unistd::close;
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};
use signal_hook::consts::{FORBIDDEN, SIGPIPE};

use super::sys;

/// Standard input, output and error; every other descriptor is one that nobody meant for this process.
const STANDARD: i32 = 3;
/// Where open descriptors are not listed, so many are tried.
const TRIED: i32 = 65_536;
/// The last signal that is not one of those which programs agree upon among themselves.
const LAST_SIGNAL: i32 = 31;
/// What nobody but the user may write, whatever the mask was.
const OTHERS_WRITE: u32 = 0o022;

/// What this process was given and keeps only for the servers that it starts.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// The soft limit on descriptors; None: no limit.
    pub files: Option<u64>,
    /// The soft limit on the size of a core file; None: no limit.
    pub core: Option<u64>,
    /// What new files are not to be allowed.
    pub umask: u32,
}

impl Inherited {
    /// Gives it up: closes descriptors, leaves no core, keeps new files to the user, and lets nobody look into this
    /// process. To be called before anything is opened.
    pub fn shed() -> Inherited {
        close_inherited();
        hear_signals();
        let inherited = Inherited::kept();
        umask(Mode::from_raw_mode(0o077));
        let core = getrlimit(Resource::Core);
        // Less is always allowed. The hard limit stays, for servers.
        let _ = setrlimit(Resource::Core, rustix::process::Rlimit { current: Some(0), ..core });
        sys::be_opaque();
        inherited
    }

    /// Only looks, where a daemon is a part of a larger program.
    pub fn kept() -> Inherited {
        // It cannot be read without being set.
        let mask = umask(Mode::from_raw_mode(0o077));
        umask(mask);
        Inherited {
            files: getrlimit(Resource::Nofile).current,
            core: getrlimit(Resource::Core).current,
            umask: mask.as_raw_mode() | OTHERS_WRITE,
        }
    }
}

/// Has no signal blocked or ignored, in this process or in the program that it becomes: whoever started it may have done so for
/// itself, and then a daemon does not end when it is told to, and a server does not hear of the end of its children.
pub fn hear_signals() {
    // Fails for no set that there is.
    let _ = SigSet::empty().thread_set_mask();
    let ignored = ignored();
    for signal in 1..=LAST_SIGNAL {
        // These cannot be handled, and that one is seen to by whatever starts a program.
        let is_left = FORBIDDEN.contains(&signal) || signal == SIGPIPE;
        if !is_left && ignored >> (signal - 1) & 1 == 1 {
            // What is handled here is as usual again in another program; whether it was heard is of no interest.
            let _ = signal_hook::flag::register(signal, Arc::default());
        }
    }
}

/// The signals that this process ignores, the first in the lowest bit; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let told = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    told.and_then(|told| u64::from_str_radix(told.trim(), 16).ok()).unwrap_or(0)
}

/// Closes every descriptor but the standard ones: a host's pipe that stays open here never ends for the host.
pub fn close_inherited() {
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).map(|open| {
        let numbers = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.collect::<Vec<i32>>()
    });
    for number in listed.unwrap_or_else(|_| (STANDARD..TRIED).collect()) {
        if number >= STANDARD {
            // The listing itself had one, which is closed already.
            let _ = close(number);
        }
    }
}
