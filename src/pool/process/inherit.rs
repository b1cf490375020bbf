//! Called by `cli` first thing in a daemon and in its warden: what whoever started it left behind is given up, and what
//! others of the same user could read of it is closed to them. Servers get the limits and the mask as they were.

use std::fs;

use nix::unistd::close;
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};

use super::sys;

/// Standard input, output and error; every other descriptor is one that nobody meant for this process.
const STANDARD: i32 = 3;
/// Where open descriptors are not listed, so many are tried.
const TRIED: i32 = 65_536;
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
