//! Called by the parts of `mux` that ask a server something on mcpool's own account: introductions, lists, probes, log
//! levels, streams, subscriptions. These requests take the same way as calls do: queue, lease, instance, answer or
//! deadline.

use std::rc::Rc;

use super::Mux;
use super::call::{Call, ENDLESS, Pin, Place, Source, Then};
use super::gate::Trials;
use super::probe::Question;
use crate::catalogue::VariantKey;
use crate::catalogue::list::{ListKind, Pages};
use crate::clock;
use crate::era::level::Level;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::pool::ties::Subscriber;
use crate::wire::message::{Kind, Message};

/// What mcpool wants of a server.
pub enum Errand {
    /// An instance: it introduces itself when it starts.
    Introduce(VariantKey),
    /// A page of a list, for the catalogue.
    List { variant: VariantKey, kind: ListKind, pages: Box<Pages>, generation: u64, again: bool },
    /// The merged `subscriptions/listen`.
    Listen,
    /// To subscribe those whose instance is gone, or streams for the first time.
    Resubscribe { uri: Rc<str>, all: Vec<Subscriber>, first: bool },
    /// To set an instance to a log level.
    Level(InstanceKey, Level),
    /// To end the subscription of an instance to a resource that nobody wants to hear of any more.
    Unsubscribe(Rc<str>),
    /// A page of the tasks of an instance, for the request of a caller that has some at several.
    Tasks { asked_by: CallKey, at: InstanceRef, pages: usize },
    /// Whether an instance that says nothing still answers.
    Probe(InstanceKey, Question),
}

/// To whom a request of mcpool's own goes, and what it says.
pub struct Order<'a> {
    server: ServerId,
    /// On whose behalf.
    caller: CallerKey,
    profile: Profile,
    /// The instance that alone can serve it.
    at: Option<InstanceKey>,
    method: &'a str,
    params: &'a str,
}

impl<'a> Order<'a> {
    /// A request to whatever instance serves it.
    pub fn new(
        server: ServerId,
        caller: CallerKey,
        profile: Profile,
        (method, params): (&'a str, &'a str),
    ) -> Order<'a> {
        Order { server, caller, profile, at: None, method, params }
    }

    /// A request to one instance, of this profile.
    pub fn to(at: InstanceRef, caller: CallerKey, profile: Profile, request: (&'a str, &'a str)) -> Order<'a> {
        Order { at: Some(at.key), ..Order::new(at.server, caller, profile, request) }
    }
}

/// How a request of mcpool's own ended.
pub enum Outcome<'a> {
    Answer(&'a Message),
    Failed(Error),
}

impl Mux {
    /// Sends an errand on its way, on behalf of a caller.
    pub(crate) fn send_errand(&mut self, order: Order<'_>, errand: Errand) -> Option<CallKey> {
        let key = self.errand(order, errand)?;
        self.todo.place(key);
        Some(key)
    }

    /// Makes an errand, placed nowhere yet.
    pub(super) fn errand(&mut self, order: Order<'_>, errand: Errand) -> Option<CallKey> {
        let Order { server, caller, profile, at, method, params } = order;
        let line = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        let request = match Message::read(line.into(), self.config.limits.nesting) {
            Ok(request) => request,
            Err(malformed) => {
                tracing::error!(why = malformed.why, "mcpool made a bad request; this is a bug of mcpool");
                return None;
            }
        };
        let timeout = &self.server(server).config.timeout;
        let (now, wait) = (clock::now(), timeout.start + timeout.call);
        let deadline = now + if matches!(errand, Errand::Listen) { ENDLESS } else { wait };
        let introduces = if let Errand::Introduce(of) = &errand { Some(of.clone()) } else { None };
        let key = self.calls.insert(Box::new(Call {
            from: Source::Mcpool(errand),
            caller,
            server,
            splice: request.splice(),
            request,
            profile,
            pin: at.map(|to| Pin { to, or_any: false }),
            then: Then::Nothing,
            bridge: None,
            level: None,
            place: Place::Nowhere,
            since: now,
            deadline,
            limit: deadline,
            queue_until: None,
            trials: Trials::default(),
            repeats: 0,
            rooted: None,
        }));
        if let Some(caller) = self.callers.get_mut(caller) {
            caller.errand_begins(key);
        }
        if let Some(of) = introduces {
            self.server_mut(server).awaited_mut().errand_begins(key, of);
        }
        Some(key)
    }

    /// Handles the end of an errand.
    pub(crate) fn errand_done(&mut self, key: CallKey, call: Box<Call>, outcome: Outcome<'_>) {
        let from = if let Place::On(instance, _) = call.place { Some(instance) } else { None };
        let Source::Mcpool(errand) = call.from else { return };
        match errand {
            Errand::Introduce(variant) => {
                if let Outcome::Failed(error) = outcome {
                    self.not_introduced(call.server, &variant, &error);
                }
            }
            Errand::List { variant, kind, pages, generation, again } => {
                let request = super::lists::Request {
                    server: call.server,
                    caller: call.caller,
                    variant,
                    kind,
                    pages,
                    generation,
                    again,
                };
                self.list_page(request, call.profile, from, outcome);
            }
            errand @ Errand::Resubscribe { .. } => {
                let taken = matches!(&outcome, Outcome::Answer(answer) if answer.kind() == Kind::Result);
                self.resubscribed(call.server, errand, taken, Vec::new());
            }
            Errand::Listen => self.listen_ended(call.server, key, outcome),
            Errand::Probe(instance, question) => {
                self.probed(InstanceRef { server: call.server, key: instance }, question, &outcome);
            }
            Errand::Level(instance, level) => {
                self.note_refusal(call.server, &outcome);
                self.level_taken(InstanceRef { server: call.server, key: instance }, level);
            }
            Errand::Tasks { asked_by, at, pages } => self.tasks_told(asked_by, at, pages, outcome),
            Errand::Unsubscribe(_) => self.note_refusal(call.server, &outcome),
        }
    }

    fn note_refusal(&self, server: ServerId, outcome: &Outcome<'_>) {
        if let Outcome::Answer(answer) = outcome
            && answer.kind() == Kind::Error
        {
            let error = answer.raw(crate::wire::scan::Field::Error);
            tracing::debug!(server = self.server(server).config.name, error, "refused by the server");
        }
    }
}
