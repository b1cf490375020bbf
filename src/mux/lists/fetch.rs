//! How a list gets into the catalogue: all its pages, on behalf of one of those who wait for it.

use std::cell::{Cell, OnceCell};

use crate::caller::names;
use crate::catalogue::VariantKey;
use crate::catalogue::list::{List, ListKind, Page, read_page};
use crate::clock;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallerKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::call::{Call, Place};
use crate::mux::errand::{Errand, Outcome};
use crate::pool::ties::Users;
use crate::wire::message::{Kind, Message};
use crate::wire::scan::Field;

/// How many bytes of items are read of one list.
const LARGEST: usize = 32 << 20;
/// How many pages of a server are read at most.
const PAGES: usize = 1000;

/// A fetch that is under way.
pub struct Request {
    pub server: ServerId,
    pub caller: CallerKey,
    pub variant: VariantKey,
    pub kind: ListKind,
    pub pages: Vec<Page>,
    pub generation: u64,
}

impl Mux {
    /// Fetches a list unless that is under way.
    pub(in crate::mux) fn fetch_list(
        &mut self,
        server: ServerId,
        caller: CallerKey,
        profile: Profile,
        variant: VariantKey,
        kind: ListKind,
    ) {
        let known = self.server_mut(server).catalogue.variant_mut(&variant);
        if !known.begin_fetch(kind) {
            return;
        }
        let generation = known.generation;
        self.fetch_page(Request { server, caller, variant, kind, pages: Vec::new(), generation }, profile);
    }

    pub(super) fn fetch_page(&mut self, request: Request, profile: Profile) {
        let Request { server, caller, variant, kind, pages, generation } = request;
        let cursor = pages.last().and_then(|page| page.cursor.as_deref()).map(|cursor| format!(r#""cursor":{cursor}"#));
        let meta = (profile == Profile::Modern).then(|| format!(r#""_meta":{}"#, modern::meta(&variant.capabilities)));
        let params = format!("{{{}}}", [cursor, meta].into_iter().flatten().collect::<Vec<_>>().join(","));
        let errand = Errand::List { variant, kind, pages, generation };
        self.send_errand(server, caller, profile, None, (kind.method(), &params), errand);
    }

    /// A page arrived, or will not.
    pub(crate) fn list_page(&mut self, mut request: Request, profile: Profile, outcome: Outcome<'_>) {
        let answer = match outcome {
            Outcome::Answer(answer) if answer.kind() == Kind::Result => answer,
            Outcome::Answer(answer) => return self.list_failed(&request, Err(answer)),
            Outcome::Failed(error) => return self.list_failed(&request, Ok(error)),
        };
        let page = read_page(request.kind, answer.raw(Field::Result).unwrap_or("{}"));
        // A server that comes back to a cursor would be asked for ever.
        let known = request.pages.iter().any(|before| before.cursor == page.cursor);
        let bytes: usize =
            request.pages.iter().chain([&page]).flat_map(|page| &page.items).map(|item| item.get().len()).sum();
        let within = request.pages.len() < PAGES && bytes < LARGEST;
        if page.cursor.is_some() && !within {
            tracing::warn!(
                server = self.server(request.server).config.name,
                list = request.kind.member(),
                "is cut off: it is too long"
            );
        }
        let again = request.pages.iter().any(|before| page.repeats(before));
        let more = page.cursor.is_some() && !known && !again && within;
        if !again {
            request.pages.push(page);
        }
        if more { self.fetch_page(request, profile) } else { self.list_fetched(request, &profile) }
    }

    pub(super) fn list_fetched(&mut self, request: Request, profile: &Profile) {
        let Request { server, caller, variant: key, kind, pages, generation } = request;
        let uid = self.uid_of(caller);
        let catalogue = &mut self.server_mut(server).catalogue;
        let variant = catalogue.variant_mut(&key);
        let list = List {
            rest: pages.first().map(|page| page.rest.clone()).unwrap_or_default(),
            ttl: pages.iter().filter_map(|page| page.ttl).min(),
            private: pages.iter().any(|page| page.private),
            items: pages.into_iter().flat_map(|page| page.items).collect(),
            uid,
            fetched: Some(clock::now()),
            stale: variant.generation != generation,
            task_only: OnceCell::new(),
            known_names: OnceCell::new(),
            odd: OnceCell::new(),
            told: Cell::new(false),
        };
        variant.fetching.retain(|other| *other != kind);
        let double = list.double(kind);
        let differ = variant.put(kind, list);
        catalogue.save();
        if let Some(double) = double
            && !std::mem::replace(&mut catalogue.known.told_double, true)
        {
            let server = &self.server(server).config.name;
            // As it is exposed, so that it is a plain word whatever the server calls it.
            let name = names::exposed(server, &double);
            tracing::warn!(
                server,
                list = kind.member(),
                name,
                "lists a name twice; where several servers are under one roof the first one counts"
            );
        }
        if kind == ListKind::Tools {
            self.look_at_tools(server, &key);
        }
        self.list_settled(server, &key, kind, None);
        if differ {
            self.announce_change(server, profile, kind);
        } else {
            self.announce_arrival(server, profile);
        }
    }

    pub(super) fn list_failed(&mut self, request: &Request, failure: Result<Error, &Message>) {
        let variant = self.server_mut(request.server).catalogue.variant_mut(&request.variant);
        variant.fetching.retain(|other| *other != request.kind);
        if let Some((caller, profile)) = self.other_waiting(request).filter(|_| is_its_fault(&failure)) {
            return self.fetch_list(request.server, caller, profile, request.variant.clone(), request.kind);
        }
        self.list_settled(request.server, &request.variant, request.kind, Some(failure));
    }

    /// A caller besides the one on whose behalf a list was fetched that waits for it too.
    pub(super) fn other_waiting(&self, request: &Request) -> Option<(CallerKey, Profile)> {
        let here = |call: &Call| matches!(&call.place, Place::Lists(kind, missing) if *kind == request.kind && missing.contains(&request.server));
        let others = self.calls.values().filter(|call| here(call) && call.caller != request.caller);
        let mut offers = others.map(|call| (call.caller, self.offer_to(request.server, call)));
        offers.find(|(_, offer)| offer.variant == request.variant).map(|(caller, offer)| (caller, offer.profile))
    }

    /// Fetches anew what is remembered of a server that was just started: it may be another version by now.
    pub(crate) fn recheck_lists(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance(at) else { return };
        // What was fetched before it was started came from another process.
        let born = instance.born;
        self.fetch_again(at, |_, list| list.fetched.is_none_or(|fetched| fetched < born));
    }

    /// Fetches the tools anew that are announced to have changed, before anybody asks for them.
    pub(crate) fn recheck_tools(&mut self, at: InstanceRef) {
        self.fetch_again(at, |kind, list| kind == ListKind::Tools && list.stale);
    }

    /// Fetches lists that are known of an instance's kind of clients.
    fn fetch_again(&mut self, at: InstanceRef, wanted: impl Fn(ListKind, &List) -> bool) {
        let Some(instance) = self.instance(at) else { return };
        let profile = instance.profile.clone();
        let caller = match instance.users {
            Users::Only(caller) => caller,
            Users::Many | Users::Nobody => CallerKey::default(),
        };
        let known = self.server(at.server).catalogue.variants().filter(|variant| {
            variant.key.era == profile.era()
                && (profile == Profile::Modern || variant.key == VariantKey::of_introduction(&profile))
        });
        let wanted: Vec<(VariantKey, ListKind)> = known
            .flat_map(|variant| {
                variant
                    .lists
                    .iter()
                    .filter(|(kind, list)| wanted(*kind, list))
                    .map(|(kind, _)| (variant.key.clone(), *kind))
            })
            .collect();
        for (variant, kind) in wanted {
            self.fetch_list(at.server, caller, profile.clone(), variant, kind);
        }
    }
}

/// Whether a fetch failed because of the caller on whose behalf it was made.
fn is_its_fault(failure: &Result<Error, &Message>) -> bool {
    matches!(failure, Ok(Error::AskTimeout { .. }))
}
