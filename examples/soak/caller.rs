//! One visit of one caller: it comes, does this and that, and leaves, politely or not.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::asks::responses;
use super::expect::Expect;
use super::line::Line;
use super::servers::{Kind, SERVERS, Server};

/// What every caller knows.
pub struct Place {
    pub directory: PathBuf,
    pub mcpool: PathBuf,
    pub account: Account,
}

impl Place {
    fn socket(&self, endpoint: &str) -> PathBuf {
        self.directory.join(format!("{endpoint}.sock"))
    }
}

/// A visit on its way.
struct Visit {
    line: Line,
    /// Everything random comes from it, so that a seed repeats the choices.
    chance: Rng,
    /// The endpoint with all servers.
    all: bool,
    home: &'static Server,
    name: String,
    number: u64,
    /// Only revision 2025-03-26 has them.
    speaks_batches: bool,
}

/// Visits until it has had enough, or until `end`.
pub async fn visit(place: Rc<Place>, name: String, seed: u64, end: Instant) {
    let mut chance = Rng::with_seed(seed);
    let home = &SERVERS[chance.usize(..SERVERS.len())];
    let all = chance.u8(..5) == 0;
    let endpoint = if all { "all" } else { home.name };
    let account = &place.account;
    account.count("callers");
    let socket = place.socket(endpoint);
    let line = if chance.u8(..12) == 0 {
        account.count("callers through connect");
        Line::through_connect(name.clone(), &place.mcpool, &socket, endpoint, account)
    } else {
        Line::to_socket(name.clone(), Path::new(&socket), account).await
    };
    let Some(mut line) = line else { return };
    line.modern = chance.bool();
    let mut visit = Visit { line, chance, all, home, name, number: 0, speaks_batches: false };
    let arrived = visit.arrive().await;
    if arrived {
        for _ in 0..visit.chance.u32(1..25) {
            if Instant::now() >= end || visit.line.has_ended() {
                break;
            }
            visit.step().await;
            let pause = Duration::from_millis(visit.chance.u64(..80));
            visit.line.hear(Instant::now() + pause, |_| false).await;
        }
    }
    visit.depart(account, arrived).await;
}

impl Visit {
    /// Opens a session, if that is done in the caller's era; whether it can go on.
    async fn arrive(&mut self) -> bool {
        let name = self.endpoint();
        if self.line.modern {
            if self.chance.bool() {
                self.line.ask(name, "server/discover", json!({}), Expect::Anything);
            }
            return true;
        }
        let revision = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"][self.chance.usize(..4)];
        let params = json!({
            "protocolVersion": revision,
            "capabilities": { "elicitation": {}, "sampling": {} },
            "clientInfo": { "name": self.name, "version": "1" },
        });
        self.line.ask(name, "initialize", params, Expect::Anything);
        self.line.hear_all().await;
        if self.line.heard_right == 0 {
            return false;
        }
        self.line.notify("notifications/initialized", &json!({}));
        self.speaks_batches = revision == "2025-03-26";
        true
    }

    async fn step(&mut self) {
        let server = if self.all { &SERVERS[self.chance.usize(..SERVERS.len())] } else { self.home };
        match (self.chance.u32(..100), server.kind) {
            (0..30, _) => drop(self.echo(server)),
            (30..42, _) if self.speaks_batches && self.chance.bool() => {
                self.line.gather();
                self.burst(server);
                self.line.say_gathered();
            }
            (30..42, _) => self.burst(server),
            (42..48, _) => self.change_of_mind(server).await,
            (48..52, _) => self.list(),
            (52..54, _) => self.malformed(),
            (54.., Kind::Habit) => drop(self.echo(server)),
            (54..66, Kind::Demo) => drop(self.slow(server)),
            (66..72, Kind::Demo) => self.question(server),
            (72..78, Kind::Demo) => self.follow(server),
            (78..81, Kind::Demo) => self.change(server),
            (81..84, Kind::Demo) => drop(self.tool(
                server,
                "log",
                json!({ "level": "warning", "count": 3 }),
                Expect::Holds("logged 3".into()),
            )),
            (84..87, Kind::Demo) => {
                drop(self.tool(server, "error", json!({ "code": -32001, "message": "as told" }), Expect::Code(-32001)))
            }
            (87..90, Kind::Demo) => drop(self.tool(server, "fail", json!({ "message": "as told" }), Expect::Failed)),
            (90..92, Kind::Demo) => drop(self.tool(server, "forget", json!({}), Expect::Refusal)),
            (92..94, Kind::Demo) => drop(self.tool(server, "die", json!({}), Expect::Refusal)),
            (94..95, Kind::Demo) => drop(self.tool(server, "change_lists", json!({}), Expect::Anything)),
            (95..97, Kind::Demo) => drop(self.tool(server, "no_such_tool", json!({}), Expect::Code(-32602))),
            (_, Kind::Demo) => self.ping_or_wait().await,
        }
        self.come_back();
    }

    /// The endpoint's name, for the account.
    fn endpoint(&self) -> &'static str {
        if self.all { "all" } else { self.home.name }
    }

    fn tool(&mut self, server: &Server, tool: &str, arguments: Value, expect: Expect) -> Value {
        let name = if self.all { format!("{}__{tool}", server.name) } else { tool.to_owned() };
        self.line.ask(server.name, "tools/call", json!({ "name": name, "arguments": arguments }), expect)
    }

    /// A text that no other call has in it.
    fn text(&mut self) -> String {
        self.number += 1;
        format!("{}/{}", self.name, self.number)
    }

    fn echo(&mut self, server: &Server) -> Value {
        let size = match self.chance.u32(..100) {
            0..80 => self.chance.usize(..200),
            80..98 => self.chance.usize(..20_000),
            _ => self.chance.usize(..300_000),
        };
        self.echo_of(server, size)
    }

    fn echo_of(&mut self, server: &Server, size: usize) -> Value {
        let letter = if self.chance.bool() { "z" } else { "\u{e9}\n" };
        let arguments = json!({ "text": self.text(), "filling": letter.repeat(size / letter.len()) });
        let expect = Expect::Text(arguments.to_string());
        self.tool(server, "echo", arguments, expect)
    }

    fn slow(&mut self, server: &Server) -> Value {
        let (ms, steps) = (self.chance.u64(5..400), self.chance.u64(1..6));
        let expect = Expect::Text(format!("slept {ms} ms in {steps} steps"));
        self.tool(server, "slow", json!({ "ms": ms, "steps": steps }), expect)
    }

    /// Many at once.
    fn burst(&mut self, server: &Server) {
        for _ in 0..self.chance.u32(2..20) {
            if server.kind == Kind::Demo && self.chance.u8(..4) == 0 {
                self.slow(server);
            } else {
                self.echo(server);
            }
        }
    }

    async fn change_of_mind(&mut self, server: &Server) {
        let id = if server.kind == Kind::Demo { self.slow(server) } else { self.echo(server) };
        let pause = Duration::from_millis(self.chance.u64(..60));
        self.line.hear(Instant::now() + pause, |_| false).await;
        self.line.cancel(&id);
    }

    fn list(&mut self) {
        let method = if self.chance.bool() || self.home.kind == Kind::Habit { "tools/list" } else { "resources/list" };
        self.line.ask(self.endpoint(), method, json!({}), Expect::Anything);
    }

    fn malformed(&mut self) {
        let id = self.line.fresh_id();
        let (line, code) = match self.chance.u32(..3) {
            0 => (format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{]}}"#), -32700),
            1 => (format!(r#"{{"jsonrpc":"2.0","id":{id},"method":5}}"#), -32600),
            _ => (format!(r#"{{"id":{id},"jsonrpc":"2.0","method":"tools/call","params":[1]}}"#), -32600),
        };
        self.line.ask_in_words("(malformed)", &id, line, Expect::Code(code));
    }

    /// A call in which the server asks something.
    fn question(&mut self, server: &Server) {
        let text = self.text();
        let (tool, key) = if self.chance.bool() { ("ask_sampling", "prompt") } else { ("ask_elicit", "message") };
        self.line.answers_asks = self.chance.u8(..8) != 0;
        // Revisions before 2025-06-18 know no elicitation; then the tool says that it failed.
        // Where there are several servers, a form says whose it is.
        let asked = if self.all && key == "message" { format!("[{}] {text}", server.name) } else { text.clone() };
        self.tool(server, tool, json!({ key: text }), Expect::Asked(asked));
    }

    /// Modern callers make a call anew with what they were asked; some never do.
    fn come_back(&mut self) {
        for (request, result, expect, server) in std::mem::take(&mut self.line.comebacks) {
            if self.chance.u8(..8) == 0 {
                continue;
            }
            let mut params = request["params"].clone();
            params["inputResponses"] = responses(&result, &self.line.asking).unwrap_or_default();
            if let Some(state) = result.get("requestState") {
                params["requestState"] = state.clone();
            }
            self.line.ask(&server, "tools/call", params, expect);
        }
    }

    /// Wants to hear of a resource, or no more.
    fn follow(&mut self, server: &Server) {
        let uri = format!("demo://note/{}", self.chance.u32(1..4));
        if self.line.modern {
            self.line.subscribed.insert(uri.clone());
            let wanted = json!({ "notifications": { "resourceSubscriptions": [uri], "toolsListChanged": true } });
            self.line.ask(self.endpoint(), "subscriptions/listen", wanted, Expect::Stream);
        } else if !self.all {
            let method = if self.chance.u8(..3) == 0 { "resources/unsubscribe" } else { "resources/subscribe" };
            self.line.subscribed.insert(uri.clone());
            self.line.ask(server.name, method, json!({ "uri": uri }), Expect::Anything);
        }
    }

    fn change(&mut self, server: &Server) {
        let uri = format!("demo://note/{}", self.chance.u32(1..4));
        let expect = Expect::Text(format!("touched {uri}"));
        self.tool(server, "touch", json!({ "uri": uri }), expect);
        if !self.all {
            self.line.ask(server.name, "resources/read", json!({ "uri": uri }), Expect::Holds(uri));
        }
    }

    async fn ping_or_wait(&mut self) {
        if self.line.modern {
            sleep(Duration::from_millis(self.chance.u64(..500))).await;
        } else {
            self.line.ask(self.endpoint(), "ping", json!({}), Expect::Anything);
        }
    }

    async fn depart(mut self, account: &Account, arrived: bool) {
        match self.chance.u32(..10) {
            _ if self.line.has_ended() || !arrived => {}
            0 => {
                account.count("vanished at once");
                self.burst(self.home);
            }
            1 => {
                account.count("vanished in the middle");
                self.burst(self.home);
                self.line.hear(Instant::now() + Duration::from_millis(self.chance.u64(..30)), |_| false).await;
            }
            2 => {
                account.count("vanished in the middle of a line");
                self.burst(self.home);
                self.line.say_raw(r#"{"jsonrpc":"2.0","id":"half","met"#);
                sleep(Duration::from_millis(self.chance.u64(..50))).await;
            }
            3 => {
                account.count("stopped reading for a while");
                for _ in 0..40 {
                    self.echo_of(self.home, 30_000);
                    yield_now().await;
                }
                sleep(Duration::from_millis(self.chance.u64(500..3000))).await;
                self.line.hear_all().await;
            }
            4 => {
                account.count("stopped reading for good");
                for _ in 0..100 {
                    self.echo_of(self.home, 100_000);
                    yield_now().await;
                }
                sleep(Duration::from_millis(self.chance.u64(500..1500))).await;
            }
            _ => {
                account.count("left in peace");
                self.line.answers_asks = true;
                self.line.hear_all().await;
                self.come_back();
                self.line.hear_all().await;
            }
        }
        self.line.leave().await;
    }
}
