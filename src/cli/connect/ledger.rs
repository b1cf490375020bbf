//! Called by the carrier: what has to be remembered of a session to answer for a daemon that is gone, and to open the
//! session anew with the next one.

mod told;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::glance::{Glance, answered, glance};
use crate::wire::id::{RawId, digits};
use crate::wire::message::Message;
use crate::wire::scan::Field;
use crate::wire::splice::Piece;

/// Deeper nesting than the daemon passes on need not be understood here.
const DEPTH: usize = 256;
/// More elements than the daemon takes need not be remembered.
const BATCH: usize = 100_000;

/// What is known of the session between host and daemon.
#[derive(Default)]
pub struct Ledger {
    /// Requests of the host without an answer.
    in_flight: HashMap<RawId, Waiting, RandomState>,
    /// Asks of the daemon that the host has not answered.
    asks: HashSet<RawId, RandomState>,
    /// Requests of our own, which open the session anew.
    ours: HashSet<RawId, RandomState>,
    /// Progress was passed on since the last answer.
    talked: bool,
    /// The request that opened the session, once it was answered with a result.
    initialize: Option<Message>,
    initialized: bool,
    /// What the session was told, to be told again.
    level: Option<Message>,
    subscriptions: BTreeMap<String, Message>,
    /// The last error that this daemon addressed to nobody: why it closes the connection, if it does.
    complaint: Option<String>,
    /// Something that the host may have asked was answered to nobody, since nobody knows under which id.
    unaddressed: bool,
    numbers: u64,
}

struct Waiting {
    meaning: Meaning,
    /// The batch that it came in.
    batch: Option<u64>,
    /// How many more requests have this id, as a host in error sends them.
    more: u32,
}

/// What the answer to a request of the host means.
enum Meaning {
    Nothing,
    /// It is open as long as the session.
    Stream,
    Opened(Box<Message>),
    Level(Box<Message>),
    Subscribed(Box<Message>),
    Unsubscribed(String),
}

/// What becomes of a line of the host.
pub enum Said {
    PassOn,
    /// Nobody waits for it.
    Drop,
    /// It is answered here.
    Reply(Vec<u8>),
}

/// What becomes of a line of the daemon.
pub enum Heard {
    PassOn,
    /// It answers a call whose progress was passed on, so that the two do not go into one write.
    PassOnApart,
    /// It answers a request of our own: with an error, if there is one.
    Ours(Result<(), String>),
}

impl Ledger {
    /// The host sent a line.
    pub fn host_said(&mut self, line: &[u8]) -> Said {
        if Message::is_batch(line) {
            self.numbers += 1;
            for element in elements(line) {
                if let Some(seen) = glance(&element) {
                    self.note(&seen, &element, Some(self.numbers));
                }
            }
            return Said::PassOn;
        }
        match glance(line) {
            Some(seen) => self.note(&seen, line, None),
            None => self.no_message(line).map_or(Said::Drop, Said::Reply),
        }
    }

    fn note(&mut self, seen: &Glance<'_>, line: &[u8], batch: Option<u64>) -> Said {
        let id = seen.id.and_then(RawId::new);
        match (id, seen.method) {
            (Some(id), Some(method)) => {
                let meaning = meaning(method, line);
                self.in_flight.entry(id).and_modify(|waiting| waiting.more += 1).or_insert(Waiting {
                    meaning,
                    batch,
                    more: 0,
                });
            }
            // The daemon would close the connection, and calls that can be answered would be lost with it.
            (None, Some(_)) if seen.id.is_some() && batch.is_none() => return Said::Reply(self.told_nobody()),
            (None, Some(b"notifications/initialized")) => self.initialized = true,
            (None, Some(b"notifications/cancelled")) => {
                if let Some(id) = cancelled(line) {
                    self.in_flight.remove(&id);
                }
            }
            // What a daemon asked that is gone is no business of the next one, which may use the same id.
            (Some(id), None) if seen.answers && !self.asks.remove(&id) && !self.asks.remove(&as_asked(&id)) => {
                return Said::Drop;
            }
            _ => {}
        }
        Said::PassOn
    }

    /// Whether a line of the host answers what the daemon asked, which does not wait for the session to be open.
    pub fn answers(&self, line: &[u8]) -> bool {
        !self.asks.is_empty()
            && glance(line).is_some_and(|seen| {
                let is_one = |id: &RawId| self.asks.contains(id) || self.asks.contains(&as_asked(id));
                let asked = || seen.id.and_then(RawId::new).is_some_and(|id| is_one(&id));
                seen.answers && seen.method.is_none() && asked()
            })
    }

    /// The daemon sent a line.
    pub fn daemon_said(&mut self, line: &[u8]) -> Heard {
        if let Some(id) = answered(line).and_then(RawId::new) {
            return self.answer_came(&id, line);
        }
        if Message::is_batch(line) {
            for element in elements(line) {
                let Some(seen) = glance(&element) else { continue };
                match seen.id.and_then(RawId::new) {
                    Some(id) => self.answered(&id, false),
                    None => self.unaddressed |= seen.answers,
                }
            }
            return self.answer();
        }
        let Some(seen) = glance(line) else { return Heard::PassOn };
        match (seen.id.and_then(RawId::new), seen.method) {
            (Some(id), Some(_)) => {
                self.asks.insert(id);
                Heard::PassOn
            }
            (None, Some(b"notifications/progress")) => {
                self.talked = true;
                Heard::PassOn
            }
            (None, Some(b"notifications/cancelled")) => {
                if let Some(id) = cancelled(line) {
                    self.asks.remove(&id);
                }
                Heard::PassOn
            }
            (None, Some(_)) => Heard::PassOn,
            (Some(id), None) => self.answer_came(&id, line),
            (None, None) => {
                self.complaint = error_of(line);
                // While the session is opened anew it is about the connection.
                self.unaddressed |= seen.answers && self.ours.is_empty();
                Heard::PassOn
            }
        }
    }

    fn answer_came(&mut self, id: &RawId, line: &[u8]) -> Heard {
        if !self.ours.is_empty() && self.ours.remove(id) {
            return Heard::Ours(error_of(line).map_or(Ok(()), Err));
        }
        // Whether it is a success matters to few of them.
        let waits = self.in_flight.get(id).is_some_and(|waiting| waiting.meaning.is_remembered());
        self.answered(id, waits && error_of(line).is_none());
        self.answer()
    }

    fn answer(&mut self) -> Heard {
        if std::mem::take(&mut self.talked) { Heard::PassOnApart } else { Heard::PassOn }
    }

    fn answered(&mut self, id: &RawId, success: bool) {
        let Some(waiting) = self.in_flight.get_mut(id) else { return };
        if waiting.more > 0 {
            waiting.more -= 1;
            return;
        }
        let Some(Waiting { meaning, .. }) = self.in_flight.remove(id) else { return };
        if !success {
            return;
        }
        match meaning {
            Meaning::Nothing | Meaning::Stream => {}
            Meaning::Opened(request) => self.initialize = Some(*request),
            Meaning::Level(request) => self.level = Some(*request),
            Meaning::Subscribed(request) => {
                let uri = request.text(Field::Uri).unwrap_or_default().into_owned();
                self.subscriptions.insert(uri, *request);
            }
            Meaning::Unsubscribed(uri) => drop(self.subscriptions.remove(&uri)),
        }
    }

    /// Whether no request of the host waits for an answer that may come.
    pub fn is_served(&self) -> bool {
        self.in_flight.values().all(|waiting| matches!(waiting.meaning, Meaning::Stream))
    }

    /// Whether something that the host may have asked was answered to nobody.
    pub fn is_unaddressed(&self) -> bool {
        self.unaddressed
    }

    /// Whether a line that was not sent may be sent to the next daemon, and the ids of the requests in it.
    pub fn keeps(&self, line: &[u8], ids: &mut HashSet<RawId>) -> bool {
        let mut keep = |line: &[u8]| {
            let Some(seen) = glance(line) else { return false };
            match (seen.id.and_then(RawId::new), seen.method) {
                (Some(id), _) if self.ours.contains(&id) => false,
                (Some(id), Some(_)) => {
                    ids.insert(id);
                    true
                }
                // It is said anew when the session is opened.
                (None, Some(b"notifications/initialized")) => self.initialize.is_none(),
                (None, Some(_)) => true,
                (_, None) => false,
            }
        };
        if Message::is_batch(line) {
            return elements(line).iter().fold(false, |kept, element| keep(element) | kept);
        }
        keep(line)
    }

    /// The line that opens the session with a new daemon as the host opened it with the old one, if it did.
    pub fn opening(&mut self) -> Option<Vec<u8>> {
        self.complaint = None;
        let initialize = self.initialize.clone()?;
        Some(self.again(&initialize))
    }

    /// The lines that make the session what it was. What the new daemon refuses of it is lost, but the session is not.
    pub fn told_again(&mut self) -> Vec<Vec<u8>> {
        if self.initialize.is_none() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if self.initialized {
            lines.push(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec());
        }
        let told: Vec<Message> = self.level.iter().chain(self.subscriptions.values()).cloned().collect();
        lines.extend(told.iter().map(|request| self.again(request)));
        lines
    }

    /// A request once more, under an id of ours.
    fn again(&mut self, request: &Message) -> Vec<u8> {
        self.numbers += 1;
        let ours = format!("\"mcpool-reopen-{}\"", self.numbers);
        let mut splice = request.splice();
        splice.put_if(request.span(Field::Id), ours.as_str());
        let mut line = Vec::new();
        splice.each(|piece| match piece {
            Piece::Kept(range) => line.extend_from_slice(&splice.line()[range]),
            Piece::Put(text) => line.extend_from_slice(text.as_bytes()),
        });
        self.ours.extend(RawId::new(&ours));
        line
    }
}

impl Meaning {
    fn is_remembered(&self) -> bool {
        !matches!(self, Meaning::Nothing | Meaning::Stream)
    }
}

fn meaning(method: &[u8], line: &[u8]) -> Meaning {
    let message = || read(line).map(Box::new);
    let known = match method {
        b"initialize" => message().map(Meaning::Opened),
        b"logging/setLevel" => message().map(Meaning::Level),
        b"resources/subscribe" => message().map(Meaning::Subscribed),
        b"resources/unsubscribe" => {
            message().map(|message| Meaning::Unsubscribed(message.text(Field::Uri).unwrap_or_default().into_owned()))
        }
        b"subscriptions/listen" => Some(Meaning::Stream),
        _ => None,
    };
    known.unwrap_or(Meaning::Nothing)
}

fn read(line: &[u8]) -> Option<Message> {
    Message::read(Bytes::copy_from_slice(line.trim_ascii_end()), DEPTH).ok()
}

fn cancelled(line: &[u8]) -> Option<RawId> {
    read(line)?.id(Field::RequestId)
}

fn elements(line: &[u8]) -> Vec<Bytes> {
    // What is no batch is for the daemon to refuse.
    Message::batch(&Bytes::copy_from_slice(line), DEPTH, BATCH).unwrap_or_default()
}

/// What an answer says went wrong.
fn error_of(line: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(line).ok()?;
    let error = answer.get("error").filter(|error| !error.is_null())?;
    Some(error["message"].as_str().unwrap_or("an error without a message").to_owned())
}

/// An id as the daemon wrote it, if the host gives it back as a text or a float.
fn as_asked(id: &RawId) -> RawId {
    digits(id.as_str()).and_then(|number| RawId::new(&number.to_string())).unwrap_or_else(|| id.clone())
}

/// Whether a last line without its end is a message, or several, all the same.
pub fn is_whole(line: &[u8]) -> bool {
    match Message::is_batch(line) {
        true => Message::batch(&Bytes::copy_from_slice(line), DEPTH, BATCH).is_ok(),
        false => glance(line).is_some(),
    }
}
