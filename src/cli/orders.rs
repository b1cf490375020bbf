//! `mcpool drain`, `restart` and `reload`, and whoever else says something on the daemon's admin socket.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::print::page;
use crate::endpoint::sockets;
use crate::plural::plural;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the daemon gently, and waits until it has ended.
///
/// # Errors
/// In words for people: the daemon is gone.
pub async fn drain(directory: &Path) -> Result<(), String> {
    let mut talk = Talk::begin(directory, "drain").await?;
    // How long that takes is the daemon's business.
    while let Some(said) = talk.next().await? {
        match said["draining"]["calls"].as_u64() {
            Some(0) => page("no calls running, ending the servers...")?,
            Some(calls) => page(&format!("{} running...", plural(calls, "call")))?,
            None => return Err(error(&said)),
        }
    }
    page("the daemon has ended")
}

/// Has the instances of a server replaced.
///
/// # Errors
/// In words for people: the daemon is gone, or it has no such server.
pub async fn restart(directory: &Path, server: &str) -> Result<(), String> {
    let said = ask(directory, &format!("restart {server}")).await?;
    let count = said["restarted"].as_u64().ok_or_else(|| error(&said))?;
    page(&match count {
        0 => format!("{server}: no instance was running; the next is started when it is needed"),
        count => format!("{server}: replacing {}", plural(count, "instance")),
    })
}

/// Has the config read anew and put in force.
///
/// # Errors
/// In words for people: the daemon is gone, or the config is refused and why.
pub async fn reload(directory: &Path) -> Result<(), String> {
    let said = ask(directory, "reload").await?;
    page(said["reloaded"].as_str().ok_or_else(|| error(&said))?)
}

/// What a daemon answers to one word.
///
/// # Errors
/// In words for people: the daemon is gone, or it does not answer.
pub async fn ask(directory: &Path, order: &str) -> Result<Value, String> {
    let mut talk = Talk::begin(directory, order).await?;
    match timeout(PATIENCE, talk.next()).await {
        Ok(Ok(Some(said))) => Ok(said),
        Ok(Ok(None)) => Err("the daemon closed the connection instead of answering".into()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("the daemon did not answer within {PATIENCE:?}")),
    }
}

/// Why an order was not carried out.
pub fn error(said: &Value) -> String {
    said["error"].as_str().map_or_else(|| format!("the daemon's answer is a strange one: {said}"), str::to_owned)
}

/// A connection on which an order was given.
struct Talk {
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// Kept open: who closes it does not want the answer.
    _writer: OwnedWriteHalf,
}

impl Talk {
    async fn begin(directory: &Path, order: &str) -> Result<Talk, String> {
        let path = sockets::named(directory, sockets::ADMIN);
        let stream = sockets::reach(&path, None)
            .await
            .map_err(|why| format!("no daemon answers on {} any more: {why}", path.display()))?;
        let (reader, mut writer) = stream.into_split();
        let line = format!("{order}\n");
        writer.write_all(line.as_bytes()).await.map_err(|error| format!("the daemon could not be asked: {error}"))?;
        Ok(Talk { lines: BufReader::new(reader).lines(), _writer: writer })
    }

    /// The next thing that the daemon says; `None` once it has said everything or is gone.
    async fn next(&mut self) -> Result<Option<Value>, String> {
        let Ok(Some(line)) = self.lines.next_line().await else { return Ok(None) };
        serde_json::from_str(&line).map(Some).map_err(|error| format!("the daemon's answer is no JSON: {error}"))
    }
}
