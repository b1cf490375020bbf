//! Called by the pool to start an instance: what launches servers (a real one in `pool::process`, an in-memory
//! one in the simulation), and the task that carries an instance's lines for as long as it lives.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::instance::{Instance, InstanceRef};
use super::process::Process;
use super::stderr::{self, Tail};
use crate::config;
use crate::metrics::Metrics;
use crate::tasks;
use crate::wire::frame::{Line, LineReader, Scratch};
use crate::wire::outbox::Outbox;

/// How long what a process wrote at last, and how it ended, may take to arrive once one of the two is seen.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The streams of a started server.
pub struct Connection {
    pub reader: Box<dyn AsyncRead + Unpin>,
    pub writer: Box<dyn AsyncWrite + Unpin>,
    pub stderr: Option<Box<dyn AsyncRead + Unpin>>,
    /// What the memory of its process tree is known by.
    pub pid: Option<u32>,
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
    /// It gets nothing more of what is said to it, though lines may still come.
    fn deaf(&self, at: InstanceRef);
    /// No line will come any more; why, in words.
    fn gone(&self, at: InstanceRef, how: String);
    /// The process is gone too.
    fn buried(&self, at: InstanceRef);
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
    pub metrics: Rc<Metrics>,
}

impl Starter {
    /// Starts the process of an instance and the task that carries its lines.
    pub fn start(&self, server: Rc<config::Server>, instance: &Instance) {
        let attendant = Attendant {
            at: instance.at,
            serial: instance.serial,
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
    /// Names the instance in the log.
    serial: u64,
    outbox: Outbox,
    stderr: Tail,
    starter: Starter,
    server: Rc<config::Server>,
}

impl Attendant {
    async fn run(self) {
        let events = self.starter.events.clone();
        if let Some(lack) = self.server.lacks.first() {
            let daemon = std::process::id();
            events.gone(self.at, format!("{lack}. The daemon (pid {daemon}) was started without it: mend that, then `mcpool drain`; the next start has it"));
            return events.buried(self.at);
        }
        match self.starter.launcher.launch(&self.server) {
            Ok(connection) => {
                events.started(self.at, connection.pid);
                self.attend(connection).await;
            }
            Err(error) => {
                let command = self.stderr.shown(&self.server.command);
                events.gone(self.at, format!("cannot run `{command}`: {error}"));
            }
        }
        events.buried(self.at);
    }

    async fn attend(&self, connection: Connection) {
        let Connection { reader, writer, stderr, process, .. } = connection;
        let mut reader = LineReader::new(reader, self.starter.scratch.clone(), self.starter.message);
        let mut logging = stderr.map(|stderr| {
            let server = self.starter.metrics.server(&self.server.name);
            tasks::spawn("stderr", stderr::log(stderr, self.stderr.clone(), server, self.serial))
        });
        let grace = self.server.timeout.stop;
        let how = {
            let mut writer = writer;
            let reading = self.read(&mut reader, process.as_ref());
            tokio::pin!(reading);
            tokio::select! {
                biased;
                how = &mut reading => how,
                // Closed by us, or the server reads no more: either way its stdin is closed and it may finish.
                () = self.write(&mut writer) => {
                    drop(writer);
                    self.starter.events.deaf(self.at);
                    timeout(grace, reading).await.unwrap_or_else(|_| "it did not end by itself".into())
                }
            }
        };
        if let Some(logging) = &mut logging {
            // What it said last says why.
            let _ = timeout(LAST_WORDS, logging).await;
        }
        self.starter.events.gone(self.at, how);
        self.outbox.close();
        if let Some(process) = process {
            process.end(grace).await;
        }
    }

    /// Writes what is said until nothing will be any more. A server that reads nothing is not waited for.
    async fn write(&self, writer: &mut Box<dyn AsyncWrite + Unpin>) {
        // If it fails, that is noticed by what the server does not answer.
        let _ = self.outbox.write_to(writer, self.server.timeout.stop).await;
    }

    /// Reads until nothing comes any more or the process has ended, and says which.
    async fn read(&self, reader: &mut LineReader<Box<dyn AsyncRead + Unpin>>, process: Option<&Process>) -> String {
        let Some(process) = process else {
            return self.read_lines(reader).await.unwrap_or_else(|| "it closed its stdout".into());
        };
        let ended = process.ended();
        let reading = self.read_lines(reader);
        tokio::pin!(ended, reading);
        tokio::select! {
            biased;
            failed = &mut reading => match failed {
                Some(failed) => failed,
                None => timeout(LAST_WORDS, ended).await.unwrap_or("it closed its stdout").into(),
            },
            status = &mut ended => {
                // What it wrote is in the pipe still. Whoever holds the pipe besides it keeps nobody waiting.
                let _ = timeout(LAST_WORDS, reading).await;
                status.into()
            }
        }
    }

    /// Passes lines on until nothing comes any more; says why if that is a failure.
    async fn read_lines(&self, reader: &mut LineReader<Box<dyn AsyncRead + Unpin>>) -> Option<String> {
        loop {
            match reader.next().await {
                Ok(Some(line)) => {
                    self.starter.metrics.bytes.from_servers.add(line.size());
                    self.starter.events.line(self.at, line);
                }
                Ok(None) => return None,
                Err(error) => return Some(format!("its stdout failed: {error}")),
            }
        }
    }
}
