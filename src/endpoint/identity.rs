//! Called by the doors for each caller that comes in, and by `check --as`: who a peer is, as the kernel says. What the
//! kernel does not tell, such as the program of another user's process, stays unknown, and no rule fits it.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use crate::caller::Peer;
use crate::caller::identity::Identity;
use crate::pool::process;

/// What the kernel adds to the path of a program whose file was replaced.
const DELETED: &str = " (deleted)";

/// Who is at the other end of a connection.
pub fn of_peer(stream: &UnixStream, peer: Peer) -> Identity {
    let gid = stream.peer_cred().ok().map(|peer| peer.gid());
    let known = Identity { gid, ..Identity::from(peer) };
    let Some(pid) = peer.pid.filter(|pid| *pid > 0) else { return known };
    // The number is another process's once the peer is gone; who holds this can tell.
    let Some(held) = process::peer(stream) else { return known };
    let (program, cgroup) = (program(pid), cgroup(pid));
    if process::is_now(&held, pid.unsigned_abs()) { Identity { program, cgroup, ..known } } else { known }
}

/// Who a process is that may connect: its user and group are those that it runs with now.
pub fn of_process(pid: i32) -> Option<Identity> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // The second number is the effective one, which the other end of a socket sees.
    let id = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Identity { uid: id("Uid:")?, gid: id("Gid:"), pid: Some(pid), program: program(pid), cgroup: cgroup(pid) })
}

/// The path of a process's program. `mcpool connect` speaks for the program that started it.
fn program(pid: i32) -> Option<String> {
    let of = |pid: i32| path(Path::new(&format!("/proc/{pid}/exe")));
    let own = path(Path::new("/proc/self/exe"));
    let program = of(pid)?;
    if own.is_some_and(|own| own.trim_end_matches(DELETED) == program.trim_end_matches(DELETED)) {
        return of(parent(pid)?);
    }
    Some(program)
}

fn path(link: &Path) -> Option<String> {
    fs::read_link(link).ok().map(PathBuf::into_os_string)?.into_string().ok()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The control group of a process, in the unified hierarchy where there is one.
fn cgroup(pid: i32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let unified = groups.lines().find(|line| line.starts_with("0::"));
    unified.or_else(|| groups.lines().next())?.splitn(3, ':').nth(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::endpoint::identity::*;

    #[tokio::test]
    async fn who_connects_is_known_by_what_the_kernel_says() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let peer = stream.peer_cred().unwrap();
        let me = of_peer(&stream, Peer { uid: peer.uid(), pid: peer.pid() });
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!((me.uid, me.pid), (rustix::process::getuid().as_raw(), Some(pid)));
        assert_eq!(me.gid, Some(rustix::process::getgid().as_raw()));
        // A test is no `mcpool connect`, but its program is this one, so that the one that started it is meant.
        assert_eq!(me.program, parent(pid).and_then(|parent| path(Path::new(&format!("/proc/{parent}/exe")))));
        assert_eq!(Some(me), of_process(pid));
        assert_eq!(of_process(0), None);
    }
}
