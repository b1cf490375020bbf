//! A hostile caller in a run with hostile peers: one process with many connections, which does all that its plan says, again and
//! again. `attack` words what it says.

mod attack;

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::mux::Handle;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::door;
use super::field::{Field, modest_marks};
use super::plan::{Attack, Raid};

/// How many lines it says in one run at most: a test has to end.
const LINES: usize = 2000;
/// How many connections it has at a time. With this many its calls in flight stay below `limits.in_flight_total`: what is
/// every caller's together is not shared out by principal yet, so that a caller with more could use it up.
const CONNECTIONS: usize = 24;
/// How long it tries to say a line.
const PATIENCE: Duration = Duration::from_millis(100);

/// One of its connections.
struct Link {
    writer: WriteHalf<DuplexStream>,
    modern: bool,
    /// The name of a tool there.
    tool: String,
    server: usize,
    reading: JoinHandle<()>,
}

/// A hostile caller.
pub struct Raider {
    field: Rc<Field>,
    mux: Handle,
    raid: Raid,
    rng: Rng,
    links: Vec<Link>,
    said: usize,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Both halves of its connection are gone then.
        self.reading.abort();
    }
}

impl Raider {
    pub fn new(field: Rc<Field>, mux: Handle, raid: Raid) -> Raider {
        Raider { rng: field.fork(), field, mux, raid, links: Vec::new(), said: 0 }
    }

    fn roll(&mut self, limit: u32) -> u32 {
        self.rng.u32(..limit)
    }

    /// Rages until the modest have had enough.
    pub async fn rage(mut self) {
        while !self.field.is_over() && self.said < LINES {
            let attack = self.raid.attacks[self.rng.usize(..self.raid.attacks.len())];
            self.field.note("raider", &format!("{attack:?}"));
            self.attack(attack).await;
            let most = [1, 100, 1000][self.roll(3) as usize];
            let pause = u64::from(self.roll(most));
            sleep(Duration::from_millis(pause)).await;
        }
        while !self.field.is_over() {
            sleep(Duration::from_millis(100)).await;
        }
        self.field.note("raider", "hangs up");
    }

    /// Does one thing, for a while.
    async fn attack(&mut self, attack: Attack) {
        match attack {
            Attack::Crowd => {
                for _ in 0..1 + self.roll(8) {
                    let link = self.connect(true, None).await;
                    let line = self.call(link);
                    self.say(link, &line).await;
                }
            }
            Attack::Profiles => {
                for _ in 0..1 + self.roll(8) {
                    let capabilities = format!(r#"{{"experimental":{{"raid-{}":{{}}}}}}"#, self.field.next());
                    let link = self.connect(true, Some(capabilities)).await;
                    let line = self.call(link);
                    self.say(link, &line).await;
                }
            }
            Attack::ReadsNothing => {
                let link = self.connect(false, None).await;
                for _ in 0..300 {
                    let line = if self.roll(2) == 0 { self.list(link) } else { self.call(link) };
                    if !self.say(link, &line).await {
                        break;
                    }
                }
            }
            Attack::HangsUp => {
                let link = self.link().await;
                for _ in 0..self.roll(20) {
                    let line = self.call(link);
                    self.say(link, &line).await;
                }
                if self.roll(2) == 0 {
                    self.write(link, br#"{"jsonrpc":"2.0","id":"raid-half","meth"#).await;
                }
                drop(self.links.swap_remove(link));
            }
            Attack::HalfLines => {
                let link = self.connect(true, None).await;
                let half = format!(
                    r#"{{"jsonrpc":"2.0","id":"raid-half","method":"tools/call","params":{{"x":"{}"#,
                    "r".repeat(5000)
                );
                self.write(link, half.as_bytes()).await;
            }
            _ => {
                let link = self.link().await;
                for line in self.lines(attack, link) {
                    if self.said >= LINES || !self.say(link, &line).await {
                        break;
                    }
                }
            }
        }
    }

    /// One of its connections, or a new one.
    async fn link(&mut self) -> usize {
        if self.links.is_empty() || self.links.len() < 4 && self.roll(2) == 0 {
            return self.connect(true, None).await;
        }
        self.rng.usize(..self.links.len())
    }

    /// Connects, in place of the oldest connection if there are many.
    async fn connect(&mut self, reads: bool, capabilities: Option<String>) -> usize {
        if self.links.len() >= CONNECTIONS {
            drop(self.links.remove(0));
        }
        let config = &self.field.plan.config;
        let endpoint = &config.endpoints[self.rng.usize(..config.endpoints.len())];
        let server = self.rng.usize(..self.field.plan.servers.len());
        let (server, tool) = match endpoint.prefix {
            true => (server, format!("s{server}__t0")),
            false => (endpoint.name[1..].parse().unwrap_or_default(), "t0".to_owned()),
        };
        let size = if reads { 100_000 } else { 2000 };
        let (far, _) = door::open(&self.mux, endpoint, self.raid.peer, size);
        let (reader, writer) = tokio::io::split(far);
        let reading = spawn_local(read(self.field.clone(), reader, reads));
        let modern = capabilities.is_none() && self.rng.bool();
        self.links.push(Link { writer, modern, tool, server, reading });
        self.field.count("connections of hostile callers");
        let link = self.links.len() - 1;
        if !modern {
            let capabilities = capabilities.unwrap_or_else(|| "{}".to_owned());
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":"raid-open","method":"initialize","params":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"clientInfo":{{"name":"raid-er","version":"1"}}}}}}"#
            );
            self.say(link, &line).await;
            self.say(link, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        }
        link
    }

    async fn say(&mut self, link: usize, line: &str) -> bool {
        self.field.note("raider", line);
        self.write(link, format!("{line}\n").as_bytes()).await
    }

    /// Writes what is taken within its patience.
    async fn write(&mut self, link: usize, bytes: &[u8]) -> bool {
        self.said += 1;
        self.field.count("lines of hostile callers");
        let Some(link) = self.links.get_mut(link) else { return false };
        matches!(timeout(PATIENCE, link.writer.write_all(bytes)).await, Ok(Ok(())))
    }
}

/// Reads what it is told, which must be nothing of the modest; or nothing at all.
async fn read(field: Rc<Field>, reader: ReadHalf<DuplexStream>, reads: bool) {
    if !reads {
        let _kept = reader;
        return std::future::pending().await;
    }
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        field.note("raider", &format!("<- {line}"));
        if let Some(strange) = modest_marks(&line).next() {
            field.fault(format!("a hostile caller got what {strange} is about: {line}"));
        }
    }
}
