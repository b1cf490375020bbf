//! Called by `confine` in the process that is about to become a server: puts a fence around it that neither it nor
//! anything it starts can leave. Files and signals are held by Landlock, sockets and limits of other processes by a filter of
//! system calls, the number of processes by a user namespace. None of it needs rights.

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
    linux::wall(fence.files.as_ref())?;
    linux::mute(fence.network, fence.unix_sockets).map_err(|why| format!("calls of the system cannot be held: {why}"))
}

/// There is nothing here that would hold it.
#[cfg(not(target_os = "linux"))]
pub fn enter(_fence: &Fence) -> Result<(), String> {
    Err("only Linux can hold it".to_owned())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
    };
    use nix::libc;
    use nix::sched::{CloneFlags, unshare};
    use rustix::process::{Resource, Rlimit, getgid, getuid, setrlimit};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use crate::pool::process::fence::Files;

    /// Below this, files that may only be read can be emptied (Linux 6.2 has it).
    const NEEDED: ABI = ABI::V3;
    /// Held where the system can: devices are not given orders (6.10).
    const WANTED: ABI = ABI::V5;
    /// Held where the system can: no signals to processes outside (6.12).
    const SCOPED: ABI = ABI::V6;
    /// Calls of the other interface of this processor have this bit.
    const X32: i64 = 0x4000_0000;
    /// Where the kind of a socket is in the argument that names it.
    const SOCKET_KINDS: u64 = 0xf;
    /// What names all processes of a user to `ioprio_set`.
    const IOPRIO_USER: u64 = 3;

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

    /// Restricts files; where all may be reached, at least looking into other processes and signalling them ends here.
    pub fn wall(files: Option<&Files>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("files cannot be held: {error}. Landlock of Linux 6.2 or later is needed, and enabled at boot")
        };
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(NEEDED))
            .map_err(|error| failed(&error))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(WANTED))
            .and_then(|rules| rules.scope(Scope::from_all(SCOPED)))
            .and_then(Ruleset::create)
            .map_err(|error| failed(&error))?;
        let (read, all) = (AccessFs::from_read(WANTED), AccessFs::from_all(WANTED));
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

    /// Has no sockets made but those that are allowed, and other processes left as they are.
    pub fn mute(network: bool, unix_sockets: bool) -> Result<(), String> {
        let mut calls = meddling().map_err(|error| error.to_string())?;
        let forbidden = forbidden(network, unix_sockets).map_err(|error| error.to_string())?;
        if !forbidden.is_empty() {
            calls.insert(libc::SYS_socket, forbidden);
            // It makes sockets too, past this filter.
            calls.insert(libc::SYS_io_uring_setup, Vec::new());
        }
        if !unix_sockets {
            calls.insert(libc::SYS_socketpair, addressable().map_err(|error| error.to_string())?);
        }
        if cfg!(target_arch = "x86_64") {
            let others: Vec<_> = calls.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
            calls.extend(others);
        }
        let refusal = SeccompAction::Errno(libc::EACCES as u32);
        let arch = std::env::consts::ARCH.try_into().map_err(|_| "no filters for this processor".to_owned())?;
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, refusal, arch);
        let program: Result<BpfProgram, _> = filter.and_then(BpfProgram::try_from);
        seccompiler::apply_filter(&program.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    /// Calls that change how another process of the same user runs, its limits first of all. Each names a process,
    /// with 0 for the one that calls; only that is allowed. What reads or writes memory is held by Landlock.
    fn meddling() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
        let mut calls = BTreeMap::new();
        for call in [
            libc::SYS_prlimit64,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setattr,
        ] {
            calls.insert(call, vec![SeccompRule::new(vec![argument(0, SeccompCmpOp::Ne, 0)?])?]);
        }
        // These may name all that a user runs, and then 0 is the user who calls.
        for (call, user) in [(libc::SYS_setpriority, libc::PRIO_USER as u64), (libc::SYS_ioprio_set, IOPRIO_USER)] {
            let other = SeccompRule::new(vec![argument(1, SeccompCmpOp::Ne, 0)?])?;
            calls.insert(call, vec![other, SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, user)?])?]);
        }
        calls.insert(libc::SYS_kcmp, Vec::new());
        Ok(calls)
    }

    /// When a call of `socketpair` is refused: each end of such a pair sends to any address, whoever the other end is.
    fn addressable() -> Result<Vec<SeccompRule>, BackendError> {
        // Between Unix sockets, raw ones are made such too. What else is in the argument are flags.
        let kinds = [libc::SOCK_DGRAM, libc::SOCK_RAW]
            .map(|kind| SeccompRule::new(vec![argument(1, SeccompCmpOp::MaskedEq(SOCKET_KINDS), kind as u64)?]));
        kinds.into_iter().collect()
    }

    /// A condition on an argument that is an `int`.
    fn argument(which: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(which, SeccompCmpArgLen::Dword, is, value)
    }

    /// When a call of `socket` is refused: any of these.
    fn forbidden(network: bool, unix_sockets: bool) -> Result<Vec<SeccompRule>, BackendError> {
        let domain = |is, which: libc::c_int| argument(0, is, which as u64);
        let unix = |is| domain(is, libc::AF_UNIX);
        if network {
            return if unix_sockets {
                Ok(Vec::new())
            } else {
                Ok(vec![SeccompRule::new(vec![unix(SeccompCmpOp::Eq)?])?])
            };
        }
        let mut other = vec![domain(SeccompCmpOp::Ne, libc::AF_NETLINK)?];
        if unix_sockets {
            other.push(unix(SeccompCmpOp::Ne)?);
        }
        // Which interfaces there are may be asked: many programs do at their start.
        let route = libc::NETLINK_ROUTE as u64;
        let asks = argument(2, SeccompCmpOp::Ne, route)?;
        let netlink = vec![domain(SeccompCmpOp::Eq, libc::AF_NETLINK)?, asks];
        Ok(vec![SeccompRule::new(other)?, SeccompRule::new(netlink)?])
    }
}
