//! Called by whoever starts or ends an instance: why. Each reason has a text for the log and a word for the metrics.

/// Why an instance is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// A call waits for one.
    Call,
    /// The same, beyond `instances.max`.
    Overflow,
    /// A client opens and nothing is known yet, and there is no place for another: it is temporary.
    Introduction,
    /// `instances.min` are to be there.
    Min,
    /// It takes the place of another.
    Successor,
}

impl StartReason {
    /// Returns the word for it in metrics and status.
    pub fn word(self) -> &'static str {
        match self {
            StartReason::Call => "call",
            StartReason::Overflow => "overflow",
            StartReason::Introduction => "introduction",
            StartReason::Min => "min",
            StartReason::Successor => "successor",
        }
    }

    /// Returns the text for it in the log.
    pub fn text(self) -> &'static str {
        match self {
            StartReason::Call => "a call waits for it",
            StartReason::Overflow => "a call waits, and all others are busy: it is temporary",
            StartReason::Introduction => "a client opens, and there is no place for another: it is temporary",
            StartReason::Min => "`instances.min` are to be there",
            StartReason::Successor => "it takes the place of another",
        }
    }
}

/// Why an instance is stopped, or drained first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Nobody needed it for `recycle.idle`.
    Idle,
    /// It reached `recycle.age`.
    Age,
    /// It served `recycle.calls`.
    Calls,
    /// Its process tree takes up `recycle.memory`.
    Memory,
    /// It was started beyond `instances.max`, and nobody needs it any more.
    Temporary,
    /// Another profile needs the place.
    GivesWay,
    /// The caller that it belonged to disconnected.
    CallerLeft,
    /// The server lacks the era in which it was asked to introduce itself.
    LacksEra,
    /// It could not be started, or its handshake failed.
    NotReady,
    /// It ended by itself, or closed its stdout.
    Ended,
    /// It reads no more, or not fast enough.
    Deaf,
    /// It cannot be trusted: what it writes are no messages.
    Misbehaved,
    /// It left calls or probes unanswered.
    Unresponsive,
    /// The operator wants it restarted.
    Restarted,
    /// There are more than `instances.max`, which was lowered.
    Surplus,
    /// The config of its server changed.
    Changed,
    /// Its server is not in the config any more.
    Removed,
    /// mcpool ends.
    Shutdown,
}

impl StopReason {
    /// Returns whether the instance works, and ends only so that others can have its place or go to a fresh one.
    pub fn is_for_others(self) -> bool {
        matches!(self, StopReason::GivesWay | StopReason::Age | StopReason::Calls | StopReason::Memory)
    }

    /// Returns the word for it in metrics and status.
    pub fn word(self) -> &'static str {
        match self {
            StopReason::Idle => "idle",
            StopReason::Age => "age",
            StopReason::Calls => "calls",
            StopReason::Memory => "memory",
            StopReason::Temporary => "temporary",
            StopReason::GivesWay => "gives_way",
            StopReason::CallerLeft => "caller_left",
            StopReason::LacksEra => "lacks_era",
            StopReason::NotReady => "not_ready",
            StopReason::Ended => "ended",
            StopReason::Deaf => "deaf",
            StopReason::Misbehaved => "misbehaved",
            StopReason::Unresponsive => "unresponsive",
            StopReason::Restarted => "restarted",
            StopReason::Surplus => "surplus",
            StopReason::Changed => "changed",
            StopReason::Removed => "removed",
            StopReason::Shutdown => "shutdown",
        }
    }

    /// Returns the text for it in the log.
    pub fn text(self) -> &'static str {
        match self {
            StopReason::Idle => "nobody needed it for `recycle.idle`",
            StopReason::Age => "it reached `recycle.age`",
            StopReason::Calls => "it served `recycle.calls`",
            StopReason::Memory => "it takes up `recycle.memory`",
            StopReason::Temporary => "it was temporary and has nothing to do",
            StopReason::GivesWay => "it gives way to another profile",
            StopReason::CallerLeft => "its caller disconnected",
            StopReason::LacksEra => "it lacks the era that it was started for",
            StopReason::NotReady => "it did not become ready",
            StopReason::Ended => "it ended by itself",
            StopReason::Deaf => "it does not read what it is sent",
            StopReason::Misbehaved => "it writes what are no messages",
            StopReason::Unresponsive => "it does not answer any more",
            StopReason::Restarted => "the operator wants it restarted",
            StopReason::Surplus => "there are more than `instances.max` by now",
            StopReason::Changed => "its config changed",
            StopReason::Removed => "its server is not in the config any more",
            StopReason::Shutdown => "mcpool ends",
        }
    }
}
