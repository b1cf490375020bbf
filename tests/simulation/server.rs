//! What the multiplexer starts in a simulation: small servers of both eras that echo what they are sent, and
//! misbehave in every way that their habits allow.

mod act;
mod legacy;
mod list;
mod modern;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::config;
use mcpool::pool::launch::{Connection, Launcher};
use mcpool::wire::message::{Kind, Message};
use mcpool::wire::scan::Field;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use list::modern_rest;
pub use list::uri;

use super::world::{ID, World, mark};

/// What a server is like.
#[derive(Clone, Debug)]
pub struct Habits {
    pub legacy: bool,
    pub modern: bool,
    /// It asks for roots as soon as it may.
    pub wants_roots: bool,
    /// It asks its client in the middle of calls.
    pub asks: bool,
    /// Chances in a hundred.
    pub fails_to_start: u32,
    pub crashes: u32,
    pub talks_nonsense: u32,
    pub ignores_cancel: u32,
    pub never_answers: u32,
    /// The longest pause between two steps, in milliseconds.
    pub pause: u64,
}

impl Habits {
    /// The habits of one configured server.
    pub fn random(rng: &mut Rng) -> Habits {
        let eras = rng.u32(..4);
        let wild = rng.bool();
        let mut chance = |most: u32| if wild { rng.u32(..most) } else { 0 };
        Habits {
            fails_to_start: chance(40),
            crashes: chance(12),
            talks_nonsense: chance(30),
            ignores_cancel: chance(100),
            never_answers: chance(8),
            legacy: eras != 0,
            modern: eras < 2,
            wants_roots: rng.u32(..3) == 0,
            asks: rng.bool(),
            pause: [1, 20, 200, 2000][rng.usize(..4)],
        }
    }
}

/// Starts model servers.
pub struct Yard(pub Rc<World>);

impl Launcher for Yard {
    fn launch(&self, config: &config::Server) -> io::Result<Connection> {
        let which: usize = config.name[1..].parse().map_err(io::Error::other)?;
        let world = self.0.clone();
        let mut rng = world.fork();
        let habits = world.servers[which].clone();
        if rng.u32(..100) < habits.fails_to_start / 3 {
            return Err(io::Error::other("no such command"));
        }
        let running = {
            let mut running = world.running.borrow_mut();
            running[which] += 1;
            running[which]
        };
        if running > config.instances.max + 1 {
            world.fault(format!("{running} copies of {} run, with a maximum of {}", config.name, config.instances.max));
        }
        let size = [40, 1000, 100_000][rng.usize(..3)];
        let ((stdin, writer), (stdout, reader)) = (tokio::io::duplex(size), tokio::io::duplex(size));
        let (out, lines) = mpsc::unbounded_channel();
        let (no, stop, obstinacy) = (world.next() as usize, config.timeout.stop, config.timeout.call);
        let server = Rc::new(Server {
            world,
            which,
            no,
            habits,
            rng: RefCell::new(rng),
            out,
            stop,
            obstinacy,
            ..Server::blank()
        });
        server.world.note(&server.name(), "starts");
        server.world.reading.borrow_mut().insert(no);
        tokio::task::spawn_local(server.run(stdin, stdout, lines));
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), stderr: None, process: None })
    }
}

/// One running copy of a server.
pub struct Server {
    world: Rc<World>,
    which: usize,
    no: usize,
    habits: Habits,
    rng: RefCell<Rng>,
    out: mpsc::UnboundedSender<String>,
    stop: Duration,
    /// How long it goes on with a call that was given up.
    obstinacy: Duration,
    crash: Notify,
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

    fn name(&self) -> String {
        format!("s{}#{}", self.which, self.no)
    }

    /// A number below `limit`, by chance.
    fn roll(&self, limit: u32) -> u32 {
        self.rng.borrow_mut().u32(..limit.max(1))
    }

    fn say(&self, line: String) {
        self.world.note(&self.name(), &line);
        // A server that is ending says nothing any more.
        let _ = self.out.send(line);
    }

    /// Says what others will check to the letter; `line` has `ID` where `id` belongs.
    fn say_with_id(&self, line: &str, id: &str) {
        self.say(line.replacen(ID, id, 1));
    }

    async fn run(self: Rc<Server>, stdin: DuplexStream, stdout: DuplexStream, lines: mpsc::UnboundedReceiver<String>) {
        tokio::select! {
            biased;
            () = self.crash.notified() => self.world.note(&self.name(), "crashes"),
            () = write(stdout, lines) => self.world.note(&self.name(), "cannot write"),
            () = self.clone().read(stdin) => self.world.note(&self.name(), "ends"),
        }
        self.world.reading.borrow_mut().remove(&self.no);
        self.world.running.borrow_mut()[self.which] -= 1;
        // Whoever waits for an answer waits in vain.
        self.asks.borrow_mut().clear();
    }

    async fn read(self: Rc<Server>, stdin: DuplexStream) {
        let mut lines = BufReader::new(stdin).lines();
        let mut tasks = JoinSet::new();
        if self.roll(100) < self.habits.fails_to_start / 3 {
            return;
        }
        while let Ok(Some(line)) = lines.next_line().await {
            self.world.note(&self.name(), &format!("<- {line}"));
            match Message::read(line.clone().into(), 1000) {
                Ok(message) => self.hear(&message, &line, &mut tasks),
                Err(malformed) => {
                    self.world.fault(format!("{} was sent what is no message ({}): {line}", self.name(), malformed.why))
                }
            }
        }
        self.world.reading.borrow_mut().remove(&self.no);
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
                    "notifications/initialized" => self.initialized(tasks),
                    "notifications/roots/list_changed" => self.roots_changed(tasks),
                    _ => {}
                }
            }
            Kind::Request => match mark(line, "cause") {
                Some(cause) => self.called(message, line, cause.to_owned(), tasks),
                None => self.asked(message),
            },
        }
    }

    fn cancelled(&self, id: &str) {
        self.streams.borrow_mut().remove(id);
        if let Some(flag) = self.calls.borrow().get(id) {
            flag.cancelled.set(Some(self.world.now()));
            flag.changed.notify_waiters();
        }
    }

    /// A request of the multiplexer's own, or one that both eras answer alike.
    fn asked(self: &Rc<Server>, request: &Message) {
        let id = request.raw(Field::Id).unwrap_or_default();
        let method = request.method();
        if method.ends_with("/list") && self.roll(100) < self.habits.never_answers {
            return;
        }
        let body = match (method.as_ref(), request.span(Field::MetaVersion).found()) {
            ("initialize", _) => return self.initialize(request, id),
            ("server/discover", _) => return self.discover(id),
            ("subscriptions/listen", true) => return self.listen(request, id),
            ("tools/list", modern) => self.page(request, "tools", "name", modern),
            ("prompts/list", modern) => self.page(request, "prompts", "name", modern),
            ("resources/list", modern) => self.page(request, "resources", "uri", modern),
            ("resources/templates/list", modern) => format!(r#"{{"resourceTemplates":[]{}}}"#, modern_rest(modern)),
            ("resources/subscribe", false) => self.subscribe(request, true),
            ("resources/unsubscribe", false) => self.subscribe(request, false),
            ("ping" | "logging/setLevel", false) => "{}".to_owned(),
            (method, _) => {
                self.world.fault(format!("{} was sent `{method}`, which nobody caused", self.name()));
                return;
            }
        };
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{body}}}"#));
    }
}

async fn write(mut stdout: DuplexStream, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdout.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}
