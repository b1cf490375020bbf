//! `bad_server FAULT [NUMBER]`: an MCP server that misbehaves in one way, for `tests/faults`. It speaks both eras. Its tools:
//! `bad` does what the fault says, `echo` gives its arguments back, `hold` is never answered, and `refused` tells how many of
//! its own questions were refused. Faults of the process itself need no call. Where the file that `WELL` names exists
//! when it starts, it has no fault: so a test lets it get well.
#![expect(clippy::disallowed_methods, reason = "a plain program: it knows no clock but the real one")]

mod act;
mod answer;
mod process;

use std::env;
use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use answer::Request;

/// What is wrong with this process, and what it remembers.
struct Server {
    fault: String,
    /// How much, how many or how long (in milliseconds), as the fault has it.
    number: u64,
    /// Calls of `bad` that wait to be answered in the wrong order.
    waiting: Vec<Request>,
    /// Calls answered.
    answered: u64,
    /// Whether `tools/list` shows the tool `extra`.
    extra: bool,
    /// Questions of this server that were answered with an error.
    refused: u64,
    /// What is never freed.
    leaked: Vec<Vec<u8>>,
}

fn main() -> io::Result<ExitCode> {
    let (mut fault, number) = (env::args().nth(1).unwrap_or_default(), env::args().nth(2));
    if env::var_os("WELL").is_some_and(|path| Path::new(&path).exists()) {
        fault = "none".to_owned();
    }
    let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    if let Some(code) = process::start(&fault)? {
        return Ok(code);
    }
    let mut server =
        Server { fault, number, waiting: Vec::new(), answered: 0, extra: false, refused: 0, leaked: Vec::new() };
    for line in io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str(&line?) else { continue };
        server.hear(&message)?;
        if server.is("exits-after") && server.answered >= server.number {
            return Ok(ExitCode::from(3));
        }
    }
    if server.is("stubborn") {
        hang();
    }
    Ok(ExitCode::SUCCESS)
}

impl Server {
    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn hear(&mut self, message: &Value) -> io::Result<()> {
        let Some(request) = Request::read(message) else {
            self.refused += u64::from(message["error"].is_object());
            return Ok(());
        };
        match request.method.as_str() {
            "initialize" | "server/discover" if self.is("mute") => Ok(()),
            "server/discover" if self.is("silent-on-discover") => Ok(()),
            "ping" if self.is("ignores-ping") => Ok(()),
            "initialize" => self.open(&request, answer::initialized(message)),
            "server/discover" => self.open(&request, answer::discovered()),
            "ping" => request.answer(json!({})),
            "tools/list" => request.answer(answer::tools(self.extra)),
            "tools/call" => self.call(request, &message["params"]),
            method => request.fail(-32601, &format!("this server knows no {method}")),
        }
    }

    fn open(&self, request: &Request, result: Value) -> io::Result<()> {
        match self.fault.as_str() {
            "slow-to-start" => sleep(Duration::from_millis(self.number)),
            "garbage" => answer::garbage()?,
            _ => {}
        }
        request.answer(result)
    }

    fn call(&mut self, request: Request, params: &Value) -> io::Result<()> {
        match params["name"].as_str() {
            Some("echo" | "extra") => {
                self.answered += 1;
                request.say(&params["arguments"].to_string())
            }
            Some("refused") => request.say(&self.refused.to_string()),
            Some("hold") => Ok(()),
            Some("bad") => self.misbehave(request, &params["arguments"]),
            _ => request.fail(-32602, "no such tool"),
        }
    }
}

/// Does nothing any more, and reads nothing; ended after ten minutes, should nobody end it.
fn hang() {
    sleep(Duration::from_secs(600));
}
