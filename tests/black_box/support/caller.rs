//! An MCP client made of lines: it says exactly what a test tells it to, and shows everything that comes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, split};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::{Answer, FOR_EVER, after, merge};

/// A connected caller. What it was sent waits until the test asks for it.
pub struct Caller {
    lines: RefCell<Option<mpsc::UnboundedSender<Vec<u8>>>>,
    inbox: Rc<Inbox>,
    tasks: [AbortHandle; 2],
    next: Cell<u64>,
    /// What every request carries: the modern `_meta`.
    meta: Option<Value>,
    /// What the server said of itself to a legacy caller.
    pub introduction: Value,
}

#[derive(Default)]
struct Inbox {
    lines: RefCell<VecDeque<Answer>>,
    closed: Cell<bool>,
    news: Notify,
    /// Answered at once, as clients do, if there are any.
    roots: RefCell<Option<Value>>,
}

/// A request that waits for its answer.
pub struct Pending<'a> {
    caller: &'a Caller,
    pub(super) id: Value,
}

/// A question that came to a caller.
pub struct Ask<'a> {
    caller: &'a Caller,
    /// The whole request.
    pub request: Value,
}

impl Caller {
    /// A caller on a stream. Nothing is said yet.
    pub fn on(stream: DuplexStream, meta: Option<Value>, roots: Option<Value>) -> Caller {
        let (reader, mut writer) = split(stream);
        let (lines, mut to_write) = mpsc::unbounded_channel::<Vec<u8>>();
        let inbox = Rc::new(Inbox { roots: RefCell::new(roots), ..Inbox::default() });
        let writing = spawn_local(async move {
            while let Some(bytes) = to_write.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
        let (filled, answers) = (inbox.clone(), lines.downgrade());
        let reading = spawn_local(async move {
            let mut reader = BufReader::new(reader).lines();
            while let Ok(Some(raw)) = reader.next_line().await {
                // Null where this parser, other than the proxy, cannot follow: a lone surrogate.
                let value: Value = serde_json::from_str(&raw).unwrap_or_default();
                match (&*filled.roots.borrow(), answers.upgrade()) {
                    (Some(roots), Some(answers)) if value["method"] == "roots/list" => {
                        let answer = json!({ "jsonrpc": "2.0", "id": value["id"], "result": { "roots": roots } });
                        let _ = answers.send(format!("{answer}\n").into_bytes());
                    }
                    _ => filled.lines.borrow_mut().push_back(Answer { raw, value }),
                }
                filled.news.notify_waiters();
            }
            filled.closed.set(true);
            filled.news.notify_waiters();
        });
        let tasks = [writing.abort_handle(), reading.abort_handle()];
        Caller { lines: RefCell::new(Some(lines)), inbox, tasks, next: Cell::new(0), meta, introduction: Value::Null }
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8]) {
        if let Some(lines) = &*self.lines.borrow() {
            let _ = lines.send(bytes.to_vec());
        }
    }

    /// Sends a line as it is.
    pub fn send(&self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    /// Sends a request; its answer can be waited for.
    pub fn request(&self, method: &str, params: Value) -> Pending<'_> {
        let id = self.next.replace(self.next.get() + 1);
        self.request_as(json!(id), method, params)
    }

    /// Sends a request under an id of the test's choice.
    pub fn request_as(&self, id: Value, method: &str, mut params: Value) -> Pending<'_> {
        if let Some(meta) = &self.meta {
            let mut whole = json!({ "_meta": meta });
            merge(&mut whole, &params);
            params = whole;
        }
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        Pending { caller: self, id }
    }

    /// Calls a tool and waits for the answer.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.begin(tool, arguments).answer().await
    }

    /// Calls a tool; the answer can be waited for.
    pub fn begin(&self, tool: &str, arguments: Value) -> Pending<'_> {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool and wants to know its progress under that token.
    pub fn begin_telling(&self, token: Value, tool: &str, arguments: Value) -> Pending<'_> {
        let meta = json!({ "progressToken": token });
        self.request("tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta }))
    }

    /// Asks for something and waits for the answer.
    pub async fn ask(&self, method: &str, params: Value) -> Answer {
        self.request(method, params).answer().await
    }

    /// Which instance serves this caller now.
    pub async fn instance(&self) -> String {
        self.call("whoami", json!({})).await.json()["instance"].as_str().expect("an instance").to_owned()
    }

    /// Waits for the next line, whatever it is.
    pub async fn line(&self) -> Answer {
        self.wait("a line", |_| true).await
    }

    /// Waits for a notification.
    pub async fn heard(&self, method: &str) -> Value {
        self.wait(method, |line| line["method"] == method && line.get("id").is_none()).await.value
    }

    /// Waits for a question.
    pub async fn asked(&self, method: &str) -> Ask<'_> {
        let request = self.wait(method, |line| line["method"] == method && line.get("id").is_some()).await.value;
        Ask { caller: self, request }
    }

    /// Everything that has come and was not asked for, once nothing moves any more.
    pub async fn leftovers(&self) -> Vec<String> {
        after(std::time::Duration::from_millis(100)).await;
        self.inbox.lines.borrow_mut().drain(..).map(|line| line.raw).collect()
    }

    /// Nothing is there that was not asked for, and nothing comes.
    #[track_caller]
    pub fn hears_nothing(&self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move { assert_eq!(self.leftovers().await, Vec::<String>::new(), "heard at {place}") }
    }

    /// What the caller answers when it is asked for its roots, from now on.
    pub fn has_roots(&self, roots: Value) {
        self.inbox.roots.replace(Some(roots));
    }

    /// Closes its side, and still listens.
    pub fn end_input(&self) {
        self.lines.replace(None);
    }

    /// Goes away without a word.
    pub async fn hang_up(self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        super::settled().await;
    }

    /// Waits until the connection is closed by the other side.
    pub async fn closed(&self) {
        let closed = async {
            while !self.inbox.closed.get() {
                self.inbox.news.notified().await;
            }
        };
        timeout(FOR_EVER, closed).await.expect("the connection stays open");
    }

    pub(super) async fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Answer {
        let found = async {
            loop {
                let news = self.inbox.news.notified();
                let place = self.inbox.lines.borrow().iter().position(|line| is(&line.value));
                if let Some(line) = place.and_then(|place| self.inbox.lines.borrow_mut().remove(place)) {
                    return Some(line);
                }
                if self.inbox.closed.get() {
                    return None;
                }
                news.await;
            }
        };
        match timeout(FOR_EVER, found).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the connection was closed before {what}"),
            Err(_) => panic!("no {what} came, but {:?}", self.inbox.lines.borrow()),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Pending<'_> {
    /// Tells that the answer is not wanted any more.
    pub fn cancel(&self) {
        self.caller.notify("notifications/cancelled", json!({ "requestId": self.id, "reason": "changed my mind" }));
    }

    /// Waits for the one answer.
    pub async fn answer(&self) -> Answer {
        let what = format!("answer to {}", self.id);
        self.caller.wait(&what, |line| line["id"] == self.id && line.get("method").is_none()).await
    }
}

impl Ask<'_> {
    /// Answers it.
    pub fn answer(&self, result: Value) {
        self.caller.send(&json!({ "jsonrpc": "2.0", "id": self.request["id"], "result": result }).to_string());
    }

    /// Answers it with an error.
    pub fn refuse(&self, code: i64, message: &str) {
        let error = json!({ "code": code, "message": message });
        self.caller.send(&json!({ "jsonrpc": "2.0", "id": self.request["id"], "error": error }).to_string());
    }
}
