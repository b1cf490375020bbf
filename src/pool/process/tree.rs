//! Called by `pool::process` and by `mux::status`: the processes of this machine as `/proc` shows them, and what
//! belongs to which. Where there is no `/proc`, nothing is seen and nothing fails.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;

/// The variable that tells of whom a process descends, whatever it did to its group and its parents.
pub const MARK: &str = "MCPOOL_INSTANCE";
/// The longest environment that is looked through, in bytes.
const ENVIRONMENT: u64 = 1 << 20;
/// What a daemon calls itself, however its file is called.
pub const NAME: &std::ffi::CStr = c"mcpool";
/// The commands that run servers, and how much of a command line is looked through for them, in bytes.
const SERVING: [&[u8]; 2] = [b"serve", b"demo"];
const COMMAND: u64 = 4096;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    /// When it was started, in ticks since the machine was; with the pid it names a process for good.
    pub start: u64,
    /// Resident memory in pages.
    pub pages: u64,
    /// Ended, and only its parent has not looked.
    pub zombie: bool,
    /// What `MARK` is in its environment; only where that was asked for.
    pub mark: Option<String>,
    /// Its limit on file locks, which tells of whom it descends; only where that was asked for.
    pub tag: Option<u64>,
    /// Whether it is a daemon of this program, as it looks; only where that was asked for.
    pub serves: bool,
}

/// Memory of a process and of all that descends from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Resident memory.
    pub bytes: u64,
    pub processes: usize,
}

/// Every process; with its mark if it was started at `marked_since` or later. Reads hundreds of small files: not
/// for the thread that serves callers.
pub fn all(marked_since: Option<u64>) -> Vec<Entry> {
    let Ok(proc) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = proc.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut entries: Vec<Entry> = pids.filter_map(one).collect();
    if let Some(since) = marked_since {
        entries.iter_mut().filter(|entry| entry.start >= since).for_each(|entry| {
            entry.mark = mark(entry.pid);
            entry.tag = tag(entry.pid);
        });
    }
    entries
}

/// Returns whether the system shows processes at all.
pub fn is_there() -> bool {
    one(std::process::id()).is_some()
}

/// The children of this process; none where the system does not list them.
pub fn own_children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// One process with mark and tag; `None` if there is none of that id.
pub fn shown(pid: u32) -> Option<Entry> {
    Some(Entry { mark: mark(pid), tag: tag(pid), ..one(pid)? })
}

/// One process, and whether it looks like a daemon of this program; `None` if there is none of that id.
pub fn ancestor(pid: u32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let named = || Some(stat.get(memchr::memchr(b'(', &stat)? + 1..memchr::memrchr(b')', &stat)?)? == NAME.to_bytes());
    let serves =
        named() == Some(true) && serves(&started(&format!("/proc/{pid}/cmdline"), COMMAND).unwrap_or_default());
    Some(Entry { serves, ..parse(pid, &stat)? })
}

/// Returns whether a command line is one of those that run servers.
fn serves(line: &[u8]) -> bool {
    line.split(|byte| *byte == 0).skip(1).any(|word| SERVING.contains(&word))
}

/// The beginning of a file.
fn started(path: &str, most: u64) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut read).ok()?;
    Some(read)
}

/// One process, without its mark; `None` if there is none of that id.
pub fn one(pid: u32) -> Option<Entry> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)).
fn parse(pid: u32, stat: &[u8]) -> Option<Entry> {
    // The name in parentheses may hold anything; the third field stands behind it.
    let behind = memchr::memrchr(b')', stat)? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[behind..]).ok()?.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let small = |field: usize| u32::try_from(number(field)?).ok();
    // The first thread of a process may end before the others: then it looks dead and is not.
    let dead = matches!(*fields.first()?, "Z" | "X") && number(20)? <= 1;
    let (start, pages) = (number(22)?, number(24)?);
    Some(Entry { pid, parent: small(4)?, group: small(5)?, start, pages, zombie: dead, ..Entry::default() })
}

fn mark(pid: u32) -> Option<String> {
    let environment = started(&format!("/proc/{pid}/environ"), ENVIRONMENT)?;
    let mut variables = environment.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    variables.find_map(|variable| Some(variable.strip_prefix(MARK)?.strip_prefix('=')?.to_owned()))
}

fn tag(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let values = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    // The second is the one that cannot be raised.
    values.split_whitespace().nth(1)?.parse().ok()
}

/// Memory of many processes' trees, from one look at the machine; empty where the system does not tell. What
/// lost its parents counts too: it is a child of this process then and carries the mark or the group of its
/// server. Safe on any thread, and better not on the one that serves callers.
pub fn trees(pids: &[u32]) -> HashMap<u32, Tree> {
    if pids.is_empty() {
        return HashMap::new();
    }
    let mut entries = all(None);
    let me = std::process::id();
    let leaders: HashSet<u32> = pids.iter().copied().collect();
    for entry in &mut entries {
        if entry.parent == me || leaders.contains(&entry.pid) {
            entry.mark = mark(entry.pid);
        }
    }
    weigh(pids, &entries, me, rustix::param::page_size() as u64)
}

fn weigh(pids: &[u32], entries: &[Entry], me: u32, page: u64) -> HashMap<u32, Tree> {
    let children = children(entries);
    let weigh = |leader: &Entry| {
        let lost = entries.iter().filter(|entry| {
            entry.parent == me
                && !pids.contains(&entry.pid)
                && (entry.group == leader.pid || entry.mark.is_some() && entry.mark == leader.mark)
        });
        let members = descendants(lost.chain([leader]), &children);
        let bytes = members.iter().map(|entry| entry.pages * page).sum();
        Tree { bytes, processes: members.iter().filter(|entry| !entry.zombie).count() }
    };
    let leaders = entries.iter().filter(|entry| pids.contains(&entry.pid));
    leaders.map(|leader| (leader.pid, weigh(leader))).collect()
}

/// Returns the processes by their parents.
pub fn children(entries: &[Entry]) -> HashMap<u32, Vec<&Entry>> {
    let mut children: HashMap<u32, Vec<&Entry>> = HashMap::new();
    entries.iter().for_each(|entry| children.entry(entry.parent).or_default().push(entry));
    children
}

/// These and all that descends from them, each once.
pub fn descendants<'a>(
    roots: impl Iterator<Item = &'a Entry>,
    children: &HashMap<u32, Vec<&'a Entry>>,
) -> Vec<&'a Entry> {
    let mut family: Vec<&Entry> = Vec::new();
    let mut seen = HashSet::new();
    let mut ahead: Vec<&Entry> = roots.collect();
    while let Some(entry) = ahead.pop() {
        if seen.insert(entry.pid) {
            family.push(entry);
            ahead.extend(children.get(&entry.pid).into_iter().flatten());
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, parent: u32, group: u32, mark: &str) -> Entry {
        let mark = (!mark.is_empty()).then(|| mark.to_owned());
        Entry { pid, parent, group, start: u64::from(pid), pages: 1, mark, ..Entry::default() }
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat =
            b"7 (a) R (b)\xff) S 3 5 6 0 -1 4194304 9 0 0 0 1 1 0 0 20 0 4 0 1234 4096000 250 18446744073709551615";
        let read = parse(7, stat).unwrap();
        assert_eq!((read.parent, read.group, read.start, read.pages, read.zombie), (3, 5, 1234, 250, false));
        assert!(parse(7, b"7 (a) S 3").is_none());
    }

    #[test]
    fn a_daemon_is_known_by_its_command_line() {
        assert!(serves(b"mcpool\0serve\0--config\0/x\0") && serves(b"/opt/mcpool\0demo\0"));
        assert!(!serves(b"mcpool\0connect\0--config\0/x\0server\0") && !serves(b"serve\0x\0") && !serves(b""));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives_on() {
        let stat = |threads| format!("7 (a) Z 3 5 6 0 -1 0 9 0 0 0 1 1 0 0 20 0 {threads} 0 1234 0 0 0");
        assert!(parse(7, stat(1).as_bytes()).unwrap().zombie);
        assert!(!parse(7, stat(2).as_bytes()).unwrap().zombie);
    }

    #[test]
    fn a_tree_holds_what_lost_its_parents_and_nothing_of_others() {
        let me = 1;
        let entries = [
            entry(10, me, 10, "m/1/"),
            entry(11, 10, 10, "m/1/"),
            // Left the group, its parent lives.
            entry(12, 11, 12, ""),
            // Lost its parents: told by its mark, by its group.
            entry(13, me, 13, "m/1/"),
            entry(14, me, 10, ""),
            entry(15, 13, 13, ""),
            entry(20, me, 20, "m/2/"),
            entry(30, me, 30, ""),
        ];
        let trees = weigh(&[10, 20, 99], &entries, me, 4);
        assert_eq!(
            trees,
            HashMap::from([(10, Tree { bytes: 24, processes: 6 }), (20, Tree { bytes: 4, processes: 1 })])
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen() {
        let me = std::process::id();
        assert!(one(me).is_some_and(|entry| entry.start > 0 && !entry.zombie));
        assert!(trees(&[me])[&me].bytes > 100_000);
        assert!(all(Some(0)).iter().any(|entry| entry.pid == me));
    }
}
