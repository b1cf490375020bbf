//! What is true of calls, asks and request states, noted by whoever makes them: messages are checked against it.

use std::time::Duration;

/// What is true of one call.
#[derive(Default)]
pub struct Truth {
    pub caller: usize,
    /// The server that it is for.
    pub server: usize,
    pub method: String,
    /// Whether its caller speaks the modern era, and whether that is not the one in which it reached its server.
    pub modern: bool,
    pub crossed: bool,
    /// What its caller can be asked.
    pub capabilities: String,
    /// The revision of a legacy caller.
    pub revision: &'static str,
    /// The tool that it calls, by the server's name.
    pub tool: Option<String>,
    /// When it was made.
    pub made: Duration,
    /// When it reached its server.
    pub reached: Duration,
    /// How often it was sent again.
    pub repeats: u8,
    /// The line that is to reach the server.
    pub request: String,
    /// How often the roots of its caller had changed when it called.
    pub roots: usize,
    /// The server's copy that it reached.
    pub arrived: Option<usize>,
    /// The server's answer, and when it was given.
    pub answer: Option<(String, Duration)>,
    /// When it was answered with more than anybody takes.
    pub oversized: Option<Duration>,
    /// Progress notifications sent and seen.
    pub progress: (u32, u32),
    /// Since when nothing is to be done for it any more: cancelled or refused.
    pub abandoned: Option<Duration>,
    /// When its server was done with it: it answered or was told to stop.
    pub ended: Option<Duration>,
    /// Its request state was no good, or it was refused: no server may see it.
    pub barred: bool,
    /// Since when it is held: its modern caller was asked and did not come back.
    pub held: Option<Duration>,
    /// Whether it ever was: progress made meanwhile went nowhere.
    pub was_held: bool,
    /// A request that brought nonsense was answered instead of being sent back: who comes behind it comes too late.
    pub spent: bool,
    /// What its modern server wants before it goes on, of a legacy caller.
    pub round: Option<Round>,
    pub rounds: u32,
    /// Its caller was asked something for it.
    pub asked: bool,
    /// Somebody refused an ask without which it cannot go on.
    pub ask_refused: bool,
}

impl Truth {
    /// Whether a copy of its server works on it.
    pub fn is_with(&self, copy: usize) -> bool {
        self.arrived == Some(copy) && self.ended.is_none() && self.round.is_none()
    }

    /// Returns whether it only reads, so that it may be carried out twice whatever its server says.
    pub fn only_reads(&self) -> bool {
        ["resources/read", "prompts/get", "completion/complete", "ping"].contains(&self.method.as_str())
    }

    /// Whether the specification lets such a call end in a question (page "Multi Round-Trip Requests").
    pub fn may_ask(&self) -> bool {
        matches!(self.method.as_str(), "tools/call" | "prompts/get" | "resources/read")
    }
}

/// What is true of one ask.
pub struct Ask {
    pub cause: String,
    /// When it was put.
    pub since: Duration,
    /// The line that is to reach a caller of the server's era; of the other one, its `method` and `params`.
    pub request: String,
    /// To whom it was delivered.
    pub delivered: Option<usize>,
    /// The answer that is to reach the server: the line, and the result in it if it is none that refuses.
    pub answer: Option<String>,
    pub result: Option<String>,
    /// It came with an error, and the call is made anew when its caller has seen to it.
    pub required: bool,
}

/// A modern server's questions to a legacy caller: with their answers the same request comes again.
#[derive(Clone)]
pub struct Round {
    /// The state that comes back to the letter, if there is one.
    pub state: Option<String>,
    /// The key, the method and the nonce of each question, and whether the caller can be asked that.
    pub questions: Vec<(String, &'static str, String, bool)>,
    /// The copy that asked.
    pub issuer: usize,
}

/// A request state of mcpool's own.
#[derive(Clone)]
pub struct State {
    pub caller: usize,
    pub cause: String,
    /// As it stands in the answer, with its quotes.
    pub raw: String,
    /// When it was given.
    pub since: Duration,
    pub used: bool,
}
