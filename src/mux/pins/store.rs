//! What was approved, as it is kept in a file beside the catalogue: by the server's name in its config, so that another
//! version of a server is held to what the one before offered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::mux::catalogue::VariantKey;
use crate::wire::message::{members, unquote};
use crate::wire::scan::plain;

/// Members that tell one tool from another.
const PINNED: [&str; 7] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta"];
/// Of those, the ones that a model reads as text.
const READ: [&str; 3] = ["name", "title", "description"];
/// How many versions of a tool are kept: servers offer different ones to different clients.
const VERSIONS: usize = 8;
/// How many kinds of clients are known.
const VARIANTS: usize = 256;
/// How many tools are kept.
const TOOLS: usize = 20_000;
/// The longest tool of which more than the digest is kept, in bytes.
const LARGEST: usize = 64 << 10;

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
            let digest = hex(&Sha256::digest(item.as_bytes()));
            return Some((names_of(item).pop()?, Version { digest, item: String::new() }));
        };
        let name = item.get("name")?.as_str()?.to_owned();
        // A `BTreeMap` has one order, whatever the server's is.
        let members: BTreeMap<&str, &Value> = PINNED.iter().filter_map(|key| Some((*key, item.get(key)?))).collect();
        let text = serde_json::to_string(&members).ok()?;
        let digest = hex(&Sha256::digest(text.as_bytes()));
        Some((name, Version { digest, item: if text.len() <= LARGEST { text } else { String::new() } }))
    }

    /// Whether a model reads the same of both.
    pub fn reads_like(&self, other: &Version) -> bool {
        let read = |version: &Version| {
            let item: Value = serde_json::from_str(&version.item).ok()?;
            Some(READ.map(|key| item.get(key).cloned()))
        };
        read(self).is_some_and(|own| Some(own) == read(other))
    }
}

/// The name of a tool in a list; several if it has several, of which clients take one.
pub fn names_of(item: &str) -> Vec<String> {
    let names = members(item).into_iter().filter(|(key, _)| *plain(key.as_bytes()) == *b"name");
    names.filter_map(|(_, name)| Some(unquote(name)?.into_owned())).collect()
}

/// The name under which a kind of clients is known.
pub fn of_variant(key: &VariantKey) -> String {
    hex(&Sha256::digest(format!("{} {} {}", key.era.as_str(), key.revision, key.capabilities).as_bytes()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
    /// Kinds of clients that were offered something.
    variants: Vec<String>,
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
        let path = dir.map(|dir| dir.join(format!("pins-{server}-{}.json", &hex(&Sha256::digest(config))[..8])));
        let kept = match path.as_ref().map(fs::read) {
            Some(Ok(text)) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                let file = path.as_deref().unwrap_or(Path::new("")).display();
                tracing::error!(%file, %error, "what was approved cannot be read; the next list counts as approved");
                Kept::default()
            }),
            _ => Kept::default(),
        };
        let mut kept: Kept = kept;
        let marks = std::mem::take(&mut kept.marks);
        Store { path, kept, marks, unsaved: false }
    }

    /// Notes a kind of clients; whether it is the first time that anything is offered to it.
    pub fn meets(&mut self, variant: &str) -> bool {
        let first = !self.kept.variants.iter().any(|known| known == variant);
        if first {
            if self.kept.variants.len() >= VARIANTS {
                self.kept.variants.remove(0);
            }
            self.kept.variants.push(variant.to_owned());
            self.unsaved = true;
        }
        first
    }

    /// The approved versions of a tool, the newest last.
    pub fn versions(&self, name: &str) -> &[Version] {
        self.kept.tools.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.tools.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.kept.variants.is_empty()
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
        let written = write(path, &self.kept);
        self.marks = std::mem::take(&mut self.kept.marks);
        if let Err(error) = written {
            tracing::error!(file = %path.display(), %error, "what was approved cannot be kept");
        }
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // A link or a file of an earlier process with this id is not written into.
    let _ = fs::remove_file(&new);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = serde_json::to_vec(kept).map_err(io::Error::other).and_then(|text| out.write_all(&text));
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| drop(fs::remove_file(&new)))
}
