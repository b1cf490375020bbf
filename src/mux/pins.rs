//! Called when a list of tools comes, when a tool is called or listed, and by `admin`: what the tools of a server were when
//! they were approved. The first list counts as approved. A tool that changes later, or appears later, is marked, and with
//! `pin: refuse` neither shown nor called until the operator approves it.

mod store;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use serde_json::{Value, json};

use super::Mux;
use super::callers::Endpoint;
use super::catalogue::VariantKey;
use super::lists::ListKind;
use crate::config::{self, Pin};
use crate::error::Error;
use crate::pool::instance::ServerId;
use crate::wire::message::Message;
use crate::wire::scan::Field;
use store::{Mark, Store, Version, names_of};

/// The most that are told of one server at once.
const TOLD: usize = 500;

/// What is known of the tools of one server.
#[derive(Default)]
pub struct Pins {
    pin: Pin,
    store: Store,
}

impl Pins {
    /// What is kept of a server in `dir`. `file` is the config that it stands in.
    pub fn load(dir: Option<&Path>, file: Option<&Path>, server: &config::Server) -> Pins {
        match server.pin {
            Pin::Off => Pins::default(),
            pin => Pins { pin, store: Store::load(dir, file, &server.name) },
        }
    }

    /// Whether anything is looked at.
    pub fn is_on(&self) -> bool {
        self.pin != Pin::Off
    }

    /// Looks at the tools that are offered to one kind of clients; the names of those that are news, with `new` or `changed`.
    pub fn look<'a>(&mut self, variant: &str, items: impl Iterator<Item = &'a str>) -> Vec<(String, &'static str)> {
        let marked = self.store.marks.clone();
        let told: HashSet<String> =
            self.store.marks.values().flatten().map(|mark| mark.version.digest.clone()).collect();
        for marks in self.store.marks.values_mut() {
            for mark in marks.iter_mut() {
                mark.variants.remove(variant);
            }
            marks.retain(|mark| !mark.variants.is_empty());
        }
        let first = self.store.meets(variant);
        let before: HashSet<String> = self.store.names().map(str::to_owned).collect();
        let mut news = Vec::new();
        for item in items {
            let Some((name, version)) = Version::of(item) else { continue };
            let what = match self.store.versions(&name) {
                versions if versions.iter().any(|known| known.digest == version.digest) => continue,
                // What other clients are offered is no change, and neither is another form of what a model reads.
                _ if first && !before.contains(&name) => "",
                versions if first && versions.iter().any(|known| known.reads_like(&version)) => "",
                [] => "new",
                _ => "changed",
            };
            if what.is_empty() {
                self.store.approve(name, version);
                continue;
            }
            if !told.contains(&version.digest) {
                news.push((name.clone(), what));
            }
            let marks = self.store.marks.entry(name).or_default();
            match marks.iter_mut().find(|mark| mark.version.digest == version.digest) {
                Some(mark) => {
                    mark.variants.insert(variant.to_owned());
                }
                None => {
                    marks.push(Mark { version, new: what == "new", variants: BTreeSet::from([variant.to_owned()]) })
                }
            }
        }
        self.store.marks.retain(|_, marks| !marks.is_empty());
        self.store.save(marked != self.store.marks);
        news
    }

    /// Whether a tool of this name may neither be called nor shown.
    pub fn refuses(&self, name: &str) -> bool {
        self.pin == Pin::Refuse
            && !self.store.is_empty()
            && (self.store.marks.contains_key(name) || self.store.versions(name).is_empty())
    }

    /// Whether an item of a list of tools is to be left out.
    pub fn hides(&self, item: &str) -> bool {
        self.pin == Pin::Refuse
            && !self.store.marks.is_empty()
            && names_of(item).iter().any(|name| self.store.marks.contains_key(name))
    }

    /// What is not as it was approved, and how it was.
    pub fn changes(&self) -> Value {
        let marks = self.store.marks.iter().flat_map(|(name, marks)| marks.iter().map(move |mark| (name, mark)));
        let told = marks.take(TOLD).map(|(name, mark)| {
            let before = self.store.versions(name).last().map(|version| &version.item);
            json!({ "tool": name, "what": mark.what(), "digest": mark.version.digest, "before": before, "now": mark.version.item })
        });
        Value::Array(told.collect())
    }

    /// Approves what has these digests; how many that are.
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

    /// For `status`: nothing if nothing is looked at.
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
    /// Looks at the tools that a server offers to one kind of clients.
    pub(super) fn look_at_tools(&mut self, id: ServerId, key: &VariantKey) {
        let server = self.server_mut(id);
        let list = server.catalogue.variant(key).and_then(|variant| variant.list(ListKind::Tools));
        let Some(list) = list.filter(|_| server.pins.is_on()) else { return };
        let news = server.pins.look(&store::of_variant(key), list.items.iter().map(|item| item.get()));
        for (tool, what) in news {
            let (server, refused) = (&server.config.name, server.pins.refuses(&tool));
            tracing::warn!(server, tool, what, refused, "a tool is not as it was approved: see `mcpool approve`");
        }
    }

    /// Looks at the tools that were remembered before anybody looked; from then on marks are kept as they were found.
    pub(super) fn look_at_all_tools(&mut self, id: ServerId) {
        if self.server(id).pins.is_on() && self.server(id).pins.store.is_empty() {
            let keys: Vec<VariantKey> =
                self.server(id).catalogue.variants().map(|variant| variant.key.clone()).collect();
            keys.iter().for_each(|key| self.look_at_tools(id, key));
        }
    }

    /// Whether the tool that a request calls is as it was approved, where that is to be so.
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

    /// What is not as it was approved of a server's tools.
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
            let profiles = self.server(id).catalogue.variants().filter_map(|variant| variant.key.profile());
            let mut profiles: Vec<_> = profiles.collect();
            profiles.dedup();
            profiles.iter().for_each(|profile| self.announce_change(id, profile, ListKind::Tools));
        }
        Ok(count)
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
