//! `soak server HABIT`: a legacy MCP server with one tool, `echo`, that gives its arguments back as text, and one bad
//! habit. It reads and writes in the plainest way, one line at a time.

use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use fastrand::Rng;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Longer than any server lives.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Why a server goes on no longer.
enum Stop {
    /// It exits, with that code.
    Exit(u8),
    /// Nobody reads any more.
    Lost,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Lost
    }
}

/// Runs until its input ends, or longer if that is its habit.
pub async fn run(habit: &str, seed: u64) -> ExitCode {
    let chance = Rng::with_seed(seed ^ u64::from(std::process::id()));
    let mut server = Server { habit: habit.to_owned(), chance, calls: 0 };
    match server.serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Lost) => ExitCode::FAILURE,
    }
}

struct Server {
    habit: String,
    chance: Rng,
    calls: u32,
}

impl Server {
    fn has(&self, habit: &str) -> bool {
        self.habit == habit
    }

    /// Whether it happens, `of` a hundred times.
    fn happens(&mut self, of: u32) -> bool {
        self.chance.u32(..100) < of
    }

    /// Reading blocks the thread, but there is nothing else on it.
    async fn serve(&mut self) -> Result<(), Stop> {
        // Signals are swallowed from here on.
        let _deaf = if self.has("stubborn") { Some(signal(SignalKind::terminate())?) } else { None };
        self.wake().await?;
        for line in io::stdin().lock().lines() {
            self.take(&line?).await?;
        }
        if self.has("stubborn") {
            sleep(FOR_EVER).await;
        }
        Ok(())
    }

    /// What it does before it reads anything.
    async fn wake(&mut self) -> Result<(), Stop> {
        if self.has("frail") && self.happens(8) {
            eprintln!("the licence has expired");
            return Err(Stop::Exit(3));
        }
        if self.has("mute") && self.happens(5) {
            sleep(FOR_EVER).await;
        }
        if self.has("loud") {
            self.say("Loading plugins... [ok]\n{ not json\n\n")?;
        }
        if self.has("stubborn") {
            // One that holds its pipes open, one that left the group, one that lost its parent as well.
            let doze = "sleep 3600";
            let (command, args) = match self.chance.u32(..3) {
                0 => ("sh", vec!["-c", doze]),
                1 => ("setsid", vec!["sh", "-c", doze]),
                _ => ("setsid", vec!["sh", "-c", "sleep 3600 & exit"]),
            };
            Command::new(command).args(args).stdin(Stdio::null()).spawn()?;
        }
        Ok(())
    }

    async fn take(&mut self, line: &str) -> Result<(), Stop> {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return Ok(()) };
        let (Some(method), id) = (message["method"].as_str(), &message["id"]) else { return Ok(()) };
        if id.is_null() {
            return Ok(());
        }
        match method {
            "tools/call" => return self.call(id, line).await,
            "initialize" => {
                let revision = &message["params"]["protocolVersion"];
                let info = json!({ "name": self.habit, "version": "1" });
                self.answer(
                    id,
                    &json!({ "protocolVersion": revision, "capabilities": { "tools": {} }, "serverInfo": info }),
                )
            }
            "ping" => self.answer(id, &json!({})),
            "tools/list" => {
                let tool = json!({ "name": "echo", "inputSchema": { "type": "object" } });
                self.answer(id, &json!({ "tools": [tool] }))
            }
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                self.say(&format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "error": error })))
            }
        }?;
        Ok(())
    }

    async fn call(&mut self, id: &Value, line: &str) -> Result<(), Stop> {
        self.calls += 1;
        let habit = self.habit.clone();
        match habit.as_str() {
            "frail" if self.calls > 60 || self.happens(2) => {
                return Err(Stop::Exit(if self.happens(50) { 0 } else { 9 }));
            }
            "mute" if self.happens(8) => return Ok(()),
            "mute" if self.happens(2) => sleep(Duration::from_secs(5)).await,
            "narrow" => sleep(Duration::from_millis(self.chance.u64(1..30))).await,
            "loud" => self.shout(id)?,
            _ => {}
        }
        let echoed = json!({ "content": [{ "type": "text", "text": arguments(line) }] });
        if self.has("loud") && self.happens(20) {
            // Twice; the second one is nobody's.
            self.answer(id, &echoed)?;
        }
        Ok(self.answer(id, &echoed)?)
    }

    /// Everything that a server should not say before its answer.
    fn shout(&mut self, id: &Value) -> io::Result<()> {
        match self.chance.u32(..6) {
            0 => self.say("debug: got a call\n"),
            1 => {
                let log = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x".repeat(500) } });
                self.say(&format!("{log}\n").repeat(200))
            }
            2 => self.answer(&json!(987_654_321), &json!({ "content": [] })),
            3 => {
                let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": id, "progress": 1 } });
                self.say(&format!("{progress}\n").repeat(3))
            }
            4 => (0..500).try_for_each(|n| writeln!(io::stderr(), "warning {n}: {}", "y".repeat(200))),
            _ => self.say(&format!("{}\n", json!({ "jsonrpc": "2.0", "id": "who", "method": "roots/list" }))),
        }
    }

    fn answer(&mut self, id: &Value, result: &Value) -> io::Result<()> {
        self.say(&format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "result": result })))
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let cut = if self.has("loud") { self.chance.usize(..text.len()) } else { 0 };
        // Only what is ASCII can be cut anywhere.
        let (first, rest) = text.as_bytes().split_at(cut);
        out.write_all(first)?;
        out.flush()?;
        out.write_all(rest)?;
        out.flush()
    }
}

/// The arguments of a call to the letter.
fn arguments(line: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Call<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let call = serde_json::from_str::<Call>(line).ok().and_then(|call| call.params.arguments);
    call.map_or_else(|| "{}".to_owned(), |arguments| arguments.get().to_owned())
}
