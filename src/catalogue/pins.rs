//! Kept by `mux::pins` for each server with `pin`: the tools that were approved, in a file beside the catalogue. The
//! file goes by the server's name in the config, so that another version of its command is held to what was approved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::catalogue::kept;
use crate::catalogue::key::{Scope, VariantKey};
use crate::hex::hex;
use crate::wire::message::{members, unquote};
use crate::wire::scan::plain;

/// Members that tell one tool from another.
const PINNED: [&str; 7] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta"];
/// How many versions of a tool are kept: servers offer different ones to different clients.
const VERSIONS: usize = 32;
/// How many kinds of clients are told apart that a tool is offered to otherwise than approved.
const VARIANTS: usize = 64;
/// Stands for all others, which are not told apart: what is marked for them stays so until it is approved.
const OTHERS: &str = "others";
/// How many tools are kept.
const TOOLS: usize = 20_000;
/// The longest tool of which more than the digest is kept, in bytes.
const LARGEST: usize = 64 << 10;
/// How many bytes are kept of tools that are not approved, apart from their names and digests.
const UNAPPROVED: usize = 4 << 20;

/// A tool as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub digest: String,
    /// Its pinned members as JSON; empty if that is too long.
    pub item: String,
}

impl Version {
    /// The name of a tool, and what it is; nothing if it has no name.
    pub fn of(item: &str) -> Option<(String, Version)> {
        let Ok(item) = serde_json::from_str::<Value>(item) else {
            // Half a letter, or a number beyond all: clients may read it all the same, so each byte of it counts.
            let digest = digest_of(item.as_bytes());
            return Some((names_of(item).pop()?, Version { digest, item: String::new() }));
        };
        let name = item.get("name")?.as_str()?.to_owned();
        // A `BTreeMap` has one order, whatever the server's is.
        let members: BTreeMap<&str, &Value> = PINNED.iter().filter_map(|key| Some((*key, item.get(key)?))).collect();
        let text = serde_json::to_string(&members).ok()?;
        let digest = digest_of(text.as_bytes());
        Some((name, Version { digest, item: if text.len() <= LARGEST { text } else { String::new() } }))
    }
}

/// The name of a tool in a list; several if it has several, of which clients take one.
pub fn names_of(item: &str) -> Vec<String> {
    let names = members(item).into_iter().filter(|(key, _)| *plain(key.as_bytes()) == *b"name");
    names.filter_map(|(_, name)| Some(unquote(name)?.into_owned())).collect()
}

/// The name under which a kind of clients is known.
pub fn of_variant(key: &VariantKey) -> String {
    let scope = match key.scope {
        Scope::All => String::new(),
        // What one of them is shown takes no mark off what another is shown.
        scope => format!(" {scope:?}"),
    };
    let own = if matches!(key.scope, Scope::Owner(_)) { OWN } else { "" };
    let name = digest_of(format!("{} {} {}{scope}", key.era.as_str(), key.revision, key.capabilities).as_bytes());
    format!("{own}{name}")
}

/// With this the names of kinds begin that are one caller's alone, who is gone when the daemon is.
const OWN: &str = "own ";

/// Half of it is enough to tell one from another.
fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..16])
}

/// A tool that is not as it was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub version: Version,
    /// Whether no tool of its name was approved.
    pub new: bool,
    /// The kinds of clients that it is offered to so.
    pub variants: BTreeSet<String>,
}

impl Mark {
    /// The word for it.
    pub fn what(&self) -> &'static str {
        if self.new { "new" } else { "changed" }
    }
}

/// Everything that was approved of one server, and what was not.
#[derive(Default)]
pub struct Store {
    path: Option<PathBuf>,
    kept: Kept,
    /// Tools that are not as they were approved, by name. They are kept too: a server that is started anew by another
    /// daemon is not to be called before its list has come once more.
    pub marks: BTreeMap<String, Vec<Mark>>,
    unsaved: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Whether a list was seen.
    #[serde(default)]
    begun: bool,
    /// The newest version last.
    tools: BTreeMap<String, Vec<Version>>,
    /// Those that are not approved, while they are not in use.
    #[serde(default)]
    marks: BTreeMap<String, Vec<Mark>>,
}

impl Store {
    /// What is kept in `dir` of the server of that name in a config.
    pub fn load(dir: Option<&Path>, config: Option<&Path>, server: &str) -> Store {
        let config = config.map(|config| config.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let path = dir.map(|dir| dir.join(format!("pins-{server}-{}.json", &digest_of(config)[..8])));
        let kept = match path.as_ref().map(fs::read) {
            Some(Ok(text)) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                let file = path.as_deref().unwrap_or(Path::new("")).display();
                tracing::error!(%file, %error, "what was approved cannot be read, so nothing counts as approved: see `mcpool approve`");
                Kept { begun: true, ..Kept::default() }
            }),
            _ => Kept::default(),
        };
        let mut kept: Kept = kept;
        let marks = std::mem::take(&mut kept.marks);
        let mut store = Store { path, kept, marks, unsaved: false };
        store.unmark_all(|variant| variant.starts_with(OWN));
        store
    }

    /// Writes nothing any more.
    pub fn retire(&mut self) {
        self.path = None;
    }

    /// Whether a list was seen, from which on others are not approved by themselves.
    pub fn has_begun(&self) -> bool {
        self.kept.begun || !self.kept.tools.is_empty()
    }

    /// Notes that a list was seen.
    pub fn begin(&mut self) {
        self.unsaved |= !std::mem::replace(&mut self.kept.begun, true);
    }

    /// The approved versions of a tool, the newest last.
    pub fn versions(&self, name: &str) -> &[Version] {
        self.kept.tools.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.tools.keys().map(String::as_str)
    }

    /// Whether a tool of this name is not as it was approved, or none was approved.
    pub fn is_off(&self, name: &str) -> bool {
        self.marks.contains_key(name) || self.versions(name).is_empty()
    }

    /// What is marked, by name and digest, and for whom.
    pub fn marked(&self) -> BTreeMap<String, Vec<(String, BTreeSet<String>)>> {
        let told = |mark: &Mark| (mark.version.digest.clone(), mark.variants.clone());
        self.marks.iter().map(|(name, marks)| (name.clone(), marks.iter().map(told).collect())).collect()
    }

    /// Lets go of what is marked for one kind of clients, before their new list is looked at.
    pub fn unmark(&mut self, variant: &str) {
        self.unmark_all(|marked| marked == variant);
    }

    fn unmark_all(&mut self, which: impl Fn(&str) -> bool) {
        for marks in self.marks.values_mut() {
            marks.retain_mut(|mark| {
                mark.variants.retain(|variant| !which(variant));
                !mark.variants.is_empty()
            });
        }
        self.marks.retain(|_, marks| !marks.is_empty());
    }

    /// How many bytes of what is not approved may still be kept.
    pub fn room(&self) -> usize {
        let bytes = |(name, marks): (&String, &Vec<Mark>)| {
            name.len() + marks.iter().map(|mark| mark.version.item.len()).sum::<usize>()
        };
        UNAPPROVED.saturating_sub(self.marks.iter().map(bytes).sum())
    }

    /// Marks a tool as it is offered to one kind of clients. What there is no `room` for is off all the same: a known
    /// tool has a mark in any case, and another was never approved.
    pub fn mark(&mut self, (variant, room): (&str, &mut usize), name: String, mut version: Version, new: bool) {
        let bytes = name.len() + version.item.len();
        if new && (*room < bytes || self.marks.len() >= TOOLS) {
            return;
        }
        if *room < bytes {
            version.item = String::new();
        }
        *room = room.saturating_sub(bytes);
        let marks = self.marks.entry(name).or_default();
        match marks.iter().position(|mark| mark.version.digest == version.digest) {
            Some(place) => {
                let variants = &mut marks[place].variants;
                variants.insert(if variants.len() < VARIANTS { variant } else { OTHERS }.to_owned());
            }
            None if marks.len() < VERSIONS => {
                marks.push(Mark { version, new, variants: BTreeSet::from([variant.to_owned()]) });
            }
            None => {
                marks[0].variants.insert(OTHERS.to_owned());
            }
        }
    }

    /// Keeps a version as approved.
    pub fn approve(&mut self, name: String, version: Version) {
        if self.kept.tools.len() >= TOOLS && !self.kept.tools.contains_key(&name) {
            return;
        }
        let versions = self.kept.tools.entry(name).or_default();
        versions.retain(|known| known.digest != version.digest);
        if versions.len() >= VERSIONS {
            versions.remove(0);
        }
        versions.push(version);
        self.unsaved = true;
    }

    /// Writes what is not written yet, whole or not at all. `remarked`: the marks are others too.
    pub fn save(&mut self, remarked: bool) {
        if !std::mem::take(&mut self.unsaved) && !remarked {
            return;
        }
        let Some(path) = &self.path else { return };
        self.kept.marks = std::mem::take(&mut self.marks);
        let written = kept::write(path, &self.kept);
        self.marks = std::mem::take(&mut self.kept.marks);
        if let Err(error) = written {
            tracing::error!(file = %path.display(), %error, "what was approved cannot be kept");
        }
    }
}
