//! Called by `mux::lists` and `mux::listed`: fetches a list into the catalogue with all its pages, on behalf of one of
//! the callers that wait for it.

use std::collections::BTreeSet;

use crate::caller::names;
use crate::catalogue::list::{List, ListKind, Most, Next, Pages};
use crate::catalogue::{Scope, Variant, VariantKey};
use crate::era::modern;
use crate::era::profile::Profile;
use crate::error::Error;
use crate::key::{CallerKey, InstanceKey, InstanceRef, ServerId};
use crate::mux::Mux;
use crate::mux::errand::{Errand, Order, Outcome};
use crate::pool::lease::Lease;
use crate::pool::ties::Users;
use crate::server::awaited::Word;
use crate::wire::message::{Kind, Message};
use crate::wire::scan::Field;

/// How many pages of a server are read at most.
const PAGES: usize = 1000;

/// A fetch that is under way.
pub struct Request {
    pub server: ServerId,
    pub caller: CallerKey,
    pub variant: VariantKey,
    pub kind: ListKind,
    pub pages: Box<Pages>,
    pub generation: u64,
    /// It is fetched once more, since it changed while it was fetched before.
    pub again: bool,
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
        self.begin_fetch((server, caller), profile, variant, kind, false);
    }

    fn begin_fetch(
        &mut self,
        (server, caller): (ServerId, CallerKey),
        profile: Profile,
        variant: VariantKey,
        kind: ListKind,
        again: bool,
    ) {
        let who = self.principal(caller);
        if let Some(generation) = self.server_mut(server).catalogue.variant_for(who, &variant).begin_fetch(kind) {
            let pages = Box::default();
            self.fetch_page(Request { server, caller, variant, kind, pages, generation, again }, profile);
        }
    }

    pub(super) fn fetch_page(&mut self, request: Request, profile: Profile) {
        let Request { server, caller, variant, kind, pages, generation, again } = request;
        let cursor = pages.cursor().map(|cursor| format!(r#""cursor":{cursor}"#));
        let meta = (profile == Profile::Modern).then(|| format!(r#""_meta":{}"#, modern::meta(&variant.capabilities)));
        let params = format!("{{{}}}", [cursor, meta].into_iter().flatten().collect::<Vec<_>>().join(","));
        let errand = Errand::List { variant, kind, pages, generation, again };
        self.send_errand(Order::new(server, caller, profile, (kind.method(), &params)), errand);
    }

    /// A page arrived, or will not.
    pub(crate) fn list_page(
        &mut self,
        mut request: Request,
        profile: Profile,
        from: Option<InstanceKey>,
        outcome: Outcome<'_>,
    ) {
        let answer = match outcome {
            Outcome::Answer(answer) if answer.kind() == Kind::Result => answer,
            Outcome::Answer(answer) => return self.list_failed(&request, Err(answer)),
            Outcome::Failed(error) => return self.list_failed(&request, Ok(error)),
        };
        let limits = &self.config.limits;
        let most = Most { items: limits.list_items, bytes: limits.list_bytes, pages: PAGES };
        match request.pages.read(request.kind, answer.raw(Field::Result).unwrap_or("{}"), most) {
            Next::More => return self.fetch_page(request, profile),
            Next::End => {}
            Next::Cut => self.list_cut(&request),
        }
        self.list_fetched(request, &profile, from);
    }

    /// A list is longer than a list may be: the rest of it is not shown.
    fn list_cut(&mut self, request: &Request) {
        let server = self.server(request.server);
        server.pool.metrics.list_cut();
        tracing::warn!(
            server = server.config.name,
            list = request.kind.member(),
            kept = request.pages.kept(),
            "is cut off: it has more items or bytes than `limits.list_items` and `limits.list_bytes` allow"
        );
    }

    /// Whose the list is that an instance told, which was asked for it on behalf of a request.
    fn scope_heard(&self, request: &Request, profile: &Profile, from: Option<InstanceKey>) -> Scope {
        let at = from.map(|key| InstanceRef { server: request.server, key });
        if let Some(scope) = at.and_then(|at| self.scope_at(at)) {
            return scope;
        }
        let roots = self.server(request.server).catalogue.decides_by_roots(profile);
        match request.variant.scope {
            // It was asked before it was known that the server decides by roots.
            Scope::All if roots => Scope::Owner(request.caller),
            scope => scope,
        }
    }

    pub(super) fn list_fetched(&mut self, request: Request, profile: &Profile, from: Option<InstanceKey>) {
        let scope = self.scope_heard(&request, profile, from);
        let Request { server, caller, variant: asked, kind, pages, generation, again } = request;
        let key = asked.within(scope);
        // What a caller's own instance offers before it did anything is what it offers to all.
        let unused = |key| self.instance(InstanceRef { server, key }).is_some_and(|instance| !instance.leased);
        let for_all = key != asked
            && asked.scope == Scope::All
            && from.is_some_and(unused)
            && !self.server(server).catalogue.decides_by_roots(profile);
        let mut list = List::fetched(kind, key.era, *pages, self.uid_of(caller));
        let catalogue = &mut self.server_mut(server).catalogue;
        let changed = catalogue.variant_mut(&asked).has_changed_since(generation);
        catalogue.variant_mut(&asked).end_fetch(kind);
        if changed {
            list.outdate();
        }
        let double = list.contents().index().double().map(str::to_owned);
        let differ_for_all = for_all && catalogue.put(&asked, kind, list.clone());
        let differ = catalogue.put(&key, kind, list);
        for (variant, _) in [(&key, differ), (&asked, differ_for_all)].into_iter().filter(|(_, differ)| *differ) {
            catalogue.variant_mut(variant).note_told(kind);
        }
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
        let mut shown = self.list_settled((server, &key), kind, (caller, &asked), None);
        if for_all {
            shown.extend(self.list_settled((server, &asked), kind, (caller, &asked), None));
        }
        // Whoever asks for a list that is another each time would be told of each that it was just shown, and ask again.
        if differ {
            self.announce_change((server, profile), Some(scope), kind, &shown);
        } else {
            self.announce_arrival(server, profile);
        }
        if differ_for_all {
            self.announce_change((server, profile), Some(asked.scope), kind, &shown);
        }
        if changed && !again {
            // Whoever has it was not told yet: it may be what it was.
            self.begin_fetch((server, caller), profile.clone(), key, kind, true);
        } else if changed {
            self.tell_outdated(server, profile, &key, kind);
        }
        if let Scope::Owner(owner) = scope
            && !self.callers.contains_key(owner)
        {
            self.server_mut(server).forget_owner(owner);
        }
    }

    pub(super) fn list_failed(&mut self, request: &Request, failure: Result<Error, &Message>) {
        let variant = self.server_mut(request.server).catalogue.variant_mut(&request.variant);
        variant.end_fetch(request.kind);
        if failure.is_err() {
            variant.refused(request.kind);
        }
        if variant.has_changed_since(request.generation)
            && let Some(profile) = request.variant.profile()
        {
            self.tell_outdated(request.server, &profile, &request.variant, request.kind);
        }
        if let Some((caller, profile)) = self.other_waiting(request).filter(|_| is_its_fault(&failure)) {
            return self.fetch_list(request.server, caller, profile, request.variant.clone(), request.kind);
        }
        let asked = &request.variant;
        self.list_settled((request.server, asked), request.kind, (request.caller, asked), Some(failure));
    }

    /// A list changed while it was fetched, and it is not fetched once more to see whether it differs: those who have it are
    /// told.
    fn tell_outdated(&mut self, server: ServerId, profile: &Profile, key: &VariantKey, kind: ListKind) {
        let variant = self.server_mut(server).catalogue.variant_mut(key);
        if variant.changed(kind) {
            variant.note_told(kind);
            self.announce_change((server, profile), Some(key.scope), kind, &BTreeSet::new());
        }
    }

    /// A caller besides the one on whose behalf a list was fetched that waits for it too.
    pub(super) fn other_waiting(&self, request: &Request) -> Option<(CallerKey, Profile)> {
        let waiting = self.server(request.server).awaited().waiting(Word::List(request.kind)).iter();
        let others = waiting.filter_map(|key| self.calls.get(*key)).filter(|call| call.caller != request.caller);
        let mut offers = others.map(|call| (call.caller, self.list_offer_to(request.server, call)));
        offers.find(|(_, offer)| offer.variant == request.variant).map(|(caller, offer)| (caller, offer.profile))
    }

    /// Fetches anew what is remembered of a server that was just started: it may be another version by now.
    pub(crate) fn recheck_lists(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance(at) else { return };
        // What was fetched before it was started came from another process, and so did what was refused.
        let (born, era) = (instance.born, instance.profile.era());
        let variants = self.server_mut(at.server).catalogue.variants_mut();
        variants.filter(|variant| variant.key.era == era).for_each(Variant::is_served_anew);
        self.fetch_again(at, |_, list| list.since().is_none_or(|fetched| fetched < born));
    }

    /// Fetches the tools anew that are announced to have changed, before anybody asks for them.
    pub(crate) fn recheck_tools(&mut self, at: InstanceRef) {
        self.fetch_again(at, |kind, list| kind == ListKind::Tools && list.is_stale());
    }

    /// Fetches lists that are known of an instance's kind of clients.
    fn fetch_again(&mut self, at: InstanceRef, wanted: impl Fn(ListKind, &List) -> bool) {
        let Some(instance) = self.instance(at) else { return };
        let profile = instance.profile.clone();
        let caller = match (instance.bound, instance.users) {
            (Some((owner, Lease::Session)), _) => owner,
            (_, Users::Only(caller)) => caller,
            (_, Users::Many | Users::Nobody) => CallerKey::default(),
        };
        let Some(scope) = self.scope_at(at) else { return };
        let known = self.server(at.server).catalogue.variants().filter(|variant| {
            variant.key.era == profile.era()
                && (profile == Profile::Modern
                    || VariantKey::of_introduction(&profile).within(variant.key.scope) == variant.key)
                && [scope, Scope::All].contains(&variant.key.scope)
        });
        let wanted: Vec<(VariantKey, ListKind)> = known
            .flat_map(|variant| {
                let lists = variant.lists().filter(|(kind, list)| wanted(*kind, list));
                lists.map(|(kind, _)| (variant.key.clone(), kind))
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
