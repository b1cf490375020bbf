//! Requests with a state that is no good: changed, used, another client's, for another request. None may reach a
//! server, and none may harm the call that the state is of.

use std::rc::Rc;

use super::retry::{params_of, with_state};
use super::{Caller, Hope, Request, What};
use crate::simulation::truth::{State, Truth};

impl Caller {
    /// Tries a state that somebody was given some time: as it is, if it is used or another client's.
    pub(super) fn in_vain(self: &Rc<Caller>) -> Option<String> {
        let state = {
            let states = self.world.states.borrow();
            let last = states.len().checked_sub(1)?;
            states[last - self.roll(states.len().min(4) as u32) as usize].clone()
        };
        if (state.caller == self.no && !state.used) || self.roll(3) == 0 {
            return self.spoil(&state);
        }
        self.vain(&state, state.raw.clone(), "", "{}")
    }

    /// Tries a state that may be good, but changed, or with another request.
    pub(super) fn spoil(self: &Rc<Caller>, state: &State) -> Option<String> {
        let raw = &state.raw;
        match self.roll(4) {
            0 => self.vain(state, raw.clone(), r#""more":1,"#, "{}"),
            1 => self.vain(state, "\"mcpool.held.AAAA\"".to_owned(), "", "{}"),
            2 => self.vain(state, format!("{}\"", &raw[..raw.len() - 1 - self.roll(20) as usize - 1]), "", "{}"),
            _ => {
                let place = "\"mcpool.held.".len() + self.roll((raw.len() - 16) as u32) as usize;
                let other = if raw.as_bytes()[place] == b'A' { "B" } else { "A" };
                let mut raw = raw.clone();
                raw.replace_range(place..=place, other);
                self.vain(state, raw, "", "{}")
            }
        }
    }

    /// The request that a state is of, with another cause, `more` parameters and a state that is no good.
    pub(super) fn vain(self: &Rc<Caller>, state: &State, raw: String, more: &str, responses: &str) -> Option<String> {
        let truth = self.world.truth(&state.cause, |truth| {
            let (server, method, capabilities) = (truth.server, truth.method.clone(), truth.capabilities.clone());
            Truth { caller: self.no, server, method, modern: true, capabilities, barred: true, ..Truth::default() }
        })?;
        // One that is said now to be legacy and now not may know what to do with it.
        let habits = &self.world.servers[truth.server];
        // And what was refused because it did not start can be tried again.
        let own = raw == state.raw && more.is_empty() && state.caller == self.no;
        // And a return that was one call too many leaves its state as good as it was.
        if own && self.world.config().limits.in_flight_total < 100 {
            return None;
        }
        if !self.servers.contains(&truth.server) || (habits.modern || own) && habits.is_fickle() {
            return None;
        }
        let (id, cause) = self.fresh();
        let request = self.world.truth(&state.cause, |truth| truth.request.clone())?;
        let mut request = request.replacen(&format!("\"{}\"", state.cause), &format!("\"{cause}\""), 1);
        if !more.is_empty() {
            request.insert_str(params_of(&request)? + 1, more);
        }
        let (line, token) = self.spoken(&with_state(&request, responses, &raw), &id, truth.server);
        self.world.count("request states that are no good");
        self.world.calls.borrow_mut().insert(cause.clone(), Truth { request, ..truth });
        self.expect(id, Request { token, hope: Hope::Vain, ..Request::new(What::Call(cause)) });
        Some(line)
    }
}
