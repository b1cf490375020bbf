//! What the multiplexer starts in a run with hostile peers: copies of small servers. All open and list well enough to be used
//! (`offer`); `sound` says how those do their work that can be relied on, `malign` what the others do instead.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use fastrand::Rng;
use mcpool::wire::message::{Kind, Message};
use mcpool::wire::scan::Field as Part;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::field::{EVIL, Field, modest_marks};
use super::plan::{Malice, Nature};

/// One running copy of a server.
pub struct Instance {
    pub field: Rc<Field>,
    pub which: usize,
    pub no: u64,
    pub rng: RefCell<Rng>,
    out: mpsc::UnboundedSender<String>,
    pub ends: Notify,
    /// Whether its client can be asked.
    pub can_ask: Cell<bool>,
    /// It was opened, so that it may begin to misbehave.
    pub opened: Cell<bool>,
    /// It reads nothing any more.
    pub deaf: Cell<bool>,
    /// Calls in progress, by their id.
    pub calls: RefCell<HashMap<String, AbortHandle>>,
    /// Asks that wait, by their id.
    pub asks: RefCell<HashMap<String, oneshot::Sender<String>>>,
    pub subscribed: RefCell<BTreeSet<String>>,
    /// Open streams: what each carries.
    pub streams: RefCell<BTreeMap<String, String>>,
}

impl Instance {
    /// A copy that was just started, and the lines that it will say.
    pub fn new(field: Rc<Field>, which: usize) -> (Rc<Instance>, mpsc::UnboundedReceiver<String>) {
        let (out, lines) = mpsc::unbounded_channel();
        let copy = Instance {
            which,
            no: field.next(),
            rng: RefCell::new(field.fork()),
            field,
            out,
            ends: Notify::new(),
            can_ask: Cell::default(),
            opened: Cell::default(),
            deaf: Cell::default(),
            calls: RefCell::default(),
            asks: RefCell::default(),
            subscribed: RefCell::default(),
            streams: RefCell::default(),
        };
        (Rc::new(copy), lines)
    }

    pub fn nature(&self) -> &Nature {
        &self.field.plan.servers[self.which]
    }

    pub fn name(&self) -> String {
        format!("s{}#{}", self.which, self.no)
    }

    pub fn does(&self, what: Malice) -> bool {
        self.nature().does(what)
    }

    /// What stands in front of everything that it chooses itself: a mark, if it is hostile.
    pub fn signature(&self) -> String {
        if self.nature().is_sound() { String::new() } else { format!("{EVIL}s{}-", self.which) }
    }

    pub fn roll(&self, limit: u32) -> u32 {
        self.rng.borrow_mut().u32(..limit.max(1))
    }

    /// Says a line; half of one if it has no end.
    pub fn say(&self, line: impl Into<String>) {
        let line = line.into();
        self.field.note(&self.name(), &line);
        let _ = self.out.send(line + "\n");
    }

    /// Says a line that nobody reads in full: what only makes a noise is not told.
    pub fn mutter(&self, bytes: String) {
        let _ = self.out.send(bytes);
    }

    pub fn answer(&self, id: &str, result: &str) {
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    pub fn refuse(&self, id: &str, code: i32, message: &str) {
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#));
    }

    pub(super) async fn run(
        self: Rc<Instance>,
        stdin: DuplexStream,
        mut stdout: DuplexStream,
        mut lines: mpsc::UnboundedReceiver<String>,
    ) {
        let write = async {
            while let Some(line) = lines.recv().await {
                if stdout.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.ends.notified() => {}
            () = write => {}
            () = self.clone().read(stdin) => {}
        }
        self.asks.borrow_mut().clear();
        self.field.note(&self.name(), "ends");
        self.field.stops(self.which);
    }

    async fn read(self: Rc<Instance>, stdin: DuplexStream) {
        let mut lines = BufReader::new(stdin).lines();
        let mut tasks = JoinSet::new();
        while let Ok(Some(line)) = lines.next_line().await {
            self.field.note(&self.name(), &format!("<- {line}"));
            if let Some(strange) = modest_marks(&line).find(|mark| !mark.contains(&format!("-s{}-", self.which))) {
                self.field.fault(format!("{} was told what {strange} is about: {line}", self.name()));
            }
            match Message::read(line.clone().into(), 1000) {
                Ok(message) => self.hear(&message, &line, &mut tasks),
                Err(why) => {
                    self.field.fault(format!("{} was sent what is no message ({}): {line}", self.name(), why.why))
                }
            }
            if self.deaf.get() {
                return std::future::pending().await;
            }
        }
    }

    fn hear(self: &Rc<Instance>, message: &Message, line: &str, tasks: &mut JoinSet<()>) {
        let id = message.raw(Part::Id).unwrap_or_default().to_owned();
        match message.kind() {
            Kind::Result | Kind::Error => self.told(&id, line),
            Kind::Notification if message.method() == "notifications/cancelled" => {
                let id = message.raw(Part::RequestId).unwrap_or_default();
                self.streams.borrow_mut().remove(id);
                if let Some(call) = self.calls.borrow_mut().remove(id) {
                    call.abort();
                }
            }
            Kind::Notification => {}
            Kind::Request if message.method() == "tools/call" => {
                let (copy, named, line) = (self.clone(), id.clone(), line.to_owned());
                let token = message.raw(Part::MetaProgressToken).map(str::to_owned);
                let call = tasks.spawn_local(async move {
                    match copy.nature().is_sound() {
                        true => copy.clone().work(&named, token, &line).await,
                        false => copy.clone().spoil(&named).await,
                    }
                    copy.calls.borrow_mut().remove(&named);
                });
                self.calls.borrow_mut().insert(id, call);
            }
            Kind::Request => self.asked(message, id, tasks),
        }
    }

    /// An answer to an ask of its own.
    fn told(&self, id: &str, line: &str) {
        if let Some(waits) = self.asks.borrow_mut().remove(id) {
            let _ = waits.send(line.to_owned());
        } else if self.nature().is_sound() {
            self.field.fault(format!("{} was told what it did not ask: {line}", self.name()));
        }
    }

    fn asked(self: &Rc<Instance>, request: &Message, id: String, tasks: &mut JoinSet<()>) {
        let (method, modern) = (request.method().into_owned(), self.nature().modern);
        match (method.as_str(), modern) {
            ("initialize", false) | ("server/discover", true) => {
                self.can_ask
                    .set(request.raw(Part::Capabilities).is_some_and(|declared| declared.contains("elicitation")));
                let (copy, version) = (self.clone(), request.raw(Part::ProtocolVersion).unwrap_or("\"\"").to_owned());
                let step = self.rng.borrow_mut().u64(..=self.field.plan.opening.as_millis() as u64);
                tasks.spawn_local(async move {
                    sleep(std::time::Duration::from_millis(step)).await;
                    copy.introduces_itself(&id, &version);
                });
            }
            ("subscriptions/listen", true) => {
                let filter = request.raw(Part::Notifications).unwrap_or("{}");
                self.say(format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{filter}}}}}"#
                ));
                self.streams.borrow_mut().insert(id, filter.to_owned());
            }
            ("tools/list" | "prompts/list" | "resources/list" | "resources/templates/list", _) => {
                self.list(&id, &method)
            }
            ("resources/subscribe" | "resources/unsubscribe", false) => {
                let uri = request.text(Part::Uri).unwrap_or_default().into_owned();
                let mut subscribed = self.subscribed.borrow_mut();
                let _ = if method == "resources/subscribe" { subscribed.insert(uri) } else { subscribed.remove(&uri) };
                self.answer(&id, "{}");
            }
            ("ping" | "logging/setLevel", false) => self.answer(&id, "{}"),
            _ => self.refuse(&id, -32601, "unknown method"),
        }
    }
}
