//! What the multiplexer starts in a simulation: small servers of both eras that echo what they are sent, and
//! misbehave in every way that their habits allow.

mod act;
mod asked;
mod called;
mod faults;
mod habits;
mod legacy;
mod list;
mod modern;
mod pipe;
mod rounds;
mod yard;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::wire::message::{Kind, Message};
use mcpool::wire::scan::Field;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use faults::Fault;
pub use habits::Habits;
pub use list::uri;
use pipe::Output;
pub use yard::Yard;

use super::world::{ID, World, mark};

/// One running copy of a server.
pub struct Server {
    world: Rc<World>,
    which: usize,
    no: usize,
    habits: Habits,
    rng: RefCell<Rng>,
    out: mpsc::UnboundedSender<Output>,
    stop: Duration,
    /// How long it goes on with a call that was given up.
    obstinacy: Duration,
    crash: Notify,
    /// It is gone.
    over: Cell<bool>,
    /// It was spoken to before.
    met: Cell<bool>,
    /// It says nothing any more.
    mute: Cell<bool>,
    /// When it said something last.
    spoke: Cell<Duration>,
    /// It reads nothing any more.
    deaf: Cell<bool>,
    /// How many calls it answers before it ends, if that is more than none.
    left: Cell<u32>,
    /// Counts how often its lists changed.
    version: Cell<u32>,
    /// The era in which it was opened: whether that is the modern one.
    era: Cell<Option<bool>>,
    /// What a legacy client declared, and its revision.
    declared: RefCell<(String, String)>,
    /// What its client can be asked.
    can_ask: RefCell<Vec<&'static str>>,
    /// The roots that it was told last.
    roots: RefCell<Option<Option<String>>>,
    calls: RefCell<HashMap<String, Rc<Flag>>>,
    /// Asks that wait, by their id: their nonce and who waits.
    asks: RefCell<BTreeMap<String, (String, oneshot::Sender<()>)>>,
    /// Asks that it has withdrawn: their answers may have crossed that.
    withdrawn: RefCell<BTreeSet<String>>,
    subscribed: RefCell<BTreeSet<String>>,
    /// Open streams: what each carries.
    streams: RefCell<BTreeMap<String, String>>,
    /// Request states that it issued, by nonce.
    states: RefCell<HashMap<String, String>>,
    next: Cell<u64>,
}

/// Whether a call was cancelled.
#[derive(Default)]
pub struct Flag {
    cause: String,
    cancelled: Cell<Option<Duration>>,
    changed: Notify,
}

impl Server {
    fn blank() -> Server {
        let world = Rc::new(World::new(0, false));
        let habits = world.servers[0].clone();
        Server {
            world,
            which: 0,
            no: 0,
            habits,
            rng: RefCell::new(Rng::with_seed(0)),
            out: mpsc::unbounded_channel().0,
            stop: Duration::ZERO,
            obstinacy: Duration::ZERO,
            crash: Notify::new(),
            over: Cell::default(),
            met: Cell::default(),
            mute: Cell::default(),
            spoke: Cell::default(),
            deaf: Cell::default(),
            left: Cell::default(),
            version: Cell::default(),
            era: Cell::default(),
            declared: RefCell::default(),
            can_ask: RefCell::default(),
            roots: RefCell::default(),
            calls: RefCell::default(),
            asks: RefCell::default(),
            withdrawn: RefCell::default(),
            subscribed: RefCell::default(),
            streams: RefCell::default(),
            states: RefCell::default(),
            next: Cell::default(),
        }
    }

    /// The number of its configuration.
    pub fn which(&self) -> usize {
        self.which
    }

    fn name(&self) -> String {
        format!("s{}#{}", self.which, self.no)
    }

    /// A number below `limit`, by chance.
    fn roll(&self, limit: u32) -> u32 {
        self.rng.borrow_mut().u32(..limit.max(1))
    }

    fn say(&self, line: String) {
        if self.mute.get() {
            return;
        }
        self.spoke.set(self.world.now());
        self.world.note(&self.name(), &line);
        // A server that is ending says nothing any more.
        let _ = self.out.send(Output::Line(line));
    }

    /// Says what others will check to the letter; `line` has `ID` where `id` belongs.
    fn say_with_id(&self, line: &str, id: &str) {
        self.say(line.replacen(ID, id, 1));
    }

    async fn run(
        self: Rc<Server>,
        stdin: DuplexStream,
        stdout: DuplexStream,
        outputs: mpsc::UnboundedReceiver<Output>,
    ) {
        let how = tokio::select! {
            biased;
            () = self.crash.notified() => "crashes",
            () = pipe::write(stdout, outputs) => "writes no more",
            () = self.clone().read(stdin) => "ends",
        };
        self.over(how);
    }

    /// It is gone, for whatever reason comes first.
    fn over(&self, how: &str) {
        if self.over.replace(true) {
            return;
        }
        self.world.note(&self.name(), how);
        self.world.reading.borrow_mut().remove(&self.no);
        // What it said in this moment may not have been written.
        self.world.told_to_end.borrow_mut().entry(self.no).or_insert(self.world.now());
        self.world.running.borrow_mut()[self.which] -= 1;
        // Whoever waits for an answer waits in vain.
        self.asks.borrow_mut().clear();
    }

    async fn read(self: Rc<Server>, stdin: DuplexStream) {
        let mut lines = BufReader::new(stdin).lines();
        let mut tasks = JoinSet::new();
        if self.by_chance(self.habits.fails_to_start / 3) {
            return;
        }
        if self.has(Fault::Retires) {
            self.left.set(1 + self.roll(8));
        }
        while let Ok(Some(line)) = lines.next_line().await {
            self.world.note(&self.name(), &format!("<- {line}"));
            match Message::read(line.clone().into(), 1000) {
                Ok(message) => self.hear(&message, &line, &mut tasks),
                Err(malformed) => {
                    self.world.fault(format!("{} was sent what is no message ({}): {line}", self.name(), malformed.why))
                }
            }
            if self.deaf.get() {
                self.world.reading.borrow_mut().remove(&self.no);
                return std::future::pending().await;
            }
        }
        self.world.reading.borrow_mut().remove(&self.no);
        self.world.told_to_end.borrow_mut().insert(self.no, self.world.now());
        if self.has(Fault::IgnoresTheEnd) {
            self.world.count("servers that do not end when they should");
            return std::future::pending().await;
        }
        let linger = self.stop.mul_f64(self.rng.borrow_mut().f64() * 0.9);
        sleep(linger).await;
    }

    fn hear(self: &Rc<Server>, message: &Message, line: &str, tasks: &mut JoinSet<()>) {
        match message.kind() {
            Kind::Result | Kind::Error => self.ask_answered(message, line),
            Kind::Notification => {
                let id = message.raw(Field::RequestId).unwrap_or_default();
                match message.method().as_ref() {
                    "notifications/cancelled" => self.cancelled(id),
                    "notifications/initialized" | "notifications/roots/list_changed"
                        if self.era.get() == Some(true) =>
                    {
                        self.world.fault(format!("{} was told what its era does not have: {line}", self.name()));
                    }
                    "notifications/initialized" => self.initialized(tasks),
                    "notifications/roots/list_changed" => self.roots_changed(tasks),
                    _ => {}
                }
            }
            Kind::Request => {
                if !self.opens(message, line, tasks) {
                    return;
                }
                self.check_era(message, line);
                match mark(line, "cause") {
                    Some(cause) => self.called(message, line, cause.to_owned(), tasks),
                    None => self.asked(message),
                }
            }
        }
    }

    fn cancelled(&self, id: &str) {
        self.streams.borrow_mut().remove(id);
        if let Some(flag) = self.calls.borrow().get(id) {
            let now = self.world.now();
            flag.cancelled.set(Some(now));
            self.world.truth(&flag.cause, |truth| truth.ended = Some(now));
            flag.changed.notify_waiters();
        }
    }
}
