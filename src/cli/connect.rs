//! `mcpool connect`: the host's stdio on one side, an endpoint of the daemon on the other. It stays when the
//! daemon goes: what was in flight is answered with an error, and the session is opened anew.

mod ledger;

use std::future::pending;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until};

use super::print;
use super::reach::Target;
use crate::caller::stdio;
use crate::error::Error;
use crate::tasks;
use crate::wire::frame::{Line, LineReader, Scratch};
use crate::wire::outbox::Outbox;
use ledger::Ledger;

/// The daemon bounds messages; this only keeps a broken peer from taking all memory.
const LONGEST: usize = 1 << 30;
/// How much may wait for a host that does not read.
const UNREAD: usize = 256 << 20;
/// How long the last calls may take after the host closed its side.
const LINGER: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between attempts to reach the daemon again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Serves the host until it closes its side.
///
/// # Errors
/// The daemon cannot be reached at the very beginning: then the host should see that the start failed.
pub async fn run(target: Target) -> Result<(), String> {
    tasks::run(async move {
        let stream = target.reach().await?;
        let (host, mut stdout) = (Outbox::new(UNREAD), stdio::output());
        let saying = {
            let host = host.clone();
            tasks::spawn("host", async move {
                // A host that closed its side is noticed on its other side too.
                let _ = host.write_to(&mut stdout, LINGER).await;
            })
        };
        let scratch = Scratch::default();
        let shim = Shim {
            lines: LineReader::new(stdio::input(), scratch.clone(), LONGEST),
            scratch,
            host: host.clone(),
            ledger: Ledger::default(),
        };
        shim.serve(&target, stream).await;
        host.close();
        let _ = saying.await;
        Ok(())
    })
    .await
}
/// How long the host's requests wait for a new daemon before they are refused.
const PATIENCE: Duration = Duration::from_secs(2);

struct Shim<R> {
    lines: LineReader<R>,
    scratch: Scratch,
    host: Outbox,
    ledger: Ledger,
}

/// Why carrying lines ended.
enum Ended {
    Host,
    Daemon,
}

impl<R: AsyncRead + Unpin> Shim<R> {
    async fn serve(mut self, target: &Target, stream: UnixStream) {
        let mut link = Link::new(stream, &self.scratch);
        while let Ended::Daemon = self.carry(&mut link).await {
            self.ledger.daemon_lost(&self.host, &Error::DaemonLost);
            match self.reconnect(target).await {
                Some(again) => link = again,
                None => return,
            }
        }
    }

    /// Carries lines both ways until one side ends.
    async fn carry(&mut self, link: &mut Link) -> Ended {
        let mut open = true;
        let mut deadline = None;
        loop {
            if !open && self.ledger.is_served() {
                return Ended::Host;
            }
            tokio::select! {
                biased;
                line = link.lines.next() => match line {
                    Ok(Some(line)) => self.pass_on(line),
                    Ok(None) | Err(_) => return Ended::Daemon,
                },
                line = self.lines.next(), if open => match line {
                    Ok(Some(Line::Whole(line))) => {
                        self.ledger.host_said(&line);
                        link.outbox.line(&line);
                    }
                    Ok(Some(Line::TooLong(..))) => return Ended::Host,
                    Ok(None) | Err(_) => {
                        open = false;
                        deadline = Some(Instant::now() + LINGER);
                    }
                },
                () = wait(deadline) => return Ended::Host,
            }
            link.outbox.below(UNREAD / 16).await;
        }
    }

    fn pass_on(&mut self, line: Line) {
        if let Line::Whole(line) = line
            && let Some(answers_progress) = self.ledger.daemon_said(&line)
        {
            if answers_progress {
                self.host.cut();
            }
            self.host.line(&line);
        }
    }

    /// Reaches the daemon again, however long it takes, and opens the session anew. What the host says in the
    /// meantime waits; when that takes too long, its requests are refused. `None` when the host closed its side.
    async fn reconnect(&mut self, target: &Target) -> Option<Link> {
        let (since, mut pause) = (Instant::now(), PAUSE.0);
        loop {
            let why = match target.reach().await {
                Ok(stream) => {
                    let mut link = Link::new(stream, &self.scratch);
                    if self.ledger.reopen(&mut link).await {
                        return Some(link);
                    }
                    "it ended the connection".to_owned()
                }
                Err(why) => why,
            };
            let again = Instant::now() + pause;
            pause = (pause * 2).min(PAUSE.1);
            if since.elapsed() < PATIENCE {
                sleep_until(again).await;
                continue;
            }
            print::complain(format_args!("mcpool: {why}"));
            let error = Error::Unreachable(why);
            loop {
                tokio::select! {
                    biased;
                    () = sleep_until(again) => break,
                    line = self.lines.next() => match line {
                        Ok(Some(Line::Whole(line))) => {
                            self.ledger.host_said(&line);
                            self.ledger.daemon_lost(&self.host, &error);
                        }
                        Ok(Some(Line::TooLong(..)) | None) | Err(_) => return None,
                    }
                }
            }
        }
    }
}

async fn wait(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// A connection to the daemon.
pub struct Link {
    lines: LineReader<OwnedReadHalf>,
    outbox: Outbox,
}

impl Link {
    fn new(stream: UnixStream, scratch: &Scratch) -> Link {
        let (reader, writer) = stream.into_split();
        let outbox = Outbox::new(usize::MAX);
        tasks::spawn("daemon", say(outbox.clone(), writer));
        Link { lines: LineReader::new(reader, scratch.clone(), LONGEST), outbox }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

async fn say(outbox: Outbox, mut writer: OwnedWriteHalf) {
    // A daemon that is gone is noticed by its silence.
    let _ = outbox.write_to(&mut writer, LINGER).await;
}
