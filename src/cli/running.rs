//! Called by everything that talks with a daemon: which daemon runs with a config, and where. Nothing of the config is
//! needed for that but its path: the daemon is asked by which config it was started, and where its endpoints are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::config::place::{self, Chosen};
use crate::endpoint::signpost::Signpost;
use crate::endpoint::sockets::{self, Unreached};
use crate::text::line;

/// How long a daemon may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a daemon that goes away may take to be gone, and how often is looked.
const GOING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));
/// The longest answer that is read.
const LONGEST: u64 = 1 << 20;

/// A daemon that runs.
pub struct Running {
    /// Where its sockets are.
    pub directory: PathBuf,
    said: Value,
}

/// What came of asking in one place.
enum Asked {
    Nobody,
    /// It went away before it answered.
    Gone,
    /// Somebody is there who is of no use; why, in words for people.
    Failed(String),
    Here(Running),
}

impl Running {
    /// The daemon of a config, if it runs. `endpoint`: what it is asked for besides.
    ///
    /// # Errors
    /// In words for people: another daemon runs where this one would, or nobody can tell.
    pub async fn find(chosen: &Chosen, endpoint: &str) -> Result<Option<Running>, String> {
        let own = place::directory(chosen.file(), &|name| std::env::var_os(name))?;
        // What a daemon says is truer than a file that may have changed, or be gone; but it may be one that was killed.
        if let Some(elsewhere) = Signpost::read(&own)
            && let Some(running) = Running::at(&elsewhere, endpoint).await?
            && running.is_of(chosen)
        {
            return Ok(Some(running));
        }
        for directory in places(chosen, own.clone()) {
            match Running::at(&directory, endpoint).await? {
                Some(running) if running.is_of(chosen) => return Ok(Some(running)),
                Some(other) => return Err(other.is_another(chosen)),
                None => {}
            }
        }
        // A link on the way to the file may have been turned since.
        let others = if chosen.file().is_some() { Running::all(&own, endpoint).await } else { Vec::new() };
        Ok(others.into_iter().find(|running| running.is_of(chosen)))
    }

    /// The daemon of a config; where no config is, whichever daemon runs alone.
    ///
    /// # Errors
    /// In words for people: none runs, or several do.
    pub async fn find_any(chosen: &Chosen) -> Result<Running, String> {
        if let Some(running) = Running::find(chosen, "").await? {
            return Ok(running);
        }
        let own = place::directory(chosen.file(), &|name| std::env::var_os(name))?;
        let mut others = Running::all(&own, "").await;
        if chosen.file().is_none() && others.len() == 1 {
            return Ok(others.remove(0));
        }
        let looked: Vec<String> = places(chosen, own)
            .map(|directory| sockets::named(&directory, sockets::ADMIN).display().to_string())
            .collect();
        let mut told = format!("no daemon answers on {}", looked.join(" or "));
        if let Some(file) = chosen.file() {
            told += &format!(", where that of {} would", file.display());
        }
        for other in others {
            told += &format!("\none runs with {}: say `--config`", other.config());
        }
        Err(told + "\n`mcpool serve` starts one, and so does `mcpool connect NAME`")
    }

    /// The config that it runs with, for people.
    pub fn config(&self) -> String {
        let config = self.said["config"].as_str().map_or_else(|| "no file".to_owned(), |path| line(path).into_owned());
        format!("{config} (pid {})", self.said["pid"])
    }

    /// Where the endpoint is that it was asked for.
    ///
    /// # Errors
    /// In words for people: it has none of that name.
    pub fn socket(&self, endpoint: &str) -> Result<PathBuf, String> {
        if let Some(path) = self.said["socket"].as_str() {
            return Ok(path.into());
        }
        let names = self.said["endpoints"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<String> = names.map(|name| line(name).into_owned()).collect();
        Err(format!(
            "the daemon that runs with {} has no endpoint {endpoint:?}; it has: {}\n\
             if the file names it by now, `mcpool reload` says why it is not in force",
            self.config(),
            names.join(", ")
        ))
    }

    /// Whether it runs with a config; any will do where none is.
    fn is_of(&self, chosen: &Chosen) -> bool {
        let Some(file) = chosen.file() else { return true };
        self.said["config"].as_str().is_some_and(|own| place::is_same(Path::new(own), file))
    }

    fn is_another(&self, chosen: &Chosen) -> String {
        format!(
            "the daemon in {} runs with {}, and not with {}: give one of the two another `sockets.dir`, or none at all, \
             and each has a directory of its own",
            self.directory.display(),
            self.config(),
            chosen.file().unwrap_or(Path::new("no config")).display()
        )
    }

    /// All daemons of this user that are found without a config, but for the one in `but`.
    async fn all(but: &Path, endpoint: &str) -> Vec<Running> {
        let mut all = Vec::new();
        for own in place::directories(&|name| std::env::var_os(name)).unwrap_or_default() {
            if own == but {
                continue;
            }
            // Who cannot be asked there is not who is looked for.
            if let Ok(Some(running)) = Running::at(&Signpost::read(&own).unwrap_or(own), endpoint).await {
                all.push(running);
            }
        }
        all
    }

    /// The daemon in a directory. One that goes away is waited for until it is gone.
    async fn at(directory: &Path, endpoint: &str) -> Result<Option<Running>, String> {
        let since = Instant::now();
        loop {
            match timeout(PATIENCE, ask(directory, endpoint)).await {
                Ok(Asked::Here(running)) => return Ok(Some(running)),
                Ok(Asked::Nobody) => return Ok(None),
                Ok(Asked::Gone) if since.elapsed() > GOING.0 => return Ok(None),
                Ok(Asked::Gone) => sleep(GOING.1).await,
                Ok(Asked::Failed(why)) => return Err(why),
                Err(_) => {
                    let directory = directory.display();
                    return Err(format!("the daemon in {directory} did not answer within {}s", PATIENCE.as_secs()));
                }
            }
        }
    }
}

/// Where the daemon of a config may be, first the directory that the config names.
fn places(chosen: &Chosen, own: PathBuf) -> impl Iterator<Item = PathBuf> {
    let named = chosen.file().and_then(Config::sockets_of).filter(|named| *named != own);
    named.into_iter().chain([own])
}

async fn ask(directory: &Path, endpoint: &str) -> Asked {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, InvalidInput, NotADirectory, NotFound, WouldBlock};
    let path = sockets::named(directory, sockets::ADMIN);
    if let Some(why) = sockets::too_long(&path) {
        return Asked::Failed(why);
    }
    let reached = loop {
        match sockets::reach(&path, None).await {
            // So many ask at once that there is no room to wait; whoever calls this bounds how long it is tried.
            Err(Unreached::Io(error)) if error.kind() == WouldBlock => sleep(GOING.1).await,
            reached => break reached,
        }
    };
    let stream = match reached {
        Ok(stream) => stream,
        // Nor does anybody listen where the path is too long, and whoever starts a daemon there is told what to do.
        Err(Unreached::Io(error))
            if matches!(error.kind(), NotFound | NotADirectory | ConnectionRefused | InvalidInput) =>
        {
            return Asked::Nobody;
        }
        Err(Unreached::Io(error)) if error.kind() == ConnectionReset => return Asked::Gone,
        Err(why) => return Asked::Failed(format!("{} is of no use: {why}", path.display())),
    };
    match answer(stream, endpoint).await {
        Some(said) if said["pid"].is_u64() => Asked::Here(Running { directory: directory.to_owned(), said }),
        Some(_) => Asked::Failed(format!(
            "the daemon in {} is of another version and does not say who it is: end it with `mcpool drain`",
            directory.display()
        )),
        None => Asked::Gone,
    }
}

async fn answer(mut stream: UnixStream, endpoint: &str) -> Option<Value> {
    // What cannot be a name is not asked for: it would be another word, or another order.
    let name = if endpoint.contains(char::is_whitespace) { "" } else { endpoint };
    stream.write_all(format!("where {name}\n").as_bytes()).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use rustix::net::listen;
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_many_ask_at_once_is_asked_again_until_there_is_room() {
        let directory = std::env::temp_dir().join(format!("mcpool-asked-{:016x}", fastrand::u64(..)));
        sockets::prepare(&directory, 0o700).unwrap();
        let path = sockets::named(&directory, sockets::ADMIN);
        let listener = net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        // There is room for two, who say nothing.
        listen(&listener, 1).unwrap();
        let crowd = [net::UnixStream::connect(&path).unwrap(), net::UnixStream::connect(&path).unwrap()];
        assert!(
            matches!(sockets::reach(&path, None).await, Err(Unreached::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
        let answering = async {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(b"{\"pid\":7}\n").await;
            }
        };
        tokio::select! {
            found = Running::at(&directory, "x") => assert_eq!(found.unwrap().unwrap().said["pid"], 7),
            () = answering => {}
        }
        drop(crowd);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
