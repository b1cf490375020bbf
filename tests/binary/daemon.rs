//! A place of its own for every test, with a config, sockets and at most one daemon, all gone when it is dropped.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::host::Host;

/// A directory with a config.
pub struct Place(PathBuf);

impl Place {
    /// With a legacy server `echo` and a modern one `new`.
    pub fn new() -> Place {
        // Short, since a socket's path has little room.
        let dir = std::env::temp_dir().join(format!("mcpool-{:08x}", fastrand::u32(..)));
        fs::create_dir_all(&dir).expect("a directory");
        let place = Place(dir);
        let binary = env!("CARGO_BIN_EXE_mcpool");
        let config = format!(
            "servers:\n  echo:\n    command: {binary:?}\n    args: [demo-server, legacy]\n  new:\n    command: {binary:?}\n    \
             args: [demo-server, modern]\nsockets:\n  dir: {sockets:?}\ncatalogue:\n  dir: {catalogue:?}\n",
            sockets = place.sockets(),
            catalogue = place.0.join("cache"),
        );
        fs::write(place.config(), config).expect("written");
        place
    }

    pub fn home(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("mcpool.yaml")
    }

    pub fn sockets(&self) -> PathBuf {
        self.0.join("run")
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets().join(format!("{name}.sock"))
    }

    /// The binary with these arguments and this place's config.
    pub fn mcpool(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcpool"));
        command.args(args).arg("--config").arg(self.config()).env("HOME", &self.0).kill_on_drop(true);
        command
    }

    /// A host that speaks with the binary over its stdio.
    pub fn host(&self, args: &[&str]) -> Host {
        Host::start(self.mcpool(args))
    }

    /// A host that connects to an endpoint.
    pub fn connect(&self, endpoint: &str) -> Host {
        self.host(&["connect", endpoint])
    }

    /// A daemon in the foreground that is ready.
    pub async fn serve(&self) -> Daemon {
        self.ready(&mut self.mcpool(&["serve"])).await
    }

    /// The same, started by any command.
    pub async fn ready(&self, command: &mut Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        timeout(PATIENCE, stdout.read_line(&mut line)).await.expect("the daemon is not ready").expect("a line");
        assert_eq!(line.trim(), "ready");
        Daemon(child)
    }

    /// What the daemon answers to `status`.
    pub async fn status(&self) -> Value {
        self.asked().expect("a daemon runs")
    }

    /// Asks whoever listens, if anybody does. Blocks, so that it can be used on the way out too.
    pub fn asked(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.socket("admin")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"status\n").ok()?;
        let mut line = String::new();
        std::io::BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Waits until the status is as it should be.
    pub async fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        let waited = async {
            loop {
                match self.asked() {
                    Some(status) if is(&status) => return status,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, waited)
            .await
            .unwrap_or_else(|_| panic!("it is never so: {:#}", self.asked().unwrap_or_default()))
    }

    /// Puts other words into the config.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("a config");
        assert!(text.contains(from), "no {from:?} in:\n{text}");
        // As editors do: a new file in the place of the old one.
        let new = self.0.join("mcpool.yaml.new");
        fs::write(&new, text.replace(from, to)).expect("written");
        fs::rename(new, self.config()).expect("put in place");
    }

    /// The pids of all server processes.
    pub async fn servers(&self) -> Vec<u32> {
        let status = self.status().await;
        let servers = status["servers"].as_array().into_iter().flatten();
        let instances = servers.flat_map(|server| server["instances"].as_array().into_iter().flatten());
        instances.filter_map(|instance| u32::try_from(instance["pid"].as_u64()?).ok()).collect()
    }

    /// Kills the daemon of this place, whoever started it.
    pub async fn kill(&self) {
        let pid = self.daemon().expect("a daemon runs");
        kill_process(pid, Signal::KILL).expect("killed");
        gone(pid.as_raw_pid().unsigned_abs()).await;
    }

    /// A process that was started with a path of this place. One that has ended has no arguments.
    fn anybody(&self) -> Option<Pid> {
        let mine = self.0.as_os_str().as_encoded_bytes();
        let names_it = |pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.windows(mine.len()).any(|part| part == mine)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Pid::from_raw(pids.find(names_it)?)
    }

    fn daemon(&self) -> Option<Pid> {
        Pid::from_raw(self.asked()?["pid"].as_i64()?.try_into().ok()?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At once, so that nothing is written into what is about to go.
        if let Some(pid) = self.daemon() {
            // It may have ended in the meantime.
            let _ = kill_process(pid, Signal::KILL);
        }
        // A daemon that a `connect` has just started answers nobody yet.
        while let Some(pid) = self.anybody() {
            let _ = kill_process(pid, Signal::KILL);
            std::thread::yield_now();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon that the test started itself.
pub struct Daemon(Child);

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.0.id().expect("it runs")
    }

    /// Ends it with `kill -9`.
    pub async fn kill(mut self) {
        self.0.kill().await.expect("killed");
    }

    /// Tells it to end, and waits for that.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("told");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.0.wait()).await.expect("it does not end").expect("it ended")
    }
}

/// Waits until a process is gone.
pub async fn gone(pid: u32) {
    let raw = Pid::from_raw(pid.cast_signed()).expect("a pid");
    let ended = async {
        while test_kill_process(raw).is_ok() && !is_zombie(pid) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("process {pid} is still there"));
}

/// Whether a process has ended and only its parent has not looked. While one of its threads is left, so are its files.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.first() == Some(&"Z") && fields.get(THREADS) == Some(&"1")
}

/// Where the number of threads is in `/proc/PID/stat`, counted from the state.
const THREADS: usize = 17;
