//! Called by `mux::request` for a call between a caller of one era and a server of the other. The call is translated
//! once on its way in and its answer once on its way out (`era::bridge` has the words); inside it is a call like any
//! other.
//!
//! The eras also ask differently: a legacy server sends its caller a request, a modern one ends the call with its
//! questions. `questions`, `held` and `comeback` turn the first into the second, `rounds` the second into the first.

mod across;
mod comeback;
mod held;
mod questions;
mod rounds;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Mux;
use super::call::{Call, Then};
use super::offer::Offer;
use super::request::{Accepted, Verb};
use super::route::Route;
use crate::caller::names;
use crate::caller::roots::fixed;
use crate::catalogue::list::ListKind;
use crate::era::bridge::request;
use crate::era::level::Level;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::CallKey;
use crate::wire::message::Message;
use crate::wire::scan::Field;
pub use held::Held;
pub use questions::ModernCaller;
pub use rounds::LegacyCaller;

/// What is kept of a call between the eras.
pub enum Bridge {
    /// For a modern caller of a legacy server.
    Modern(Box<ModernCaller>),
    /// For a legacy caller of a modern server.
    Legacy(Box<LegacyCaller>),
}

impl Mux {
    /// Sends a request to a server that speaks the other era than its caller.
    pub(super) fn forward_across(
        &mut self,
        accepted: Accepted,
        own: &Profile,
        route: &Route,
        offer: Offer,
        verb: Verb,
    ) {
        if let Some(tool) = self.task_only(&accepted, own, route, &offer) {
            let what = format!(
                "tool `{tool}` runs as a task only, and tasks do not cross the protocol's eras; call it with a client of revision 2025-11-25"
            );
            return accepted.refuse(&Error::MethodNotFound(what));
        }
        match self.translated(&accepted, own, route, verb) {
            Err(error) => accepted.refuse(&error),
            Ok((request, bridge, level)) => {
                let then = if verb == Verb::Create { Then::MayCreate } else { Then::Nothing };
                let call = accepted.call(route.server, offer.profile);
                let bridge = Some(bridge);
                let key = self.submit(Call { splice: request.splice(), request, then, bridge, level, ..call });
                self.place(key);
            }
        }
    }

    /// Returns the tool that a modern caller calls, if its legacy server carries it out only as a task.
    fn task_only(&self, accepted: &Accepted, own: &Profile, route: &Route, offer: &Offer) -> Option<String> {
        if *own != Profile::Modern || accepted.request.method() != "tools/call" {
            return None;
        }
        let server = self.server(route.server);
        let variant = offer.variant.within(self.scope_of(route.server, &offer.profile, accepted.caller));
        let list = server.catalogue.variant(&variant)?.list(ListKind::Tools)?;
        let (endpoint, named) = (&self.callers.get(accepted.caller)?.endpoint, accepted.request.text(Field::Name)?);
        let real = match names::split(&named).filter(|_| endpoint.prefix) {
            Some((_, shown)) => list.contents().real(&server.config.name, shown)?,
            None => named.clone(),
        };
        list.contents().index().is_task_only(&real).then(|| named.into_owned())
    }

    /// Returns the request in the server's era, and what must be kept for the way back.
    fn translated(
        &self,
        accepted: &Accepted,
        own: &Profile,
        route: &Route,
        verb: Verb,
    ) -> Result<(Message, Bridge, Option<Level>), Error> {
        let original = &accepted.request;
        let (task, carried) = (original.span(Field::Task).found(), matches!(verb, Verb::Create | Verb::Pass));
        if task || !carried {
            let method = original.method();
            return Err(Error::MethodNotFound(match own {
                _ if task => "tasks do not cross the protocol's eras; send the request without `task`".into(),
                Profile::Modern => format!("revision {} has no `{method}`", modern::REVISION),
                Profile::Legacy(_) => format!("server `{}` has no `{method}`", self.server(route.server).config.name),
            }));
        }
        let named = self.read_own(route.splice.to_bytes())?;
        let session = self.callers.get(accepted.caller).and_then(|caller| caller.session.as_ref());
        let (line, bridge, level) = match (own, session) {
            (Profile::Legacy(client), Some(session)) => {
                let legacy = LegacyCaller::new(client);
                let line = request::to_modern(&named, &session.info, &legacy.capabilities, session.level);
                (line, Bridge::Legacy(Box::new(legacy)), session.level)
            }
            _ => {
                let level = original.text(Field::MetaLogLevel).and_then(|level| Level::named(&level));
                let mut caller = ModernCaller::new(original);
                caller.roots = self.callers.get(accepted.caller).and_then(|caller| fixed(&caller.access));
                (request::to_legacy(&named), Bridge::Modern(Box::new(caller)), level)
            }
        };
        Ok((self.read_own(line.into())?, bridge, level))
    }

    /// Reads a line that mcpool made of a caller's.
    pub(super) fn read_own(&self, line: Bytes) -> Result<Message, Error> {
        Message::read(line, self.config.limits.nesting).map_err(|malformed| Error::InvalidParams(malformed.why))
    }

    /// Drops the questions that were asked for a call, because they are not wanted any more.
    pub(super) fn drop_questions(&mut self, key: CallKey) {
        match self.calls.get_mut(key).and_then(|call| call.bridge.as_mut()) {
            Some(Bridge::Modern(_)) => self.hand_back_questions(key, "the call was given up"),
            Some(Bridge::Legacy(_)) => self.recall_inputs(key),
            None => {}
        }
    }
}

/// Returns a digest that tells one request from others, whatever the order of its parameters.
pub(super) fn fingerprint(request: &Message) -> [u8; 32] {
    let salient = request::salient(request.raw(Field::Params).unwrap_or("{}"));
    Sha256::new().chain_update(request.method().as_bytes()).chain_update([0]).chain_update(salient).finalize().into()
}
