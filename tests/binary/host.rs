//! An MCP host: starts the binary in a process group of its own, as hosts do, and speaks lines with it.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::PATIENCE;

pub struct Host {
    child: Child,
    lines: mpsc::UnboundedSender<String>,
    answers: Lines<BufReader<ChildStdout>>,
    next: u64,
}

impl Host {
    pub fn start(command: Command) -> Host {
        Host::start_with(command, Stdio::null())
    }

    /// With a stderr that is not read.
    pub fn start_with(mut command: Command, stderr: Stdio) -> Host {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().expect("it runs");
        let (lines, to_write) = mpsc::unbounded_channel();
        tokio::spawn(write(child.stdin.take().expect("a pipe"), to_write));
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Host { child, lines, answers, next: 100 }
    }

    /// Sends a request.
    pub fn request(&self, id: Value, method: &str, params: Value) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let _ = self.lines.send(request.to_string());
    }

    /// Sends a line as it stands.
    pub fn say(&self, line: &str) {
        let _ = self.lines.send(line.to_owned());
    }

    /// The next line.
    pub async fn line(&mut self) -> Value {
        let line = timeout(PATIENCE, self.answers.next_line()).await.expect("nothing came").expect("a line");
        serde_json::from_str(&line.expect("stdout was closed")).expect("JSON")
    }

    /// Opens the session.
    pub async fn open(&mut self) {
        let info = json!({ "name": "host", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        self.request(json!(0), "initialize", params);
        assert_eq!(self.line().await["result"]["protocolVersion"], "2025-06-18");
        let _ = self.lines.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned());
    }

    /// Calls a tool and waits for its answer, which is the next line.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.next += 1;
        let id = json!(self.next);
        self.request(id.clone(), "tools/call", json!({ "name": tool, "arguments": arguments }));
        let answer = self.line().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes its side, and waits for the end.
    pub async fn close(self) -> ExitStatus {
        let Host { mut child, lines, .. } = self;
        drop(lines);
        timeout(PATIENCE, child.wait()).await.expect("it does not end").expect("it ended")
    }

    /// Is gone from one moment to the next, and waits for the end.
    pub async fn leave(self) -> ExitStatus {
        let Host { mut child, lines, answers, .. } = self;
        drop((lines, answers));
        timeout(PATIENCE, child.wait()).await.expect("it does not end").expect("it ended")
    }

    /// Says no more, and reads on.
    pub fn hush(&mut self) {
        self.lines = mpsc::unbounded_channel().0;
    }

    /// Reads no more, and could say more.
    pub async fn deafen(self) -> ExitStatus {
        let Host { mut child, lines, answers, .. } = self;
        drop(answers);
        let ended = timeout(PATIENCE, child.wait()).await.expect("it does not end").expect("it ended");
        drop(lines);
        ended
    }

    /// Sends a signal to the process that it started.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("told");
    }

    /// Waits for the end, and leaves its side open.
    pub async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it does not end").expect("it ended")
    }

    /// Kills the whole process group, as hosts do with what does not end.
    pub async fn kill_group(mut self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process_group(pid, Signal::KILL).expect("killed");
        let _ = self.child.wait().await;
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}
