//! The one place for errors: what mcpool itself answers, with code, reason, message and remedy in one table.
//! Errors of servers are not here: they pass unchanged.

mod bound;
mod reply;

use std::time::Duration;

use crate::clock::rounded;
use crate::plural::plural;
pub use bound::Bound;
use reply::{for_whom, own_server, too_large};

/// Why mcpool, and not a server, answers a request with an error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The line is not JSON (JSON-RPC 2.0, section 5.1).
    #[error("parse error: {0}")]
    Parse(String),
    /// The message is not a valid request here.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// Nobody behind the endpoint knows the method.
    #[error("method not found: {0}")]
    MethodNotFound(String),
    /// The parameters name nothing that exists, or miss what the revision requires.
    #[error("invalid params: {0}")]
    InvalidParams(String),
    /// A fault of mcpool's own.
    #[error("internal error: {0}")]
    Internal(String),
    /// No server of the endpoint lists or matches the resource.
    #[error("resource not found: {uri}{why}")]
    ResourceNotFound {
        /// The URI that was asked for.
        uri: String,
        /// What is known of it all the same.
        why: String,
        /// Whether the caller's revision is a modern one: the code differs.
        modern: bool,
    },
    /// The caller speaks an era that the server lacks (revision 2026-07-28, page "Versioning and Compatibility").
    #[error("{message}")]
    UnsupportedVersion {
        /// What the server speaks and what to do, for clients that show only the message.
        message: String,
        /// What the caller asked for.
        requested: String,
        /// What would work.
        supported: Vec<&'static str>,
    },
    /// The server needs something of the client that it did not declare (revision 2026-07-28, page "Overview").
    #[error("the server needs a capability that the client did not declare: {required}")]
    MissingCapability {
        /// The capabilities that are missing, as JSON.
        required: &'static str,
    },
    /// The client did not answer what the server has to know.
    #[error("the server asked for {what}, and the client gave no answer to it: {why}")]
    Unanswered {
        /// The method of the ask.
        what: String,
        /// What the client said, or could not do.
        why: String,
    },
    /// The endpoint does not name that, so that it may not be used.
    #[error(
        "this endpoint may not use {what}; its `tools`, `prompts`, `resources` and `methods` in the configuration say what it may"
    )]
    Forbidden {
        /// What it is, as the caller named it.
        what: String,
    },
    /// Whoever connects stems from a server of this daemon, or may.
    #[error("{}", own_server(server.as_deref(), endpoint))]
    OwnServer {
        /// Which server; None: it lost its parents while servers ran.
        server: Option<String>,
        /// What it wanted to call.
        endpoint: String,
    },
    /// Whoever connects stems from a server of another daemon.
    #[error(
        "whoever calls was started by a server of another mcpool, or by something that such a server started, and is not let to `{endpoint}`: start it outside of that server, such as from a terminal of your own, or add the server to the config of that mcpool"
    )]
    OthersServer {
        /// What it wanted to call.
        endpoint: String,
    },
    /// There are no descriptors left for more callers.
    #[error(
        "mcpool has no room for more callers{}; close some, or raise the limit on open files (`ulimit -n`) and start it anew",
        limit.map(|limit| format!(" than the {limit} that it has")).unwrap_or_default()
    )]
    NoRoom {
        /// Callers that there is room for, where that is why.
        limit: Option<usize>,
    },
    /// Nothing is used that this endpoint would show.
    #[error("server `{server}` is disabled: take `disabled: true` out of the configuration to use it")]
    Disabled {
        /// The server's name.
        server: String,
    },
    /// A tool is not as the operator approved it.
    #[error(
        "tool `{tool}` of server `{server}` is not as it was approved, and is not called; `mcpool approve {server}` shows what changed and approves it"
    )]
    ChangedTool {
        /// The server's name.
        server: String,
        /// The tool, by the server's name for it.
        tool: String,
    },
    /// A message above `limits.max_message`.
    #[error("{}", too_large(server.as_deref(), *size, *limit))]
    TooLarge {
        /// The server that sent it; none where the client did.
        server: Option<String>,
        /// Bytes of the message.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// An answer that finds no room beside what its caller has not read.
    #[error(
        "the call was carried out, but its answer ({size} bytes) is not passed on: there is no room for it beside what clients have not read ({waiting} bytes of this one); let them read, or raise `limits.outgoing` and `limits.memory`, and look before you send the call again"
    )]
    NotRead {
        /// Bytes of the answer.
        size: usize,
        /// Bytes that wait.
        waiting: usize,
    },
    /// More of something than one caller may have.
    #[error("{}", bound.told(*limit))]
    CallerOverloaded {
        /// How many are allowed.
        limit: usize,
        /// Which bound it was.
        bound: Bound,
    },
    /// More calls in flight than all callers together may have.
    #[error(
        "all callers together may have {} in flight, and the last tenth is for those that have none; try again, or raise `limits.in_flight_total`",
        plural(limit, "call")
    )]
    Overloaded {
        /// Calls that are allowed.
        limit: usize,
    },
    /// The caller keeps more memory than its share of what is left.
    #[error(
        "mcpool keeps {bytes} bytes for this client, and has no memory for more; read what was answered, wait for answers, or raise `limits.memory`"
    )]
    MemoryFull {
        /// Bytes that are kept for the caller.
        bytes: usize,
    },
    /// More tasks work than one caller, or all at a server, may have.
    #[error(
        "there is room for {} and as many work; wait for one to end, or raise `limits.tasks` or `limits.tasks_total`",
        plural(limit, "task")
    )]
    TooManyTasks {
        /// Tasks that are allowed.
        limit: usize,
    },
    /// Calls came faster than they are let through.
    #[error("calls come too fast: {bound}; try again in {} (see `rate_limit` of server `{server}`)", rounded(*.retry))]
    RateLimited {
        /// The server's name.
        server: String,
        /// Which limit it was, in words.
        bound: &'static str,
        /// When one may pass.
        retry: Duration,
    },
    /// The server is sick, and its calls are refused at once.
    #[error("server `{server}` is not used {}; the last time: {cause}", for_whom(*.alone))]
    BreakerOpen {
        /// The server's name.
        server: String,
        /// The last failure.
        cause: String,
        /// When it is tried again.
        retry: Duration,
        /// Whether only this client's calls are refused.
        alone: bool,
    },
    /// The server ended while the call was with it.
    #[error("server `{server}` ended before it answered ({detail}); it may have begun to carry out the call")]
    ServerDied {
        /// The server's name.
        server: String,
        /// How it ended.
        detail: String,
    },
    /// The server broke the protocol.
    #[error("server `{server}` misbehaved: {detail}")]
    ServerMisbehaved {
        /// The server's name.
        server: String,
        /// What it did.
        detail: String,
    },
    /// All instances are busy and the queue is full.
    #[error(
        "all instances of server `{server}` are busy and no more calls may wait; raise its `instances.max`, `concurrency` or `queue.size`"
    )]
    PoolExhausted {
        /// The server's name.
        server: String,
    },
    /// The server could not be started.
    #[error("server `{server}` could not be started: {detail}")]
    StartFailed {
        /// The server's name.
        server: String,
        /// Why, with the last lines of its stderr.
        detail: String,
        /// When a start is tried again.
        retry: Option<Duration>,
    },
    /// The server takes longer to start than a call waits, and goes on.
    #[error(
        "server `{server}` is still starting: it did not open within {} (`timeout.start`), writes still, and goes on for up to {} (`timeout.start_max`); try again in {}{said}",
        rounded(*.after), rounded(*.longest), rounded(*.retry)
    )]
    StillStarting {
        /// The server's name.
        server: String,
        /// How long a call waits for a start.
        after: Duration,
        /// How long a start may take that goes on.
        longest: Duration,
        /// When it may be there.
        retry: Duration,
        /// The last lines of its stderr, if there are any.
        said: String,
    },
    /// mcpool is ending.
    #[error(
        "mcpool is ending and did not begin this; send it again in a moment, on a new connection (`mcpool connect` makes one by itself)"
    )]
    Draining,
    /// mcpool ends, and waits for the answer no longer.
    #[error(
        "mcpool was told to end before this was answered, and cancelled it; it may have been carried out, so look before you send it again"
    )]
    Drained,
    /// Each call is to be told of in the audit log, which cannot be written.
    #[error(
        "the audit log cannot be written, and calls are refused until it can be; `mcpool status` says where it is (see `audit` in the configuration)"
    )]
    AuditUnavailable,
    /// What the request is for is configured no more, or differently.
    #[error("{0}")]
    Reconfigured(String),
    /// The daemon went away under a connection.
    #[error(
        "the mcpool daemon went away before it answered; the call may have been carried out, so look before you send it again"
    )]
    DaemonLost,
    /// The daemon closed a connection, and said why.
    #[error("mcpool closed the connection before it answered: {0}; the call may have been carried out")]
    Disconnected(String),
    /// `connect` could not begin; the words are those of its stderr.
    #[error("mcpool: {0}")]
    NoSession(String),
    /// No daemon can be reached, so the request was not sent.
    #[error("the mcpool daemon cannot be reached; the request was not sent, so it is safe to send it again ({0})")]
    Unreachable(String),
    /// The server did not answer in time.
    #[error("server `{server}` did not answer within {}; the call was cancelled (its `{limit}` is {})", rounded(*.after), rounded(*.value))]
    CallTimeout {
        /// The server's name.
        server: String,
        /// How long was waited.
        after: Duration,
        /// The key of the limit that was met.
        limit: &'static str,
        /// What it says.
        value: Duration,
    },
    /// No instance became free in time.
    #[error("no instance of server `{server}` became free within {} (see its {limits})", rounded(*.after))]
    QueueTimeout {
        /// The server's name.
        server: String,
        /// How long was waited.
        after: Duration,
        /// The keys of what bounds the wait.
        limits: &'static str,
    },
    /// The caller did not answer a question in time.
    #[error("the client did not answer {what} in time")]
    AskTimeout {
        /// The method of the ask.
        what: String,
    },
}

impl Error {
    /// What is wrong with a line that is no message, by the code that JSON-RPC has for it.
    pub fn malformed(code: i64, why: String) -> Error {
        if code == -32700 { Error::Parse(why) } else { Error::InvalidRequest(why) }
    }

    /// The code of the JSON-RPC error object.
    pub fn code(&self) -> i64 {
        self.row().0
    }

    /// The reason in `data.mcpool`; none for JSON-RPC's own errors.
    pub fn reason(&self) -> Option<&'static str> {
        self.row().1
    }

    /// The table: code and reason.
    fn row(&self) -> (i64, Option<&'static str>) {
        match self {
            Error::Parse(_) => (-32700, None),
            Error::InvalidRequest(_) => (-32600, None),
            Error::MethodNotFound(_) => (-32601, None),
            Error::InvalidParams(_) => (-32602, None),
            Error::Internal(_) => (-32603, None),
            Error::ResourceNotFound { modern, .. } => (if *modern { -32602 } else { -32002 }, None),
            Error::UnsupportedVersion { .. } => (-32022, None),
            Error::MissingCapability { .. } => (-32021, None),
            Error::Unanswered { .. } => (-32603, None),
            Error::Forbidden { .. } | Error::Disabled { .. } | Error::OwnServer { .. } | Error::OthersServer { .. } => {
                (403, Some("forbidden"))
            }
            Error::ChangedTool { .. } => (403, Some("changed_tool")),
            Error::TooLarge { .. } => (413, Some("too_large")),
            Error::NotRead { .. } => (413, Some("not_read")),
            Error::CallerOverloaded { .. } | Error::Overloaded { .. } | Error::TooManyTasks { .. } => {
                (429, Some("caller_overloaded"))
            }
            Error::MemoryFull { .. } => (429, Some("memory_full")),
            Error::RateLimited { .. } => (429, Some("rate_limited")),
            Error::BreakerOpen { .. } => (503, Some("breaker_open")),
            Error::ServerDied { .. } => (502, Some("server_died")),
            Error::ServerMisbehaved { .. } => (502, Some("server_misbehaved")),
            Error::NoRoom { .. } => (503, Some("too_many_callers")),
            Error::PoolExhausted { .. } => (503, Some("pool_exhausted")),
            Error::StartFailed { .. } | Error::StillStarting { .. } => (503, Some("start_failed")),
            Error::Draining
            | Error::Drained
            | Error::Reconfigured(_)
            | Error::DaemonLost
            | Error::Disconnected(_)
            | Error::Unreachable(_) => (503, Some("draining")),
            Error::NoSession(_) => (503, Some("start_failed")),
            Error::AuditUnavailable => (503, Some("audit_unavailable")),
            Error::CallTimeout { .. } => (504, Some("call_timeout")),
            Error::QueueTimeout { .. } => (504, Some("queue_timeout")),
            Error::AskTimeout { .. } => (504, Some("ask_timeout")),
        }
    }
}
