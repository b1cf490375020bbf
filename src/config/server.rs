//! One configured server as used: how to start it, and how its pool behaves. Made by `file/server.rs`;
//! handed out in parts to the pool. The values of `Default` are the defaults of the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Backoff, Breaker, INHERITED, Probe, RateLimit, Recycle, Retry, Sandbox, Secret, Surroundings, WhenFull};

/// A configured MCP server: a name and how to start it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Letters, digits, `_` and `-`; at most 32; no `__`.
    pub name: String,
    /// It is written down and not used: never started, and shown nowhere but in `check` and `status`.
    pub disabled: bool,
    /// The program: a path, or a name to be found on `PATH`.
    pub command: String,
    /// Its arguments. May hold secrets that were filled in, so `Debug` shows only how many they are.
    pub args: Vec<String>,
    /// Variables set for it.
    pub env: BTreeMap<String, Secret>,
    /// Names of variables of `surroundings` that it gets besides the usual few.
    pub inherit_env: Vec<String>,
    /// Where those are looked up.
    pub surroundings: Surroundings,
    /// What `${...}` stood for in all of these, where it may be a secret: it is not to be seen in what the server says.
    pub filled: Vec<Secret>,
    /// What `${...}` could not stand for, a sentence each: it is not started without.
    pub lacks: Vec<String>,
    /// Where it is started, an absolute path; None: in the directory of the config file.
    pub cwd: Option<PathBuf>,
    /// Whether programs that it runs may gain rights, as `sudo` does.
    pub new_privileges: bool,
    /// Endpoints that its own processes may call, and `admin`.
    pub may_call: Vec<String>,
    /// What it is confined to, if it is.
    pub sandbox: Option<Sandbox>,
    /// Which protocol era to speak with it.
    pub era: EraChoice,
    /// Who shares an instance of it.
    pub lease: LeaseChoice,
    /// What becomes of a tool that is not as it was approved.
    pub pin: Pin,
    /// How many instances of it may run.
    pub instances: Instances,
    /// Calls in flight on one instance, at most.
    pub concurrency: usize,
    /// Where calls wait when all instances are busy.
    pub queue: Queue,
    /// How long things may take.
    pub timeout: Timeouts,
    /// What happens to a call when all instances are busy and no other may be started.
    pub when_full: WhenFull,
    /// When an instance is stopped though nothing is wrong.
    pub recycle: Recycle,
    /// How instances that say nothing are asked whether they still answer.
    pub probe: Probe,
    /// How long lies between starts that fail, or instances that end by themselves.
    pub backoff: Backoff,
    /// When its calls are refused at once.
    pub breaker: Breaker,
    /// How many calls are let through to it.
    pub rate_limit: RateLimit,
    /// Which calls are sent again when their instance ends.
    pub retry: Retry,
    /// Lines on its stdout in a row that are no JSON-RPC, after which an instance is no longer trusted.
    pub stdout_errors: usize,
}

/// The protocol era of a server as the operator knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraChoice {
    /// Found out by asking it (specification 2026-07-28, basic/transports/stdio).
    #[default]
    Auto,
    /// Revisions up to 2025-11-25, which open with `initialize`.
    Legacy,
    /// Revision 2026-07-28, stateless.
    Modern,
}

/// Who shares an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseChoice {
    /// Decided by what the server is seen to do.
    #[default]
    Auto,
    /// Calls of many callers interleave on one instance.
    Shared,
    /// One caller's, as long as that caller has calls in flight.
    Call,
    /// One caller's, until that caller disconnects.
    Session,
}

/// What becomes of a tool that changed, or appeared, after the tools of its server were approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nobody looks.
    #[default]
    Off,
    /// It is told of.
    Warn,
    /// It is also neither shown nor called until the operator approves it.
    Refuse,
}

/// How many instances of a server may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instances {
    /// Kept running though nobody calls.
    pub min: usize,
    /// For one kind of client, where they share; at least 1 and at least `min`.
    pub max: usize,
    /// For one kind of client, where an instance is one caller's at a time; at least `max`.
    pub max_alone: usize,
    /// For all kinds together; at least `max_alone`.
    pub total: usize,
    /// Temporary ones beyond `max` and `total`, if `when_full` says so.
    pub overflow: usize,
    /// Beyond `max` and `total`, those that only wait for a person's answer.
    pub asking: usize,
}

/// Where calls wait when all instances are busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Calls that may wait at once for a busy instance; 0: none. Those that wait for a start are not counted.
    pub size: usize,
    /// How long one may wait.
    pub timeout: Duration,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of the process to the end of the handshake.
    pub start: Duration,
    /// How long a start may go on that takes longer and writes meanwhile.
    pub start_max: Duration,
    /// For an answer to the `server/discover` that tells the eras apart; half of `start` at most.
    pub discover: Duration,
    /// For the answer to a call; progress starts it anew.
    pub call: Duration,
    /// For a call altogether, whatever progress it makes.
    pub max: Duration,
    /// For a caller's answer to an ask.
    pub ask: Duration,
    /// How long a question waits that may be for several callers, once none of their calls ends or makes progress. So long a
    /// process is kept, too, for a modern caller that it has asked.
    pub hold: Duration,
    /// For each step of stopping a process: end of input, SIGTERM, SIGKILL.
    pub stop: Duration,
}

impl Timeouts {
    /// Returns how long a server may say nothing to `server/discover` before it is asked in the other era too: half of
    /// `start` at most, so that the other half is left for that.
    pub fn silence(&self) -> Duration {
        self.discover.min(self.start / 2)
    }
}

impl Server {
    /// A server with every default, started as `command`.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            disabled: false,
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: Vec::new(),
            surroundings: Surroundings::default(),
            filled: Vec::new(),
            lacks: Vec::new(),
            cwd: None,
            new_privileges: false,
            may_call: Vec::new(),
            sandbox: None,
            era: EraChoice::default(),
            lease: LeaseChoice::default(),
            pin: Pin::Off,
            instances: Instances::default(),
            concurrency: 32,
            queue: Queue::default(),
            timeout: Timeouts::default(),
            when_full: WhenFull::default(),
            recycle: Recycle::default(),
            probe: Probe::default(),
            backoff: Backoff::default(),
            breaker: Breaker::default(),
            rate_limit: RateLimit::default(),
            retry: Retry::default(),
            stdout_errors: 100,
        }
    }

    /// Whether it is started as another one is, so that running instances of the one serve as the other's.
    pub fn starts_like(&self, other: &Server) -> bool {
        (&self.command, &self.args, self.variables(), &self.cwd, self.era)
            == (&other.command, &other.args, other.variables(), &other.cwd, other.era)
            && (self.new_privileges, &self.sandbox, &self.lacks) == (other.new_privileges, &other.sandbox, &other.lacks)
    }

    /// All variables that it is started with.
    pub fn variables(&self) -> BTreeMap<OsString, OsString> {
        let inherited = INHERITED.into_iter().chain(self.inherit_env.iter().map(String::as_str));
        let inherited = inherited.filter_map(|name| Some((name.into(), self.surroundings.variable(name)?)));
        inherited.chain(self.env.iter().map(|(name, value)| (name.into(), value.expose().into()))).collect()
    }
}

impl Instances {
    /// At most so many for each kind of client; `alone` says that each is one caller's at a time.
    pub fn most(&self, alone: bool) -> usize {
        if alone { self.max_alone } else { self.max }
    }

    /// How many processes may run at once, temporary ones and one that only introduces itself among them.
    pub fn processes(&self) -> usize {
        self.total + self.overflow + self.asking + 1
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self { min: 0, max: 4, max_alone: 16, total: 32, overflow: 2, asking: 16 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 256, timeout: Duration::from_secs(30) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(30),
            start_max: Duration::from_secs(5 * 60),
            discover: Duration::from_secs(8),
            call: Duration::from_secs(5 * 60),
            max: Duration::from_secs(60 * 60),
            ask: Duration::from_secs(10 * 60),
            hold: Duration::from_secs(10),
            stop: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("disabled", &self.disabled)
            .field("command", &self.command)
            .field("args", &format_args!("[{} hidden]", self.args.len()))
            .field("env", &self.env)
            .field("inherit_env", &self.inherit_env)
            .field("surroundings", &self.surroundings)
            .field("filled", &self.filled)
            .field("lacks", &self.lacks)
            .field("cwd", &self.cwd)
            .field("new_privileges", &self.new_privileges)
            .field("may_call", &self.may_call)
            .field("sandbox", &self.sandbox)
            .field("era", &self.era)
            .field("lease", &self.lease)
            .field("pin", &self.pin)
            .field("instances", &self.instances)
            .field("concurrency", &self.concurrency)
            .field("queue", &self.queue)
            .field("timeout", &self.timeout)
            .field("when_full", &self.when_full)
            .field("recycle", &self.recycle)
            .field("probe", &self.probe)
            .field("backoff", &self.backoff)
            .field("breaker", &self.breaker)
            .field("rate_limit", &self.rate_limit)
            .field("retry", &self.retry)
            .field("stdout_errors", &self.stdout_errors)
            .finish()
    }
}
