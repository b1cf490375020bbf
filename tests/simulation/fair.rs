//! Called by the test of fairness: a server that takes one call at a time, and two callers that want it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use mcpool::caller::Peer;
use mcpool::config::{Config, EraChoice, Server};
use mcpool::endpoint::connection;
use mcpool::mux::{Handle, Parts};
use mcpool::pool::launch::{Connection, Launcher};
use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// How long the server works on a call.
pub const WORK: Duration = Duration::from_secs(1);
/// How long it still works on the first call when the second caller comes.
pub const REST: Duration = Duration::from_millis(500);
/// How long anything may take before the test is given up.
const FOR_EVER: Duration = Duration::from_secs(7200);
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A modern server that answers everything in the order in which it comes, calls after `WORK` each.
struct Slow;

impl Launcher for Slow {
    fn launch(&self, _: &Server) -> io::Result<Connection> {
        let ((stdin, writer), (mut stdout, reader)) = (tokio::io::duplex(1000), tokio::io::duplex(1000));
        spawn_local(async move {
            let mut lines = BufReader::new(stdin).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(request) = Message::read(line.into(), 100) else { continue };
                let Some(id) = request.raw(Field::Id) else { continue };
                let result = match request.method().as_ref() {
                    "server/discover" => r#""supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}"#,
                    "tools/call" => {
                        sleep(WORK).await;
                        r#""content":[]"#
                    }
                    _ => r#""tools":[]"#,
                };
                let answer = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resultType\":\"complete\",{result}}}}}\n"
                );
                if stdout.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), stderr: None, pid: None, process: None })
    }
}

/// A caller: what it says and what it hears.
struct Client {
    writer: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
}

impl Client {
    fn of(mux: &Handle) -> Client {
        let endpoint = mux.with(|mux| mux.endpoint(&mux.config.clone().endpoints[0]));
        let (near, far) = tokio::io::duplex(1 << 20);
        let mux = mux.clone();
        spawn_local(async move {
            let (reader, writer) = tokio::io::split(near);
            connection::serve(mux, endpoint, Peer::default(), reader, writer, |_| true).await;
        });
        let (reader, writer) = tokio::io::split(far);
        Client { writer, lines: BufReader::new(reader).lines() }
    }

    async fn call(&mut self, id: usize) {
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"t\",{META}}}}}\n"
        );
        self.writer.write_all(line.as_bytes()).await.expect("mcpool reads");
    }

    /// Whether the next answer is a result.
    async fn is_served(&mut self) -> bool {
        let line = self.lines.next_line().await.expect("mcpool writes").expect("mcpool keeps the connection");
        line.contains("\"result\"")
    }
}

/// What became of a modest caller that comes while a greedy one has many calls waiting.
pub struct Outcome {
    /// How long the only call of the modest one took.
    pub modest: Duration,
    /// How many calls of the greedy one were answered with a result.
    pub greedy: usize,
}

/// One caller has `many` calls in a queue of `size`, another comes with one.
pub fn compete(many: usize, size: usize) -> Outcome {
    let mut server = Server::new("s", "model");
    (server.era, server.concurrency, server.instances.max) = (EraChoice::Modern, 1, 1);
    (server.queue.size, server.queue.timeout) = (size, FOR_EVER);
    let parts = Parts {
        config: Rc::new(Config::of(vec![server])),
        launcher: Rc::new(Slow),
        catalogue: None,
        seed: 0,
        key: [0; 32],
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let story = async move {
        let mux = Handle::new(parts);
        let (mut greedy, mut modest) = (Client::of(&mux), Client::of(&mux));
        for id in 0..many {
            greedy.call(id).await;
        }
        sleep(WORK - REST).await;
        let since = Instant::now();
        modest.call(0).await;
        assert!(modest.is_served().await, "the modest caller was refused");
        let modest = since.elapsed();
        let mut served = 0;
        for _ in 0..many {
            served += usize::from(greedy.is_served().await);
        }
        Outcome { modest, greedy: served }
    };
    let within = async { timeout(FOR_EVER, story).await.expect("an end") };
    runtime.block_on(LocalSet::new().run_until(within))
}
