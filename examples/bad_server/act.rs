//! What the tool `bad` does: one fault each.

use std::io::{self, Write};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

use super::answer::{Request, garbage, write};
use super::{Server, hang, process};

const MIB: usize = 1 << 20;

impl Server {
    pub fn misbehave(&mut self, request: Request, arguments: &Value) -> io::Result<()> {
        let text = arguments.to_string();
        match self.fault.as_str() {
            "garbage" => {
                garbage()?;
                request.say(&text)?;
                garbage()?;
            }
            "half-a-line" => {
                io::stdout().write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res")?;
                io::stdout().flush()?;
                hang();
            }
            "large" => request.say(&"x".repeat(self.size() * MIB))?,
            "hangs" => hang(),
            // The second leaves a child behind that holds its stdout open.
            "kills-itself" | "grandchild" => kill_process(getpid(), Signal::KILL)?,
            "floods" => {
                (0..self.number).try_for_each(notify)?;
                request.say(&text)?;
            }
            "floods-stderr" => {
                (0..self.number).for_each(|number| eprintln!("{number}: {}", "complaint ".repeat(20)));
                eprint!("{}", "and never a line's end ".repeat(MIB / 4));
                request.say(&text)?;
            }
            "answers-twice" => (0..2).try_for_each(|_| request.say(&text))?,
            "unknown-id" => {
                for id in [json!(424_242), json!("made up"), json!(null), json!(-1), json!(1.5)] {
                    write(&json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } }).to_string())?;
                }
                request.say(&text)?;
            }
            "out-of-order" => self.wait_for_more(request)?,
            "grows" => {
                self.leaked.push(vec![1; self.size() * MIB]);
                request.say(&text)?;
            }
            "closes-stdout" => process::without_stdout()?,
            "changes-lists" => {
                self.extra = !self.extra;
                write(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)?;
                request.say(&text)?;
            }
            "asks-nobody" => {
                // In one write, so that no call comes between.
                let mut lines = vec![request.said(&text)];
                for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
                    lines.push(json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": {} }).to_string());
                }
                write(&lines.join("\n"))?;
            }
            // All there is to those faults was done before, or a call has nothing to do with them.
            _ => request.say(&text)?,
        }
        Ok(())
    }

    /// Answers when enough calls are there, the last first, each with its place in the order of the calls.
    fn wait_for_more(&mut self, request: Request) -> io::Result<()> {
        self.waiting.push(request);
        if self.waiting.len() < self.size() {
            return Ok(());
        }
        self.waiting.drain(..).enumerate().rev().try_for_each(|(place, request)| request.say(&place.to_string()))
    }

    fn size(&self) -> usize {
        usize::try_from(self.number).unwrap_or(usize::MAX)
    }
}

/// Says something that nobody asked for.
fn notify(number: u64) -> io::Result<()> {
    let (method, params) = match number % 4 {
        0 => ("notifications/message", json!({ "level": "emergency", "data": "x".repeat(100) })),
        1 => ("notifications/progress", json!({ "progressToken": number, "progress": number })),
        2 => ("notifications/resources/updated", json!({ "uri": "file:///nothing" })),
        _ => ("notifications/made/up", json!({ "number": number })),
    };
    write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string())
}
