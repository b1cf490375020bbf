//! Called by the daemon's doors and by `admin` for everybody who connects: whether there is room, and whether it is one
//! of the daemon's own servers. Who may not come in is told why, in one line.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::caller::Peer;
use crate::endpoint::rarely::Rarely;
use crate::endpoint::sockets::ADMIN;
use crate::error::Error;
use crate::guard::principal::Principal;
use crate::guard::total::{Taken, Total};
use crate::key::CallerKey;
use crate::mux::Handle;
use crate::pool::process::Processes;
use crate::pool::process::origin::Origin;
use crate::tasks;
use crate::wire::frame::{Line, LineReader, Scratch};
use crate::wire::id::RawId;
use crate::wire::skim::Skim;

/// How long the request of somebody who is refused is waited for, so that the refusal can be its answer.
const REQUEST: Duration = Duration::from_millis(100);
/// The longest such request, in bytes.
const LONGEST: usize = 64 << 10;

/// Looks at who connects.
pub struct Entrance {
    mux: Handle,
    processes: Rc<Processes>,
    /// How many callers there is room for, and how many there are.
    room: Total,
    /// How many may be refused at once; each has a descriptor as long as that takes.
    refusals: Arc<Semaphore>,
    full: Rarely,
    kin: Rarely,
}

/// A caller's place; free again when dropped.
pub struct Place(#[expect(dead_code, reason = "it is given back when dropped")] Taken);

impl Entrance {
    /// With room for nobody yet; refuses so many at once.
    pub fn new(mux: Handle, processes: Rc<Processes>, refusals: usize) -> Entrance {
        let room = mux.total(0);
        Entrance {
            mux,
            processes,
            room,
            refusals: Arc::new(Semaphore::new(refusals)),
            full: Rarely::default(),
            kin: Rarely::default(),
        }
    }

    /// Has room for so many callers from now on. Nobody is sent away for it.
    pub fn widen(&self, room: usize) {
        self.room.allow(room);
    }

    /// How many callers there is room for, and how many there are.
    pub fn places(&self) -> (usize, usize) {
        (self.room.limit(), self.room.taken())
    }

    /// How many descriptors there may be and are open, and what callers have of them.
    pub fn descriptors(&self) -> Value {
        let (room, inside) = self.places();
        let open = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
        json!({
            "limit": getrlimit(Resource::Nofile).current,
            // The listing has one itself.
            "open": open.ok().map(|open| open.count().saturating_sub(1)),
            "callers": inside,
            "room": room,
        })
    }

    /// Processes that were left to the daemon by others than its servers.
    pub fn strangers(&self) -> Vec<u32> {
        self.processes.strangers()
    }

    /// A place for a caller of an endpoint.
    ///
    /// # Errors
    /// There is none, or it is a server's process which may not call this endpoint.
    pub fn admit(&self, stream: &UnixStream, peer: Peer, endpoint: &str) -> Result<Place, Error> {
        self.examine(stream, peer, endpoint)?;
        // Of a process that is not known only its user counts.
        let principal = Principal::of(peer.uid, peer.pid, CallerKey::default());
        let Some(place) = self.room.take(principal) else {
            let (room, inside) = self.places();
            if let Some(times) = self.full.say() {
                tracing::warn!(
                    callers = inside,
                    times,
                    "there is no room for more callers: raise the limit on open files"
                );
            }
            return Err(Error::NoRoom { limit: Some(room) });
        };
        Ok(Place(place))
    }

    /// Whether somebody may give the daemon orders.
    ///
    /// # Errors
    /// It is a server's process which may not.
    pub fn admit_to_admin(&self, stream: &UnixStream, peer: Peer) -> Result<(), Error> {
        self.examine(stream, peer, ADMIN)
    }

    fn examine(&self, stream: &UnixStream, peer: Peer, endpoint: &str) -> Result<(), Error> {
        let Some(pid) = peer.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0) else { return Ok(()) };
        let server = match self.processes.origin(stream, pid) {
            Origin::Elsewhere => return Ok(()),
            Origin::Server(server) => Some(server),
            Origin::Unknown => None,
            Origin::Foreign => {
                if let Some(times) = self.kin.say() {
                    tracing::warn!(pid, endpoint, times, "refused a caller that stems from a server of another mcpool");
                }
                return Err(Error::OthersServer { endpoint: endpoint.to_owned() });
            }
        };
        let may = |server: &String| {
            self.mux.with(|mux| {
                mux.config.server(server).is_some_and(|server| server.may_call.iter().any(|may| may == endpoint))
            })
        };
        if server.as_ref().is_some_and(may) {
            return Ok(());
        }
        if let Some(times) = self.kin.say() {
            tracing::warn!(pid, endpoint, server, times, "refused a caller that stems from a server, or may");
        }
        Err(Error::OwnServer { server, endpoint: endpoint.to_owned() })
    }

    /// Tells somebody why they may not come in, as the answer to what they ask first if that comes soon. Waits until
    /// fewer are being told; for a server's process nobody is kept waiting.
    pub async fn refuse(&self, stream: UnixStream, error: Error) {
        self.mux.with(|mux| mux.metrics.callers_refused.one());
        let turns = self.refusals.clone();
        let turn = match error {
            Error::OwnServer { .. } | Error::OthersServer { .. } => turns.try_acquire_owned().ok(),
            // Never closed.
            _ => turns.acquire_owned().await.ok(),
        };
        let Some(turn) = turn else {
            let mut line = error.reply(None);
            line.push(b'\n');
            // Into the socket's buffer; who leaves at once is not told.
            let _ = stream.try_write(&line);
            return;
        };
        tasks::spawn("refusal", async move {
            let (reader, mut writer) = stream.into_split();
            let mut lines = LineReader::new(reader, Scratch::default(), LONGEST);
            let id = match timeout(REQUEST, lines.next()).await {
                Ok(Ok(Some(Line::Whole(line)))) => asked(&line),
                _ => None,
            };
            let mut line = error.reply(id.as_ref());
            line.push(b'\n');
            // It fits into the socket's buffer, or nobody reads.
            let _ = timeout(REQUEST, writer.write_all(&line)).await;
            drop(turn);
        });
    }
}

/// The id of a request.
fn asked(line: &[u8]) -> Option<RawId> {
    let skim = Skim::over(line);
    skim.id().filter(|_| !skim.is_answer()).cloned()
}
