//! Called by `mux::request` before a call is sent: whether the tool or prompt that it names is one that its server
//! lists. On an endpoint that allows only what it names, it must be, by the name under which it is listed: nobody
//! decided about anything else. Where tools are pinned and changes refused, a call waits until the list was seen that
//! shows whether its tool has changed.

use super::Mux;
use super::call::Place;
use super::offer::declared;
use super::request::Accepted;
use super::route::Route;
use crate::caller::names;
use crate::catalogue::list::{List, ListKind};
use crate::clock;
use crate::config::Pin;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallKey, ServerId};
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// Whether what a request names is listed.
pub(super) enum Listed {
    Yes,
    /// It is not.
    No(Error),
    /// The list that tells is not there yet, or old.
    Unknown(ListKind),
}

impl Mux {
    /// Returns whether the tool or prompt that a request names is listed by its server, and as it was approved, where
    /// either matters.
    pub(super) fn listed(&self, accepted: &Accepted, own: &Profile, route: &Route) -> Listed {
        let request = &accepted.request;
        let Some(caller) = self.callers.get(accepted.caller) else { return Listed::Yes };
        let server = self.server(route.server);
        let (named, pinned) = (caller.access.named.is_some(), server.config.pin == Pin::Refuse);
        if !named && !pinned {
            return Listed::Yes;
        }
        let kind = match request.method().as_ref() {
            "tools/call" => ListKind::Tools,
            "prompts/get" if named => ListKind::Prompts,
            _ => return Listed::Yes,
        };
        let name = request.text(Field::Name).unwrap_or_default();
        let offer = self.list_offer(route.server, own, declared(request), accepted.caller);
        if pinned && kind == ListKind::Tools {
            if !accepted.looked_up(offer.variant.scope) && self.is_to_be_looked_at(route.server, &offer) {
                return Listed::Unknown(kind);
            }
            if !server.pins.has_begun() {
                // There was none to be had: nobody knows what the tool was.
                let (server, tool) = (server.config.name.clone(), name.into_owned());
                return Listed::No(Error::ChangedTool { server, tool });
            }
        }
        if !named {
            return Listed::Yes;
        }
        let list = server.catalogue.variant(&offer.variant).and_then(|variant| variant.list(kind));
        let listed = |list: &List| match names::split(&name).filter(|_| caller.endpoint.prefix) {
            None => list.contents().index().has(&name),
            // It may have had to be shortened.
            Some((_, shown)) => list.contents().real(&server.config.name, shown).is_some(),
        };
        if list.is_some_and(listed) {
            return Listed::Yes;
        }
        if !accepted.looked_up(offer.variant.scope) && !self.believes(route.server, &offer, kind, caller.identity.uid) {
            return Listed::Unknown(kind);
        }
        Listed::No(Error::Forbidden { what: format!("`{name}`, which server `{}` does not list", server.config.name) })
    }

    /// Lets a request wait for the list that decides about it.
    pub(super) fn await_list(&mut self, mut accepted: Accepted, own: Profile, server: ServerId, kind: ListKind) {
        let caller = accepted.caller;
        let offer = self.list_offer(server, &own, declared(&accepted.request), caller);
        accepted.look_up(offer.variant.scope);
        let config = self.server(server).config.clone();
        let key = self.submit(accepted.call(server, own));
        let wait = config.timeout.start + config.queue.timeout + config.timeout.call;
        self.wait_at(key, Place::Lists(kind, vec![server]), clock::now() + wait);
        self.fetch_list(server, caller, offer.profile, offer.variant, kind);
    }

    /// Goes on with a call that waited for lists, with those that came.
    pub(super) fn lists_there(&mut self, key: CallKey, kind: ListKind) {
        if self.waits_for_its_answer(key) { self.answer_list(key, kind) } else { self.todo.begin(key) }
    }

    /// Ends a call that waited for a list which cannot be had, unless the list itself was to be its answer.
    pub(super) fn refuse_unlisted(&mut self, key: CallKey, failure: &Result<Error, &Message>) -> bool {
        if self.waits_for_its_answer(key) {
            return false;
        }
        match failure {
            Ok(error) => self.todo.fail(key, error.clone()),
            // It has none, so that it lists nothing.
            Err(_) => self.todo.begin(key),
        }
        true
    }

    /// Returns whether a call that waits for lists has a list for its answer.
    pub(super) fn waits_for_its_answer(&self, key: CallKey) -> bool {
        self.calls.get(key).is_none_or(|call| ListKind::of_method(&call.request.method()).is_some())
    }
}
