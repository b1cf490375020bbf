//! Called by `mux` for work that one event brings about and that may be much: notices to thousands of callers,
//! subscriptions of an instance that ended. It is done in slices, in order. The first slice belongs to the turn that
//! made the work. A task of its own does the rest, and lets other turns run in between.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::{Handle, Mux};
use crate::catalogue::Scope;
use crate::clock::Turn;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceRef, ServerId};
use crate::pool::ties::Subscriber;
use crate::tasks;
use crate::wire::message::Message;

/// How much is done in one turn: a notice to one caller, or the like of it, is one.
const SLICE: usize = 256;

/// So many are told of an update at once.
pub(super) const FEW: usize = 64;

/// A kind of work.
pub enum Work {
    /// What is to be done next for a resource at an instance.
    Resource(InstanceRef, Rc<str>),
    /// What mcpool is to subscribe to at a server.
    Strays(ServerId),
    /// The subscribers of instances that are gone are led away.
    Lost(ServerId),
    /// A request is begun anew.
    Again(CallKey),
    /// Subscribers hear of a resource.
    Updated(ServerId, Rc<Message>, VecDeque<Subscriber>),
    /// Callers and streams hear of a list, as far as it is theirs.
    News(News, VecDeque<Subscriber>),
    /// Callers hear a line.
    Notice(Notice, VecDeque<CallerKey>),
    /// Streams of callers end.
    EndStreams(VecDeque<CallKey>),
    /// Calls are given up.
    GiveUp(Error, VecDeque<CallKey>),
    /// Nothing is left to be answered: connections and processes end.
    Close,
}

/// A line for callers, in which a server says of something that it is not what it was.
pub struct Notice {
    pub server: ServerId,
    pub what: String,
    pub line: Bytes,
}

/// That a list of a server is not what it was for those to whom it is offered as this profile says.
pub struct News {
    pub server: ServerId,
    pub profile: Profile,
    /// Whose list it is; everybody's who has that profile if none.
    pub scope: Option<Scope>,
    pub method: String,
}

/// What is still to be done.
#[derive(Default)]
pub struct Backlog {
    work: VecDeque<Work>,
    more: Rc<Notify>,
    /// Whether the task goes on with it.
    left: bool,
}

impl Backlog {
    /// Adds work that is done when this turn ends, or later if there is much.
    pub fn add(&mut self, work: Work) {
        let again = |last: &Work| matches!((last, &work), (Work::Strays(last), Work::Strays(new)) if last == new);
        if !self.work.back().is_some_and(again) {
            self.work.push_back(work);
        }
    }

    /// Returns whether there is work that no later turn has taken on.
    pub fn is_waiting(&self) -> bool {
        !self.work.is_empty() && !self.left
    }

    /// Leaves the rest of the work to later turns.
    pub fn leave_rest(&mut self) {
        if self.is_waiting() {
            self.left = true;
            self.more.notify_one();
        }
    }

    /// Returns whether there is no work.
    pub fn is_empty(&self) -> bool {
        self.work.is_empty()
    }
}

/// Does the rest of the work turn by turn, for as long as the multiplexer lives.
pub fn keep(handle: &Handle) {
    let (mux, more) = (Rc::downgrade(&handle.0), handle.0.borrow().backlog.more.clone());
    tasks::spawn("backlog", async move {
        loop {
            more.notified().await;
            loop {
                yield_now().await;
                let Some(mux) = mux.upgrade() else { return };
                let _turn = Turn::begin();
                if mux.borrow_mut().turn(Mux::work_off) {
                    break;
                }
            }
        }
    });
}

impl Mux {
    /// Does one slice, and returns whether nothing is left.
    pub(super) fn work_off(&mut self) -> bool {
        let mut room = SLICE;
        while room > 0 {
            let Some(work) = self.backlog.work.pop_front() else { break };
            room = room.saturating_sub(self.work_on(work, room));
        }
        let done = self.backlog.work.is_empty();
        self.backlog.left &= !done;
        done
    }

    /// Does as much of one kind of work as there is room for, and returns how much that was.
    fn work_on(&mut self, work: Work, room: usize) -> usize {
        match work {
            Work::Resource(at, uri) => return self.settle(at, &uri),
            Work::Strays(server) => {
                if !self.serve_strays(server) {
                    self.backlog.add(Work::Strays(server));
                }
                return SLICE / 4;
            }
            Work::Lost(server) => {
                if !self.lead_lost_away(server) {
                    self.backlog.add(Work::Lost(server));
                }
                return SLICE / 2;
            }
            Work::Again(call) => self.todo.begin(call),
            Work::Updated(server, message, mut told) => {
                let slice: Vec<Subscriber> = told.drain(..told.len().min(room)).collect();
                slice.iter().for_each(|who| self.tell_of_update(server, *who, &message));
                if !told.is_empty() {
                    self.backlog.work.push_front(Work::Updated(server, message, told));
                }
                return slice.len();
            }
            Work::News(news, mut told) => {
                let slice: Vec<Subscriber> = told.drain(..told.len().min(room)).collect();
                self.tell_news(&news, &slice);
                if !told.is_empty() {
                    self.backlog.work.push_front(Work::News(news, told));
                }
                return slice.len();
            }
            Work::Notice(notice, mut told) => {
                let slice: Vec<CallerKey> = told.drain(..told.len().min(room)).collect();
                slice.iter().for_each(|caller| self.tell_notice(*caller, &notice));
                if !told.is_empty() {
                    self.backlog.work.push_front(Work::Notice(notice, told));
                }
                return slice.len();
            }
            Work::EndStreams(mut streams) => {
                let slice: Vec<CallKey> = streams.drain(..streams.len().min(room)).collect();
                slice.iter().for_each(|stream| self.end_listener(*stream));
                if !streams.is_empty() {
                    self.backlog.work.push_front(Work::EndStreams(streams));
                }
                return slice.len();
            }
            Work::Close => self.todo.end(),
            Work::GiveUp(error, mut calls) => {
                let slice: Vec<CallKey> = calls.drain(..calls.len().min(room)).collect();
                slice.iter().for_each(|call| self.give_up(*call, error.clone()));
                if !calls.is_empty() {
                    self.backlog.work.push_front(Work::GiveUp(error, calls));
                }
                return slice.len();
            }
        }
        1
    }
}
