//! Called by `mux::callers` whenever the session of a legacy caller begins, changes or ends, and where a server is late: who may
//! be told of what changes at it, and how much they want to hear of what it logs, so that nobody has to look through all callers.
//! `mux::check` compares it with the callers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;

use crate::era::level::Level;
use crate::era::profile::Profile;
use crate::key::CallerKey;

/// The callers that something of a server matters to, as far as it is not looked up with each of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Those that have opened and may be told of changes.
    open: BTreeSet<CallerKey>,
    /// Those that were answered without it, of either era.
    late: BTreeSet<CallerKey>,
    /// How many of each kind want to hear of which level.
    levels: HashMap<Profile, BTreeMap<Level, usize>, RandomState>,
}

impl Audience {
    /// A caller has opened.
    pub fn opens(&mut self, caller: CallerKey) {
        self.open.insert(caller);
    }

    /// A caller is not there any more, or not as it was.
    pub fn leaves(&mut self, caller: CallerKey) {
        self.open.remove(&caller);
    }

    /// Those that have opened.
    pub fn open(&self) -> &BTreeSet<CallerKey> {
        &self.open
    }

    /// The server is late for a caller, or is not any more.
    pub fn is_late_for(&mut self, caller: CallerKey, late: bool) {
        if late {
            self.late.insert(caller);
        } else {
            self.late.remove(&caller);
        }
    }

    /// Those that were answered without the server.
    pub fn late(&self) -> &BTreeSet<CallerKey> {
        &self.late
    }

    /// One caller of a kind wants to hear of a level.
    pub fn wants(&mut self, profile: &Profile, level: Level) {
        *self.levels.entry(profile.clone()).or_default().entry(level).or_default() += 1;
    }

    /// One caller of a kind does not want that any more.
    pub fn wants_no_more(&mut self, profile: &Profile, level: Level) {
        let Some(levels) = self.levels.get_mut(profile) else { return };
        if let Some(count) = levels.get_mut(&level) {
            *count -= 1;
            if *count == 0 {
                levels.remove(&level);
            }
        }
        if levels.is_empty() {
            self.levels.remove(profile);
        }
    }

    /// The most verbose level that callers of a kind want to hear of.
    pub fn level(&self, profile: &Profile) -> Option<Level> {
        self.levels.get(profile)?.first_key_value().map(|(level, _)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_verbose_level_counts_for_as_long_as_one_of_its_kind_wants_it() {
        let profile = |capabilities| Profile::legacy("2025-06-18", capabilities).unwrap();
        let (plain, other) = (profile("{}"), profile(r#"{"sampling":{}}"#));
        let mut audience = Audience::default();
        for level in [Level::Error, Level::Debug, Level::Debug] {
            audience.wants(&plain, level);
        }
        audience.wants(&other, Level::Info);
        audience.wants_no_more(&plain, Level::Debug);
        assert_eq!((audience.level(&plain), audience.level(&other)), (Some(Level::Debug), Some(Level::Info)));
        audience.wants_no_more(&plain, Level::Debug);
        assert_eq!(audience.level(&plain), Some(Level::Error));
        audience.wants_no_more(&plain, Level::Error);
        audience.wants_no_more(&plain, Level::Error);
        audience.wants_no_more(&other, Level::Info);
        assert_eq!(audience, Audience::default());
    }
}
