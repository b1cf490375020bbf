//! The proxy under test: configured like a sentence, then connected to.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use mcpool::caller::Peer;
use mcpool::config::{self, Config};
use mcpool::endpoint::connection;
use mcpool::mux::reload::Changes;
use mcpool::mux::{Handle, Parts};
use serde_json::{Value, json};
use tokio::io::duplex;
use tokio::task::spawn_local;

use super::caller::Caller;
use super::servers::{Behaviour, Launched, Workshop};
use super::wire::{Peer as End, Tap};
use super::{Answer, merge, settled};

type Change = Box<dyn FnOnce(&mut Config)>;

/// What a proxy is to be made of.
#[derive(Default)]
pub struct Setup {
    config: Config,
    workshop: Workshop,
    changes: Vec<Change>,
}

/// A proxy of no servers yet.
pub fn proxy() -> Setup {
    Setup::default()
}

/// Where a test sets `max` alone, it means all instances.
pub fn bound(instances: &mut config::Instances) {
    let default = config::Instances::default();
    if instances.max != default.max && instances.total == default.total {
        instances.total = instances.max;
    }
    if instances.max != default.max && instances.max_alone == default.max_alone {
        instances.max_alone = instances.max;
    }
}

impl Setup {
    /// A server of that name.
    pub fn server(mut self, name: &str, behaviour: Behaviour) -> Setup {
        let mut server = config::Server::new(name, name);
        // Told apart from servers of other tests that share a catalogue.
        server.args = vec![behaviour.describe()];
        self.config.servers.push(server);
        self.workshop.learn(name, behaviour);
        self
    }

    /// Sets something about the server that was named last.
    pub fn set(mut self, change: impl FnOnce(&mut config::Server)) -> Setup {
        change(self.config.servers.last_mut().expect("a server"));
        self
    }

    /// Sets something about everything; the endpoints are there by then.
    pub fn config(mut self, change: impl FnOnce(&mut Config) + 'static) -> Setup {
        self.changes.push(Box::new(change));
        self
    }

    /// Keeps the catalogue in a directory.
    pub fn catalogue(mut self, dir: &Path) -> Setup {
        self.config.catalogue.dir = Some(dir.to_owned());
        self
    }

    /// Starts it. No server is started by that.
    pub async fn start(self) -> Proxy {
        let mut config = Config { endpoints: Config::of(self.config.servers.clone()).endpoints, ..self.config };
        self.changes.into_iter().for_each(|change| change(&mut config));
        config.servers.iter_mut().for_each(|server| bound(&mut server.instances));
        let workshop = Rc::new(self.workshop);
        let catalogue = config.catalogue.dir.clone();
        let parts = Parts { config: Rc::new(config), launcher: workshop.clone(), catalogue, seed: 7, key: [7; 32] };
        Proxy { mux: Handle::new(parts), workshop, lingers: Rc::default() }
    }
}

/// A running proxy.
pub struct Proxy {
    pub mux: Handle,
    workshop: Rc<Workshop>,
    lingers: Rc<Cell<bool>>,
}

/// Who callers are, where a test does not say otherwise.
const USER: u32 = 1000;

/// A caller that is about to connect.
pub struct Client<'a> {
    proxy: &'a Proxy,
    revision: String,
    capabilities: Value,
    roots: Option<Value>,
    modern: bool,
    meta: Value,
    uid: u32,
    pid: Option<i32>,
}

impl Proxy {
    /// A caller that opens with `initialize`.
    pub fn legacy(&self, revision: &str) -> Client<'_> {
        let (capabilities, meta) = (json!({}), json!({}));
        Client {
            proxy: self,
            revision: revision.to_owned(),
            capabilities,
            roots: None,
            modern: false,
            meta,
            uid: USER,
            pid: None,
        }
    }

    /// A caller whose every request says its version.
    pub fn modern(&self) -> Client<'_> {
        Client { modern: true, ..self.legacy("2026-07-28") }
    }

    /// From now on who says nothing more is taken to read still.
    pub fn lingers(&self) {
        self.lingers.set(true);
    }

    /// A connection on which nothing was said.
    pub fn dial(&self, endpoint: &str) -> Caller {
        Caller::on(self.stream(endpoint), None, None)
    }

    /// The stream of a connection, on which nobody reads.
    pub fn stream(&self, endpoint: &str) -> tokio::io::DuplexStream {
        self.stream_of(USER, None, endpoint)
    }

    fn stream_of(&self, uid: u32, pid: Option<i32>, endpoint: &str) -> tokio::io::DuplexStream {
        let (theirs, ours) = duplex(1 << 16);
        let mux = self.mux.clone();
        let config = mux.with(|mux| mux.config.clone());
        let endpoint = config.endpoint(endpoint).unwrap_or_else(|| panic!("no endpoint {endpoint}"));
        let endpoint = mux.with(|mux| mux.endpoint(endpoint));
        let (reader, writer) = tokio::io::split(ours);
        let link = self.workshop.wire.link(End::Caller, "a caller".to_owned());
        let (reader, writer) = (Tap::on(reader, &link), Tap::on(writer, &link));
        let peer = Peer { uid, pid };
        let lingers = self.lingers.clone();
        spawn_local(connection::serve(mux, endpoint, peer, reader, writer, move |_| !lingers.get()));
        theirs
    }

    /// Puts another config in force: this one with a change, and the endpoints that go with its servers by themselves.
    pub async fn reload(&self, change: impl FnOnce(&mut Config)) -> Changes {
        self.reload_exactly(|config| {
            change(config);
            config.endpoints = Config::of(config.servers.clone()).endpoints;
        })
        .await
    }

    /// Puts this config with a change in force.
    pub async fn reload_exactly(&self, change: impl FnOnce(&mut Config)) -> Changes {
        let changes = self.mux.with(|mux| {
            let mut config = (*mux.config).clone();
            change(&mut config);
            mux.reload(config)
        });
        settled().await;
        changes
    }

    /// A server behaves like that when it is started next.
    pub fn teach(&self, server: &str, behaviour: Behaviour) {
        self.workshop.learn(server, behaviour);
    }

    /// From now on a server is started as something else; it behaves like that when it is started next.
    pub async fn replace(&self, server: &str, behaviour: Behaviour) {
        self.workshop.learn(server, behaviour);
        let changes = self.reload(|config| named(config, server).args.push("again".into())).await;
        assert_eq!(changes.replaced, [server]);
    }

    /// A server that is configured from now on.
    pub async fn add(&self, server: &str, behaviour: Behaviour) {
        self.workshop.learn(server, behaviour);
        let changes = self.reload(|config| config.servers.push(config::Server::new(server, server))).await;
        assert_eq!(changes.added, [server]);
    }

    /// A server that is not configured any more.
    pub async fn remove(&self, server: &str) {
        let changes = self.reload(|config| config.servers.retain(|other| other.name != server)).await;
        assert_eq!(changes.removed, [server]);
    }

    /// How many processes of a server were started.
    pub fn started(&self, server: &str) -> usize {
        self.workshop.launched(server).len()
    }

    /// A process of a server, counted from 0 in the order of their starts.
    pub fn process(&self, server: &str, number: usize) -> Rc<Launched> {
        self.workshop
            .launched(server)
            .get(number)
            .cloned()
            .unwrap_or_else(|| panic!("{server}-{number} was not started"))
    }

    /// The requests and notifications of a method that all processes of a server got.
    pub fn got(&self, server: &str, method: &str) -> Vec<Value> {
        self.workshop.launched(server).iter().flat_map(|launched| launched.got(method)).collect()
    }

    /// The instances of a server, as `status` shows them.
    pub fn instances(&self, server: &str) -> Vec<Value> {
        self.server(server)["instances"].as_array().cloned().unwrap_or_default()
    }

    /// A server, as `status` shows it.
    pub fn server(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().expect("servers");
        servers.iter().find(|server| server["name"] == name).expect("a server of that name").clone()
    }

    /// What `status` shows.
    pub fn status(&self) -> Value {
        self.mux.with(|mux| mux.status())
    }

    /// How many messages were not delivered for that reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.status()["counters"]["dropped"][reason].as_u64().unwrap_or(0)
    }
}

/// The server of that name in a config.
pub fn named<'a>(config: &'a mut Config, server: &str) -> &'a mut config::Server {
    config.servers.iter_mut().find(|other| other.name == server).expect("a server of that name")
}

impl Client<'_> {
    /// With a capability.
    pub fn with(mut self, capability: Value) -> Self {
        merge(&mut self.capabilities, &capability);
        self
    }

    /// Of another user.
    pub fn of_user(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// Of a process that the kernel tells: all its connections are one principal.
    pub fn of_process(mut self, pid: i32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// With roots, which it tells whenever it is asked.
    pub fn with_roots(mut self, uris: &[&str]) -> Self {
        let roots = uris.iter().map(|uri| json!({ "uri": uri })).collect();
        self.roots = Some(roots);
        self.with(json!({ "roots": { "listChanged": true } }))
    }

    /// A modern caller that wants log lines of that level.
    pub fn logging(mut self, level: &str) -> Self {
        self.meta["io.modelcontextprotocol/logLevel"] = json!(level);
        self
    }

    /// Connects, and is not taken in.
    pub async fn turned_away(self, endpoint: &str) {
        let stream = self.proxy.stream_of(self.uid, self.pid, endpoint);
        Caller::on(stream, None, None).closed().await;
    }

    /// Connects, and opens the session if its era has one.
    pub async fn connect(self, endpoint: &str) -> Caller {
        let modern = self.modern;
        let (mut caller, opened) = self.open(endpoint).await;
        if let (false, Some(answer)) = (modern, opened) {
            caller.introduction = answer.result().clone();
            caller.notify("notifications/initialized", json!({}));
        }
        caller
    }

    /// Connects; what `initialize` was answered with. `initialized` is left to the test.
    pub async fn open(self, endpoint: &str) -> (Caller, Option<Answer>) {
        let stream = self.proxy.stream_of(self.uid, self.pid, endpoint);
        if self.modern {
            let mut meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision,
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            });
            merge(&mut meta, &self.meta);
            return (Caller::on(stream, Some(meta), self.roots), None);
        }
        let caller = Caller::on(stream, None, self.roots);
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": self.revision, "capabilities": self.capabilities, "clientInfo": info });
        let answer = caller.ask("initialize", params).await;
        (caller, Some(answer))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let violations = self.workshop.wire.violations();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "said against the receiver's revision:\n{}", violations.join("\n"));
        }
    }
}
