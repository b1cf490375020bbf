//! Bytes that mcpool has no reason to change pass unchanged. Random JSON text, written as no serialiser of ours would
//! write it, comes out of the multiplexer byte for byte as it went in, except for ids and progress tokens, which it
//! must rewrite; in both directions and both eras.
//!
//! `MCPOOL_SEED` picks the seed; `MCPOOL_CASES` says how many exchanges are tried.

#[path = "simulation/json.rs"]
mod json;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::caller::Peer as Client;
use mcpool::config::{self, Config, EraChoice};
use mcpool::endpoint::connection;
use mcpool::mux::{Handle, Parts};
use mcpool::pool::launch::{Connection, Launcher};
use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::{LocalSet, spawn_local};

const ID: &str = "\u{1}";
const TOKEN: &str = "\u{2}";
const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"debug"}"#;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn legacy_payloads_pass_to_the_letter() {
    exchange_all(false);
}

#[test]
fn modern_payloads_pass_to_the_letter() {
    exchange_all(true);
}

fn exchange_all(modern: bool) {
    let (seed, cases) = (number("MCPOOL_SEED", 1), number("MCPOOL_CASES", 2000));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(async {
        let mut pair = Pair::open(modern, Rng::with_seed(seed)).await;
        for case in 0..cases {
            pair.exchange(&format!("seed {seed}, case {case}")).await;
        }
    }));
}

/// One end of a connection, as lines.
struct End {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
}

impl End {
    fn new(stream: DuplexStream) -> End {
        let (reader, writer) = tokio::io::split(stream);
        End { lines: BufReader::new(reader).lines(), writer }
    }

    async fn say(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\n").as_bytes()).await.expect("the multiplexer reads");
    }

    async fn hear(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(30), self.lines.next_line()).await;
        line.expect("a line in time").expect("a readable line").expect("a line before the end")
    }
}

/// Hands out the one server that a test plays.
struct Stage(RefCell<Option<DuplexStream>>);

impl Launcher for Stage {
    fn launch(&self, _: &config::Server) -> io::Result<Connection> {
        let stream = self.0.take().ok_or_else(|| io::Error::other("one is enough"))?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), stderr: None, pid: None, process: None })
    }
}

/// A client and a server with the multiplexer between them.
struct Pair {
    client: End,
    server: End,
    modern: bool,
    rng: Rng,
    next: u64,
}

impl Pair {
    async fn open(modern: bool, rng: Rng) -> Pair {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut server = config::Server::new("s", "played");
        server.era = if modern { EraChoice::Modern } else { EraChoice::Legacy };
        server.instances.max = 1;
        let config = Rc::new(Config::of(vec![server]));
        let launcher = Rc::new(Stage(RefCell::new(Some(near))));
        let mux = Handle::new(Parts { config: config.clone(), launcher, catalogue: None, seed: 1, key: [7; 32] });
        let endpoint = mux.with(|mux| mux.endpoint(config.endpoint("s").expect("its endpoint")));
        let (theirs, ours) = tokio::io::duplex(1 << 20);
        spawn_local(async move {
            let (reader, writer) = tokio::io::split(theirs);
            connection::serve(mux, endpoint, Client::default(), reader, writer, |_| true).await;
        });
        let mut pair = Pair { client: End::new(ours), server: End::new(far), modern, rng, next: 0 };
        pair.introduce().await;
        pair
    }

    async fn introduce(&mut self) {
        let (question, answer) = if self.modern {
            (
                format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{META}}}}}"#),
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}"#,
            )
        } else {
            (
                r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"c","version":"1"}}}"#.to_owned(),
                r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{}},"serverInfo":{"name":"s","version":"1"}}"#,
            )
        };
        self.client.say(&question).await;
        self.server.hear().await;
        self.server.say(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{answer}}}"#)).await;
        self.client.hear().await;
        if !self.modern {
            self.server.hear().await;
            self.client.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        }
    }

    /// A call with everything that can happen on it; `case` names it where it goes wrong.
    async fn exchange(&mut self, case: &str) {
        let (id, token) = (self.fresh_id(), self.fresh_id());
        let request = self.request();
        self.client.say(&request.replacen(ID, &id, 1).replacen(TOKEN, &token, 1)).await;
        let heard = self.server.hear().await;
        let (wire, theirs) = (part(&heard, Field::Id), part(&heard, Field::MetaProgressToken));
        assert_eq!(heard, request.replacen(ID, &wire, 1).replacen(TOKEN, &theirs, 1), "{case}: a request");
        for _ in 0..self.rng.usize(..3) {
            let progress = self.notification("progress", &[("progressToken", TOKEN)]);
            self.server.say(&progress.replacen(TOKEN, &theirs, 1)).await;
            assert_eq!(self.client.hear().await, progress.replacen(TOKEN, &token, 1), "{case}: progress");
        }
        let log = self.notification("message", &[("level", "\"error\"")]);
        self.server.say(&log).await;
        assert_eq!(self.client.hear().await, log, "{case}: a log line");
        if !self.modern {
            self.ask(case).await;
        }
        // The results of methods that mcpool knows are objects.
        let known = part(&heard, Field::Method) != "\"x/unknown\"";
        let answer = self.answer(known);
        self.server.say(&answer.replacen(ID, &wire, 1)).await;
        assert_eq!(self.client.hear().await, answer.replacen(ID, &id, 1), "{case}: an answer");
    }

    async fn ask(&mut self, case: &str) {
        let id = self.fresh_id();
        let params = self.members(&[]);
        let ask = self.message(&[("id", ID), ("method", "\"sampling/createMessage\""), ("params", &params)]);
        self.server.say(&ask.replacen(ID, &id, 1)).await;
        let heard = self.client.hear().await;
        let ours = part(&heard, Field::Id);
        assert_eq!(heard, ask.replacen(ID, &ours, 1), "{case}: an ask");
        let answer = self.answer(true);
        self.client.say(&answer.replacen(ID, &ours, 1)).await;
        assert_eq!(self.server.hear().await, answer.replacen(ID, &id, 1), "{case}: the answer to an ask");
    }

    fn request(&mut self) -> String {
        let mut meta = vec![
            ("x/unknown".to_owned(), json::value(&mut self.rng, 3)),
            ("progressToken".to_owned(), TOKEN.to_owned()),
        ];
        if self.modern {
            for (key, value) in
                [("protocolVersion", "\"2026-07-28\""), ("clientCapabilities", "{ }"), ("logLevel", "\"debug\"")]
            {
                meta.push((format!("io.modelcontextprotocol/{key}"), value.to_owned()));
            }
        }
        let meta = json::members_in_any_order(&mut self.rng, meta);
        let params = self.members(&[("_meta", &meta), ("name", "\"t\"")]);
        let method =
            json::pick(&mut self.rng, &["\"tools/call\"", "\"x/unknown\"", "\"tools\\/call\"", "\"prompts/get\""]);
        self.message(&[("id", ID), ("method", method), ("params", &params)])
    }

    fn notification(&mut self, method: &str, fixed: &[(&str, &str)]) -> String {
        let params = self.members(fixed);
        self.message(&[("method", &format!("\"notifications/{method}\"")), ("params", &params)])
    }

    fn answer(&mut self, object: bool) -> String {
        let value = if object || self.rng.bool() { self.members(&[]) } else { json::value(&mut self.rng, 3) };
        if self.rng.u32(..4) > 0 {
            return self.message(&[("id", ID), ("result", &value)]);
        }
        let error = self.members(&[("code", "-32042"), ("message", "\"\\ud800\""), ("data", &value)]);
        self.message(&[("id", ID), ("error", &error)])
    }

    /// An object with some members that are given and some that nobody knows.
    fn members(&mut self, fixed: &[(&str, &str)]) -> String {
        let mut members: Vec<(String, String)> =
            fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        for _ in 0..self.rng.usize(..5) {
            let key =
                json::pick(&mut self.rng, &["argument", "a", "a", "k\\u0065y", "ü", "", "id", "jsonrpc", "\\ud800"]);
            members.push((key.to_owned(), json::value(&mut self.rng, 4)));
        }
        json::members_in_any_order(&mut self.rng, members)
    }

    /// A message with members at its top that nobody knows.
    fn message(&mut self, fixed: &[(&str, &str)]) -> String {
        let mut members: Vec<(String, String)> =
            fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        members.push(("jsonrpc".to_owned(), "\"2.0\"".to_owned()));
        for _ in 0..self.rng.usize(..3) {
            let key = json::pick(&mut self.rng, &["a", "a", "_meta", "ü", "", "\\ud800"]);
            members.push((key.to_owned(), json::value(&mut self.rng, 3)));
        }
        let (before, after) = (json::space(&mut self.rng), json::space(&mut self.rng));
        format!("{before}{}{after}", json::members_in_any_order(&mut self.rng, members))
    }

    /// An id or token in any form, used once.
    fn fresh_id(&mut self) -> String {
        self.next += 1;
        let n = self.next;
        match self.rng.u32(..6) {
            0 => format!("\"\\\"{n}\\\\\\u00e9\\ud800\""),
            1 => format!("-{n}"),
            2 => format!("{n}.0"),
            3 => format!("{n}e400"),
            4 => format!("184467440737095516150{n}"),
            _ => n.to_string(),
        }
    }
}

fn part(line: &str, field: Field) -> String {
    let message = Message::read(line.to_owned().into(), 1000).expect("a message");
    message.raw(field).unwrap_or_default().to_owned()
}
