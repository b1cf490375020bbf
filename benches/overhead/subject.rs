//! What is measured: a relay or an mcpool daemon, each before the same server, in a directory of its own.
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use tokio::net::UnixStream;

use crate::caller::Caller;
use crate::{Result, process as probe};

const MCPOOL: &str = env!("CARGO_BIN_EXE_mcpool");

/// A running relay or daemon. Stopped, and its directory removed, when dropped.
pub struct Subject {
    child: Child,
    /// Kept open: a subject that still prints must not die of it.
    _stdout: BufReader<ChildStdout>,
    dir: Dir,
}

impl Subject {
    pub fn relay() -> Result<Self> {
        let dir = Dir::new()?;
        let mut command = Command::new(example("relay"));
        command.arg(dir.socket()).arg(example("echo_server"));
        Self::start(command, dir)
    }

    pub fn mcpool() -> Result<Self> {
        Self::mcpool_in(Dir::new()?)
    }

    /// A daemon anew where one ran before: with its catalogue, without its processes.
    pub fn restarted(self) -> Result<Self> {
        let dir = self.dir.clone();
        // The directory must outlive the daemon that is dropped here.
        drop(self);
        Self::mcpool_in(dir)
    }

    fn mcpool_in(dir: Dir) -> Result<Self> {
        fs::write(dir.config(), config(&dir))?;
        let mut command = Command::new(MCPOOL);
        command.arg("serve").arg("--config").arg(dir.config());
        Self::start(command, dir)
    }

    fn start(mut command: Command, dir: Dir) -> Result<Self> {
        let log = dir.path().join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
        let mut child = command.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut said = String::new();
        stdout.read_line(&mut said)?;
        let subject = Subject { child, _stdout: stdout, dir };
        if said.trim() != "ready" {
            let log = fs::read_to_string(log)?;
            return Err(format!("{command:?} said {said:?} and not that it is ready\n{log}").into());
        }
        Ok(subject)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far of this process, and of the servers behind it.
    pub fn cpu(&self) -> Result<(Duration, Duration)> {
        let servers = probe::servers(self.pid())?.into_iter().filter_map(|pid| probe::cpu(pid).ok()).sum();
        Ok((probe::cpu(self.pid())?, servers))
    }

    /// A caller that is connected and nothing more.
    pub async fn connect(&self) -> Result<Caller> {
        let (read, write) = UnixStream::connect(self.dir.socket()).await?.into_split();
        Ok(Caller::new(Box::new(read), Box::new(write)))
    }

    /// The command that a host would start in place of the server.
    pub fn connect_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(MCPOOL);
        command.args(["connect", "echo"]).env("MCPOOL_CONFIG", self.dir.config()).kill_on_drop(true);
        command
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Asked first, so that a daemon keeps its catalogue and stops its servers; then made to.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let patience = Instant::now() + Duration::from_secs(5);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > patience {
                eprintln!("overhead: {} did not leave when asked", self.child.id());
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Everything is on and counts; the bounds that keep a client that has run wild from a server lie above what is measured.
fn config(dir: &Dir) -> String {
    let (sockets, catalogue, server) = (dir.sockets(), dir.path().join("catalogue"), example("echo_server"));
    format!(
        "sockets: {{ dir: {sockets:?} }}\n\
         catalogue: {{ dir: {catalogue:?} }}\n\
         limits: {{ callers: 20000 }}\n\
         admin: {{ metrics: 127.0.0.1:0 }}\n\
         servers:\n  echo:\n    command: {server:?}\n    instances: {{ max: 1 }}\n    concurrency: 256\n    \
         rate_limit: {{ per_caller: 100000000/s, total: 100000000/s }}\n    recycle: {{ calls: 1000000000 }}\n"
    )
}

/// Where the sockets, the config and the catalogue of one subject are. Shared by the daemons that follow each other there;
/// removed with the last.
#[derive(Clone)]
struct Dir(std::sync::Arc<Removed>);

struct Removed(PathBuf);

impl Dir {
    fn new() -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mcpool-bench-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(path.join("sockets"))?;
        Ok(Dir(std::sync::Arc::new(Removed(path))))
    }

    fn path(&self) -> &Path {
        &self.0.0
    }

    fn sockets(&self) -> PathBuf {
        self.path().join("sockets")
    }

    fn socket(&self) -> PathBuf {
        self.sockets().join("echo.sock")
    }

    fn config(&self) -> PathBuf {
        self.path().join("mcpool.yaml")
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cargo builds the program under test for a bench, but no examples: that is done here, before anything is timed.
pub fn build_examples() -> Result {
    let target = examples_dir().ancestors().nth(2).ok_or("no target directory")?.to_owned();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--quiet", "--example", "relay", "--example", "echo_server", "--target-dir"]);
    match build.arg(target).current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
        true => Ok(()),
        false => Err("the examples don't build".into()),
    }
}

fn examples_dir() -> PathBuf {
    Path::new(MCPOOL).with_file_name("examples")
}

fn example(name: &str) -> PathBuf {
    examples_dir().join(name)
}
