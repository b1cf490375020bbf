//! Called by `pool::process`: what this daemon keeps of all its servers' processes, so that none of them outlives
//! it. It adopts what loses its parents, buries what dies, and keeps a warden for the case of its own sudden end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, WaitOptions, getpgrp, waitid, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::origin::{self, House, Known, Origin};
use super::reports::Reports;
use super::sys;
use super::tag::Tags;
use super::tree::{self, Entry};
use super::warden;
use crate::tasks;

/// How long whoever waits for a child of this process has until it is taken for nobody's.
const BURIAL: Duration = Duration::from_millis(20);
/// How often a process is traced whose parents end meanwhile.
const TRACES: usize = 5;
/// The shortest and the longest pause between two wardens, and how long one that is well has lived.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// All processes that this daemon answers for.
pub struct Household {
    /// How the marks of all of them begin.
    mark: String,
    /// What marks those that cleared their environment; none where the system, or a daemon above this one, leaves no room.
    tags: Option<Tags>,
    serial: Cell<u64>,
    /// This daemon was started by a server of another.
    nested: bool,
    /// When the first server was started, in the ticks of `Entry::start`.
    since: Cell<Option<u64>>,
    servers: RefCell<HashMap<u32, Leader>>,
    /// The warden's id, and how it is told things.
    warden: RefCell<Option<(u32, Rc<Reports>)>>,
}

/// A server's first process.
struct Leader {
    start: u64,
    mark: String,
    tag: Option<u64>,
    /// The server's name.
    name: String,
    ending: bool,
}

impl Leader {
    fn known(&self, pid: u32) -> Known<'_> {
        Known { pid, start: self.start, mark: &self.mark, tag: self.tag, name: &self.name }
    }
}

impl Household {
    /// An empty one. Runs two tasks beside it, for as long as the runtime lives.
    pub fn open() -> Rc<Household> {
        if let Err(error) = sys::adopt_orphans() {
            tracing::warn!(%error, "cannot adopt orphans: what leaves its process group may be lost");
        }
        // Other daemons know it by this.
        sys::be_called(tree::NAME);
        let household = Rc::new(Household {
            // No later process of the same id draws the same number.
            mark: format!("{}-{:016x}/", std::process::id(), fastrand::u64(..)),
            tags: sys::tag_limit().and_then(|limit| Tags::draw(limit, fastrand::u64(..))),
            serial: Cell::new(0),
            nested: std::env::var_os(tree::MARK).is_some()
                // Its own parent ends just now, if it left whoever started it.
                || (0..TRACES).find_map(|_| origin::is_nested(std::process::id(), tree::ancestor)).unwrap_or(false),
            since: Cell::new(None),
            servers: RefCell::default(),
            warden: RefCell::default(),
        });
        let first = household.hire();
        tasks::spawn("warden", household.clone().keep_a_warden(first));
        tasks::spawn("burials", household.clone().bury());
        household
    }

    /// The mark of the next server, for its environment, and its tag.
    pub fn next_mark(&self) -> (String, Option<u64>) {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        (format!("{}{serial}/", self.mark), self.tags.map(|tags| tags.of(serial)))
    }

    /// A server was started. Says since when it lives.
    pub fn moved_in(&self, pid: u32, mark: &str, tag: Option<u64>, name: &str) -> u64 {
        let start = tree::one(pid).map_or(0, |entry| entry.start);
        self.since.set(Some(self.since.get().unwrap_or(start).min(start)));
        self.servers
            .borrow_mut()
            .insert(pid, Leader { start, mark: mark.to_owned(), tag, name: name.to_owned(), ending: false });
        self.tell_warden(&warden::arrival(pid, start));
        start
    }

    /// A server is being ended: it has no right to children any more.
    pub fn moves_out(&self, pid: u32) {
        if let Some(leader) = self.servers.borrow_mut().get_mut(&pid) {
            leader.ending = true;
        }
    }

    /// A server was ended with all its family, and waited for.
    pub fn moved_out(&self, pid: u32) {
        self.servers.borrow_mut().remove(&pid);
        self.tell_warden(&warden::departure(pid));
    }

    /// Everything that runs on this machine, with the marks of what may be of this household.
    pub async fn look(&self) -> Vec<Entry> {
        let since = self.since.get();
        // Fails only if the runtime ends, and this task with it.
        spawn_blocking(move || tree::all(since)).await.unwrap_or_default()
    }

    /// Adopted children that stem from servers of which none is alive.
    pub fn strays<'a>(&self, entries: &'a [Entry]) -> Vec<&'a Entry> {
        let servers = self.servers.borrow();
        let stray = |entry: &&Entry| {
            let mut living = servers.values().filter(|leader| !leader.ending);
            self.is_adopted(entry)
                && self.since.get().is_some_and(|since| since <= entry.start)
                && self.is_marked(entry)
                && living.all(|leader| entry.mark.as_ref() != Some(&leader.mark) && entry.tag != leader.tag)
        };
        entries.iter().filter(stray).collect()
    }

    /// Returns whether a process shows that it stems from a server of this household.
    fn is_marked(&self, entry: &Entry) -> bool {
        entry.mark.as_ref().is_some_and(|mark| mark.starts_with(&self.mark))
            || entry.tag.is_some_and(|tag| self.tags.is_some_and(|tags| tags.all().contains(&tag)))
    }

    /// Returns whether no server runs.
    pub fn is_empty(&self) -> bool {
        self.servers.borrow().is_empty()
    }

    /// Where a process comes from.
    pub fn origin(&self, pid: u32) -> Origin {
        let servers = self.servers.borrow();
        if !tree::is_there() {
            return Origin::Elsewhere;
        }
        let house = House {
            me: std::process::id(),
            since: self.since.get().unwrap_or(0),
            mark: &self.mark,
            tags: self.tags.map(Tags::all),
            servers: servers.iter().map(|(pid, leader)| leader.known(*pid)).collect(),
            warden: self.warden.borrow().as_ref().map(|(pid, _)| *pid),
            nested: self.nested,
        };
        let look = |pid, marked| if marked { tree::shown(pid) } else { tree::ancestor(pid) };
        (0..TRACES).find_map(|_| origin::trace(pid, &house, look)).unwrap_or(Origin::Unknown)
    }

    /// Adopted children that do not stem from servers.
    pub fn strangers(&self) -> Vec<u32> {
        let marked = |entry: &Entry| tree::shown(entry.pid).is_none_or(|shown| self.is_marked(&shown));
        let children = tree::own_children().into_iter().filter_map(tree::one);
        children
            .filter(|entry| self.is_adopted(entry) && !entry.zombie && !marked(entry))
            .map(|entry| entry.pid)
            .collect()
    }

    /// Returns whether a process is a child of this one that nobody here started, and so nobody waits for.
    fn is_adopted(&self, entry: &Entry) -> bool {
        let warden = self.warden.borrow().as_ref().map(|(pid, _)| *pid);
        entry.parent == std::process::id()
            // Others of this program may have children too, but not in groups of their own.
            && entry.group != getpgrp().as_raw_pid().unsigned_abs()
            && Some(entry.pid) != warden
            && !self.servers.borrow().contains_key(&entry.pid)
    }

    /// Buries adopted children, which would be zombies for as long as this process lives.
    async fn bury(self: Rc<Self>) {
        let Ok(mut deaths) = signal(SignalKind::child()) else {
            return tracing::warn!("cannot hear of the end of processes: orphans will be left as zombies");
        };
        while deaths.recv().await.is_some() {
            sleep(BURIAL).await;
            let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if !matches!(waitid(WaitId::All, peek), Ok(Some(_))) {
                continue;
            }
            let dead = self.look().await.into_iter().filter(|entry| entry.zombie && self.is_adopted(entry));
            for pid in dead.filter_map(|entry| sys::pid(entry.pid)) {
                // Exactly this one: a wait for any child would take the runtime's away from it.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// Has a warden live for as long as this process does.
    async fn keep_a_warden(self: Rc<Self>, first: io::Result<(Child, Rc<Reports>)>) {
        let (mut hired, mut pause) = (first, PAUSE.0);
        loop {
            let since = Instant::now();
            match hired {
                Ok((mut child, reports)) => {
                    let how = tokio::select! {
                        status = child.wait() => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                        () = reports.deliver() => "it does not read".to_owned(),
                    };
                    // It may be gone already.
                    let _ = child.kill().await;
                    tracing::warn!(how, "the warden of the servers' processes ended; starts another");
                }
                Err(error) => tracing::warn!(%error, "no warden: if mcpool is killed, servers may be left behind"),
            }
            pause = if since.elapsed() > PAUSE.1 { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            sleep(pause).await;
            hired = self.hire();
        }
    }

    /// Starts a warden and tells it everything.
    fn hire(&self) -> io::Result<(Child, Rc<Reports>)> {
        let (reader, reports) = Reports::open()?;
        let child = Command::new(sys::this_program()?)
            .arg0("mcpool")
            .args(["warden", &self.mark])
            .args(self.tags.map(|tags| tags.first().to_string()))
            // Nothing of whoever started the daemon is kept open, busy, or known.
            .env_clear()
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Whoever kills the daemon's group does not kill the warden with it.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let reports = Rc::new(reports);
        let servers = self.servers.borrow();
        reports.tell(&servers.iter().map(|(pid, leader)| warden::arrival(*pid, leader.start)).collect::<String>());
        *self.warden.borrow_mut() = Some((pid, reports.clone()));
        Ok((child, reports))
    }

    fn tell_warden(&self, line: &str) {
        // Where there is none, the next one is told everything.
        if let Some((_, reports)) = &*self.warden.borrow() {
            reports.tell(line);
        }
    }
}
