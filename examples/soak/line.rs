//! One caller's connection: what it has asked and not heard of yet, and the check of everything that it hears.

mod heard;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::account::Account;
use super::expect::Expect;

/// No answer may take longer, whatever the servers do: starting, queue, call and one repetition, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(40);

/// A request that was sent.
struct Open {
    server: String,
    expect: Expect,
    since: Instant,
    said: String,
    progress: f64,
}

/// A caller's connection.
pub struct Line {
    name: String,
    account: Account,
    to: mpsc::UnboundedSender<String>,
    writing: JoinHandle<()>,
    from: Lines<BufReader<Box<dyn AsyncRead + Unpin>>>,
    child: Option<Child>,
    open: HashMap<String, Open>,
    /// Given up: an answer may come, but need not.
    cancelled: HashSet<String>,
    done: HashSet<String>,
    last: u64,
    pub modern: bool,
    /// Resources of which news may come.
    pub subscribed: HashSet<String>,
    /// The texts that may stand in questions: those of calls that are open or were given up.
    pub asking: HashSet<String>,
    /// Whether questions are answered.
    pub answers_asks: bool,
    /// Calls that are to be made anew with what was asked: the request as it was, and what it asked.
    pub comebacks: Vec<(Value, Value, Expect, String)>,
    /// Answers that were as expected.
    pub heard_right: u64,
    /// What is to be said in one batch.
    batch: Option<Vec<String>>,
    ended: bool,
}

impl Line {
    /// Connects to a socket.
    pub async fn to_socket(name: String, socket: &Path, account: &Account) -> Option<Line> {
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                Some(Line::new(name, Box::new(reader), Box::new(writer), None, account))
            }
            Err(error) => {
                account.wrong(format!("{name}: cannot connect to {}: {error}", socket.display()));
                None
            }
        }
    }

    /// Connects through `mcpool connect`.
    pub fn through_connect(
        name: String,
        mcpool: &Path,
        socket: &Path,
        endpoint: &str,
        account: &Account,
    ) -> Option<Line> {
        let mut command = Command::new(mcpool);
        command.args(["connect", "--socket"]).arg(socket).arg(endpoint);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                account.wrong(format!("{name}: cannot run mcpool connect: {error}"));
                return None;
            }
        };
        let (reader, writer) = (child.stdout.take()?, child.stdin.take()?);
        Some(Line::new(name, Box::new(reader), Box::new(writer), Some(child), account))
    }

    fn new(
        name: String,
        reader: Box<dyn AsyncRead + Unpin>,
        mut writer: Box<dyn AsyncWrite + Unpin>,
        child: Option<Child>,
        account: &Account,
    ) -> Line {
        let (to, mut lines) = mpsc::unbounded_channel::<String>();
        // Apart from the reading, so that a caller that hears nothing for a while can still say something.
        let writing = tokio::task::spawn_local(async move {
            while let Some(line) = lines.recv().await {
                if writer.write_all(line.as_bytes()).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        });
        Line {
            name,
            account: account.clone(),
            to,
            writing,
            from: BufReader::new(reader).lines(),
            child,
            open: HashMap::new(),
            cancelled: HashSet::new(),
            done: HashSet::new(),
            last: 0,
            modern: false,
            subscribed: HashSet::new(),
            asking: HashSet::new(),
            answers_asks: true,
            comebacks: Vec::new(),
            heard_right: 0,
            batch: None,
            ended: false,
        }
    }

    /// Whether the other side hung up.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The id that the next request gets: a number or a text in turn.
    fn next_id(&mut self) -> Value {
        self.last += 1;
        if self.last.is_multiple_of(2) { json!(self.last) } else { json!(format!("{}-{}", self.name, self.last)) }
    }

    /// Asks something of a server; the id.
    pub fn ask(&mut self, server: &str, method: &str, mut params: Value, expect: Expect) -> Value {
        let id = self.next_id();
        let token = format!("p-{}-{}", self.name, self.last);
        params["_meta"]["progressToken"] = json!(token);
        if self.modern {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": self.name, "version": "1" });
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": {}, "sampling": {} });
        }
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.ask_in_words(server, &id, request.to_string(), expect);
        id
    }

    /// Sends a line that is a request, or nearly.
    pub fn ask_in_words(&mut self, server: &str, id: &Value, line: String, expect: Expect) {
        self.account.asked();
        if let Expect::Asked(text) = &expect {
            self.asking.insert(text.clone());
        }
        self.say(line.clone());
        let open = Open { server: server.to_owned(), expect, since: Instant::now(), said: line, progress: -1.0 };
        self.open.insert(id.to_string(), open);
    }

    /// Makes up an id for [`Line::ask_in_words`].
    pub fn fresh_id(&mut self) -> Value {
        self.next_id()
    }

    /// Gives a request up.
    pub fn cancel(&mut self, id: &Value) {
        if let Some(open) = self.open.remove(&id.to_string()) {
            self.account.ended(&open.server, "cancelled");
            self.cancelled.insert(id.to_string());
            let params = json!({ "requestId": id, "reason": "changed my mind" });
            self.notify("notifications/cancelled", &params);
        }
    }

    pub fn notify(&mut self, method: &str, params: &Value) {
        self.say(json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    /// Sends something that is no line yet.
    pub fn say_raw(&mut self, text: &str) {
        // Whether anybody reads it shows when answers are missing.
        let _ = self.to.send(text.to_owned());
    }

    /// What is said from now on goes into a batch.
    pub fn gather(&mut self) {
        self.batch = Some(Vec::new());
    }

    /// Says the batch.
    pub fn say_gathered(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.account.count("batches");
            self.say(format!("[{}]", batch.join(",")));
        }
    }

    fn say(&mut self, mut line: String) {
        if let Some(batch) = &mut self.batch {
            return batch.push(line);
        }
        line.push('\n');
        self.say_raw(&line);
    }

    /// Listens until `until`, or until `enough` says so.
    pub async fn hear(&mut self, until: Instant, enough: impl Fn(&Line) -> bool) {
        while !enough(self) && !self.ended {
            let late = self.open.values().map(|open| open.since + DEADLINE).min();
            tokio::select! {
                biased;
                line = self.from.next_line() => match line {
                    Ok(Some(line)) => self.take(&line),
                    Ok(None) => self.hung_up("it was closed"),
                    Err(error) => self.hung_up(&error.to_string()),
                },
                () = sleep_until(until) => return,
                () = async { sleep_until(late.unwrap_or(until)).await } => self.too_late(),
            }
        }
    }

    /// Listens until nothing is unanswered, which each request has a deadline for.
    pub async fn hear_all(&mut self) {
        self.hear(Instant::now() + 2 * DEADLINE, |line| line.open.values().all(|open| open.expect == Expect::Stream))
            .await;
    }

    fn too_late(&mut self) {
        let now = Instant::now();
        let late = self.open.iter().filter(|(_, open)| open.since + DEADLINE <= now).map(|(id, _)| id.clone());
        for id in late.collect::<Vec<_>>() {
            let Some(open) = self.open.remove(&id) else { continue };
            if open.expect == Expect::Stream {
                // It lasts as long as it lasts.
                self.open.insert(id, Open { since: now + DEADLINE * 100, ..open });
                continue;
            }
            self.account.ended(&open.server, "never answered");
            self.wrong(&format!("no answer within {DEADLINE:?} to {}", short(&open.said)));
        }
    }

    fn hung_up(&mut self, how: &str) {
        self.ended = true;
        self.wrong(&format!(
            "lost the connection ({how}{}) with {} calls open",
            if self.child.is_some() { ", through connect" } else { "" },
            self.open.len()
        ));
    }

    fn wrong(&self, what: &str) {
        self.account.wrong(format!("{}: {what}", self.name));
    }

    /// Hangs up; what is unanswered is nobody's business any more.
    pub async fn leave(mut self) {
        for open in self.open.values() {
            self.account.ended(&open.server, if open.expect == Expect::Stream { "closed" } else { "left behind" });
        }
        self.writing.abort();
        if let Some(mut child) = self.child.take()
            && child.kill().await.is_err()
        {
            self.wrong("`mcpool connect` cannot be ended");
        }
    }
}

/// The beginning of a text, for people.
pub fn short(text: &str) -> String {
    const LONGEST: usize = 400;
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
    if end < text.len() { format!("{}... ({} bytes)", &text[..end], text.len()) } else { text.to_owned() }
}
