//! The four lists: answered from the catalogue, fetched with all their pages where that is old, one fetch at a
//! time however many callers ask.

use std::collections::HashSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Place, Source};
use super::catalogue::VariantKey;
use super::errand::{Errand, Outcome};
use super::names;
use super::request::Accepted;
use crate::era::profile::Profile;
use crate::era::{implementation, modern};
use crate::error::Error;
use crate::pool::instance::{InstanceRef, ServerId};
use crate::reply::{CallKey, CallerKey};
use crate::wire::message::{Kind, Message, elements, member, members};
use crate::wire::scan::Field;

/// How many bytes of items go to a caller as one page.
const PAGE: usize = 1 << 20;
/// How many bytes of items are read of one list.
const LARGEST: usize = 32 << 20;
/// How many pages of a server are read at most.
const PAGES: usize = 1000;

/// One of the lists that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl ListKind {
    pub const ALL: [ListKind; 4] = [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates];

    /// The list that a method asks for.
    pub fn of_method(method: &str) -> Option<ListKind> {
        ListKind::ALL.into_iter().find(|kind| kind.method() == method)
    }

    pub fn method(self) -> &'static str {
        match self {
            ListKind::Tools => "tools/list",
            ListKind::Prompts => "prompts/list",
            ListKind::Resources => "resources/list",
            ListKind::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources => "resources",
            ListKind::Templates => "resourceTemplates",
        }
    }

    /// The capability under which changes are announced.
    pub fn capability(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::Templates => "resources",
        }
    }

    /// Whether items are told apart by name, which an endpoint of several servers prefixes.
    pub fn named(self) -> bool {
        matches!(self, ListKind::Tools | ListKind::Prompts)
    }
}

/// A list as it was fetched.
#[derive(Serialize, Deserialize)]
pub struct List {
    pub items: Vec<Box<RawValue>>,
    /// What else stood in the result, as JSON members with leading commas.
    pub rest: String,
    /// For how many milliseconds it is fresh, where the server says so.
    pub ttl: Option<u64>,
    /// It may be shown only to callers of the user it was fetched for.
    pub private: bool,
    pub uid: u32,
    #[serde(skip)]
    pub fetched: Option<Instant>,
    #[serde(skip)]
    pub stale: bool,
}

impl List {
    /// Whether another list holds the same items.
    pub fn same_items(&self, other: &List) -> bool {
        self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(one, two)| one.get() == two.get())
    }
}

/// A page of a list as a server answered it.
pub struct Page {
    items: Vec<Box<RawValue>>,
    rest: String,
    cursor: Option<String>,
    ttl: Option<u64>,
    private: bool,
}

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

    /// Fetches a list unless that is under way.
    fn fetch_list(
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

    fn fetch_page(&mut self, request: Request, profile: Profile) {
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
        let more = page.cursor.is_some() && !known && within;
        request.pages.push(page);
        if more { self.fetch_page(request, profile) } else { self.list_fetched(request, &profile) }
    }

    fn list_fetched(&mut self, request: Request, profile: &Profile) {
        let Request { server, caller, variant: key, kind, pages, generation } = request;
        let uid = self.callers.get(caller).map_or(rustix::process::getuid().as_raw(), |caller| caller.peer.uid);
        let catalogue = &mut self.server_mut(server).catalogue;
        let variant = catalogue.variant_mut(&key);
        let list = List {
            rest: pages.first().map(|page| page.rest.clone()).unwrap_or_default(),
            ttl: pages.iter().filter_map(|page| page.ttl).min(),
            private: pages.iter().any(|page| page.private),
            items: pages.into_iter().flat_map(|page| page.items).collect(),
            uid,
            fetched: Some(Instant::now()),
            stale: variant.generation != generation,
        };
        variant.fetching.retain(|other| *other != kind);
        let differ = variant.put(kind, list);
        catalogue.save();
        self.list_settled(server, &key, kind, None);
        if differ {
            self.announce_change(server, profile, kind);
        } else {
            self.announce_arrival(server, profile);
        }
    }

    fn list_failed(&mut self, request: &Request, failure: Result<Error, &Message>) {
        let variant = self.server_mut(request.server).catalogue.variant_mut(&request.variant);
        variant.fetching.retain(|other| *other != request.kind);
        let known = variant.list(request.kind).is_some();
        if let Some((caller, profile)) = self.other_waiting(request).filter(|_| is_its_fault(&failure)) {
            return self.fetch_list(request.server, caller, profile, request.variant.clone(), request.kind);
        }
        self.list_settled(request.server, &request.variant, request.kind, Some(failure).filter(|_| !known));
    }

    /// A caller besides the one on whose behalf a list was fetched that waits for it too.
    fn other_waiting(&self, request: &Request) -> Option<(CallerKey, Profile)> {
        let waits = |call: &&Call| {
            let capabilities = call.request.raw(Field::MetaCapabilities).unwrap_or("{}");
            let here = matches!(&call.place, Place::Lists(kind, missing) if *kind == request.kind && missing.contains(&request.server));
            here && call.caller != request.caller && VariantKey::new(&call.profile, capabilities) == request.variant
        };
        self.calls.values().find(waits).map(|call| (call.caller, call.profile.clone()))
    }

    /// Goes on with the callers that waited for a list of a server.
    fn list_settled(
        &mut self,
        server: ServerId,
        variant: &VariantKey,
        kind: ListKind,
        failure: Option<Result<Error, &Message>>,
    ) {
        let mut done = Vec::new();
        for (key, call) in &mut self.calls {
            let Place::Lists(waits_for, missing) = &mut call.place else { continue };
            let capabilities = call.request.raw(Field::MetaCapabilities).unwrap_or("{}");
            if *waits_for == kind
                && missing.contains(&server)
                && VariantKey::new(&call.profile, capabilities) == *variant
            {
                missing.retain(|other| *other != server);
                if missing.is_empty() {
                    done.push(key);
                }
            }
        }
        for key in done {
            let alone = self
                .calls
                .get(key)
                .and_then(|call| self.callers.get(call.caller))
                .is_some_and(|caller| !caller.endpoint.prefix);
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

    /// Fetches anew what is remembered of a server that was just started: it may be another version by now.
    pub(crate) fn recheck_lists(&mut self, at: InstanceRef) {
        let Some(instance) = self.instance(at) else { return };
        let profile = instance.profile.clone();
        let caller = match instance.users {
            crate::pool::instance::Users::Only(caller) => caller,
            crate::pool::instance::Users::Many => CallerKey::default(),
        };
        let known = self.server(at.server).catalogue.variants().filter(|variant| {
            variant.key.era == profile.era()
                && (profile == Profile::Modern || variant.key == VariantKey::of_introduction(&profile))
        });
        let old =
            |list: &List| list.fetched.is_none_or(|fetched| fetched.elapsed() > std::time::Duration::from_secs(1));
        let wanted: Vec<(VariantKey, ListKind)> = known
            .flat_map(|variant| {
                variant.lists.iter().filter(|(_, list)| old(list)).map(|(kind, _)| (variant.key.clone(), *kind))
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

fn read_page(kind: ListKind, result: &str) -> Page {
    let mut rest = String::new();
    for (name, value) in members(result) {
        if !(name == kind.member() || matches!(name, "nextCursor" | "ttlMs")) {
            let _ = write!(rest, r#","{name}":{value}"#);
        }
    }
    let raw = |item: &str| RawValue::from_string(item.to_owned()).ok();
    Page {
        items: elements(member(result, kind.member()).unwrap_or("[]")).into_iter().filter_map(raw).collect(),
        rest,
        cursor: member(result, "nextCursor").filter(|cursor| cursor.starts_with('"')).map(str::to_owned),
        ttl: member(result, "ttlMs").map(|ttl| ttl.parse().unwrap_or(0)),
        private: member(result, "cacheScope") == Some(r#""private""#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_else_the_result_held() {
        let page = read_page(
            ListKind::Tools,
            r#"{"ttlMs":5,"tools":[{"name":"a"} , 1],"nextCursor":"x","cacheScope":"private","_meta":{"k":1}}"#,
        );
        assert_eq!(page.items.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#"{"name":"a"}"#, "1"]);
        assert_eq!(page.rest, r#","cacheScope":"private","_meta":{"k":1}"#);
        assert_eq!((page.cursor.as_deref(), page.ttl, page.private), (Some("\"x\""), Some(5), true));
    }
}
