//! A daemon with a server that misbehaves and one that does not, in a directory of their own. When it is dropped the
//! daemon is gone, with all that it started.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{PATIENCE, eventually};

pub const MCPOOL: &str = env!("CARGO_BIN_EXE_mcpool");

/// The server that misbehaves. Cargo builds the program under test for a test, but no examples unless it is asked to.
pub static BAD_SERVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let examples = Path::new(MCPOOL).with_file_name("examples");
    let target = examples.ancestors().nth(2).expect("a target directory");
    let release = examples.ancestors().nth(1).is_some_and(|profile| profile.ends_with("release"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--example", "bad_server", "--target-dir"]).arg(target);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo runs").success(), "the example does not build");
    examples.join("bad_server")
});

/// A directory with a config and at most one daemon.
pub struct Place {
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Place {
    /// With the server `bad` as given, and `good`.
    pub fn new(bad: &Value) -> Place {
        // Short, since a socket's path has little room.
        let dir = std::env::temp_dir().join(format!("mcpool-{:08x}", fastrand::u32(..)));
        fs::create_dir_all(&dir).expect("a directory");
        let place = Place { dir, daemon: None };
        let env = json!({ "WELL": place.well() });
        let mut bad = bad.clone();
        bad["env"] = env.clone();
        let good =
            json!({ "command": MCPOOL, "args": ["demo-server", "legacy"], "env": env, "recycle": { "idle": "500ms" } });
        let config = json!({
            "sockets": { "dir": place.dir.join("run") },
            "catalogue": { "dir": place.dir.join("cache") },
            "servers": { "bad": bad, "good": good },
        });
        // Of which JSON is a part.
        fs::write(place.config(), config.to_string()).expect("written");
        place
    }

    /// With a daemon that is ready.
    pub fn with_daemon(bad: &Value) -> Place {
        let mut place = Place::new(bad);
        let log = fs::File::create(place.dir.join("log")).expect("a log");
        let mut command = place.mcpool("serve");
        let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("it runs");
        let mut said = String::new();
        BufReader::new(daemon.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
        place.daemon = Some(daemon);
        assert_eq!(said.trim(), "ready");
        place
    }

    pub fn mcpool(&self, command: &str) -> Command {
        let mut mcpool = Command::new(MCPOOL);
        mcpool.arg(command).arg("--config").arg(self.config()).env("HOME", &self.dir);
        mcpool
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(format!("{name}.sock"))
    }

    /// From now on the server `bad` starts without its fault.
    pub fn gets_well(&self) {
        fs::write(self.well(), "").expect("written");
    }

    /// What the daemon tells of itself, if there is one.
    pub fn asked(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(self.socket("admin")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"status\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub fn status(&self) -> Value {
        self.asked().expect("a daemon that answers")
    }

    /// What the status says of the server `bad`.
    pub fn bad(&self) -> Value {
        let status = self.status();
        let mut servers = status["servers"].as_array().into_iter().flatten();
        servers.find(|server| server["name"] == "bad").cloned().expect("the server")
    }

    /// The processes of the instances of `bad`.
    pub fn pids(&self) -> Vec<u32> {
        let bad = self.bad();
        let instances = bad["instances"].as_array().into_iter().flatten();
        instances.filter_map(|instance| u32::try_from(instance["pid"].as_u64()?).ok()).collect()
    }

    /// How many lines of servers were dropped for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.status()["counters"]["dropped"][reason].as_u64().unwrap_or(0)
    }

    pub fn daemon(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// Tells the daemon to end. It ends well, and leaves nothing behind.
    pub async fn ends(mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        tell(daemon.id(), Signal::TERM);
        let status = eventually("the daemon to end", || daemon.try_wait().expect("a child")).await;
        assert!(status.success(), "the daemon ended with {status}");
        let left = self.processes();
        assert!(left.is_empty(), "left behind by the daemon: {left:?}");
    }

    /// Every process that descends from a server of this place, whoever is its parent by now: all have been given `WELL`.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("WELL={}", self.well().display());
        let here = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        running().filter(here).map(|pid| format!("{pid} {}", command(pid))).collect()
    }

    /// Children of the daemon that have ended and were never waited for.
    pub fn zombies(&self) -> Vec<u32> {
        let daemon = self.daemon().to_string();
        let unburied = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name before it may hold anything.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(daemon.as_str())
        };
        running().filter(unburied).collect()
    }

    /// What the daemon has open.
    pub fn descriptors(&self) -> Vec<String> {
        let Ok(open) = fs::read_dir(format!("/proc/{}/fd", self.daemon())) else {
            // Only root looks into a daemon; others are told how many they are.
            let count = self.status()["descriptors"]["open"].as_u64().expect("a number");
            return (0..count).map(|_| "unknown".to_owned()).collect();
        };
        let open = open.flatten();
        open.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect()
    }

    fn config(&self) -> PathBuf {
        self.dir.join("mcpool.yaml")
    }

    fn well(&self) -> PathBuf {
        self.dir.join("well")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let from = log.lines().count().saturating_sub(40);
            eprintln!("the log of the daemon ends with:\n{}", log.lines().skip(from).collect::<Vec<_>>().join("\n"));
        }
        // One that somebody else started too.
        let other = || Some(self.asked()?["pid"].as_u64()? as u32);
        if let Some(pid) = self.daemon.as_ref().map(Child::id).or_else(other) {
            tell(pid, Signal::KILL);
        }
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.wait();
        }
        for process in self.processes() {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            pid.into_iter().for_each(|pid| tell(pid, Signal::KILL));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Sends a signal to a process, which may be gone already.
pub fn tell(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

fn running() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
