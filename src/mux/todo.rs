//! Posted to by all of `mux`, and worked off by `mux::turn`: what a turn still owes before it ends. One part posts what
//! it wants of a call or a server that another part has in hand, instead of calling that part. So no part loses what it
//! still holds, and no two parts call each other in a ring.

use std::collections::{BTreeSet, VecDeque};

use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, InstanceRef, ServerId};

/// So much is never owed in one turn. Beyond it the turn leads in a circle, which is a bug of mcpool.
const MOST: usize = 1_000_000;

/// One thing that is owed.
pub enum Todo {
    /// To find an instance for a call that waited, or to let it wait again.
    Place(CallKey),
    /// To begin a request anew, now that more is known.
    Begin(CallKey),
    /// To tell whoever wanted a call that it cannot be served.
    Fail(CallKey, Error),
    /// To give free instances to the calls in the queue of a server.
    Serve(ServerId),
    /// To open, widen or close the stream to a server.
    Stream(ServerId),
    /// To start instances until there are as many as there always have to be.
    KeepMin(ServerId),
    /// To end a subscription that was to wait for its begin.
    Leave(CallKey),
    /// To stop a temporary instance if nobody needs it any more.
    Dismiss(InstanceRef),
    /// To look whether a call has run out of time, after all that may have moved it on.
    Overdue(CallKey),
    /// To tell those who were answered without a server that it is there.
    Arrived(ServerId, Profile),
    /// To close all connections and stop all instances, after the last answers.
    End,
}

/// All that is owed, in the order in which it was posted.
#[derive(Default)]
pub struct Todos {
    owed: VecDeque<Todo>,
    /// The servers whose queue, and those whose stream, is looked at anyway.
    served: BTreeSet<ServerId>,
    streamed: BTreeSet<ServerId>,
    /// Temporary instances that may not be needed any more, once all else is done.
    dismissed: Vec<InstanceRef>,
    /// How much of it was done in this turn.
    done: usize,
}

impl Todos {
    /// Posts that a call is to be placed.
    pub fn place(&mut self, call: CallKey) {
        self.owed.push_back(Todo::Place(call));
    }

    /// Posts that a request is to begin anew.
    pub fn begin(&mut self, call: CallKey) {
        self.owed.push_back(Todo::Begin(call));
    }

    /// Posts that a call fails.
    pub fn fail(&mut self, call: CallKey, error: Error) {
        self.owed.push_back(Todo::Fail(call, error));
    }

    /// Posts that the queue of a server is to be looked at. Once is enough, however often it is posted.
    pub fn serve(&mut self, server: ServerId) {
        if self.served.insert(server) {
            self.owed.push_back(Todo::Serve(server));
        }
    }

    /// Posts that the stream to a server is to be looked at. Once is enough, however often it is posted.
    pub fn stream(&mut self, server: ServerId) {
        if self.streamed.insert(server) {
            self.owed.push_back(Todo::Stream(server));
        }
    }

    /// Posts that a subscription that has begun now is to end.
    pub fn leave(&mut self, call: CallKey) {
        self.owed.push_back(Todo::Leave(call));
    }

    /// Posts that a server may have too few instances, once calls that wait have theirs.
    pub fn keep_min(&mut self, server: ServerId) {
        self.owed.push_back(Todo::KeepMin(server));
    }

    /// Posts that a temporary instance may not be needed any more. That is decided after everything else that may need
    /// it.
    pub fn dismiss(&mut self, at: InstanceRef) {
        self.dismissed.push(at);
    }

    /// Posts that a call may have run out of time.
    pub fn overdue(&mut self, call: CallKey) {
        self.owed.push_back(Todo::Overdue(call));
    }

    /// Posts that a server is there for clients of a profile, or will not be for now.
    pub fn arrived(&mut self, server: ServerId, profile: Profile) {
        self.owed.push_back(Todo::Arrived(server, profile));
    }

    /// Posts that everything ends.
    pub fn end(&mut self) {
        self.owed.push_back(Todo::End);
    }

    /// Returns the next thing that is owed; none when the turn is over.
    pub fn take(&mut self) -> Option<Todo> {
        let next = self.owed.pop_front().or_else(|| self.dismissed.pop().map(Todo::Dismiss));
        match next {
            Some(Todo::Serve(server)) => drop(self.served.remove(&server)),
            Some(Todo::Stream(server)) => drop(self.streamed.remove(&server)),
            _ => {}
        }
        self.done = if next.is_some() { self.done + 1 } else { 0 };
        if self.done > MOST {
            tracing::error!(owed = self.owed.len(), "a turn leads in a circle; this is a bug of mcpool");
            *self = Todos::default();
            return None;
        }
        next
    }
}
