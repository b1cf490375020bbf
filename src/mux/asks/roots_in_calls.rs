//! Called by `mux::flight` for modern callers, who tell their roots only in the middle of a call. A server that decides
//! by roots needs them before the call goes anywhere. So the caller is asked in the answer to one call, its other calls
//! wait for that, and mcpool believes the answer for `limits.roots_for`.

use tokio::time::Instant;

use crate::caller::roots::Roots;
use crate::clock;
use crate::era::bridge::request;
use crate::era::profile::canonical;
use crate::error::Error;
use crate::key::{CallKey, CallerKey};
use crate::mux::Mux;
use crate::mux::call::Place;

impl Mux {
    /// Asks a modern caller for the roots that a call of it needs, unless another call of it asks for them already.
    /// Returns until when to wait for that.
    pub(in crate::mux) fn want_roots(&mut self, key: CallKey) -> Option<Instant> {
        let call = self.calls.get(key)?;
        let caller = self.callers.get(call.caller).filter(|caller| caller.session.is_none());
        if let Some(fault) = request::malformed(&call.request) {
            self.todo.fail(key, Error::InvalidParams(fault.into()));
            return None;
        }
        let awaited = caller.and_then(|caller| caller.told_roots.awaited(clock::now()));
        if awaited.is_none() {
            self.ask_for_roots(key);
        }
        awaited
    }

    /// Asks a modern caller for its roots in the answer to this call.
    pub(in crate::mux) fn ask_for_roots(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(caller) = self.callers.get_mut(call.caller) {
            caller.told_roots.asks_in(key, clock::now());
        }
        if let Some(modern) = call.modern() {
            modern.ask_for_roots();
        }
        self.hold(key);
    }

    /// Notes that a modern caller told its roots in the middle of a call. Its calls that wait for them go on.
    pub(in crate::mux) fn told_in_a_call(&mut self, key: CallerKey, told: &str) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        caller.told_roots.told(clock::now());
        if caller.session.is_none() {
            caller.roots = Roots::Known(format!(r#""result":{}"#, canonical(told)).into());
        }
        self.roots_settled(key);
    }

    /// Notes that a call is over. If its caller was to tell its roots in it, another call of that caller asks for them.
    pub(in crate::mux) fn untold_in(&mut self, call: CallKey, key: CallerKey) {
        let Some(caller) = self.callers.get_mut(key).filter(|caller| caller.told_roots.is_asked_in(call)) else {
            return;
        };
        caller.told_roots.asks_no_more();
        let waits = |call: &&CallKey| self.calls.get(**call).is_some_and(|call| call.place == Place::Roots);
        // One is enough: the others hear what it is told.
        let next = caller.in_flight.values().filter(waits).copied().min();
        next.into_iter().for_each(|call| self.wait_at(call, Place::Roots, clock::now()));
    }
}
