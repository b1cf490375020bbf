//! Called by the daemon's pools: real child processes. Each leads a process group of its own and marks what it
//! starts, so that all of that is ended with it ([decision 8](../../docs/decisions/0008-no-orphans.md)).

#[cfg(target_os = "linux")]
mod calls;
pub mod confine;
mod family;
mod fence;
mod household;
pub mod inherit;
mod missing;
pub mod origin;
mod reports;
mod sandbox;
pub mod search;
pub mod site;
mod sys;
pub mod tag;
mod tree;
pub mod warden;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::process::Command;
use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep, timeout};

use super::launch::{Connection, Launcher};
use crate::config;
use crate::tasks;
use confine::Confinement;
use family::Family;
use household::Household;
use inherit::Inherited;
use origin::Origin;
use site::Fences;
pub use sys::{is_now, outlive, peer};
pub use tree::{Tree, trees};

/// How often it is looked whether those who were told to end have.
const STEP: Duration = Duration::from_millis(20);
/// How long what was killed may take to be gone: one that hangs in the system's own code may take for ever.
const KILLING: Duration = Duration::from_secs(5);

/// Variables of a process.
pub type Variables = BTreeMap<OsString, OsString>;

/// Starts servers as child processes.
pub struct Processes {
    /// Where servers run for which no `cwd` is configured: the directory of the config file.
    cwd: Option<PathBuf>,
    /// What this process has given up and servers get.
    inherited: Inherited,
    fences: Fences,
    household: Rc<Household>,
}

impl Processes {
    /// Starts servers in `cwd` for which none is configured, and a warden that ends them if this process is killed.
    /// Confined ones may write below `cache`.
    pub fn new(cwd: Option<PathBuf>, cache: Option<&Path>, inherited: Inherited) -> Processes {
        Processes { cwd, inherited, fences: Fences::new(cache), household: Household::open() }
    }
}

/// Where this very program is, even if another was put in its place since it was started.
///
/// # Errors
/// The system does not tell.
pub fn this_program() -> io::Result<PathBuf> {
    sys::this_program()
}

/// Has nothing of a server's that this process may descend from on those that it starts: it is none of that family.
pub fn leave_family() {
    // Unlimited: no server is above.
    if let Some(Some(limit)) = sys::tag_limit()
        && let Some(tags) = tag::Tags::draw(Some(limit), fastrand::u64(..))
    {
        sys::be_tagged(tags.first());
    }
}

/// Returns what of sandboxes this system can hold, in words for people.
pub fn held() -> String {
    sandbox::held()
}

impl Processes {
    /// Where whoever connected comes from, whose id the system says was `pid`. Reads a few small files.
    pub fn origin(&self, of: &impl AsFd, pid: u32) -> Origin {
        // Before all else: from here on it is certain whether the id is still that of who connected.
        let handle = sys::peer(of);
        let origin = self.household.origin(pid);
        let same = handle.is_none_or(|handle| sys::is_now(&handle, pid));
        if same || self.household.is_empty() { origin } else { Origin::Unknown }
    }

    /// Processes that were left to this one by others than its servers, which are not ended.
    pub fn strangers(&self) -> Vec<u32> {
        self.household.strangers()
    }
}

impl Launcher for Processes {
    fn launch(&self, server: &config::Server) -> io::Result<Connection> {
        let mut variables = server.variables();
        let cwd = server.cwd.as_ref().or(self.cwd.as_ref());
        let program = search::find(&server.command, variables.get(OsStr::new("PATH")), cwd.map(PathBuf::as_path))?;
        let fence = self.fences.around(server, program, &mut variables)?;
        let (mark, tag) = self.household.next_mark();
        let mut confinement = Confinement::new(server, self.inherited, fence);
        confinement.tag = tag;
        // It begins as this program, which restricts itself and then becomes the server.
        let mut command = Command::new(sys::this_program()?);
        command.arg0("mcpool").args([confine::WORD, &confinement.written(), &server.command]).args(&server.args);
        command.env_clear().envs(variables);
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        command.env(tree::MARK, &mark);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) =
            (child.id(), child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("its standard streams are missing"));
        };
        let start = self.household.moved_in(pid, &mark, tag, &server.name);
        let tags = tag.map(|tag| tag..tag + 1).unwrap_or_default();
        let family = Family::new(HashMap::from([(pid, start)]), mark, tags);
        let ended = Rc::new(SetOnce::new());
        let process = Process { pid, ended: ended.clone(), family, household: self.household.clone() };
        // A task of its own: whoever waits for this among other things would ask the system each time one of them happens.
        tasks::spawn("process", async move {
            let how = child.wait().await;
            let how = how.map_or_else(|error| format!("its end could not be seen: {error}"), |how| how.to_string());
            // Nobody else tells it.
            let _ = ended.set(how);
        });
        Ok(Connection {
            reader: Box::new(stdout),
            writer: Box::new(stdin),
            stderr: Some(Box::new(stderr)),
            pid: Some(pid),
            process: Some(process),
        })
    }
}

/// A child process, and whoever descends from it.
pub struct Process {
    pid: u32,
    /// How it ended.
    ended: Rc<SetOnce<String>>,
    family: Family,
    household: Rc<Household>,
}

impl Process {
    /// Waits for its end and says how it ended.
    pub async fn ended(&self) -> &str {
        self.ended.wait().await
    }

    /// Returns whether it has ended, be it that nobody was told yet.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let looked = Pid::from_raw(self.pid.cast_signed()).map(|pid| waitid(WaitId::Pid(pid), options));
        self.ended.get().is_some() || matches!(looked, Some(Ok(Some(_))))
    }

    /// Ends it and all that descends from it, its stdin being closed already: waits, then SIGTERM, waits, then
    /// SIGKILL.
    pub async fn end(mut self, grace: Duration) {
        self.household.moves_out(self.pid);
        // While its parents live, a child that left the group can be told by them.
        self.look().await;
        // It may have ended already, or does so now that it reads the end of its input.
        let _ = timeout(grace / 4, self.ended()).await;
        if !self.end_by(Signal::TERM, grace).await && !self.end_by(Signal::KILL, KILLING).await {
            return tracing::error!(pid = self.pid, "it was killed and is not gone: the system holds it");
        }
        self.household.moved_out(self.pid);
    }

    /// Tells everybody until they are gone or `patience` is over; says whether they are gone.
    async fn end_by(&mut self, signal: Signal, patience: Duration) -> bool {
        // By a new look: since the last one, ids may have become those of others.
        if self.gone().await {
            return true;
        }
        let since = Instant::now();
        while since.elapsed() < patience {
            self.family.tell(signal);
            sleep(STEP).await;
            if !self.family.alive() && self.gone().await {
                return true;
            }
        }
        false
    }

    /// Returns whether nobody is left, after a new look.
    async fn gone(&mut self) -> bool {
        self.look().await;
        self.ended.get().is_some() && !self.family.alive()
    }

    async fn look(&mut self) {
        let entries = self.household.look().await;
        self.family.see(&entries, &[std::process::id()]);
        self.household.strays(&entries).into_iter().for_each(|stray| self.family.adopt(stray.clone()));
    }
}
