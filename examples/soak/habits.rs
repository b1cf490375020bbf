//! `soak server HABIT`: a legacy MCP server with one tool, `echo`, that gives its arguments back as text, and one bad
//! habit. It reads and writes in the plainest way, one line at a time.

use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use fastrand::Rng;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Runs until its input ends, or longer if that is its habit.
pub async fn run(habit: &str, seed: u64) -> io::Result<ExitCode> {
    let mut server =
        Server { habit: habit.to_owned(), chance: Rng::with_seed(seed ^ u64::from(std::process::id())), calls: 0 };
    // Signals are swallowed from here on.
    let _deaf = if habit == "stubborn" { Some(signal(SignalKind::terminate())?) } else { None };
    server.wake()?;
    for line in io::stdin().lock().lines() {
        server.take(&line?)?;
    }
    if habit == "stubborn" {
        std::thread::sleep(Duration::from_secs(3600));
    }
    Ok(ExitCode::SUCCESS)
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

    /// What it does before it reads anything.
    fn wake(&mut self) -> io::Result<()> {
        if self.has("frail") && self.happens(8) {
            eprintln!("the licence has expired");
            std::process::exit(3);
        }
        if self.has("mute") && self.happens(5) {
            std::thread::sleep(Duration::from_secs(3600));
        }
        if self.has("loud") {
            self.say("Loading plugins... [ok]\n{ not json\n\n")?;
        }
        if self.has("stubborn") {
            // One that holds its pipes open, one that left the group, one that lost its parent as well.
            let sleep = "sleep 3600";
            let (command, args) = match self.chance.u32(..3) {
                0 => ("sh", vec!["-c", sleep]),
                1 => ("setsid", vec!["sh", "-c", sleep]),
                _ => ("setsid", vec!["sh", "-c", "sleep 3600 & exit"]),
            };
            Command::new(command).args(args).stdin(Stdio::null()).spawn()?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> io::Result<()> {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return Ok(()) };
        let (Some(method), id) = (message["method"].as_str(), &message["id"]) else { return Ok(()) };
        if id.is_null() {
            return Ok(());
        }
        match method {
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
            "tools/call" => self.call(id, line),
            _ => self.say(&format!(
                "{}\n",
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "Method not found" } })
            )),
        }
    }

    fn call(&mut self, id: &Value, line: &str) -> io::Result<()> {
        self.calls += 1;
        let habit = self.habit.clone();
        match habit.as_str() {
            "frail" if self.calls > 60 || self.happens(2) => std::process::exit(if self.happens(50) { 0 } else { 9 }),
            "mute" if self.happens(8) => return Ok(()),
            "mute" if self.happens(2) => std::thread::sleep(Duration::from_secs(5)),
            "narrow" => std::thread::sleep(Duration::from_millis(self.chance.u64(1..30))),
            "loud" => self.shout(id)?,
            _ => {}
        }
        let echoed = json!({ "content": [{ "type": "text", "text": arguments(line) }] });
        if self.has("loud") && self.happens(20) {
            // Twice; the second one is nobody's.
            self.answer(id, &echoed)?;
        }
        self.answer(id, &echoed)
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
