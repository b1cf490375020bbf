//! Called by the daemon's pools: real child processes. Each leads a process group of its own, so that what it
//! starts is ended with it.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::launch::{Connection, Launcher};
use crate::config;

/// What a server inherits of the daemon's environment: what MCP clients pass on, and what tells a program where
/// it may write and how it reaches the network. The rest may be secrets that are none of its business.
const INHERITED: [&str; 22] = [
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
];

/// Starts servers as child processes.
pub struct Processes {
    /// Where servers run for which no `cwd` is configured: the directory of the config file.
    pub cwd: Option<PathBuf>,
}

impl Launcher for Processes {
    fn launch(&self, server: &config::Server) -> io::Result<Connection> {
        let mut command = Command::new(&server.command);
        command.args(&server.args).env_clear();
        for name in INHERITED.into_iter().chain(server.inherit_env.iter().map(String::as_str)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(server.env.iter().map(|(name, value)| (name, value.expose())));
        if let Some(cwd) = server.cwd.as_ref().or(self.cwd.as_ref()) {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(Connection {
                reader: Box::new(stdout),
                writer: Box::new(stdin),
                stderr: Some(Box::new(stderr)),
                process: Some(Process { child, pid }),
            }),
            _ => Err(io::Error::other("its standard streams are missing")),
        }
    }
}

/// A child process and the group that it leads.
pub struct Process {
    child: Child,
    pid: u32,
}

impl Process {
    /// Its process id, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end and says how it ended.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its end could not be seen: {error}"),
        }
    }

    /// Ends it, its stdin being closed already: waits, then SIGTERM to the group, waits, then SIGKILL.
    pub async fn end(mut self, grace: Duration) {
        let exited = timeout(grace / 4, self.child.wait()).await.is_ok();
        let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        if exited && test_kill_process_group(group).is_err() {
            return;
        }
        // A member may be gone already: that is what the signals are for.
        let _ = kill_process_group(group, Signal::TERM);
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(20);
        while waited < grace && test_kill_process_group(group).is_ok() {
            // Reaps the leader, which counts as a member of its group until then.
            let _ = timeout(step, self.child.wait()).await;
            sleep(step).await;
            waited += step;
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait().await;
    }
}

/// Resident memory of a process and its descendants in bytes, and how many they are; `None` where the system
/// does not tell.
pub fn memory(pid: u32) -> Option<(u64, usize)> {
    let page = rustix::param::page_size() as u64;
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything; the fields behind it are state, parent, ...
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        if let (Some(_), Some(Ok(parent))) = (fields.next(), fields.next().map(str::parse::<u32>)) {
            let resident = fields.nth(19).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
            parents.push((pid, parent, resident * page));
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(parents.iter().filter(|(_, of, _)| *of == parent).map(|(child, ..)| *child));
        at += 1;
    }
    let bytes = parents.iter().filter(|(pid, ..)| family.contains(pid)).map(|(.., bytes)| bytes).sum();
    Some((bytes, family.len()))
}
