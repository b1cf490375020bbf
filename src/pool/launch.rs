//! Called by the pool to start an instance: what launches servers (a real one in `pool::process`, an in-memory
//! one in the simulation), and the task that carries an instance's lines for as long as it lives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::instance::{Instance, InstanceRef};
use super::process::Process;
use crate::config;
use crate::tasks;
use crate::wire::frame::{Line, LineReader, Scratch};
use crate::wire::outbox::Outbox;

/// The streams of a started server.
pub struct Connection {
    pub reader: Box<dyn AsyncRead + Unpin>,
    pub writer: Box<dyn AsyncWrite + Unpin>,
    pub stderr: Option<Box<dyn AsyncRead + Unpin>>,
    /// The process behind them; none in the simulation.
    pub process: Option<Process>,
}

/// Starts servers.
pub trait Launcher {
    /// Starts one.
    ///
    /// # Errors
    /// Whatever keeps the command from being run.
    fn launch(&self, server: &config::Server) -> io::Result<Connection>;
}

/// Who hears what instances say.
pub trait Events {
    /// A process was started.
    fn started(&self, at: InstanceRef, pid: Option<u32>);
    /// A line arrived.
    fn line(&self, at: InstanceRef, line: Line);
    /// No line will come any more; why, in words.
    fn gone(&self, at: InstanceRef, how: String);
    /// The process is gone too.
    fn buried(&self, at: InstanceRef);
}

/// The last lines that an instance wrote to its stderr.
#[derive(Clone, Default)]
pub struct Tail(Rc<RefCell<VecDeque<String>>>);

impl Tail {
    const LINES: usize = 8;
    const LENGTH: usize = 300;

    fn push(&self, line: &str) {
        let mut lines = self.0.borrow_mut();
        if lines.len() == Tail::LINES {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(Tail::LENGTH).collect());
    }

    /// The lines, for an error message; empty if there are none.
    pub fn quote(&self) -> String {
        let lines: Vec<String> = self.0.borrow().iter().cloned().collect();
        if lines.is_empty() { String::new() } else { format!("; its stderr ends with: {}", lines.join(" | ")) }
    }
}

/// What a pool needs to start instances.
#[derive(Clone)]
pub struct Starter {
    pub launcher: Rc<dyn Launcher>,
    pub events: Rc<dyn Events>,
    pub scratch: Scratch,
    /// The longest line that a server may write, in bytes.
    pub message: usize,
    pub random: Rc<RefCell<fastrand::Rng>>,
}

impl Starter {
    /// Starts the process of an instance and the task that carries its lines.
    pub fn start(&self, server: Rc<config::Server>, instance: &Instance) {
        let attendant = Attendant {
            at: instance.at,
            outbox: instance.outbox.clone(),
            stderr: instance.stderr.clone(),
            starter: self.clone(),
            server,
        };
        tasks::spawn("instance", attendant.run());
    }

    /// A factor between 0.75 and 1.25.
    pub fn jitter(&self) -> f64 {
        0.75 + self.random.borrow_mut().f64() / 2.0
    }
}

/// Carries the lines of one instance.
struct Attendant {
    at: InstanceRef,
    outbox: Outbox,
    stderr: Tail,
    starter: Starter,
    server: Rc<config::Server>,
}

impl Attendant {
    async fn run(self) {
        let events = self.starter.events.clone();
        match self.starter.launcher.launch(&self.server) {
            Ok(connection) => {
                events.started(self.at, connection.process.as_ref().map(Process::pid));
                self.attend(connection).await;
            }
            Err(error) => events.gone(self.at, format!("cannot run `{}`: {error}", self.server.command)),
        }
        events.buried(self.at);
    }

    async fn attend(&self, connection: Connection) {
        let Connection { reader, mut writer, stderr, mut process } = connection;
        let mut reader = LineReader::new(reader, self.starter.scratch.clone(), self.starter.message);
        if let Some(stderr) = stderr {
            tasks::spawn(
                "stderr",
                log_stderr(stderr, self.stderr.clone(), self.server.clone(), self.starter.scratch.clone()),
            );
        }
        let grace = self.server.timeout.stop;
        let how = {
            let reading = self.read(&mut reader, process.as_mut());
            tokio::pin!(reading);
            tokio::select! {
                biased;
                how = &mut reading => how,
                // Closed by us, or the server reads no more: either way its stdin is closed and it may finish.
                () = self.write(&mut writer) => {
                    drop(writer);
                    tokio::time::timeout(grace, reading).await.unwrap_or_else(|_| "it did not end by itself".into())
                }
            }
        };
        self.starter.events.gone(self.at, how);
        self.outbox.close();
        if let Some(process) = process {
            process.end(grace).await;
        }
    }

    /// Writes what is said until nothing will be any more. A server that reads nothing is not waited for.
    async fn write(&self, writer: &mut Box<dyn AsyncWrite + Unpin>) {
        let given_up = async {
            self.outbox.closed().await;
            tokio::time::sleep(self.server.timeout.stop).await;
        };
        tokio::select! {
            biased;
            _ = self.outbox.write_to(writer) => {}
            () = given_up => {}
        }
    }

    /// Reads until nothing comes any more, and says why.
    async fn read(&self, reader: &mut LineReader<Box<dyn AsyncRead + Unpin>>, process: Option<&mut Process>) -> String {
        loop {
            match reader.next().await {
                Ok(Some(line)) => self.starter.events.line(self.at, line),
                Ok(None) => break,
                Err(error) => return format!("its stdout failed: {error}"),
            }
        }
        let Some(process) = process else { return "it closed its stdout".into() };
        match tokio::time::timeout(Duration::from_millis(100), process.ended()).await {
            Ok(status) => status,
            Err(_) => "it closed its stdout".into(),
        }
    }
}

/// A line of a server without the secrets that it was given: programs print their environment when they fail.
fn redact(line: &str, server: &config::Server) -> String {
    let secrets = server.env.values().map(config::Secret::expose).filter(|secret| secret.len() >= 6);
    secrets.fold(line.trim_end().to_owned(), |line, secret| line.replace(secret, "***"))
}

async fn log_stderr(stream: Box<dyn AsyncRead + Unpin>, tail: Tail, server: Rc<config::Server>, scratch: Scratch) {
    let mut reader = LineReader::new(stream, scratch, 64 * 1024);
    while let Ok(Some(line)) = reader.next().await {
        if let Line::Whole(line) = line {
            let text = redact(&String::from_utf8_lossy(&line), &server);
            tail.push(&text);
            tracing::debug!(server = server.name, stderr = text);
        }
    }
}
