//! Called by `pool::process` when an instance ends, and by the warden when the daemon did: who descends from a
//! server, wherever they went, and how they are told to end.

use std::collections::HashMap;
use std::ops::Range;

use rustix::process::{Signal, kill_process_group, test_kill_process_group};

use super::sys;
use super::tree::{self, Entry};

/// The processes of one instance, or of all.
pub struct Family {
    /// Who leads a process group, and since when, in the ticks of `Entry::start`.
    leaders: HashMap<u32, u64>,
    /// How the marks of its members begin.
    mark: String,
    /// Which tags they have, if they lost their parents.
    tags: Range<u64>,
    /// Who was alive at the last look, and what they were told.
    members: HashMap<u32, (Entry, Option<Signal>)>,
    /// The system shows no processes: groups are all there is to go by.
    blind: bool,
    /// What everybody was told at last.
    told: Option<Signal>,
}

impl Family {
    /// The families of these leaders, and of whoever has a mark that begins so, or one of these tags.
    pub fn new(leaders: HashMap<u32, u64>, mark: String, tags: Range<u64>) -> Family {
        Family { leaders, mark, tags, members: HashMap::new(), blind: false, told: None }
    }

    /// Since when there is anybody: who is older belongs to others.
    pub fn since(&self) -> u64 {
        self.leaders.values().copied().min().unwrap_or(0)
    }

    /// Takes in what a look at the machine showed, with marks since `since`, and who is given what loses its parents.
    pub fn see(&mut self, entries: &[Entry], adopters: &[u32]) {
        self.blind = entries.is_empty();
        let since = self.since();
        let me = std::process::id();
        let founders = entries.iter().filter(|entry| entry.start >= since && self.recognises(entry, entries, adopters));
        let seen = tree::descendants(founders, &tree::children(entries)).into_iter();
        let alive = seen.filter(|entry| !entry.zombie && entry.pid != me && entry.pid > 1);
        let told = |entry: &Entry| {
            let known = self.members.get(&entry.pid).filter(|(known, _)| known.start == entry.start);
            known.and_then(|(_, told)| *told)
        };
        self.members = alive.map(|entry| (entry.pid, (entry.clone(), told(entry)))).collect();
    }

    /// Returns whether a process is one of the family by what itself shows.
    fn recognises(&self, entry: &Entry, entries: &[Entry], adopters: &[u32]) -> bool {
        let known = |pid: u32| self.members.get(&pid).map(|(known, _)| known.start).or(self.leaders.get(&pid).copied());
        let grouped = || {
            // A group outlives its leader; only then may the leader's id be missing, but never somebody else's.
            let Some(start) = self.leaders.get(&entry.group) else { return false };
            entries.iter().find(|leader| leader.pid == entry.group).is_none_or(|leader| leader.start == *start)
        };
        known(entry.pid) == Some(entry.start)
            || entry.mark.as_ref().is_some_and(|mark| mark.starts_with(&self.mark))
            // Whoever runs as the same user can lower this limit of others: it proves something of orphans alone.
            || adopters.contains(&entry.parent) && entry.tag.is_some_and(|tag| self.tags.contains(&tag))
            || grouped()
    }

    /// Adds one who was found out to belong here, without showing it.
    pub fn adopt(&mut self, entry: Entry) {
        self.members.entry(entry.pid).or_insert((entry, None));
    }

    /// Returns whether somebody of the last look is alive still: a few small files are read.
    pub fn alive(&self) -> bool {
        if self.blind {
            let mut groups = self.leaders.keys().filter_map(|leader| sys::pid(*leader));
            return groups.any(|group| test_kill_process_group(group).is_ok());
        }
        let lives = |(pid, (known, _)): (&u32, &(Entry, Option<Signal>))| {
            tree::one(*pid).is_some_and(|now| now.start == known.start && !now.zombie)
        };
        self.members.iter().any(lives)
    }

    /// Tells everybody who was not told the same already.
    pub fn tell(&mut self, signal: Signal) {
        for leader in self.leaders.keys() {
            let untold = |(entry, told): &(Entry, Option<Signal>)| entry.group == *leader && *told != Some(signal);
            if (self.blind && self.told != Some(signal) || self.members.values().any(untold))
                && let Some(group) = sys::pid(*leader)
            {
                // At once, so that nobody of it forks away meanwhile. It may have ended by itself.
                let _ = kill_process_group(group, signal);
            }
        }
        for (entry, told) in self.members.values_mut() {
            if *told != Some(signal) && !self.leaders.contains_key(&entry.group) {
                sys::signal(entry, signal);
            }
            *told = Some(signal);
        }
        self.told = Some(signal);
    }

    /// Returns the ids of those who were alive at the last look.
    #[cfg(test)]
    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.members.keys().copied().collect();
        pids.sort_unstable();
        pids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, parent: u32, group: u32) -> Entry {
        Entry { pid, parent, group, start: u64::from(pid), ..Entry::default() }
    }

    fn marked(pid: u32, mark: &str) -> Entry {
        Entry { mark: Some(mark.to_owned()), ..entry(pid, 1, pid) }
    }

    fn family() -> Family {
        Family::new(HashMap::from([(10, 10)]), "m/1/".into(), 5001..5002)
    }

    #[test]
    fn members_are_told_by_group_mark_tag_and_parents() {
        let mut family = family();
        family.see(
            &[
                entry(1, 0, 1),
                entry(10, 1, 10),
                entry(11, 10, 11),
                entry(12, 1, 10),
                marked(13, "m/1/"),
                entry(14, 13, 14),
                Entry { tag: Some(5001), ..entry(15, 1, 15) },
                Entry { tag: Some(5002), ..entry(16, 1, 16) },
                // Tagged from outside: their parents are others.
                Entry { tag: Some(5001), ..entry(17, 18, 17) },
                marked(20, "m/12/"),
                entry(21, 20, 21),
            ],
            &[1],
        );
        assert_eq!(family.pids(), [10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn who_was_seen_once_is_not_lost_with_its_parents() {
        let mut family = family();
        family.see(&[entry(10, 1, 10), entry(11, 10, 11), entry(12, 11, 12)], &[1]);
        family.see(&[entry(12, 1, 12), entry(15, 12, 15)], &[1]);
        assert_eq!(family.pids(), [12, 15]);
    }

    #[test]
    fn a_reused_id_is_somebody_else() {
        let mut family = family();
        family.see(&[entry(10, 1, 10), entry(11, 10, 11)], &[1]);
        let later = |pid, group| Entry { start: 500, ..entry(pid, 1, group) };
        family.see(&[later(10, 10), later(11, 11), later(12, 10)], &[1]);
        assert_eq!(family.pids(), [0; 0]);
    }

    #[test]
    fn who_is_older_and_who_has_ended_is_left_alone() {
        let mut family = family();
        let dead = Entry { zombie: true, ..entry(12, 1, 10) };
        family.see(&[marked(9, "m/1/"), entry(10, 1, 10), dead], &[1]);
        assert_eq!(family.pids(), [10]);
    }
}
