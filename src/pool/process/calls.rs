//! Called by `sandbox`: a filter of system calls, which holds what Landlock has no rule for. It sees numbers and never
//! what is behind a pointer, so a path decides nothing here.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls of the other interface of this processor have this bit.
const X32: i64 = 0x4000_0000;
/// Where the kind of a socket is in the argument that names it.
const SOCKET_KINDS: u64 = 0xf;
/// What names all processes of a user to `ioprio_set`.
const IOPRIO_USER: u64 = 3;

/// Calls that reach what all processes of a user have in common, apart from any file: keys, memory, messages, semaphores.
const COMMON: [i64; 16] = [
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Has no sockets made but those that are allowed, and other processes and what is shared with them left as they are; with `keeps_contents`, files
/// that were not opened for writing too.
///
/// # Errors
/// The system cannot hold it; in words for people.
pub fn mute(network: bool, unix_sockets: bool, keeps_contents: bool) -> Result<(), String> {
    let mut calls = meddling().map_err(|error| error.to_string())?;
    if keeps_contents {
        calls.extend(emptying().map_err(|error| error.to_string())?);
    }
    calls.extend(COMMON.map(|call| (call, Vec::new())));
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

/// Calls that empty or cut a file which was not opened for writing: what is opened for that is held by Landlock.
fn emptying() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    // Of the two bits that say how a file is opened, none is for reading, and both are for neither.
    let ways = [libc::O_RDONLY, libc::O_ACCMODE].map(|way| (way | libc::O_TRUNC) as u64);
    let mask = (libc::O_ACCMODE | libc::O_TRUNC) as u64;
    let opening = |flags| {
        let rules = ways.map(|way| SeccompRule::new(vec![argument(flags, SeccompCmpOp::MaskedEq(mask), way)?]));
        rules.into_iter().collect::<Result<Vec<_>, _>>()
    };
    let mut calls = BTreeMap::from([
        (libc::SYS_truncate, Vec::new()),
        (libc::SYS_openat, opening(2)?),
        // Their flags are behind a pointer.
        (libc::SYS_openat2, Vec::new()),
        (libc::SYS_io_uring_setup, Vec::new()),
    ]);
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_open, opening(1)?);
    Ok(calls)
}

/// Returns when a call of `socketpair` is refused: each end of such a pair sends to any address, whoever the other end
/// is.
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

/// Returns when a call of `socket` is refused: any of these.
fn forbidden(network: bool, unix_sockets: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let domain = |is, which: libc::c_int| argument(0, is, which as u64);
    let unix = |is| domain(is, libc::AF_UNIX);
    if network {
        return if unix_sockets { Ok(Vec::new()) } else { Ok(vec![SeccompRule::new(vec![unix(SeccompCmpOp::Eq)?])?]) };
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
