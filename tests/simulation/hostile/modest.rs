//! A modest caller in a run with hostile peers: one request at a time, now and then. Every line that it hears must be its own,
//! and every answer of a sound server right to the letter, and in time.

mod check;
mod talk;

use std::collections::BTreeSet;
use std::rc::Rc;

use fastrand::Rng;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};

use super::field::{Field, MODEST};
use super::offer::uri;
use super::plan::{Guest, Nature};

/// What every modern request says of its client.
pub const META: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// What a request is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Open,
    /// By its mark; of this server.
    Call(String, usize),
    List(&'static str),
    /// What is answered in a few words: subscriptions, levels, pings.
    Little,
    /// Acknowledged instead of answered.
    Listen,
}

/// One modest caller.
pub struct Modest {
    field: Rc<Field>,
    no: usize,
    guest: Guest,
    rng: Rng,
    writer: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    next: u64,
    /// The progress token of the call that it waits for.
    token: Option<String>,
    subscribed: BTreeSet<String>,
    /// All that it was ever subscribed to.
    ever: BTreeSet<String>,
    /// Its open stream.
    stream: Option<String>,
    /// It was let in, and knows the resources.
    open: bool,
    knows: bool,
    /// Something went wrong, so that the rest says nothing.
    failed: bool,
}

impl Modest {
    pub fn new(field: Rc<Field>, no: usize, connection: DuplexStream) -> Modest {
        let (reader, writer) = tokio::io::split(connection);
        let guest = field.plan.guests[no].clone();
        Modest {
            no,
            guest,
            rng: field.fork(),
            field,
            writer,
            lines: BufReader::new(reader).lines(),
            next: 0,
            token: None,
            subscribed: BTreeSet::new(),
            ever: BTreeSet::new(),
            stream: None,
            open: false,
            knows: false,
            failed: false,
        }
    }

    fn name(&self) -> String {
        format!("m{}", self.no)
    }

    fn roll(&mut self, limit: u32) -> u32 {
        self.rng.u32(..limit)
    }

    /// Lives until the modest have had enough.
    pub async fn live(mut self) {
        let start = u64::from(self.roll(3000));
        self.rest(start).await;
        while !self.failed && self.field.now() < self.field.plan.time {
            match self.roll(20) {
                _ if !self.open => self.open().await,
                0..=2 => self.list().await,
                3 | 4 => self.subscribe().await,
                5 => self.little().await,
                _ => self.call().await,
            }
            let most = [10, 200, 1500][self.roll(3) as usize];
            let pause = u64::from(self.roll(most));
            self.rest(pause).await;
        }
        self.field.note(&self.name(), "has had enough");
    }

    async fn open(&mut self) {
        if self.guest.modern {
            return self.request(What::Open, "server/discover", String::new()).await;
        }
        let capabilities = if self.guest.answers { r#"{"elicitation":{}}"# } else { "{}" };
        let params = format!(
            r#""protocolVersion":"2025-06-18","capabilities":{capabilities},"clientInfo":{{"name":"modest","version":"1"}}"#
        );
        self.request(What::Open, "initialize", params).await;
        // A hostile server may not let it in.
        if !self.open {
            return;
        }
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    }

    async fn call(&mut self) {
        let server = match self.guest.server {
            Some(server) => server,
            None => self.roll(self.field.plan.servers.len() as u32) as usize,
        };
        let cause = format!("{MODEST}{}-s{server}-{}", self.no, self.next);
        let work = u64::from(self.roll(1 + self.field.plan.longest.as_millis() as u32));
        let mut more = String::new();
        if self.roll(4) == 0 {
            more.push_str(&format!(r#","touch":{}"#, self.roll(3)));
        }
        if self.roll(4) == 0 {
            more.push_str(r#","log":1"#);
        }
        if self.guest.answers && self.roll(2) == 0 {
            more.push_str(r#","ask":1"#);
        }
        let tool = if self.guest.server.is_none() { format!("s{server}__t0") } else { "t0".to_owned() };
        let params = format!(r#""name":"{tool}","arguments":{{"cause":"{cause}","work":{work}{more}}}"#);
        self.request(What::Call(cause, server), "tools/call", params).await;
    }

    async fn list(&mut self) {
        let kinds = [("tools/list", "tools"), ("resources/list", "resources")];
        let (method, kind) = kinds[self.roll(2) as usize];
        self.request(What::List(kind), method, String::new()).await;
    }

    /// Subscribes, unsubscribes, opens a stream or closes it.
    async fn subscribe(&mut self) {
        // Who has a resource is known on the endpoint of all once it was listed.
        if self.guest.server.is_none() && !self.knows {
            return;
        }
        let sound: Vec<usize> = self.field.plan.servers_of(&self.guest).collect();
        let Some(server) = sound.first().copied() else { return };
        let uri = uri(server, self.roll(3) as usize);
        self.ever.insert(uri.clone());
        if !self.guest.modern {
            let ends = self.subscribed.remove(&uri);
            let method = if ends { "resources/unsubscribe" } else { "resources/subscribe" };
            if !ends {
                self.subscribed.insert(uri.clone());
            }
            return self.request(What::Little, method, format!(r#""uri":"{uri}""#)).await;
        }
        if let Some(stream) = self.stream.take() {
            let line =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{stream}}}}}"#);
            return self.say(&line).await;
        }
        let wanted = format!(r#""notifications":{{"toolsListChanged":true,"resourceSubscriptions":["{uri}"]}}"#);
        self.request(What::Listen, "subscriptions/listen", wanted).await;
    }

    async fn little(&mut self) {
        if self.guest.modern {
            return;
        }
        match self.roll(2) {
            0 => self.request(What::Little, "ping", String::new()).await,
            _ => self.request(What::Little, "logging/setLevel", r#""level":"info""#.to_owned()).await,
        }
    }

    /// Whether what comes from there can be relied on.
    fn relies(&self, server: Option<usize>) -> bool {
        server.is_none_or(|server| self.field.plan.servers[server].is_sound())
    }

    fn nature(&self, server: usize) -> &Nature {
        &self.field.plan.servers[server]
    }

    fn fail(&mut self, what: String) {
        self.field.fault(format!("{} {what}", self.name()));
        self.failed = true;
    }
}
