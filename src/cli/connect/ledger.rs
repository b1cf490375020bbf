//! What `connect` has to remember of a session to answer for a daemon that is gone and to open the session anew
//! with the next one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Link;
use crate::error::Error;
use crate::wire::frame::Line;
use crate::wire::id::RawId;
use crate::wire::message::{Kind, Message};
use crate::wire::outbox::Outbox;
use crate::wire::scan::Field;

/// How long a new daemon may take to answer what opens the session.
const OPENING: Duration = Duration::from_secs(60);
/// Deeper nesting than the daemon passes on need not be understood here.
const DEPTH: usize = 256;

/// What is known of the session between host and daemon.
#[derive(Default)]
pub struct Ledger {
    /// Requests of the host without an answer, and what an answer means.
    in_flight: HashMap<RawId, Meaning>,
    /// Calls whose progress was passed on.
    talked: HashSet<RawId>,
    /// Asks of the daemon that the host has not answered.
    asks: HashSet<RawId>,
    /// The request that opened the session, once it was answered with a result.
    initialize: Option<Message>,
    initialized: bool,
    /// What the session was told, to be told again.
    level: Option<Message>,
    subscriptions: BTreeMap<String, Message>,
    reopened: u64,
}

/// What the answer to a request of the host means.
enum Meaning {
    Nothing,
    Opened(Message),
    Level(Message),
    Subscribed(Message),
    Unsubscribed(String),
}

impl Ledger {
    /// The host sent a line.
    pub fn host_said(&mut self, line: &Bytes) {
        let Ok(message) = Message::read(line.clone(), DEPTH) else { return };
        match message.kind() {
            Kind::Request => {
                let Some(id) = message.id(Field::Id) else { return };
                let uri = || message.text(Field::Uri).unwrap_or_default().into_owned();
                let meaning = match message.method().as_ref() {
                    "initialize" => Meaning::Opened(message.clone()),
                    "logging/setLevel" => Meaning::Level(message.clone()),
                    "resources/subscribe" => Meaning::Subscribed(message.clone()),
                    "resources/unsubscribe" => Meaning::Unsubscribed(uri()),
                    _ => Meaning::Nothing,
                };
                self.in_flight.insert(id, meaning);
            }
            Kind::Notification => match message.method().as_ref() {
                "notifications/initialized" => self.initialized = true,
                "notifications/cancelled" => {
                    if let Some(id) = message.id(Field::RequestId) {
                        self.in_flight.remove(&id);
                    }
                }
                _ => {}
            },
            Kind::Result | Kind::Error => {
                if let Some(id) = message.id(Field::Id) {
                    self.asks.remove(&id);
                }
            }
        }
    }

    /// The daemon sent a line: whether it answers a call whose progress was passed on, so that the two do not go
    /// into one write; `None` if the host must not see it.
    pub fn daemon_said(&mut self, line: &Bytes) -> Option<bool> {
        let Ok(message) = Message::read(line.clone(), DEPTH) else { return Some(false) };
        match message.kind() {
            Kind::Request => {
                self.asks.extend(message.id(Field::Id));
                Some(false)
            }
            Kind::Notification => {
                // Tokens are the ids of their calls with every client but one, for which a cut too many is harmless.
                self.talked.extend(message.id(Field::ProgressToken));
                Some(false)
            }
            Kind::Result | Kind::Error => {
                let Some(id) = message.id(Field::Id) else { return Some(false) };
                let success = message.kind() == Kind::Result;
                match self.in_flight.remove(&id) {
                    Some(Meaning::Opened(request)) if success => self.initialize = Some(request),
                    Some(Meaning::Level(request)) if success => self.level = Some(request),
                    Some(Meaning::Subscribed(request)) if success => {
                        let uri = request.text(Field::Uri).unwrap_or_default().into_owned();
                        self.subscriptions.insert(uri, request);
                    }
                    Some(Meaning::Unsubscribed(uri)) => drop(self.subscriptions.remove(&uri)),
                    _ => {}
                }
                let talked = !self.talked.is_empty();
                self.talked.clear();
                Some(talked)
            }
        }
    }

    /// Whether no request of the host waits for an answer.
    pub fn is_served(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The daemon is gone: what it owes is answered with an error, what it asked is withdrawn.
    pub fn daemon_lost(&mut self, host: &Outbox, error: &Error) {
        for id in self.in_flight.drain().map(|(id, _)| id) {
            host.line(&error.reply(Some(&id)));
        }
        for id in self.asks.drain() {
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
                id.as_str()
            );
            host.line(line.as_bytes());
        }
    }

    /// Opens the session with a new daemon as the host opened it with the old one; whether that succeeded.
    pub async fn reopen(&mut self, link: &mut Link) -> bool {
        let Some(initialize) = self.initialize.clone() else { return true };
        if !self.repeat(link, &initialize).await {
            return false;
        }
        if self.initialized {
            link.outbox.line(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        }
        let told: Vec<Message> = self.level.iter().chain(self.subscriptions.values()).cloned().collect();
        for request in told {
            // What the new daemon refuses is lost, but the session is not.
            let _ = self.repeat(link, &request).await;
        }
        true
    }

    /// Sends a request again, under an id of ours, and waits for its answer, which the host does not see.
    async fn repeat(&mut self, link: &mut Link, request: &Message) -> bool {
        self.reopened += 1;
        let ours = format!("\"mcpool-reopen-{}\"", self.reopened);
        let mut splice = request.splice();
        splice.put_if(request.span(Field::Id), ours.as_str());
        link.outbox.splice(&splice);
        let answered = async {
            while let Ok(Some(line)) = link.lines.next().await {
                let Line::Whole(line) = line else { continue };
                let Ok(message) = Message::read(line, DEPTH) else { continue };
                if message.raw(Field::Id) == Some(ours.as_str()) {
                    return message.kind() == Kind::Result;
                }
            }
            false
        };
        timeout(OPENING, answered).await.unwrap_or(false)
    }
}
