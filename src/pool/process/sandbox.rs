//! Called by `confine` in the process that is about to become a server: puts a fence around it that neither it nor
//! anything it starts can leave. Files and signals are held by Landlock, sockets and limits of other processes by a
//! filter of system calls, the number of processes by a user namespace. None of it needs rights, and those of root are
//! given up.

use super::fence::Fence;

/// Fences this process in, for good.
///
/// # Errors
/// The system cannot hold some part of it; then nothing is to be run. In words for people.
#[cfg(target_os = "linux")]
pub fn enter(fence: &Fence) -> Result<(), String> {
    if let Some(count) = fence.processes {
        linux::count(count).map_err(|why| format!("`processes` cannot be held: {why}"))?;
    }
    if let Some(bytes) = fence.memory {
        linux::weigh(bytes).map_err(|why| format!("`memory` cannot be held: {why}"))?;
    }
    linux::renounce().map_err(|error| format!("the rights of root cannot be given up: {error}"))?;
    linux::wall(fence.files.as_ref(), linux::WANTED)?;
    let keeps_contents = fence.files.is_some() && linux::version() < linux::EMPTIED;
    super::calls::mute(fence.network, fence.unix_sockets, keeps_contents)
        .map_err(|why| format!("calls of the system cannot be held: {why}"))
}

/// There is nothing here that would hold it.
#[cfg(not(target_os = "linux"))]
pub fn enter(_fence: &Fence) -> Result<(), String> {
    Err("only Linux can hold it".to_owned())
}

/// Returns what this system can hold, in words for people.
#[cfg(target_os = "linux")]
pub fn held() -> String {
    linux::told(linux::version())
}

/// Returns what this system can hold, in words for people.
#[cfg(not(target_os = "linux"))]
pub fn held() -> String {
    "no sandbox: only Linux can hold one".to_owned()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::PathBuf;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
    };
    use nix::sched::{CloneFlags, unshare};
    use rustix::io::Errno;
    use rustix::process::{Resource, Rlimit, getgid, getuid, setrlimit};
    use rustix::thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities,
    };

    use crate::pool::process::fence::Files;

    /// Below this there is no Landlock (Linux 5.13 has it).
    const NEEDED: ABI = ABI::V1;
    /// Below this, files that may only be read can be emptied (6.2), which the filter of calls keeps from happening.
    pub const EMPTIED: ABI = ABI::V3;
    /// Held where the system can: devices are not given orders (6.10).
    pub const WANTED: ABI = ABI::V5;
    /// Held where the system can: no signals to processes outside (6.12).
    const SCOPED: ABI = ABI::V6;
    /// What to do where there is none.
    const MISSING: &str =
        "Landlock is needed, of Linux 5.13 or later, and named by `lsm=` where that is on the kernel's command line";

    /// The version of this system's Landlock, as far as it makes a difference here.
    pub fn version() -> ABI {
        let rules = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let has = |abi: &ABI| match *abi {
            ABI::V4 => rules().handle_access(AccessNet::from_all(*abi)).is_ok(),
            SCOPED => rules().scope(Scope::from_all(*abi)).is_ok(),
            _ => rules().handle_access(AccessFs::from_all(*abi)).is_ok(),
        };
        let all = [SCOPED, ABI::V5, ABI::V4, ABI::V3, ABI::V2, NEEDED];
        all.into_iter().find(has).unwrap_or(ABI::Unsupported)
    }

    /// Returns what a version holds, in words for people.
    pub fn told(version: ABI) -> String {
        let (limits, more) = match version {
            ABI::Unsupported => return format!("no sandbox: {MISSING}"),
            ABI::V1 => (" (files cannot be moved or linked from one directory to another)", ""),
            _ => ("", if version >= SCOPED { ", signals to processes outside" } else { "" }),
        };
        let number = version as i32;
        let later = if version >= SCOPED { " or later" } else { "" };
        let emptied =
            if version < EMPTIED { "; `truncate` and `openat2` are refused to servers with files" } else { "" };
        format!("files{limits}, networks, tracing of others{more}; Landlock {number}{later}{emptied}")
    }

    /// Counts this process and its descendants, threads among them, apart from all others of the user.
    pub fn count(most: u64) -> Result<(), String> {
        if getuid().is_root() {
            return Err("the system does not count root's processes; run mcpool as another user".to_owned());
        }
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let failed = |error: &dyn std::fmt::Display| format!("no user namespace ({error}); leave `processes` out");
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| failed(&error))?;
        let tell = |file, text: String| fs::write(file, text).map_err(|error| failed(&error));
        tell("/proc/self/setgroups", "deny".to_owned())?;
        tell("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        tell("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        limit(Resource::Nproc, most)
    }

    /// Limits what each process may write to of its own memory. Address space would be another matter: Node reserves
    /// gigabytes that it never uses.
    pub fn weigh(most: u64) -> Result<(), String> {
        limit(Resource::Data, most)
    }

    fn limit(resource: Resource, most: u64) -> Result<(), String> {
        let before = rustix::process::getrlimit(resource).maximum;
        let most = Some(before.map_or(most, |before| before.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most }).map_err(|error| error.to_string())
    }

    /// Gives up what root may do besides having files, also for programs that this one becomes: mounts, modules, devices,
    /// the clock, other processes, files of others. Who is not root has none of it.
    pub fn renounce() -> Result<(), Errno> {
        for right in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
            match remove_capability_from_bounding_set(right) {
                // Behind the last that this system knows, or of no use to who has none.
                Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        match clear_ambient_capability_set() {
            // There are none before Linux 4.3.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
    }

    /// Restricts files, by what Landlock has up to a version; where all may be reached, at least looking into other
    /// processes and signalling them ends here.
    pub fn wall(files: Option<&Files>, up_to: ABI) -> Result<(), String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("other processes and files cannot be held: {error}. {MISSING}");
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(NEEDED))
            .map_err(|error| failed(&error))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(up_to))
            .and_then(|rules| rules.scope(Scope::from_all(SCOPED)))
            .and_then(Ruleset::create)
            .map_err(|error| failed(&error))?;
        let (read, all) = (AccessFs::from_read(up_to), AccessFs::from_all(up_to));
        let rules = match files {
            None => add(rules, &[PathBuf::from("/")], all, true)?,
            Some(files) => {
                let rules = add(rules, &files.usual, read, false)?;
                let rules = add(rules, &files.sinks, AccessFs::ReadFile | AccessFs::WriteFile, false)?;
                let rules = add(rules, &files.read, read, true)?;
                add(rules, &files.write, all, true)?
            }
        };
        match rules.restrict_self().map_err(|error| failed(&error))?.ruleset {
            RulesetStatus::NotEnforced => Err(failed(&"it is not enabled")),
            _ => Ok(()),
        }
    }

    fn add(
        mut rules: RulesetCreated,
        paths: &[PathBuf],
        access: BitFlags<AccessFs>,
        needed: bool,
    ) -> Result<RulesetCreated, String> {
        for path in paths {
            let failed =
                |error: &dyn std::fmt::Display| format!("`{}` of its files cannot be used: {error}", path.display());
            let handle = match PathFd::new(path) {
                Ok(handle) => handle,
                Err(_) if !needed => continue,
                Err(error) => return Err(failed(&error)),
            };
            // What only directories have cannot be allowed for a file.
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED) };
            rules = rules.add_rule(PathBeneath::new(handle, access)).map_err(|error| failed(&error))?;
        }
        Ok(rules)
    }

    #[cfg(test)]
    mod tests {
        use std::fs::OpenOptions;
        use std::os::unix::fs::OpenOptionsExt;

        use nix::libc;

        use super::*;
        use crate::pool::process::calls;

        #[test]
        fn what_each_version_holds_is_told() {
            assert!(told(ABI::Unsupported).contains("no sandbox") && told(ABI::Unsupported).contains("lsm="));
            assert!(told(ABI::V1).contains("cannot be moved") && told(ABI::V2).contains("`truncate`"));
            assert!(!told(ABI::V3).contains("`truncate`") && told(SCOPED).contains("signals"));
        }

        #[test]
        fn a_file_that_may_only_be_read_is_not_emptied_where_landlock_does_not_know_of_it() {
            let dir = std::env::temp_dir().join(format!("mcpool-emptied-{:016x}", fastrand::u64(..)));
            let (read, write) = (dir.join("read"), dir.join("write"));
            for place in [&read, &write] {
                fs::create_dir_all(place).unwrap();
                fs::write(place.join("file"), "precious").unwrap();
            }
            let files = Files { read: vec![read.clone()], write: vec![write.clone()], ..Files::default() };
            // Both hold a thread, and this one ends.
            let tried = std::thread::spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                wall(Some(&files), ABI::V2).unwrap();
                calls::mute(true, false, true).unwrap();
                let (read, write) = (read.join("file"), write.join("file"));
                let flagged = |flags| OpenOptions::new().read(true).custom_flags(flags).open(&read).is_err();
                // Such as may be opened for neither is said in the bits that `read` sets too.
                let neither = rustix::fs::open(
                    &read,
                    rustix::fs::OFlags::from_bits_retain((libc::O_ACCMODE | libc::O_TRUNC) as u32),
                    rustix::fs::Mode::empty(),
                );
                let refused = [
                    flagged(libc::O_TRUNC),
                    neither.is_err(),
                    nix::unistd::truncate(&read, 0).is_err(),
                    fs::write(&read, "").is_err(),
                ];
                (refused, fs::read_to_string(&read).unwrap(), fs::write(&write, "x").is_ok())
            });
            let (refused, left, written) = tried.join().unwrap();
            assert_eq!((refused, left.as_str(), written), ([true; 4], "precious", true));
            fs::remove_dir_all(dir).unwrap();
        }
    }
}
