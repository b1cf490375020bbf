//! `mcpool confine`, which nobody types: every server's process begins as this. It restricts itself and then becomes
//! the server, since what a process may do can be given up only by itself, and in safe code only before it runs another
//! program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};
use serde::{Deserialize, Serialize};

use super::fence::Fence;
use super::inherit::{Inherited, close_inherited, hear_signals};
use super::missing::explained;
use super::{sandbox, sys};
use crate::config;

/// The word that comes before all else.
pub const WORD: &str = "confine";
/// How it ends if it cannot restrict itself, cannot run the server, or finds none; as `env` and shells do.
const FAILED: [u8; 3] = [125, 126, 127];
/// How what it says begins.
const SAID: &str = "mcpool: ";

/// What a server's process gives up, and what it gets back of what the daemon changed for itself.
#[derive(Debug, Deserialize, Serialize)]
pub struct Confinement {
    /// Its soft limit on descriptors; None: no limit.
    files: Option<u64>,
    /// Its soft limit on core files; None: no limit.
    core: Option<u64>,
    umask: u32,
    /// Whether programs that it runs may gain rights, as `sudo` does.
    new_privileges: bool,
    fence: Option<Fence>,
    /// Tells the server and all that descends from it.
    pub tag: Option<u64>,
}

impl Confinement {
    /// For a server, with a fence around it if it has a sandbox.
    pub fn new(server: &config::Server, inherited: Inherited, fence: Option<Fence>) -> Confinement {
        let Inherited { files, core, umask } = inherited;
        Confinement { files, core, umask, new_privileges: server.new_privileges, fence, tag: None }
    }

    /// Returns whether this system can hold it, found out by a process that enters it and ends. Waits for that process.
    ///
    /// # Errors
    /// It cannot; why, in words for people.
    pub fn try_out(&self) -> Result<(), String> {
        let mut trial = Command::new(sys::this_program().map_err(|error| error.to_string())?);
        let tried = trial.arg0("mcpool").args([WORD, &self.written()]).env_clear().output();
        let tried = tried.map_err(|error| error.to_string())?;
        if tried.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tried.stderr);
        Err(said.trim().strip_prefix(SAID).unwrap_or("it ended without a word").to_owned())
    }

    /// As an argument of the command line. It holds nothing secret: everybody may read it.
    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Restricts this process, for good.
    fn enter(&self) -> Result<(), String> {
        close_inherited();
        hear_signals();
        umask(Mode::from_raw_mode(self.umask));
        for (resource, soft) in [(Resource::Nofile, self.files), (Resource::Core, self.core)] {
            let limit = getrlimit(resource);
            // It was so in the daemon, whose hard limit is this one's. Where somebody has lowered that since, it stays.
            let _ = setrlimit(resource, rustix::process::Rlimit { current: soft, ..limit });
        }
        self.tag.into_iter().for_each(sys::be_tagged);
        if !self.new_privileges {
            sys::gain_nothing().map_err(|error| format!("cannot give up new privileges: {error}"))?;
        }
        match &self.fence {
            Some(fence) => sandbox::enter(fence).map_err(|why| format!("its sandbox cannot be held: {why}")),
            None => Ok(()),
        }
    }
}

/// Becomes a server, if the command line says so; else it is for others to read.
pub fn called() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != WORD {
        return None;
    }
    let confinement = words.next()?;
    let Err((why, code)) = run(&confinement, words) else { return Some(ExitCode::SUCCESS) };
    eprintln!("{SAID}{why}");
    Some(ExitCode::from(code))
}

/// Comes back only if it fails, with why and the code to end with, or if there is no command: then it was a trial.
fn run(confinement: &OsString, mut words: impl Iterator<Item = OsString>) -> Result<(), (String, u8)> {
    let read = confinement.to_str().and_then(|text| serde_json::from_str::<Confinement>(text).ok());
    let confinement = read.ok_or_else(|| ("`confine` is for mcpool's own use".to_owned(), FAILED[0]))?;
    confinement.enter().map_err(|why| (why, FAILED[0]))?;
    let Some(command) = words.next() else { return Ok(()) };
    let error = Command::new(&command).args(words).exec();
    let error = explained(&command, std::env::var_os("PATH").as_deref(), None, error);
    let code = if error.kind() == io::ErrorKind::NotFound { FAILED[2] } else { FAILED[1] };
    Err((format!("cannot run `{}`: {error}", command.display()), code))
}
