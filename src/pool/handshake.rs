//! Called by `mux` for what an instance says before it is ready: how it is opened, and when it takes calls.
//! Legacy: `initialize`, `initialized`, and for clients with roots a `ping`, because servers that want roots
//! ask for them right after `initialized` and must have them before the first call. Modern: `server/discover`.

use tokio::time::Instant;

use super::instance::{Instance, State};
use crate::clock;
use crate::era::modern::{self, Found};
use crate::era::profile::Profile;
use crate::era::{Era, legacy, nulls};
use crate::wire::id::{RawId, WireId, digits};
use crate::wire::message::{Kind, Message, member, unquote};
use crate::wire::scan::Field;

/// How long the `ping` that ends the handshake is waited for: servers exist that never answer one.
pub const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent.
    Unopened,
    /// `initialize` or `server/discover` was sent.
    Opening(WireId),
    /// `ping` was sent behind `initialized`.
    Settling(WireId, Instant),
    /// The handshake is over, but an ask of it is not answered.
    Asking,
    /// Done.
    Open,
}

/// What a line meant for the handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it belongs to a call, or is nobody's.
    NotOurs,
    /// The server introduced itself: the raw `InitializeResult` or `DiscoverResult`.
    Introduced(String),
    /// The instance may be ready now.
    Settled,
    /// It cannot be used.
    Failed(Failure),
}

/// Why an instance did not become ready. What the server said is in there as it may be seen: short, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server does not speak this era; what it said.
    Lacks(Era, String),
    /// The server ended without a word, which may mean that it does not speak this era, or that it had a bad day.
    Silent(Era, String),
    /// It did not open in time, and lives. That is no sign of an era.
    Late(String),
    /// It refuses what it was told of the client; what it said.
    Refused(String),
    /// It is broken; in words.
    Broken(String),
}

impl Instance {
    /// Sends the first request.
    pub fn open(&mut self) {
        let id = match self.profile.clone() {
            Profile::Legacy(profile) => self.request("initialize", &legacy::initialize_params(&profile)),
            Profile::Modern => self.request("server/discover", &format!(r#"{{"_meta":{}}}"#, modern::meta("{}"))),
        };
        self.stage = Stage::Opening(id);
    }

    /// Returns whether a request is the one with which the instance was opened: it sends back what it gets.
    pub fn is_echo(&self, request: &Message) -> bool {
        let opens = matches!(request.method().as_ref(), "initialize" | "server/discover");
        opens && matches!(self.stage, Stage::Opening(_))
    }

    /// Hears an answer that may belong to the handshake.
    pub fn hear_handshake(&mut self, answer: &Message) -> Step {
        if self.ended {
            return Step::NotOurs;
        }
        let id = answer.raw(Field::Id).and_then(digits).map(WireId);
        match self.stage {
            Stage::Opening(_) if id.is_some() && id == self.asked_before => {
                self.asked_before = None;
                if let Found::Modern(result) = modern::judge(answer) {
                    self.discovered = Some((result, clock::now()));
                }
                // What it says to the other question counts more: a server may be bound to the era of `initialize` by that.
                Step::Settled
            }
            Stage::Opening(opening) if id == Some(opening) => match self.profile.era() {
                Era::Legacy => self.initialized(answer),
                Era::Modern => self.discovered(answer),
            },
            Stage::Settling(ping, _) if id == Some(ping) => {
                // A server that asks for roots is used only when it has been told them, if it asks soon.
                if self.roots.is_none() || self.told_roots {
                    self.stage = Stage::Asking;
                }
                Step::Settled
            }
            _ => Step::NotOurs,
        }
    }

    /// Returns whether an open request of ours has this id.
    pub fn awaits(&self, id: &RawId) -> bool {
        let opening = matches!(self.stage, Stage::Opening(opening) if self.state == State::Starting && digits(id.as_str()) == Some(opening.0));
        opening || digits(id.as_str()).is_some_and(|id| self.pending.get(WireId(id)).is_some())
    }

    /// Notes that what would have been the answer to its opening cannot be read.
    pub fn hear_garbled(&self, id: &RawId, why: &str) -> Option<Failure> {
        let opening = matches!(self.stage, Stage::Opening(opening) if digits(id.as_str()) == Some(opening.0));
        (opening && self.state == State::Starting).then(|| match self.profile.era() {
            // Any answer that is not a modern one means legacy.
            Era::Modern => {
                Failure::Lacks(Era::Modern, format!("its answer to `server/discover` cannot be read: {why}"))
            }
            Era::Legacy => Failure::Broken(format!("its answer to `initialize` cannot be read: {why}")),
        })
    }

    /// Notes that the server was told roots. Its handshake ends after another `ping`, when it has had time to act on
    /// them.
    pub fn told_roots(&mut self) {
        self.told_roots = true;
        if let (State::Starting, Stage::Settling(..) | Stage::Asking) = (self.state, self.stage) {
            let ping = self.request("ping", "{}");
            self.stage = Stage::Settling(ping, clock::now());
        }
    }

    /// Becomes ready if nothing of the handshake is left.
    pub fn settle(&mut self) -> bool {
        let done = match self.stage {
            Stage::Asking => self.asks.is_empty(),
            Stage::Settling(_, since) => self.asks.is_empty() && since.elapsed() >= SETTLE,
            Stage::Unopened | Stage::Opening(_) | Stage::Open => false,
        };
        if done && self.state == State::Starting {
            self.stage = Stage::Open;
            self.state = State::Ready;
            self.stderr.opened();
            self.idle_since = clock::now();
        }
        done
    }

    /// Treats the instance as the modern server that it said to be after it had been asked to `initialize` already.
    /// Returns what it said.
    pub fn adopt_modern(&mut self) -> Option<String> {
        let (result, _) = self.discovered.take()?;
        self.profile = Profile::Modern;
        self.stage = Stage::Asking;
        Some(result)
    }

    fn initialized(&mut self, answer: &Message) -> Step {
        if answer.kind() == Kind::Error {
            if let Some(result) = self.adopt_modern() {
                return Step::Introduced(result);
            }
            let error = answer.raw(Field::Error).unwrap_or("{}");
            // What has no message that is a text says what it says.
            let said = self.stderr.shown(&member(error, "message").and_then(unquote).unwrap_or(error.into()));
            return Step::Failed(match member(error, "code") {
                Some("-32022" | "-32601") => Failure::Lacks(Era::Legacy, said),
                _ => Failure::Refused(format!("it answered `initialize` with an error: {said}")),
            });
        }
        let result = nulls::of_introduction(answer.raw(Field::Result).unwrap_or("{}"));
        let Some(offers) = legacy::offers(&result) else {
            return Step::Failed(Failure::Broken("it answered `initialize` without a version or capabilities".into()));
        };
        (self.offers, self.discovered) = (offers, None);
        self.notify("notifications/initialized", "{}");
        self.stage = Stage::Asking;
        if self.profile.has_roots() {
            let ping = self.request("ping", "{}");
            self.stage = Stage::Settling(ping, clock::now());
        }
        Step::Introduced(result)
    }

    fn discovered(&mut self, answer: &Message) -> Step {
        match modern::judge(answer) {
            Found::Modern(result) => {
                self.stage = Stage::Asking;
                Step::Introduced(nulls::of_introduction(&result))
            }
            Found::Unspoken(versions) => {
                let said = format!("it speaks {}", self.stderr.shown(&versions));
                Step::Failed(Failure::Lacks(Era::Modern, said))
            }
            Found::Legacy => Step::Failed(Failure::Lacks(Era::Modern, "it does not know `server/discover`".into())),
        }
    }
}
