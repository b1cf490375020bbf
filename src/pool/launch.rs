//! Called by the pool to start an instance: what launches servers (a real one in `pool::process`, an in-memory
//! one in the simulation), and the task that carries an instance's lines for as long as it lives.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::instance::Instance;
use super::process::Process;
use super::stderr;
use super::tail::Tail;
use crate::clock;
use crate::key::InstanceRef;
use crate::metrics::Metrics;
use crate::wire::frame::{Line, LineReader, Scratch};
use crate::wire::half::Half;
use crate::wire::outbox::{Bounds, Outbox};
use crate::{config, tasks};

/// How long what a process wrote at last, and how it ended, may take to arrive once one of the two is seen.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// As long as no more waits for all callers together, nobody needs to be waited for.
const LITTLE: usize = 1 << 20;
/// How long a caller that is behind is waited for at a time, and how often is looked whether others want the instance, too.
const MOMENT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(20));
/// What may be kept of a line that does not go on.
const SHORT: usize = 64 * 1024;
/// How long is read at most of what others write to the pipe of a process that has ended.
const LAST_WORDS_OF_OTHERS: Duration = Duration::from_secs(1);

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
    /// Returns the outbox that must be read before more lines of the instance are: that of the one caller that has all
    /// its calls, if that caller is behind.
    fn waits_for(&self, at: InstanceRef) -> Option<Outbox>;
    /// The instance gets nothing more of what is said to it, though lines may still come.
    fn deaf(&self, at: InstanceRef);
    /// Its process has ended. Lines that it wrote before may still come, and nothing else is expected of it.
    fn ended(&self, at: InstanceRef);
    /// No line will come any more; why.
    fn gone(&self, at: InstanceRef, how: End);
    /// The process is gone too.
    fn buried(&self, at: InstanceRef);
}

/// How an instance came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// In words.
    pub how: String,
    /// Whether what it was told may be the cause. It is not where it is seen to have put itself out of reach.
    pub may_be_told: bool,
}

/// What a pool needs to start instances.
#[derive(Clone)]
pub struct Starter {
    pub launcher: Rc<dyn Launcher>,
    pub events: Rc<dyn Events>,
    pub scratch: Scratch,
    /// The longest line that a server may write, in bytes.
    pub message: usize,
    /// How long such a line may take, unless it is short or keeps coming.
    pub line: Duration,
    /// Bytes that may wait for an instance.
    pub backlog: usize,
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

    /// Returns what is said to an instance.
    pub fn outbox(&self) -> Outbox {
        // One that works reads nothing for as long as that takes.
        let bounds = Bounds { bytes: self.backlog, unread: None };
        Outbox::counted(bounds, self.metrics.bytes.to_servers.clone())
    }

    /// Returns a factor between 0.75 and 1.25.
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
            events.gone(self.at, End { how: format!("{lack}. The daemon (pid {daemon}) was started without it: mend that, then `mcpool drain`; the next start has it"), may_be_told: false });
            return events.buried(self.at);
        }
        match self.starter.launcher.launch(&self.server) {
            Ok(connection) => {
                events.started(self.at, connection.pid);
                self.attend(connection).await;
            }
            Err(error) => {
                let command = self.stderr.shown(&self.server.command);
                let how = format!("cannot run `{command}`: {error}");
                events.gone(self.at, End { how, may_be_told: false });
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
                    timeout(grace, reading).await.unwrap_or_else(|_| End::of("it did not end by itself"))
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

    /// Reads until nothing more comes or the process has ended. Returns which.
    async fn read(&self, reader: &mut Lines, process: Option<&Process>) -> End {
        let Some(one) = process else {
            return End::of(self.read_lines(reader, None).await.unwrap_or_else(|| "it closed its stdout".into()));
        };
        let status = {
            let ended = one.ended();
            let reading = self.read_lines(reader, process);
            tokio::pin!(ended, reading);
            tokio::select! {
                biased;
                failed = &mut reading => return match failed {
                    Some(failed) => End::of(failed),
                    None => End::of(timeout(LAST_WORDS, ended).await.unwrap_or("it closed its stdout, and runs on")),
                },
                status = &mut ended => status,
            }
        };
        // What it wrote itself is in the pipe by now. Somebody else who goes on writing into it keeps nobody waiting.
        if timeout(LAST_WORDS_OF_OTHERS, self.read_what_is_there(reader, process)).await == Ok(true) {
            return End::of(status);
        }
        // Somebody else has the pipe too. Whether that one says something in time must not make a difference.
        self.starter.events.ended(self.at);
        match timeout(LAST_WORDS_OF_OTHERS, self.read_until_silent(reader, process)).await {
            Ok(true) => End::of(status),
            Ok(false) | Err(_) => End { how: left_behind(status), may_be_told: false },
        }
    }

    /// Passes on what can be read without waiting. Returns whether the stream has ended.
    async fn read_what_is_there(&self, reader: &mut Lines, process: Option<&Process>) -> bool {
        // Nothing is there if there is none yet after others had their turn, and whoever tells of it too.
        let mut pauses = 0;
        self.pass_on_what_came(reader, process).await;
        while pauses < 3 {
            let filled = {
                let mut filling = pin!(reader.fill());
                poll_fn(|context| Poll::Ready(filling.as_mut().poll(context))).await
            };
            match filled {
                Poll::Ready(Ok(1..)) => {
                    pauses = 0;
                    self.pass_on_what_came(reader, process).await;
                }
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Pending => {
                    pauses += 1;
                    yield_now().await;
                }
            }
        }
        false
    }

    /// Passes on what comes until nothing comes for a while. Returns whether the stream has ended.
    async fn read_until_silent(&self, reader: &mut Lines, process: Option<&Process>) -> bool {
        loop {
            self.pass_on_what_came(reader, process).await;
            match timeout(LAST_WORDS, reader.fill()).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Passes lines on until nothing more comes. Returns why, if that is a failure.
    async fn read_lines(&self, reader: &mut Lines, process: Option<&Process>) -> Option<String> {
        let mut half = None;
        loop {
            match self.fill(reader, &mut half).await {
                Ok(0) => return None,
                Ok(_) if self.pass_on_what_came(reader, process).await => half = None,
                Ok(_) => {}
                Err(error) => return Some(format!("its stdout failed: {error}")),
            }
            if self.starter.metrics.bytes.to_callers.waiting() > LITTLE {
                let since = clock::now();
                self.wait_for_readers().await;
                if let Some(half) = &mut half {
                    half.was_held_up(clock::now() - since);
                }
            }
        }
    }

    /// Reads once. Of a long line that does not go on, only what identifies it is kept.
    async fn fill(&self, reader: &mut Lines, half: &mut Option<Half>) -> io::Result<usize> {
        while reader.begun().len() > SHORT {
            let half = half.get_or_insert_with(|| Half::begins(self.starter.line));
            match timeout_at(half.until(), reader.fill()).await {
                Ok(read) => {
                    half.came(*read.as_ref().unwrap_or(&0));
                    return read;
                }
                Err(_) if half.goes_on() => {}
                Err(_) => reader.let_go(),
            }
        }
        *half = None;
        reader.fill().await
    }

    /// Waits while the instance works only for one caller that is behind with reading, as the instance itself would
    /// wait before a full pipe.
    async fn wait_for_readers(&self) {
        let until = Instant::now() + MOMENT.0;
        while let Some(outbox) = self.starter.events.waits_for(self.at).filter(|_| Instant::now() < until) {
            let _ = timeout(MOMENT.1, outbox.moved()).await;
        }
    }

    /// Passes on the lines that came, and returns whether there were any.
    async fn pass_on_what_came(&self, reader: &mut Lines, process: Option<&Process>) -> bool {
        let mut any = false;
        let opening = self.stderr.is_opening();
        if opening {
            self.stderr.note();
            // Whoever speaks now is somebody else.
            if process.is_some_and(Process::has_ended) {
                self.starter.events.ended(self.at);
            }
        }
        while let Some(line) = reader.take() {
            self.pass_on(line);
            any = true;
            reader.give_way().await;
        }
        if self.stderr.is_opening() {
            self.stderr.begin(reader.begun());
        }
        any
    }

    fn pass_on(&self, line: Line) {
        self.starter.metrics.bytes.from_servers.add(line.size());
        if let Line::Whole(line) = &line
            && self.stderr.is_opening()
        {
            self.stderr.hear(line);
        }
        self.starter.events.line(self.at, line);
    }
}

/// The stdout of an instance.
type Lines = LineReader<Box<dyn AsyncRead + Unpin>>;

impl End {
    fn of(how: impl Into<String>) -> End {
        End { how: how.into(), may_be_told: true }
    }
}

/// Returns how a server ended that started another process and left it its pipes.
fn left_behind(status: &str) -> String {
    format!(
        "{status}, while something that it started holds its stdout still; a server has ended when its first process has, so let that stay until the end, as with `exec` in a script, and put nothing into the background"
    )
}
