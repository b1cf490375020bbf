//! The four lists: answered from the catalogue, fetched with all their pages where that is old, one fetch at a
//! time however many callers ask.

mod fetch;
mod kind;

use std::collections::HashSet;
use std::fmt::Write;

use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Place, Source};
use super::catalogue::VariantKey;
use super::names;
use super::request::Accepted;
use crate::era::implementation;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::pool::instance::ServerId;
use crate::reply::CallKey;
use crate::wire::message::Message;
use crate::wire::scan::Field;
pub use fetch::Request;
pub use kind::{List, ListKind, Page};

/// How many bytes of items go to a caller as one page.
const PAGE: usize = 1 << 20;

impl Mux {
    /// A caller wants a list.
    pub(crate) fn list(&mut self, accepted: Accepted, profile: Profile, kind: ListKind) {
        let caller = accepted.caller;
        let Some((endpoint, uid)) = self.callers.get(caller).map(|caller| (caller.endpoint.clone(), caller.peer.uid))
        else {
            return;
        };
        let variant = VariantKey::new(&profile, accepted.request.raw(Field::MetaCapabilities).unwrap_or("{}"));
        let (now, max_age) = (Instant::now(), self.config.catalogue.max_age);
        let missing: Vec<ServerId> = endpoint
            .servers
            .iter()
            .copied()
            .filter(|id| {
                let server = self.server(*id);
                let warm =
                    server.pool.instances.values().any(|instance| instance.alive() && instance.profile == profile);
                let believed = server
                    .catalogue
                    .variant(&variant)
                    .is_some_and(|variant| variant.believes(kind, warm, uid, max_age, now));
                !(believed || endpoint.prefix && server.catalogue.lacks(profile.era(), server.config.era))
            })
            .collect();
        let Some(server) = missing.first().or(endpoint.servers.first()).copied() else {
            return accepted.result(&format!(r#"{{"{}":[]}}"#, kind.member()));
        };
        let config = self.server(server).config.clone();
        let key = self.submit(accepted.call(server, profile.clone()));
        if missing.is_empty() {
            return self.answer_list(key, kind);
        }
        let wait = if endpoint.prefix {
            endpoint.patience
        } else {
            config.timeout.start + config.queue.timeout + config.timeout.call
        };
        self.wait_at(key, Place::Lists(kind, missing.clone()), now + wait);
        for server in missing {
            self.fetch_list(server, caller, profile.clone(), variant.clone(), kind);
        }
    }

    /// Goes on with the callers that waited for a list of a server.
    fn list_settled(
        &mut self,
        server: ServerId,
        variant: &VariantKey,
        kind: ListKind,
        failure: Option<Result<Error, &Message>>,
    ) {
        let waits = |call: &Call| {
            let capabilities = call.request.raw(Field::MetaCapabilities).unwrap_or("{}");
            matches!(call.place, Place::Lists(of, _) if of == kind)
                && VariantKey::new(&call.profile, capabilities) == *variant
        };
        for (key, alone) in self.done_waiting(server, waits) {
            match failure.as_ref().filter(|_| alone) {
                None => self.answer_list(key, kind),
                Some(Ok(error)) => self.fail(key, error.clone()),
                Some(Err(answer)) => {
                    if let Some(Source::Caller(reply, _permit)) = self.take_out(key).map(|call| call.from) {
                        reply.answer(answer, answer.splice());
                    }
                }
            }
        }
    }

    /// Answers with what is known by now.
    pub(crate) fn answer_list(&mut self, key: CallKey, kind: ListKind) {
        let Some(call) = self.calls.get(key) else { return };
        let cursor = match call.request.raw(Field::Cursor) {
            None | Some("null") => 0,
            Some(_) => {
                match call.request.text(Field::Cursor).and_then(|cursor| cursor.strip_prefix("mcpool.")?.parse().ok()) {
                    Some(index) => index,
                    None => return self.fail(key, Error::InvalidParams("this cursor is none that mcpool gave".into())),
                }
            }
        };
        let result = self.render_list(call, kind, cursor);
        let Some(call) = self.take_out(key) else { return };
        if let Source::Caller(reply, _permit) = call.from {
            reply.result(&result);
        }
    }

    fn render_list(&self, call: &Call, kind: ListKind, from: usize) -> String {
        let Some(caller) = self.callers.get(call.caller) else { return "{}".into() };
        let endpoint = &caller.endpoint;
        let variant = VariantKey::new(&call.profile, call.request.raw(Field::MetaCapabilities).unwrap_or("{}"));
        let lists = endpoint.servers.iter().filter_map(|id| {
            let server = self.server(*id);
            Some((server, server.catalogue.variant(&variant)?.list(kind)?))
        });
        let mut items = String::new();
        let (mut index, mut next, mut shown) = (0, None, HashSet::new());
        let (mut ttl, mut rest) = (None, String::new());
        for (server, list) in lists {
            let remaining =
                list.ttl.map(|ttl| ttl.saturating_sub(list.fetched.map_or(ttl, |at| at.elapsed().as_millis() as u64)));
            ttl = ttl.map_or(remaining, |least: u64| remaining.map(|more| least.min(more)).or(Some(least)));
            rest.clone_from(&list.rest);
            for item in &list.items {
                let item = names::shown(endpoint, &server.config.name, kind, item.get(), &mut shown);
                let Some(item) = item else { continue };
                index += 1;
                if index <= from || next.is_some() {
                    continue;
                }
                if !items.is_empty() && items.len() + item.len() > PAGE {
                    next = Some(index - 1);
                    continue;
                }
                let _ = write!(items, "{}{item}", if items.is_empty() { "" } else { "," });
            }
        }
        if endpoint.prefix {
            rest = match call.profile {
                Profile::Modern => {
                    format!(
                        r#","resultType":"complete","cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#,
                        implementation()
                    )
                }
                Profile::Legacy(_) => String::new(),
            };
            ttl = ttl.or((call.profile == Profile::Modern).then_some(0));
        }
        let next = next.map(|next| format!(r#","nextCursor":"mcpool.{next}""#)).unwrap_or_default();
        let ttl = ttl.map(|ttl| format!(r#","ttlMs":{ttl}"#)).unwrap_or_default();
        format!(r#"{{"{}":[{items}]{next}{ttl}{rest}}}"#, kind.member())
    }
}
