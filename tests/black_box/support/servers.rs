//! What is behind the proxy: the example servers of the binary, in memory, and servers that misbehave.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use mcpool::config;
use mcpool::demo::{self, Options};
use mcpool::pool::launch::{Connection, Launcher};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, DuplexStream, duplex};
use tokio::task::{AbortHandle, spawn_local};

use super::script::{self, Say, Script};
use super::wire::{Link, Peer, Tap, Wire};

/// How a server behaves.
pub enum Behaviour {
    /// The legacy example server.
    Legacy(fn(&mut Options)),
    /// The modern example server.
    Modern(fn(&mut Options)),
    /// Either, locked to the era of the first request that it sees, as Python servers are.
    BothEras,
    /// What the test says.
    Script(Script),
    /// Reads, and never says a word.
    Mute,
    /// Its command does not exist.
    Unstartable,
}

/// The legacy example server, with options.
pub fn legacy(options: fn(&mut Options)) -> Behaviour {
    Behaviour::Legacy(options)
}

/// The modern example server, with options.
pub fn modern(options: fn(&mut Options)) -> Behaviour {
    Behaviour::Modern(options)
}

/// A server that speaks both eras, but each process only one.
pub fn both_eras() -> Behaviour {
    Behaviour::BothEras
}

/// A server that says nothing.
pub fn mute() -> Behaviour {
    Behaviour::Mute
}

/// A server that cannot be started.
pub fn unstartable() -> Behaviour {
    Behaviour::Unstartable
}

impl From<Script> for Behaviour {
    fn from(script: Script) -> Behaviour {
        Behaviour::Script(script)
    }
}

impl Behaviour {
    /// A word for the command line: servers of equal command lines share what a catalogue knows of them.
    pub fn describe(&self) -> String {
        match self {
            Behaviour::Legacy(_) => "legacy",
            Behaviour::Modern(_) => "modern",
            Behaviour::BothEras => "both",
            Behaviour::Script(_) => "script",
            Behaviour::Mute => "mute",
            Behaviour::Unstartable => "unstartable",
        }
        .to_owned()
    }
}

/// Starts servers in memory and remembers them.
#[derive(Default)]
pub struct Workshop {
    behaviours: RefCell<HashMap<String, Behaviour>>,
    launched: RefCell<HashMap<String, Vec<Rc<Launched>>>>,
    /// Where everything is written down.
    pub wire: Wire,
}

/// A started process.
pub struct Launched {
    link: Link,
    task: AbortHandle,
    say: Say,
}

impl Launched {
    /// Every line that it got, to the letter.
    pub fn lines(&self) -> Vec<String> {
        self.link.told()
    }

    /// The requests and notifications of a method that it got.
    pub fn got(&self, method: &str) -> Vec<Value> {
        let messages = self.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        messages.filter(|message| message["method"] == method).collect()
    }

    /// Makes a scripted server say a line out of the blue.
    pub fn say(&self, line: &str) {
        self.say.line(line);
    }

    /// Makes a scripted server say bytes, which may be no line.
    pub fn say_bytes(&self, bytes: &[u8]) {
        self.say.bytes(bytes.to_vec());
    }

    /// Ends it at once.
    pub async fn crash(&self) {
        self.task.abort();
        super::settled().await;
    }
}

impl Workshop {
    /// Learns how a server behaves when it is started from now on.
    pub fn learn(&self, name: &str, behaviour: Behaviour) {
        self.behaviours.borrow_mut().insert(name.to_owned(), behaviour);
    }

    /// The processes of a server, in the order of their starts.
    pub fn launched(&self, name: &str) -> Vec<Rc<Launched>> {
        self.launched.borrow().get(name).cloned().unwrap_or_default()
    }
}

impl Launcher for Workshop {
    fn launch(&self, server: &config::Server) -> io::Result<Connection> {
        let number = self.launched(&server.name).len();
        // Two pipes, as processes have: closing stdin is not closing stdout.
        let (writer, stdin) = duplex(1 << 16);
        let (stdout, reader) = duplex(1 << 16);
        let (say, said) = script::say();
        let mut options = Options { seed: number as u64, ..Options::new(format!("{}-{number}", server.name)) };
        let task = match &self.behaviours.borrow()[&server.name] {
            Behaviour::Unstartable => return Err(io::Error::new(io::ErrorKind::NotFound, "no such command")),
            Behaviour::Legacy(set) => {
                set(&mut options);
                spawn_local(serve(stdin, stdout, options, Some(demo_era(false))))
            }
            Behaviour::Modern(set) => {
                set(&mut options);
                spawn_local(serve(stdin, stdout, options, Some(demo_era(true))))
            }
            Behaviour::BothEras => spawn_local(serve(stdin, stdout, options, None)),
            Behaviour::Script(script) => spawn_local(script.clone().run(stdin, stdout, say.clone(), said)),
            Behaviour::Mute => spawn_local(listen(stdin, stdout)),
        };
        let link = self.wire.link(Peer::Server, format!("{}-{number}", server.name));
        let (reader, writer) = (Box::new(Tap::on(reader, &link)), Box::new(Tap::on(writer, &link)));
        let launched = Launched { link, task: task.abort_handle(), say };
        self.launched.borrow_mut().entry(server.name.clone()).or_default().push(Rc::new(launched));
        Ok(Connection { reader, writer, stderr: None, pid: None, process: None })
    }
}

fn demo_era(modern: bool) -> &'static str {
    if modern { "server/discover" } else { "initialize" }
}

/// Serves one process. Without an era, the first line that comes decides.
async fn serve(stdin: DuplexStream, writer: DuplexStream, options: Options, first: Option<&'static str>) {
    let mut reader = BufReader::new(stdin);
    let mut line = first.unwrap_or_default().to_owned();
    let mut seen = String::new();
    if first.is_none() {
        let _ = reader.read_line(&mut seen).await;
        line.clone_from(&seen);
    }
    let reader = io::Cursor::new(seen.into_bytes()).chain(reader);
    // How it ended is what the proxy is to find out.
    let _ = if line.contains("initialize") {
        demo::legacy::serve(reader, writer, options).await
    } else {
        demo::modern::serve(reader, writer, options).await
    };
}

async fn listen(mut stdin: DuplexStream, stdout: DuplexStream) {
    let mut heard = [0; 1024];
    while stdin.read(&mut heard).await.is_ok_and(|count| count > 0) {}
    drop(stdout);
}
