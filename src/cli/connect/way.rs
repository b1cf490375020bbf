//! Called by `connect`: the way to a daemon, looked for beside the carrying of lines, and again and again if it is
//! lost.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::watch::Watched;
use crate::cli::reach::Target;

/// The shortest and the longest pause between attempts to reach the daemon again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long the host's requests wait for a new daemon before they are refused.
const PATIENCE: Duration = Duration::from_secs(2);

/// When to look for a daemon, and who does.
pub struct Way {
    target: Arc<Target>,
    /// Since when there is none.
    since: Instant,
    /// Since when there is one.
    linked: Option<Instant>,
    pause: Duration,
    again: Option<Instant>,
    search: Option<Search>,
}

/// A thread that lives until it has found one or not: looking for it needs the runtime, and carrying does not.
struct Search {
    found: Receiver<Result<UnixStream, String>>,
    /// Its other side is closed when there is something to know.
    news: Watched<UnixStream>,
}

impl Way {
    /// Looks for the first time when it is asked for the first time.
    pub fn new(target: Target) -> Way {
        let now = Instant::now();
        Way { target: Arc::new(target), since: now, linked: None, pause: PAUSE.0, again: Some(now), search: None }
    }

    /// What becomes readable when there is something to know.
    pub fn news(&mut self) -> Option<&mut Watched<UnixStream>> {
        self.search.as_mut().map(|search| &mut search.news)
    }

    /// When to ask again without news.
    pub fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// A connection, or why there is none.
    pub fn look(&mut self, now: Instant) -> Option<Result<UnixStream, String>> {
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            match Search::begin(self.target.clone()) {
                Ok(search) => self.search = Some(search),
                Err(error) => return Some(Err(format!("the daemon cannot be looked for: {error}"))),
            }
        }
        let found = match self.search.as_ref()?.found.try_recv() {
            Ok(found) => found,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("looking for the daemon failed".into()),
        };
        self.search = None;
        if found.is_ok() {
            self.linked = Some(now);
        }
        Some(found)
    }

    /// The connection was lost after the session was open: the next is looked for at once, unless it was a short one.
    pub fn lost(&mut self, now: Instant) {
        let lasted = self.linked.map_or(Duration::ZERO, |linked| now - linked);
        self.since = now;
        if lasted > PAUSE.1 {
            (self.pause, self.again) = (PAUSE.0, Some(now));
        } else {
            self.later(now);
        }
    }

    /// There was no way: whether it takes so long that the host should know.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.later(now);
        now - self.since >= PATIENCE
    }

    fn later(&mut self, now: Instant) {
        self.again = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
    }
}

impl Search {
    fn begin(target: Arc<Target>) -> io::Result<Search> {
        let (tell, found) = channel();
        let (news, done) = UnixStream::pair()?;
        thread::Builder::new().name("daemon".into()).spawn(move || {
            // Nobody may want to know any more.
            let _ = tell.send(reach(&target));
            drop(done);
        })?;
        Ok(Search { found, news: Watched::new(news) })
    }
}

fn reach(target: &Target) -> Result<UnixStream, String> {
    let runtime = crate::cli::runtime()?;
    runtime.block_on(async {
        let stream = target.reach().await?;
        stream.into_std().map_err(|error| format!("the connection to the daemon cannot be used: {error}"))
    })
}
