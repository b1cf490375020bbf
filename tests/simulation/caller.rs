//! The clients of a simulation: legacy ones of every revision and modern ones, which send requests by chance,
//! answer what they are asked, change their minds and hang up. `hear` checks everything that reaches them.

mod act;
mod answer;
mod bounds;
mod call;
mod check;
mod hear;
mod input;
mod kind;
mod late;
mod refused;
mod retry;
mod silent;
mod stall;
mod vain;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::world::World;
use kind::Kind;

/// The longest that any request may take: queue, start, roots and the longest call with its asks.
pub const BOUND: Duration = Duration::from_secs(300);

/// One connected client.
pub struct Caller {
    pub world: Rc<World>,
    pub no: usize,
    pub kind: Kind,
    /// The servers of its endpoint.
    pub servers: Vec<usize>,
    /// Whether names are `SERVER__NAME` there.
    pub prefix: bool,
    rng: RefCell<Rng>,
    writer: Mutex<tokio::io::WriteHalf<DuplexStream>>,
    next: Cell<u64>,
    pending: RefCell<BTreeMap<String, Request>>,
    /// Woken when something is answered.
    answered: Notify,
    ready: Cell<bool>,
    opened: Cell<Option<bool>>,
    roots: RefCell<Option<String>>,
    /// Resources for which updates may come.
    subscribed: RefCell<BTreeSet<String>>,
    streams: RefCell<BTreeMap<String, Stream>>,
    /// Updates that were seen, with the stream that they came on.
    updates: RefCell<BTreeSet<(String, String)>>,
    logs: RefCell<BTreeSet<String>>,
    /// Asks that were delivered: whether they still wait for an answer.
    asks: RefCell<BTreeMap<String, bool>>,
    /// What it was asked to do on web pages, and was not told to be done.
    pages: RefCell<BTreeSet<String>>,
    /// The nonce of each ask that came in an answer, by its call and its key there.
    keys: RefCell<BTreeMap<(String, String), String>>,
    /// How often it is about to come back with answers.
    returns: Cell<u32>,
    gone: Cell<bool>,
    /// It reads on though it says no more.
    pub stays: Rc<Cell<bool>>,
    /// When it connected.
    born: Duration,
    /// The connection was closed.
    cut: Cell<bool>,
    /// It stopped reading; what it read then came late.
    stalled: Cell<bool>,
    late: Cell<bool>,
    /// A line ended in the middle.
    torn: Cell<bool>,
    stops_reading: Notify,
    reads_on: Notify,
    /// Calls that were answered with what their server said.
    served: Cell<u32>,
}

/// A request that was not answered.
pub struct Request {
    pub what: What,
    pub since: Duration,
    pub token: Option<String>,
    pub batch: Option<u64>,
    pub cancelled: Option<Duration>,
    /// The log level that a modern request names.
    pub level: Option<&'static str>,
    pub hope: Hope,
}

/// How a request stands with what came before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hope {
    /// Nothing came before it.
    Fresh,
    /// It brings answers and a state that must be good until then.
    Returns(Duration),
    /// It brings what is no answer, and will come back.
    Spoilt,
    /// Its state is no good.
    Vain,
}

/// What a request is for, as far as that says what its answer may be.
#[derive(Clone, PartialEq)]
pub enum What {
    Open,
    /// A legacy client's question whether the server is modern.
    Probe,
    /// For a server; by its cause.
    Call(String),
    List(&'static str),
    Subscribe(String),
    Unsubscribe(String),
    Listen,
    /// A ping or a log level: `{}`.
    Nothing,
}

/// An open stream.
pub struct Stream {
    pub wanted: String,
    pub acknowledged: bool,
}

impl Caller {
    /// A client of an endpoint, on its end of a connection.
    pub fn new(
        world: Rc<World>,
        no: usize,
        servers: Vec<usize>,
        prefix: bool,
        writer: tokio::io::WriteHalf<DuplexStream>,
    ) -> Rc<Caller> {
        let mut rng = world.fork();
        let kind = Kind::random(&mut rng);
        let roots = (rng.u32(..4) > 0).then(|| format!("file:///{}", rng.u32(..2)));
        world.roots.borrow_mut().insert(no, vec![roots.clone()]);
        Rc::new(Caller {
            no,
            kind,
            servers,
            prefix,
            rng: RefCell::new(rng),
            writer: Mutex::new(writer),
            next: Cell::default(),
            pending: RefCell::default(),
            answered: Notify::new(),
            ready: Cell::default(),
            opened: Cell::default(),
            roots: RefCell::new(roots),
            subscribed: RefCell::default(),
            streams: RefCell::default(),
            updates: RefCell::default(),
            logs: RefCell::default(),
            asks: RefCell::default(),
            pages: RefCell::default(),
            keys: RefCell::default(),
            returns: Cell::default(),
            gone: Cell::default(),
            stays: Rc::default(),
            served: Cell::default(),
            born: world.now(),
            cut: Cell::default(),
            stalled: Cell::default(),
            late: Cell::default(),
            torn: Cell::default(),
            stops_reading: Notify::new(),
            reads_on: Notify::new(),
            world,
        })
    }

    fn name(&self) -> String {
        format!("c{}", self.no)
    }

    /// A number below `limit`, by chance.
    fn roll(&self, limit: u32) -> u32 {
        self.rng.borrow_mut().u32(..limit)
    }

    async fn rest(&self, most: u64) {
        let millis = self.rng.borrow_mut().u64(..=most);
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    async fn say(&self, line: String) {
        self.world.note(&self.name(), &line);
        let mut writer = self.writer.lock().await;
        let written = writer.write_all(format!("{line}\n").as_bytes()).await;
        if self.stalled.get() {
            self.cut.set(self.cut.get() || written.is_err());
        } else if written.is_err() && self.can_speak() && self.is_served() {
            self.world.fault(format!("{} was hung up on", self.name()));
        }
    }

    /// Whether neither the daemon nor what it calls was to end.
    fn is_served(&self) -> bool {
        self.world.draining().is_none() && self.servers.iter().all(|server| self.world.removed(*server).is_none())
    }

    /// Lives from the first request to the last.
    pub async fn live(self: Rc<Caller>, reader: tokio::io::ReadHalf<DuplexStream>) {
        let hearing = tokio::task::spawn_local(self.clone().listen_to(reader));
        if self.open().await {
            let acts = self.roll(25);
            let haste = [0, 5, 50, 500][self.roll(4) as usize];
            for _ in 0..acts {
                self.act().await;
                self.rest(haste).await;
            }
            if self.roll(12) == 0 {
                self.stall().await;
            }
        }
        if self.stalled.get() {
            self.catch_up().await;
        } else if self.roll(3) > 0 {
            if self.roll(4) == 0 {
                self.fall_silent().await;
            }
            let all_answered = async {
                while self.waits() {
                    self.answered.notified().await;
                }
            };
            if timeout(BOUND, all_answered).await.is_err() {
                let left: Vec<String> = self
                    .pending
                    .borrow()
                    .iter()
                    .filter(|(_, request)| request.waits())
                    .map(|(id, _)| id.clone())
                    .collect();
                self.world.fault(format!("{} got no answer to {left:?}", self.name()));
            }
            // What comes twice or late comes now.
            self.rest(5000).await;
        }
        self.world.note(&self.name(), "hangs up");
        self.gone.set(true);
        self.stays.set(false);
        self.world.gone.borrow_mut().insert(self.no);
        if self.roll(2) == 0 {
            self.end_input().await;
            self.rest(3000).await;
        }
        hearing.abort();
    }

    fn waits(&self) -> bool {
        !self.cut.get() && (self.returns.get() > 0 || self.pending.borrow().values().any(Request::waits))
    }

    /// Nothing more is to be done for a request.
    fn abandon(&self, request: &Request) {
        if let What::Call(cause) = &request.what {
            let now = self.world.now();
            self.world.truth(cause, |truth| truth.abandoned = truth.abandoned.or(Some(now)));
        }
    }

    async fn listen_to(self: Rc<Caller>, reader: tokio::io::ReadHalf<DuplexStream>) {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = self.next_line(&mut lines).await {
            self.world.note(&self.name(), &format!("<- {line}"));
            match self.late.get() {
                true => self.hear_late(&line),
                false => self.hear(&line),
            }
        }
        let removed = match self.servers[..] {
            [server] if !self.prefix => self.world.removed(server),
            _ => None,
        };
        match self.world.ended().or(removed) {
            _ if self.gone.get() || self.stalled.get() => {}
            // Nobody is let in any more.
            None if self.world.draining().is_some_and(|since| since <= self.born) => {}
            None if self.check_left() => {}
            Some(end) => self.check_end(end),
            None => self.world.fault(format!("{} was hung up on", self.name())),
        }
        self.cut.set(true);
        self.opened.set(self.opened.get().or(Some(false)));
        self.answered.notify_one();
    }
}

impl Request {
    /// Whether an answer must come.
    fn waits(&self) -> bool {
        self.cancelled.is_none() && self.what != What::Listen
    }
}
