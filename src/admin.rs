//! Called by the daemon: the socket on which `mcpool status` and the commands beside it ask. One line in; lines of JSON
//! out, until the daemon has said everything. What other programs ask over HTTP is in `http`.

pub mod http;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::Config;
use crate::endpoint::entrance::Entrance;
use crate::endpoint::listener::Listener;
use crate::endpoint::sockets;
use crate::error::Error;
use crate::mux::{Handle, Mux};
use crate::pool::process;
use crate::tasks;

/// The longest question.
const LONGEST: u64 = 4096;
/// How long a question may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody may take before they make room for others, if there is none.
const TURN: Duration = Duration::from_millis(250);
/// How often is looked how far a drain has come.
const TICK: Duration = Duration::from_millis(100);

/// What the daemon itself is to do.
pub enum Order {
    /// To end gently.
    Drain,
    /// To read its config anew, and to tell what that changed, or what is wrong.
    Reload(oneshot::Sender<Result<String, String>>),
}

/// Answers whoever asks, for as long as it is not dropped.
pub async fn serve(
    listener: Rc<Listener>,
    entrance: Rc<Entrance>,
    most: usize,
    mux: Handle,
    orders: mpsc::Sender<Order>,
) {
    let mut asking: VecDeque<(Instant, JoinHandle<()>)> = VecDeque::new();
    loop {
        let (stream, peer) = listener.accept().await;
        let refused = entrance.admit_to_admin(&stream, peer).err();
        asking.retain(|(_, task)| !task.is_finished());
        // Who has been here longest makes room: who says nothing keeps nobody else from asking.
        while asking.len() >= most
            && let Some((since, mut oldest)) = asking.pop_front()
        {
            // A crowd that only asks something has its answers first.
            if timeout_at(since + TURN, &mut oldest).await.is_err() {
                oldest.abort();
            }
        }
        let (mux, orders, entrance) = (mux.clone(), orders.clone(), entrance.clone());
        let task = tasks::spawn("admin", async move {
            // Whoever asks and then leaves does not want the answer.
            let _ = answer(stream, &entrance, refused, mux, orders).await;
        });
        asking.push_back((Instant::now(), task));
    }
}

async fn answer(
    stream: UnixStream,
    entrance: &Entrance,
    refused: Option<Error>,
    mux: Handle,
    orders: mpsc::Sender<Order>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    if timeout(PATIENCE, reader.read_line(&mut line)).await.is_err() {
        return Ok(());
    }
    let mut words = line.split_whitespace();
    let answer = match (words.next(), words.next()) {
        // Which every `connect` asks, a server's too that may call an endpoint.
        (Some("where"), endpoint) => mux.with(|mux| place(&mux.config, endpoint)),
        _ if refused.is_some() => told::<()>("", Err(refused.map_or_else(String::new, |error| error.to_string()))),
        (Some("status"), None) => {
            let pids = mux.with(|mux| mux.pids());
            // It reads much of /proc, which may take long on a busy machine.
            let trees = spawn_blocking(move || process::trees(&pids)).await.unwrap_or_default();
            let mut status = mux.with(|mux| with_places(mux.status_with(&trees), mux));
            status["descriptors"] = entrance.descriptors();
            status["strangers"] = json!(entrance.strangers());
            status
        }
        (Some("restart"), Some(server)) => told("restarted", mux.with(|mux| mux.restart_server(server))),
        (Some("changes"), Some(server)) => told("changes", mux.with(|mux| mux.changed_tools(server))),
        (Some("approve"), Some(server)) => {
            let digests: Vec<&str> = words.collect();
            told("approved", mux.with(|mux| mux.approve_tools(server, &digests)))
        }
        (Some("reload"), None) => {
            let (tell, done) = oneshot::channel();
            // Whoever would carry it out is gone only when the daemon ends.
            let _ = orders.send(Order::Reload(tell)).await;
            told("reloaded", done.await.unwrap_or_else(|_| Err("the daemon is ending".into())))
        }
        (Some("drain"), None) => {
            let _ = orders.send(Order::Drain).await;
            return drained(writer, mux).await;
        }
        _ => json!({ "error": format!("unknown command {:?}", line.trim()) }),
    };
    say(&mut writer, &answer).await
}

/// Adds where callers connect, and how many have.
fn with_places(mut status: Value, mux: &Mux) -> Value {
    let config = &mux.config;
    let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let told = config.endpoints.iter().zip(mux.callers_at(&names)).map(|(endpoint, callers)| {
        let (name, socket) = (&endpoint.name, sockets::path(config, &endpoint.name));
        json!({ "name": name, "socket": socket, "servers": endpoint.servers, "callers": callers })
    });
    let endpoints: Vec<Value> = told.collect();
    status["endpoints"] = endpoints.into();
    status["sockets_dir"] = json!(sockets::directory(config));
    status
}

/// Who this daemon is, and where one of its endpoints; which there are, if it has not that one.
fn place(config: &Config, endpoint: Option<&str>) -> Value {
    let known = endpoint.and_then(|name| config.endpoint(name));
    let names = || config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>();
    json!({
        "pid": std::process::id(),
        "config": config.file,
        "digest": config.digest,
        "socket": known.map(|endpoint| sockets::path(config, &endpoint.name)),
        "endpoints": known.is_none().then(names),
    })
}

/// Says how many calls still run, whenever that changes, until the daemon is gone.
async fn drained(mut writer: OwnedWriteHalf, mux: Handle) -> std::io::Result<()> {
    let mut before = None;
    loop {
        let running = mux.with(|mux| mux.running());
        if before != Some(running) {
            say(&mut writer, &json!({ "draining": { "calls": running } })).await?;
            before = Some(running);
        }
        sleep(TICK).await;
    }
}

fn told<T: serde::Serialize>(what: &str, outcome: Result<T, String>) -> Value {
    match outcome {
        Ok(value) => json!({ what: value }),
        Err(why) => json!({ "error": why }),
    }
}

async fn say(writer: &mut OwnedWriteHalf, answer: &Value) -> std::io::Result<()> {
    writer.write_all(format!("{answer}\n").as_bytes()).await
}
