//! Made by `mux::callers` for each connection, and looked at by all of `mux`: one connected client, and what is known
//! of it.

pub mod access;
pub mod affinity;
pub mod endpoint;
pub mod identity;
pub mod met;
pub mod names;
pub mod roots;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::audit::Who;
use crate::config::Access;
use crate::era::level::Level;
use crate::era::modern::stream_tag;
use crate::era::profile::Profile;
use crate::era::roots::RootList;
use crate::guard::inflight::InFlight;
use crate::guard::principal::Principal;
use crate::key::{CallKey, InstanceRef, ServerId};
use crate::wire::id::{AskId, RawId};
use crate::wire::message::{member, unquote};
use crate::wire::outbox::{Outbox, Speaker, Topic};
use crate::wire::splice::Splice;
use affinity::Uses;
use endpoint::Endpoint;
use identity::Identity;
use roots::{InCalls, Roots};

/// Why nobody asks a caller whose input has ended.
pub const SILENT: &str = "the client's input has ended, so that it can answer nothing";

/// Why nobody asks a caller that is behind with reading.
pub const UNREAD: &str = "the client does not read what it was told before";

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub uid: u32,
    pub pid: Option<i32>,
}

impl Default for Peer {
    /// Somebody of the daemon's own user.
    fn default() -> Peer {
        Peer { uid: own_user(), pid: None }
    }
}

/// The user whose daemon this is.
pub fn own_user() -> u32 {
    rustix::process::getuid().as_raw()
}

impl From<Peer> for Identity {
    fn from(peer: Peer) -> Identity {
        Identity { uid: peer.uid, pid: peer.pid, ..Identity::default() }
    }
}

/// One connected caller.
pub struct Caller {
    pub endpoint: Rc<Endpoint>,
    /// Who it is, as far as the kernel says: rules go by that.
    pub identity: Identity,
    /// The same for shares, turns and evidence.
    pub principal: Principal,
    /// What it may do, and the place of the rule that says so.
    pub access: Rc<Access>,
    pub rule: Option<usize>,
    pub outbox: Outbox,
    pub bound: InFlight,
    pub in_flight: HashMap<RawId, CallKey, RandomState>,
    /// What mcpool itself asks for on its behalf.
    errands: BTreeSet<CallKey>,
    /// What it said in `initialize`, if it did.
    pub session: Option<Session>,
    /// How it named itself first, and the revision that it spoke then.
    pub client: Option<(String, &'static str)>,
    pub asks: BTreeMap<AskId, Asked>,
    next_ask: u64,
    pub roots: Roots,
    /// How its roots come in the middle of its calls, if it is a modern one.
    pub told_roots: InCalls,
    pub uses: Uses,
    /// Servers that were too late for a list of this caller.
    missed: Vec<ServerId>,
    /// Its input has ended: it hears the answers to its calls still, and can be asked nothing.
    pub silent: bool,
    /// Its endpoint is gone: it may begin nothing, and is left then at the latest.
    pub leaves: Option<Instant>,
    /// Who it is, for the audit log, if there is one.
    pub who: Option<Rc<Who>>,
    /// The servers that it would have started by itself when it came.
    counted: usize,
}

/// The state of a legacy caller.
pub struct Session {
    pub profile: Profile,
    /// Its `clientInfo`, as JSON.
    pub info: Rc<str>,
    /// Whether `notifications/initialized` came.
    pub initialized: bool,
    pub level: Option<Level>,
}

/// An ask that a caller has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// On behalf of an instance, by the server's own id.
    For(InstanceRef, RawId),
    /// mcpool wants to know its roots.
    Roots,
    /// On behalf of a modern server: what it wants to know for this call, by its own key; whether that is an
    /// elicitation, which can be declined.
    Input { call: CallKey, key: String, elicitation: bool },
}

impl Caller {
    /// A caller that has said nothing yet. The ids of its asks go on from `next_ask`.
    pub fn new(
        endpoint: Rc<Endpoint>,
        (identity, principal): (Identity, Principal),
        (access, rule): (Rc<Access>, Option<usize>),
        (outbox, bound): (Outbox, InFlight),
        next_ask: u64,
    ) -> Caller {
        Caller {
            counted: endpoint.servers.len(),
            endpoint,
            identity,
            principal,
            roots: Roots::of(&access),
            told_roots: InCalls::default(),
            access,
            rule,
            outbox,
            bound,
            in_flight: HashMap::default(),
            errands: BTreeSet::new(),
            session: None,
            client: None,
            asks: BTreeMap::new(),
            next_ask,
            uses: Uses::default(),
            missed: Vec::new(),
            silent: false,
            leaves: None,
            who: None,
        }
    }

    /// How many servers it would have started by itself when it came.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// Servers that were too late for a list of this caller.
    pub fn missed(&self) -> &[ServerId] {
        &self.missed
    }

    /// A server is too late for a list of it.
    pub fn misses(&mut self, server: ServerId) {
        if !self.missed.contains(&server) {
            self.missed.push(server);
        }
    }

    /// A server is not late any more.
    pub fn misses_no_more(&mut self, server: ServerId) {
        self.missed.retain(|missed| *missed != server);
    }

    /// What mcpool itself asks for on its behalf.
    pub fn errands(&self) -> &BTreeSet<CallKey> {
        &self.errands
    }

    /// mcpool asks for something on its behalf.
    pub fn errand_begins(&mut self, errand: CallKey) {
        self.errands.insert(errand);
    }

    /// That is over.
    pub fn errand_ends(&mut self, errand: CallKey) {
        self.errands.remove(&errand);
    }

    /// An id for an ask, never used before on this connection.
    pub fn next_ask(&mut self) -> AskId {
        self.next_ask += 1;
        AskId(self.next_ask)
    }

    /// Notes how it names itself: in `initialize`, or in a modern request.
    pub fn introduces_itself(&mut self, info: Option<&str>, revision: &'static str) {
        let name = info.and_then(|info| member(info, "name")).and_then(unquote).unwrap_or_default();
        if let Some(who) = &self.who {
            who.client.replace(name.clone().into_owned());
        }
        self.client = Some((name.into_owned(), revision));
    }

    /// Its opening was refused, or is to begin anew.
    pub fn is_not_opened(&mut self) {
        self.session = None;
    }

    /// Whether it opened with `initialize` and may be told of changes.
    pub fn is_initialized(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.initialized)
    }

    /// What it wants to hear of what servers log, if it has said so, and of which kind it is.
    pub fn level(&self) -> Option<(&Profile, Level)> {
        let session = self.session.as_ref()?;
        Some((&session.profile, session.level?))
    }

    /// Says what a server announced, if it keeps up: that something is not what it was, or one message among many.
    pub fn hear(&self, by: &Speaker, topic: Topic<'_>, message: &Splice) {
        self.outbox.news(by, topic, message);
    }

    /// Says that something of a server is not what it was, on a stream or on none.
    pub fn hears_of_change(&self, by: &Speaker, method: &str, stream: Option<&str>) {
        let params = stream.map(|id| format!(r#","params":{{"_meta":{{{}}}}}"#, stream_tag(id)));
        let line = format!(r#"{{"jsonrpc":"2.0","method":"{method}"{}}}"#, params.unwrap_or_default());
        self.hear(by, Topic::State { what: method, stream: stream.unwrap_or_default() }, &Splice::new(line.into()));
    }

    /// Sends a notification of mcpool's own.
    pub fn notify(&self, method: &str, params: &str) {
        self.outbox.line(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).as_bytes());
    }

    /// The roots that it told in the middle of a call, if that is not longer ago than they are believed.
    pub fn fresh_roots(&self, now: Instant, believed: Duration) -> Option<RootList> {
        let fresh = self.session.is_none() && self.told_roots.is_fresh(now, believed);
        fresh.then(|| self.roots.known())?
    }

    /// Whether its roots are not known and never will be, since its input has ended.
    pub(crate) fn never_tells_roots(&self) -> bool {
        self.silent && self.session.is_some() && self.roots.known().is_none()
    }
}
