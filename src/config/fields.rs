//! A map of the file being read key by key: each getter says which key there is, of what type, and its default.
//! Used by everything in `file/`. What is wrong is noted and the default taken, so that one run finds all mistakes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::diagnostic::{Notes, quoted};
use super::substitute::{Fault, Kind};
use super::yaml::{Entry, Node, Place, Value};
use super::{Rate, Secret};
use super::{name, substitute, units};

/// The longest duration: timers can't count to the end of time.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// How many keys of others are named.
const SHOWN: usize = 8;

/// The keys of one map, and which of them have been asked for.
pub(super) struct Fields<'t> {
    pub(super) notes: &'t Notes<'t>,
    /// What is pointed at when a key is missing.
    pub(super) place: Place,
    entries: &'t [Entry],
    known: Vec<&'static str>,
    /// What `${...}` stood for.
    filled_in: RefCell<Vec<Secret>>,
    /// What `${...}` could not stand for; None: that is a mistake.
    lacking: Option<Rc<RefCell<Vec<String>>>>,
    /// Keys that nobody has asked for are those of others, and no mistakes; what they belong to.
    others: Option<String>,
}

impl<'t> Fields<'t> {
    /// Reads `node` as a map; nothing at all is an empty one. `place`: where the key stands that it belongs to.
    pub(super) fn new(notes: &'t Notes<'t>, place: Place, node: &'t Node) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                notes.mistake(
                    node.place,
                    format!("expected a map of keys, got {}", node.described()),
                    "write `key: value` lines, indented below it",
                );
                &[]
            }
        };
        Self { notes, place, entries, known: Vec::new(), filled_in: RefCell::default(), lacking: None, others: None }
    }

    /// What cannot be filled in here is no mistake, but told by [`Fields::lacks`]: it may be to be had elsewhere.
    pub(super) fn forgiving(self) -> Self {
        Self { lacking: Some(Rc::default()), ..self }
    }

    /// Lets keys be that only others know.
    pub(super) fn beside_others(self, of: impl Into<String>) -> Self {
        Self { others: Some(of.into()), ..self }
    }

    /// The key and its value, if it is there and not null.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key && !entry.node.is_null())
    }

    /// The first of some keys that others' files have and this one hasn't: to say more than that they are unknown.
    pub(super) fn foreign(&self, keys: &[&str]) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| keys.contains(&entry.key.as_str()))
    }

    fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Whether there is an unknown key that was probably meant to be this one.
    pub(super) fn has_nearly(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key != key && name::nearest(&entry.key, [key]).is_some())
    }

    /// A map with keys of its own.
    pub(super) fn section(&mut self, key: &'static str) -> Fields<'t> {
        match self.entry(key) {
            Some(entry) => {
                Fields { lacking: self.lacking.clone(), ..Fields::new(self.notes, entry.place, &entry.node) }
            }
            None => Fields {
                notes: self.notes,
                place: self.place,
                entries: &[],
                known: Vec::new(),
                filled_in: RefCell::default(),
                lacking: None,
                others: None,
            },
        }
    }

    /// A map whose keys are names that the operator chose.
    pub(super) fn named(&mut self, key: &'static str) -> impl Iterator<Item = &'t Entry> + use<'t> {
        let notes = self.notes;
        self.section(key).entries.iter().filter(move |entry| {
            if entry.repeated {
                notes.hide(&entry.node);
            }
            !entry.repeated
        })
    }

    /// Like `30s`, at least `least`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, least: Duration) -> Duration {
        let Some(node) = self.node(key) else { return default };
        let Some(duration) = node.text().and_then(units::duration) else {
            let help = "units are `ms`, `s`, `m`, `h` and `d`, and can be combined: `1m30s`";
            return self.expected("a duration like 30s", node, help, default);
        };
        if (least..=LONGEST).contains(&duration) {
            return duration;
        }
        let bounds = format!("from {} to {}", units::written(least), units::written(LONGEST));
        self.expected(
            &format!("a duration {bounds}"),
            node,
            &format!("the default is `{}`", units::written(default)),
            default,
        )
    }

    /// Like `10MiB`, in bytes.
    pub(super) fn size(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(node) = self.node(key) else { return default };
        let Some(size) = node.text().and_then(units::size) else {
            let help = "units are `KiB`, `MiB`, `GiB`, `KB`, `MB` and `GB`; a number alone is bytes";
            return self.expected("a size like 10MiB", node, help, default);
        };
        if range.contains(&size) {
            return size;
        }
        let bounds = format!("from {} to {}", units::written_size(*range.start()), units::written_size(*range.end()));
        self.expected(
            &format!("a size {bounds}"),
            node,
            &format!("the default is `{}`", units::written_size(default)),
            default,
        )
    }

    /// The same, where there is no value that is always right.
    pub(super) fn maybe_size(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let set = self.node(key).is_some();
        if set { Some(self.size(key, *range.start(), range)) } else { None }
    }

    /// A whole number.
    pub(super) fn count(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(node) = self.node(key) else { return default };
        match node.text().and_then(|text| text.parse().ok()) {
            Some(count) if range.contains(&count) => count,
            _ => {
                let what = format!("a whole number from {} to {}", range.start(), range.end());
                self.expected(&what, node, &format!("the default is `{default}`"), default)
            }
        }
    }

    /// The word `never`, or what `read` makes of the key.
    pub(super) fn or_never<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let never = self.node(key).is_some_and(|node| node.text() == Some("never"));
        if never { None } else { Some(read(self)) }
    }

    /// Like `20/s`, or the word `never` for no limit.
    pub(super) fn rate(&mut self, key: &'static str, default: Option<Rate>) -> Option<Rate> {
        match self.node(key) {
            None => default,
            Some(node) if node.text() == Some("never") => None,
            Some(node) => self.read_rate(node),
        }
    }

    /// A map from names that the operator chose to rates.
    pub(super) fn rates(&mut self, key: &'static str) -> BTreeMap<String, Rate> {
        let entries: Vec<&Entry> = self.named(key).collect();
        let read = |entry: &Entry| Some((entry.key.clone(), self.read_rate(&entry.node)?));
        entries.into_iter().filter_map(read).collect()
    }

    /// A map from names that the operator chose to whole numbers.
    pub(super) fn counts(&mut self, key: &'static str, most: u8) -> BTreeMap<String, u8> {
        let mut counts = BTreeMap::new();
        for entry in self.named(key) {
            match entry.node.text().and_then(|text| text.parse().ok()) {
                Some(count) if count <= most => drop(counts.insert(entry.key.clone(), count)),
                _ => self.expected(&format!("a whole number from 0 to {most}"), &entry.node, "0 is never", ()),
            }
        }
        counts
    }

    /// Whether a key holds a map.
    pub(super) fn is_map(&mut self, key: &'static str) -> bool {
        self.node(key).is_some_and(|node| matches!(node.value, Value::Map(_)))
    }

    fn read_rate(&self, node: &Node) -> Option<Rate> {
        let rate = node.text().and_then(units::rate);
        rate.or_else(|| {
            self.expected("a rate like 20/s", node, "units are `/s`, `/m` and `/h`; `never`: no limit", None)
        })
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else { return default };
        match node.text() {
            Some("true") => true,
            Some("false") => false,
            _ => self.expected("`true` or `false`", node, &format!("the default is `{default}`"), default),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let Some(node) = self.node(key) else { return T::default() };
        let text = node.text().unwrap_or_default();
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text) {
            return *choice;
        }
        let listed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let help =
            name::nearest(text, words.iter().map(|(word, _)| *word)).map(|word| format!("did you mean `{word}`?"));
        self.expected(&format!("one of {}", listed.join(", ")), node, &help.unwrap_or_default(), T::default())
    }

    /// An absolute path, with `${...}` filled in.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let node = self.node(key)?;
        let path = PathBuf::from(self.filled(node)?);
        if !path.is_absolute() {
            let help = if node.text().is_some_and(|text| text.starts_with('~')) {
                "`~` means nothing here: write `${env:HOME}`"
            } else {
                "write it from `/` on: the daemon may be started anywhere"
            };
            return self.expected("an absolute path", node, help, None);
        }
        Some(path)
    }

    /// A list.
    pub(super) fn list(&mut self, key: &'static str) -> Option<&'t [Node]> {
        let node = self.node(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => self.expected("a list", node, "write `[one, two]`, or `- one` on a line of its own", None),
        }
    }

    /// A list of texts, with `${...}` filled in.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let items = self.list(key)?;
        Some(items.iter().filter_map(|item| self.filled(item)).collect())
    }

    /// The text of a scalar, filled in. None: it is something else, or cannot be filled in, which has been noted.
    pub(super) fn filled(&self, node: &Node) -> Option<String> {
        let Some(text) = node.text() else {
            return self.expected("a text", node, "quote it if it is meant literally; `\"\"` is the empty text", None);
        };
        if text.contains('\0') {
            self.notes.mistake(
                node.place,
                "a text with a NUL character",
                "no argument or environment variable of a process can hold one",
            );
            return None;
        }
        let whole = Cell::new(true);
        let mut fault = |fault: Fault| {
            whole.set(whole.get() && fault.kind == Kind::Exposed);
            self.fault(node.place, fault);
        };
        let mut secret = |value: &str| self.filled_in.borrow_mut().push(Secret::new(value));
        let text = substitute::expand(text, &|name| self.notes.variable(name), &mut secret, &mut fault);
        // Part of a path would be another path.
        whole.get().then_some(text)
    }

    /// Notes what could not be filled in: a mistake, or what is lacking where that is none.
    pub(super) fn fault(&self, place: Place, Fault { message, help, kind }: Fault) {
        match (kind, &self.lacking) {
            (Kind::Exposed, _) => self.notes.warn(format!("{message}: {help}")),
            (Kind::Missing, Some(lacking)) => lacking.borrow_mut().push(format!("{message}; {help}")),
            _ => self.notes.mistake(place, message, help),
        }
    }

    /// What could not be filled in, where that is no mistake.
    pub(super) fn lacks(&self) -> Vec<String> {
        self.lacking.as_ref().map(|lacking| lacking.take()).unwrap_or_default()
    }

    /// What `${...}` stood for in the keys of this map that were asked for, where it may be a secret.
    pub(super) fn filled_in(&self) -> Vec<Secret> {
        self.filled_in.take()
    }

    /// Notes that two keys contradict each other, at the first of them that was written.
    pub(super) fn contradiction(&self, keys: [&str; 2], message: &str, help: &str) {
        let written = |key: &&str| self.entries.iter().find(|entry| entry.key == *key).map(|entry| entry.node.place);
        self.notes.mistake(keys.iter().find_map(written).unwrap_or(self.place), message, help);
    }

    /// Refuses all keys that nobody has asked for.
    pub(super) fn finish(self) {
        let mut others = Vec::new();
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) && !entry.repeated {
                continue;
            }
            // It may be a misspelt `env` or `args`, or a second one, or a key of something.
            if !entry.node.text().is_some_and(is_harmless) {
                self.notes.hide(&entry.node);
            }
            if entry.repeated {
                continue;
            }
            if self.others.is_some() {
                others.push(quoted(key));
                continue;
            }
            let help = match name::nearest(key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.notes.mistake(entry.place, format!("unknown key {}", quoted(key)), help);
        }
        if let (Some(of), Some(_)) = (&self.others, others.first()) {
            let more = others.len().saturating_sub(SHOWN);
            others.truncate(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.notes.warn(format!("{of}: mcpool has no use for {}{more}", others.join(", ")));
        }
    }

    /// Notes that `node` is not `what`, and gives `instead`.
    pub(super) fn expected<T>(&self, what: &str, node: &Node, help: &str, instead: T) -> T {
        let got = if self.notes.hides(node) { String::new() } else { format!(", got {}", node.described()) };
        self.notes.mistake(node.place, format!("expected {what}{got}"), help);
        instead
    }
}

/// Whether a value of an unknown key may be shown: it cannot be a secret.
fn is_harmless(text: &str) -> bool {
    let number = text.parse::<f64>().is_ok() || units::duration(text).is_some() || units::size(text).is_some();
    number || matches!(text, "true" | "false") || units::rate(text).is_some()
}
