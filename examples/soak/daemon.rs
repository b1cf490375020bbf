//! The daemon under test, and what can be seen of it from the outside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::counters::Counters;
use super::servers::{ALLOCATOR, MARK, config};

/// How long the daemon may take to start, to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon with a directory of its own.
pub struct Daemon {
    child: Child,
    pub pid: u32,
    pub directory: PathBuf,
    mcpool: PathBuf,
    seed: u64,
}

/// What a process of the operating system takes up.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Resident memory in bytes, without the pages of files: those come with the code that is run.
    pub memory: u64,
    pub descriptors: usize,
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub async fn start(mcpool: &Path, directory: &Path, seed: u64) -> io::Result<Daemon> {
        fs::create_dir_all(directory)?;
        write_config(directory, mcpool, seed, 0)?;
        let mut command = Command::new(mcpool);
        command.args(["serve", "--config"]).arg(directory.join("mcpool.yaml"));
        command.env("MCPOOL_LOG", "info,mcpool::endpoint=debug");
        command.envs(ALLOCATOR);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(directory.join("daemon.log"))?);
        let mut child = command.kill_on_drop(true).spawn()?;
        let gone = || io::Error::other("it ended at once");
        let pid = child.id().ok_or_else(gone)?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        timeout(PATIENCE, stdout.read_line(&mut line)).await??;
        if line != "ready\n" {
            return Err(gone());
        }
        let (directory, mcpool) = (directory.to_owned(), mcpool.to_owned());
        Ok(Daemon { child, pid, directory, mcpool, seed })
    }

    /// Writes the config of another edition, and has it read.
    pub fn reload(&self, edition: u64) -> io::Result<()> {
        write_config(&self.directory, &self.mcpool, self.seed, edition)?;
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it for its status.
    pub async fn status(&self) -> io::Result<Value> {
        Ok(serde_json::from_str(&self.order("status").await?)?)
    }

    /// Reads its counters.
    pub async fn counters(&self) -> io::Result<Counters> {
        let status = self.status().await?;
        Counters::read(status["metrics"].as_str().ok_or(io::ErrorKind::NotFound)?).await
    }

    /// Says a line on the admin socket; what it answers.
    pub async fn order(&self, line: &str) -> io::Result<String> {
        let talk = async {
            let mut stream = UnixStream::connect(self.directory.join("admin.sock")).await?;
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(PATIENCE, talk).await?
    }

    /// What it takes up now.
    pub fn size(&self) -> io::Result<Size> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid));
        let status = fs::read_to_string(proc.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let memory = kib.ok_or(io::ErrorKind::InvalidData)? * 1024;
        // Told by the daemon itself, into which nobody but root looks.
        let mut stream = std::os::unix::net::UnixStream::connect(self.directory.join("admin.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        std::io::Write::write_all(&mut stream, b"status\n")?;
        let status: Value = serde_json::from_reader(stream)?;
        let descriptors = status["descriptors"]["open"].as_u64().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Size { memory, descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX) })
    }

    /// Every process that it has ever started, and those that these have started, if they are still there.
    pub fn offspring(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.directory.display());
        let marked = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        };
        processes().filter(marked).collect()
    }

    /// Children that have ended and that it did not wait for.
    pub fn zombies(&self) -> Vec<u32> {
        let ours = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            rest.next() == Some("Z") && rest.next() == Some(self.pid.to_string().as_str())
        };
        processes().filter(ours).collect()
    }

    /// Waits until nothing is left of all calls; what there was instead, when that takes too long.
    pub async fn quiet(&self, descriptors: Option<usize>, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            let left = self.left(descriptors).await.map_err(|error| format!("it cannot be asked: {error}"))?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(left.join(", "));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn left(&self, descriptors: Option<usize>) -> io::Result<Vec<String>> {
        let status = self.status().await?;
        let mut left = Vec::new();
        let mut note = |what: String, count: u64| {
            if count > 0 {
                left.push(format!("{what}: {count}"));
            }
        };
        let count = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
        note("callers".into(), status["callers"].as_array().map_or(u64::MAX, |callers| callers.len() as u64));
        note("calls".into(), count(&status["calls"]));
        note("held".into(), count(&status["held"]));
        for server in status["servers"].as_array().into_iter().flatten() {
            let name = server["name"].as_str().unwrap_or_default();
            note(format!("queue of {name}"), count(&server["queue"]));
            note(format!("held of {name}"), count(&server["held"]));
            for instance in server["instances"].as_array().into_iter().flatten() {
                note(format!("an instance of {name}, {instance}"), 1);
            }
        }
        note("its processes".into(), self.offspring().len() as u64);
        note("zombies".into(), self.zombies().len() as u64);
        if let Some(before) = descriptors {
            let now = self.size()?.descriptors;
            note(format!("descriptors above {before}"), now.saturating_sub(before) as u64);
        }
        Ok(left)
    }

    /// Tells it to end.
    pub async fn end(&mut self) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM).map_err(|error| error.to_string())?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not end within {PATIENCE:?}")),
        }
    }

    /// Lines of its log that tell of a fault of its own.
    pub fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("daemon.log")).unwrap_or_default();
        let ours =
            |line: &&str| line.contains("panicked") || line.contains("inside mcpool") || line.contains(" ERROR ");
        log.lines().filter(ours).map(str::to_owned).collect()
    }
}

fn write_config(directory: &Path, mcpool: &Path, seed: u64, edition: u64) -> io::Result<()> {
    let soak = std::env::current_exe()?;
    // At once, so that nobody reads half of it. JSON is YAML too.
    let new = directory.join("mcpool.yaml.new");
    fs::write(&new, config(directory, mcpool, &soak, seed, edition).to_string())?;
    fs::rename(new, directory.join("mcpool.yaml"))
}

/// All processes of the machine.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
