//! Kept for each server, and asked by `mux` before anything is asked of an instance: what mcpool knows of the server.
//! It is kept on disk, so that callers can connect, initialise and list before a process is started.

pub mod collisions;
mod contents;
mod digest;
pub mod index;
mod items;
mod kept;
pub mod key;
mod kind;
pub mod legible;
pub mod list;
pub mod lookup;
pub mod names;
pub mod pins;
mod record;
pub mod rendered;
mod room;
pub mod seen;
mod shelf;
mod templates;
mod variant;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::clock;
use crate::config::{self, EraChoice};
use crate::era::Era;
use crate::era::digest::Digest;
use crate::era::profile::Profile;
use crate::key::CallerKey;
use crate::principal::Principal;
use contents::Contents;
pub use key::{Scope, VariantKey};
use list::{List, ListKind};
use record::{Record, VariantRecord};
use seen::Seen;
use shelf::Shelf;
pub use variant::Variant;

/// How many variants of a server are remembered; `room` says which goes first.
const VARIANTS: usize = 64;
/// How many of them are kept on disk.
const KEPT: usize = 16;
/// The shortest time between two writes.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of one server, and where it is kept.
pub struct Catalogue {
    /// The server's name, under which others see what it offers.
    name: Box<str>,
    /// Its file, if it has one.
    shelf: Option<Shelf>,
    pub known: Known,
    alarm: Rc<Alarm>,
    /// When it may be written again.
    next: Cell<Option<Instant>>,
    /// Whether it holds what is not written.
    unsaved: Cell<bool>,
}

/// What is known of one server.
#[derive(Default)]
pub struct Known {
    /// Eras that it was found not to speak.
    lacks: Vec<Era>,
    /// An era that it was silent in, or died of: it may lack that, or be slow or broken today.
    suspected: Option<Profile>,
    /// An era that it was silent in while it speaks the other: not remembered for longer than the daemon runs, since
    /// it may only have been slow.
    assumed: Option<Era>,
    /// Whether it was seen to ask for a sample or an elicitation.
    pub seen: Seen,
    /// It was seen to ask for roots.
    pub asks_roots: bool,
    /// The log has it that a name stands twice in one of its lists.
    pub told_double: bool,
    variants: Vec<Variant>,
}

/// Whether instances with the profile of a variant are told roots.
fn told_roots(variant: &Variant) -> bool {
    variant.key.profile().is_some_and(|profile| profile.has_roots())
}

impl Known {
    fn kept(record: Record) -> Known {
        let Record { lacks, seen, asks_roots, variants } = record;
        let variants = variants.into_iter().map(Variant::kept).collect();
        Known { lacks, seen, asks_roots, variants, ..Known::default() }
    }

    /// The variants that are everybody's.
    fn for_all(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| variant.key.scope == Scope::All)
    }

    /// What is kept on disk of a variant: not the lists that were told to some roots.
    fn record_of(&self, variant: &Variant) -> VariantRecord {
        let mut record = variant.record();
        if self.asks_roots && told_roots(variant) {
            record.lists.clear();
        }
        record
    }

    fn record(&self) -> Record {
        Record {
            lacks: self.lacks.clone(),
            seen: self.seen,
            asks_roots: self.asks_roots,
            variants: self.for_all().take(KEPT).map(|variant| self.record_of(variant)).collect(),
        }
    }
}

impl Catalogue {
    /// What is remembered of a server in `dir`; nothing if there is nothing readable. `home` is where servers run
    /// that have no `cwd`.
    pub fn load(dir: Option<&Path>, server: &config::Server, home: Option<&Path>, alarm: Rc<Alarm>) -> Catalogue {
        let variable = |name: &str| server.surroundings.variable(name);
        let file = dir.map(|dir| dir.join(format!("{}.json", digest::digest(server, home, &variable))));
        // It is written without line ends. In one that holds any they would be told on in the middle of a line.
        let sound = |text: &Vec<u8>| memchr::memchr2(b'\r', b'\n', text).is_none();
        let read = |file: &PathBuf| serde_json::from_slice(&fs::read(file).ok().filter(sound)?).ok();
        let known = file.as_ref().and_then(read).map(Known::kept).unwrap_or_default();
        let name = server.name.as_str().into();
        let shelf = file.map(Shelf::new);
        let mut catalogue = Catalogue { name, known, shelf, alarm, next: Cell::default(), unsaved: Cell::default() };
        catalogue.share();
        catalogue
    }

    /// Has what is known written to disk, now or soon: a server whose lists change all the time must not keep the disk busy.
    pub fn save(&self) {
        let now = clock::now();
        match self.next.get().filter(|next| now < *next) {
            None => {
                self.next.set(Some(now + PAUSE));
                self.write();
            }
            Some(next) => {
                self.unsaved.set(true);
                self.alarm.at(next);
            }
        }
    }

    /// Writes what was too soon to be written before; when that may be, if not now.
    pub fn save_late(&self, now: Instant) -> Option<Instant> {
        let next = self.next.get().filter(|_| self.unsaved.get())?;
        if now >= next {
            self.save();
        }
        Some(next).filter(|next| now < *next)
    }

    /// Lets everything go; nothing is written any more.
    pub fn forget(&mut self) {
        self.settle();
        (self.shelf, self.known) = (None, Known::default());
    }

    /// Has what is known written to disk, whole or not at all, by another thread.
    pub fn write(&self) {
        self.unsaved.set(false);
        if let Some(shelf) = &self.shelf {
            shelf.put(self.known.record());
        }
    }

    /// Returns once what was to be written is: before the file is read again, and before the daemon ends.
    pub fn settle(&self) {
        self.shelf.iter().for_each(Shelf::settle);
    }

    /// Whether the server is known, or configured, not to speak an era.
    pub fn lacks(&self, era: Era, choice: EraChoice) -> bool {
        match choice {
            EraChoice::Auto => self.known.lacks.contains(&era) || self.known.assumed == Some(era) || self.suspects(era),
            EraChoice::Legacy => era == Era::Modern,
            EraChoice::Modern => era == Era::Legacy,
        }
    }

    /// Whether the server itself said that it does not speak an era.
    pub fn is_known_to_lack(&self, era: Era) -> bool {
        self.known.lacks.contains(&era)
    }

    /// The era in which the server is used for callers of `era`: theirs, if it speaks that. `None` if nobody knows.
    pub fn serves(&self, era: Era, choice: EraChoice) -> Option<Era> {
        if choice == EraChoice::Auto && self.known.suspected.is_some() {
            return None;
        }
        if self.lacks(era, choice) {
            return Some(era.other());
        }
        (choice != EraChoice::Auto || self.heard(era) || self.known.lacks.contains(&era.other())).then_some(era)
    }

    /// The era in which to try a server of which nobody knows what it speaks.
    pub fn worth_a_try(&self, era: Era, choice: EraChoice) -> Era {
        if self.lacks(era, choice) { era.other() } else { era }
    }

    fn heard(&self, era: Era) -> bool {
        self.known.variants.iter().any(|variant| variant.key.era == era && variant.introduction().is_some())
    }

    /// Remembers that the server does not speak an era; whether that is news that helps. It speaks one of them: if it
    /// is said to lack both, it has changed or is broken, and what was known of that is forgotten.
    pub fn note_lack(&mut self, era: Era, choice: EraChoice) -> bool {
        if choice == EraChoice::Auto && self.known.lacks == [era] {
            // Another instance that was started at the same time said so already.
            return true;
        }
        let news = choice == EraChoice::Auto && self.known.lacks.is_empty() && !self.heard(era);
        if news {
            self.known.lacks.push(era);
            // It was only slow in the other one, or had a bad day.
            self.known.suspected = None;
        } else if choice == EraChoice::Auto {
            self.known.lacks.clear();
            self.known.assumed = None;
            self.known.variants.iter_mut().for_each(Variant::forget_introduction);
        }
        self.save();
        news
    }

    /// Whether silence may mean that the server is not modern at all.
    pub fn probes(&self, choice: EraChoice) -> bool {
        choice == EraChoice::Auto && !self.heard(Era::Modern)
    }

    /// Suspects that the server does not speak the era of a profile; whether the other is worth a try.
    pub fn suspect_lack(&mut self, profile: &Profile, choice: EraChoice) -> bool {
        let (known, era) = (&self.known, profile.era());
        if choice == EraChoice::Auto && known.lacks.is_empty() && (self.suspects(era) || known.assumed == Some(era)) {
            // Another instance that was started at the same time was silent too.
            return true;
        }
        let helps =
            choice == EraChoice::Auto && known.lacks.is_empty() && known.suspected.is_none() && !self.heard(era);
        if helps {
            self.known.suspected = Some(profile.clone());
        }
        helps
    }

    fn suspects(&self, era: Era) -> bool {
        self.known.suspected.as_ref().is_some_and(|profile| profile.era() == era)
    }

    /// Drops a suspicion that led nowhere, if there was one; what was tried when it arose.
    pub fn drop_suspicion(&mut self) -> Option<Profile> {
        self.known.suspected.take()
    }

    /// The server was heard to speak an era. If it was silent in the other one, it lacks that.
    pub fn note_era(&mut self, era: Era) {
        self.known.lacks.retain(|lacking| *lacking != era);
        self.known.assumed = self.known.assumed.filter(|assumed| *assumed != era);
        if self.suspects(era.other()) {
            self.known.assumed = Some(era.other());
        }
        self.known.suspected = None;
    }

    /// What is known of a variant.
    pub fn variant(&self, key: &VariantKey) -> Option<&Variant> {
        self.known.variants.iter().find(|variant| variant.key == *key)
    }

    /// The variant, made if it is new.
    pub fn variant_mut(&mut self, key: &VariantKey) -> &mut Variant {
        let variants = &mut self.known.variants;
        match variants.iter().position(|variant| variant.key == *key) {
            Some(place) => variants[..=place].rotate_right(1),
            None => {
                if variants.len() >= VARIANTS
                    && let Some(place) = room::forgotten(variants.iter().map(Variant::behalf))
                {
                    variants.remove(place);
                }
                variants.insert(0, Variant::new(key.clone()));
            }
        }
        &mut variants[0]
    }

    /// The same, which a caller needs.
    pub fn variant_for(&mut self, who: Principal, key: &VariantKey) -> &mut Variant {
        let variant = self.variant_mut(key);
        variant.is_needed_by(who);
        variant
    }

    /// Every variant that is known.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.known.variants.iter()
    }

    /// Puts a list in place of what was known of a variant; whether that is news.
    pub fn put(&mut self, key: &VariantKey, kind: ListKind, mut list: List) -> bool {
        let known = self.variants().filter_map(|variant| variant.list(kind)).map(List::contents);
        if let Some(same) = known.into_iter().find(|contents| contents.is_like(list.contents())).cloned() {
            list.share(&same);
        }
        self.variant_mut(key).put(kind, list)
    }

    /// Notes that somebody came who was told of no change of a list yet: the next one is news.
    pub fn is_news_again(&mut self) {
        self.known.variants.iter_mut().for_each(Variant::is_news_again);
    }

    /// Whether the server decides by their roots what it does for clients of this profile.
    pub fn decides_by_roots(&self, profile: &Profile) -> bool {
        self.known.asks_roots && profile.has_roots()
    }

    /// Whose a list is that an instance with this profile tells: its `owner`'s if it is one's own; theirs who have the roots
    /// that it was told, where these decide; and as long as nobody knows those, its user's alone.
    pub fn scope(
        &self,
        profile: &Profile,
        owner: Option<CallerKey>,
        user: CallerKey,
        roots: impl FnOnce() -> Option<Digest>,
    ) -> Scope {
        match owner {
            Some(owner) => Scope::Owner(owner),
            None if self.decides_by_roots(profile) => roots().map_or(Scope::Owner(user), Scope::Roots),
            None => Scope::All,
        }
    }

    /// How the server introduced itself, as it is kept there.
    pub fn said(&self, introduction: &VariantKey) -> Option<&str> {
        self.variant(introduction)?.introduction()
    }

    /// Whether the server is about to introduce itself there.
    pub fn is_being_introduced(&self, introduction: &VariantKey) -> bool {
        self.variant(introduction).is_some_and(Variant::is_being_introduced)
    }

    /// Notes that the server asks for roots; whether that is news. What was filed as everybody's before was one caller's.
    pub fn note_roots_asked(&mut self) -> bool {
        if std::mem::replace(&mut self.known.asks_roots, true) {
            return false;
        }
        self.known.variants.iter_mut().filter(|variant| told_roots(variant)).for_each(Variant::outdate_lists);
        self.save();
        true
    }

    /// Forgets what was offered to one caller alone; which variants that were.
    pub fn forget_owner(&mut self, owner: CallerKey) -> Vec<VariantKey> {
        let own = |variant: &mut Variant| variant.key.scope == Scope::Owner(owner);
        self.known.variants.extract_if(.., own).map(|variant| variant.key).collect()
    }

    /// Lets lists that hold the same share it.
    fn share(&mut self) {
        for kind in ListKind::ALL {
            let mut different: Vec<Rc<Contents>> = Vec::new();
            for list in self.known.variants.iter_mut().filter_map(|variant| variant.list_mut(kind)) {
                match different.iter().find(|contents| contents.is_like(list.contents())) {
                    Some(same) => list.share(same),
                    None => different.push(list.contents().clone()),
                }
            }
        }
    }

    /// Every variant that is known, to be changed.
    pub fn variants_mut(&mut self) -> impl Iterator<Item = &mut Variant> {
        self.known.variants.iter_mut()
    }
}
