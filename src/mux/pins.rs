//! Called when a list of tools comes, when a tool is called or listed, and by `admin` for `mcpool approve`: what the
//! tools of a server were when they were approved. The first list counts as approved. A tool is marked if it changes
//! later, appears later, or is another one for another kind of clients. With `pin: refuse` it is neither shown nor
//! called until the operator approves it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::Mux;
use super::offer::Offer;
use crate::caller::endpoint::Endpoint;
use crate::catalogue::VariantKey;
use crate::catalogue::list::{List, ListKind};
use crate::catalogue::pins::{Mark, Store, Version, names_of, of_variant};
use crate::config::{self, Pin};
use crate::error::Error;
use crate::key::ServerId;
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// The most that are told of one server at once.
const TOLD: usize = 500;

/// What is known of the tools of one server.
#[derive(Default)]
pub struct Pins {
    pin: Pin,
    store: Store,
}

impl Pins {
    /// Returns what is kept of a server in `dir`. `file` is the config of the server.
    pub fn load(dir: Option<&Path>, file: Option<&Path>, server: &config::Server) -> Pins {
        // Also where nothing is looked at: that may change while the daemon runs.
        Pins { pin: server.pin, store: Store::load(dir, file, &server.name) }
    }

    /// Drops what is marked for a kind of clients that is gone.
    pub fn forget(&mut self, variant: &VariantKey) {
        if !self.store.marks.is_empty() {
            self.store.unmark(&of_variant(variant));
            self.store.save(true);
        }
    }

    /// Returns whether the tools of the server are compared with what was approved.
    pub fn is_on(&self) -> bool {
        self.pin != Pin::Off
    }

    /// Writes nothing to disk any more: another server takes its place.
    pub fn retire(&mut self) {
        self.store.retire();
    }

    /// Returns whether mcpool has seen what the server offers, so that there is something to compare with.
    pub fn has_begun(&self) -> bool {
        self.store.has_begun()
    }

    /// Counts what was seen of the server until now as approved. What another kind of clients is offered later is not:
    /// a server could show a text of its choice to each new kind.
    pub fn begin<'a>(&mut self, items: impl Iterator<Item = &'a str>) {
        items.filter_map(Version::of).for_each(|(name, version)| self.store.approve(name, version));
        self.store.begin();
        self.store.save(false);
    }

    /// Compares the tools that one kind of clients is offered. Returns the names of those that are news, with `new` or
    /// `changed`.
    pub fn look<'a>(&mut self, variant: &str, items: impl Iterator<Item = &'a str>) -> Vec<(String, &'static str)> {
        if !self.has_begun() {
            self.begin(items);
            return Vec::new();
        }
        let marked = self.store.marked();
        self.store.unmark(variant);
        let (mut news, mut room) = (Vec::new(), self.store.room());
        for (name, version) in items.filter_map(Version::of) {
            let what = match self.store.versions(&name) {
                versions if versions.iter().any(|known| known.digest == version.digest) => continue,
                [] => "new",
                _ => "changed",
            };
            let told = |marks: &Vec<(String, _)>| marks.iter().any(|(digest, _)| *digest == version.digest);
            if !marked.get(&name).is_some_and(told) {
                news.push((name.clone(), what));
            }
            self.store.mark((variant, &mut room), name, version, what == "new");
        }
        self.store.save(marked != self.store.marked());
        news
    }

    /// Returns whether a tool of this name may neither be called nor shown.
    pub fn refuses(&self, name: &str) -> bool {
        self.pin == Pin::Refuse && self.has_begun() && self.store.is_off(name)
    }

    /// Returns whether an item of a list of tools must be left out.
    pub fn hides(&self, item: &str) -> bool {
        self.pin == Pin::Refuse && self.has_begun() && names_of(item).iter().any(|name| self.store.is_off(name))
    }

    /// Returns what is not as it was approved, and how it was.
    pub fn changes(&self) -> Value {
        let marks = self.store.marks.iter().flat_map(|(name, marks)| marks.iter().map(move |mark| (name, mark)));
        let told = marks.take(TOLD).map(|(name, mark)| {
            let before = self.store.versions(name).last().map(|version| &version.item);
            json!({ "tool": name, "what": mark.what(), "digest": mark.version.digest, "before": before, "now": mark.version.item })
        });
        Value::Array(told.collect())
    }

    /// Approves the tools with these digests, and returns how many they are.
    pub fn approve(&mut self, digests: &[&str]) -> usize {
        let mut count = 0;
        let mut left_over = std::mem::take(&mut self.store.marks);
        for (name, marks) in &mut left_over {
            let (approved, left): (Vec<Mark>, Vec<Mark>) =
                marks.drain(..).partition(|mark| digests.contains(&mark.version.digest.as_str()));
            *marks = left;
            count += approved.len();
            approved.into_iter().for_each(|mark| self.store.approve(name.clone(), mark.version));
        }
        self.store.marks = left_over;
        self.store.marks.retain(|_, marks| !marks.is_empty());
        self.store.save(count > 0);
        count
    }

    /// Returns the part of `status`; none if nothing is compared.
    pub fn status(&self) -> Option<Value> {
        let changed = self.store.marks.iter().take(TOLD).map(|(name, marks)| {
            json!({ "tool": name, "what": marks.first().map(Mark::what), "refused": self.refuses(name) })
        });
        self.is_on().then(|| {
            json!({
                "pin": if self.pin == Pin::Refuse { "refuse" } else { "warn" },
                "approved": self.store.names().count(),
                "changed": changed.collect::<Vec<_>>(),
            })
        })
    }
}

impl Mux {
    /// Applies a changed `pin` of a server.
    pub(super) fn pin_otherwise(&mut self, id: ServerId) {
        let server = self.server_mut(id);
        server.pins.pin = server.config.pin;
        self.look_at_all_tools(id);
        let kinds: Vec<VariantKey> = self.server(id).catalogue.variants().map(|variant| variant.key.clone()).collect();
        kinds.iter().for_each(|key| self.look_at_tools(id, key));
        self.announce_tools(id);
    }

    /// Compares the tools that a server offers to one kind of clients.
    pub(super) fn look_at_tools(&mut self, id: ServerId, key: &VariantKey) {
        let server = self.server_mut(id);
        let list = server.catalogue.variant(key).and_then(|variant| variant.list(ListKind::Tools));
        let Some(list) = list.filter(|_| server.pins.is_on()) else { return };
        let news = server.pins.look(&of_variant(key), list.items());
        // The rest is in `status`: a list of thousands is no reason to fill the log.
        for (tool, what) in news.into_iter().take(TOLD) {
            let (server, refused) = (&server.config.name, server.pins.refuses(&tool));
            tracing::warn!(server, tool, what, refused, "a tool is not as it was approved: see `mcpool approve`");
        }
    }

    /// Counts the tools as approved that were remembered before `pin` was set, whatever kind of clients they were
    /// offered to.
    pub(super) fn look_at_all_tools(&mut self, id: ServerId) {
        let server = self.server_mut(id);
        if !server.pins.is_on() || server.pins.has_begun() {
            return;
        }
        let lists: Vec<_> = server.catalogue.variants().filter_map(|variant| variant.list(ListKind::Tools)).collect();
        if !lists.is_empty() {
            server.pins.begin(lists.into_iter().flat_map(List::items));
        }
    }

    /// Returns whether mcpool must see the tools of a server before it can judge a call of one. That is so if no
    /// running instance has shown its list to this kind of clients since it started, or since it said that the list
    /// changed.
    pub(super) fn is_to_be_looked_at(&self, id: ServerId, offer: &Offer) -> bool {
        let server = self.server(id);
        let list = server.catalogue.variant(&offer.variant).and_then(|variant| variant.list(ListKind::Tools));
        let Some(fetched) = list.filter(|list| !list.is_stale()).and_then(List::since) else { return true };
        let mut instances = server.pool.instances.values();
        !instances.any(|it| it.alive() && it.profile == offer.profile && it.born <= fetched)
    }

    /// Checks that the tool of a request is as it was approved, if `pin` wants that.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn is_approved(&self, id: ServerId, endpoint: &Endpoint, request: &Message) -> Result<(), Error> {
        let server = self.server(id);
        if server.config.pin != Pin::Refuse || request.method() != "tools/call" {
            return Ok(());
        }
        let shown = request.text(Field::Name).unwrap_or_default();
        let tool = match endpoint.prefix {
            true => self.named(endpoint, ListKind::Tools, &shown)?.1,
            false => shown.into_owned(),
        };
        if server.pins.refuses(&tool) {
            return Err(Error::ChangedTool { server: server.config.name.clone(), tool });
        }
        Ok(())
    }

    /// Returns which tools of a server are not as they were approved.
    ///
    /// # Errors
    /// In words: there is no such server, or its tools are not looked at.
    pub fn changed_tools(&self, name: &str) -> Result<Value, String> {
        Ok(self.server(self.pinned(name)?).pins.changes())
    }

    /// Approves tools of a server, by the digests that were shown; how many.
    ///
    /// # Errors
    /// As above.
    pub fn approve_tools(&mut self, name: &str, digests: &[&str]) -> Result<usize, String> {
        let id = self.pinned(name)?;
        let count = self.server_mut(id).pins.approve(digests);
        if count > 0 {
            tracing::info!(server = name, count, "tools were approved");
            self.announce_tools(id);
        }
        Ok(count)
    }

    /// Tells every kind of clients that it may see other tools.
    fn announce_tools(&mut self, id: ServerId) {
        let mut profiles = Vec::new();
        for profile in self.server(id).catalogue.variants().filter_map(|variant| variant.key.profile()) {
            if !profiles.contains(&profile) {
                profiles.push(profile);
            }
        }
        profiles
            .iter()
            .for_each(|profile| self.announce_change((id, profile), None, ListKind::Tools, &BTreeSet::new()));
    }

    fn pinned(&self, name: &str) -> Result<ServerId, String> {
        let Some(id) = self.configured_as(name) else {
            let names: Vec<&str> = self.config.servers.iter().map(|server| server.name.as_str()).collect();
            return Err(format!("no server is called {name:?}; there are: {}", names.join(", ")));
        };
        match self.server(id).pins.is_on() {
            true => Ok(id),
            false => Err(format!("the tools of {name} are not pinned: say `pin: warn` or `pin: refuse` in the config")),
        }
    }
}

#[cfg(test)]
mod tests;
