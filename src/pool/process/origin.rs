//! Called by `endpoint::entrance` for each connection: whether whoever connects descends from one of this daemon's
//! servers.

use std::ops::Range;

use super::tree::Entry;

/// How many parents are looked at.
const GENERATIONS: usize = 64;

/// Where a process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Not from a server of this daemon, as far as the system tells.
    Elsewhere,
    /// From this server.
    Server(String),
    /// It has ended already, lost its parents while servers ran, or shows signs of another server than it descends
    /// from: it may be from any.
    Unknown,
    /// From a server of another daemon.
    Foreign,
}

/// What is known of this daemon's own processes.
pub struct House<'a> {
    pub me: u32,
    /// When the first server was started.
    pub since: u64,
    /// How marks, and which tags, of its servers look.
    pub mark: &'a str,
    pub tags: Option<Range<u64>>,
    pub servers: Vec<Known<'a>>,
    /// Its warden.
    pub warden: Option<u32>,
    /// Whether this daemon was itself started by a server of another: then those of that one are its callers.
    pub nested: bool,
}

/// A server that runs.
pub struct Known<'a> {
    pub pid: u32,
    pub start: u64,
    pub mark: &'a str,
    pub tag: Option<u64>,
    pub name: &'a str,
}

/// Traces a process, `look` being what the system shows of one, with mark and tag where `true`, and whether it is a
/// daemon where not. None: a parent ended in between, and it should be traced again.
///
/// Descent alone says whose it is: mark, tag and group are set by whoever wants to. They can only speak against it.
pub fn trace(pid: u32, house: &House<'_>, look: impl Fn(u32, bool) -> Option<Entry>) -> Option<Origin> {
    // Nothing that runs could be of a server of this daemon.
    let empty = house.servers.is_empty();
    let ended = if empty { Origin::Elsewhere } else { Origin::Unknown };
    let Some(mut at) = look(pid, true) else { return Some(ended) };
    let own = at.mark.as_deref().filter(|mark| mark.starts_with(house.mark));
    if at.mark.is_some() && own.is_none() && !house.nested {
        return Some(Origin::Foreign);
    }
    let tag = at.tag.filter(|tag| house.tags.as_ref().is_some_and(|tags| tags.contains(tag)));
    let mark = own.map(str::to_owned);
    let mut groups = Vec::new();
    for _ in 0..GENERATIONS {
        // A group is named for its leader, which may have ended.
        groups.extend(house.servers.iter().find(|server| server.pid == at.group).map(|server| server.pid));
        if let Some(server) = house.servers.iter().find(|server| server.pid == at.pid && server.start == at.start) {
            let agrees = mark.is_none_or(|mark| mark == server.mark)
                && tag.is_none_or(|tag| server.tag == Some(tag))
                && groups.iter().all(|group| *group == server.pid);
            return Some(if agrees { Origin::Server(server.name.to_owned()) } else { Origin::Unknown });
        }
        // Process 1 is given everybody's orphans; who was there before all servers is of none.
        let adopted = at.parent == house.me && house.me != 1 && house.warden != Some(at.pid);
        if adopted && !empty && at.start >= house.since {
            return Some(Origin::Unknown);
        }
        if at.parent == house.me || at.parent <= 1 {
            let signs = mark.is_some() || tag.is_some() || !groups.is_empty();
            return Some(if signs { Origin::Unknown } else { Origin::Elsewhere });
        }
        // A parent is never younger: then its id is somebody else's by now.
        at = look(at.parent, false).filter(|parent| parent.start <= at.start)?;
        if at.serves && !house.nested {
            return Some(Origin::Foreign);
        }
    }
    Some(Origin::Unknown)
}

/// Returns whether a process, which is a daemon, was started by a server of another one. None: as with `trace`.
pub fn is_nested(pid: u32, look: impl Fn(u32) -> Option<Entry>) -> Option<bool> {
    let mut at = look(pid)?;
    for _ in 0..GENERATIONS {
        if at.parent <= 1 {
            return Some(false);
        }
        at = look(at.parent).filter(|parent| parent.start <= at.start)?;
        if at.serves {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, parent: u32) -> Entry {
        Entry { pid, parent, group: pid, start: u64::from(pid), ..Entry::default() }
    }

    fn traced_by(entries: &[Entry], pid: u32, nested: bool) -> Option<Origin> {
        let files = Known { pid: 110, start: 110, mark: "m/1/", tag: Some(5001), name: "files" };
        let admin = Known { pid: 115, start: 115, mark: "m/2/", tag: Some(5002), name: "admin" };
        let (me, since, warden) = (100, 105, Some(101));
        let house =
            House { me, since, mark: "m/", tags: Some(5000..6000), servers: vec![files, admin], warden, nested };
        trace(pid, &house, |pid, shown| {
            let entry = entries.iter().find(|entry| entry.pid == pid)?.clone();
            Some(if shown { entry } else { Entry { mark: None, tag: None, ..entry } })
        })
    }

    fn traced(entries: &[Entry], pid: u32) -> Option<Origin> {
        traced_by(entries, pid, false)
    }

    fn files() -> Option<Origin> {
        Some(Origin::Server("files".to_owned()))
    }

    #[test]
    fn a_server_and_what_it_started_are_told_by_descent() {
        let tree = [entry(50, 1), entry(100, 50), entry(110, 100), entry(111, 110), entry(112, 111), entry(60, 50)];
        assert_eq!([110, 111, 112].map(|pid| traced(&tree, pid)), [files(), files(), files()]);
        assert_eq!([60, 100].map(|pid| traced(&tree, pid)), [Some(Origin::Elsewhere), Some(Origin::Elsewhere)]);
    }

    #[test]
    fn mark_tag_and_group_speak_against_a_process_and_never_for_it() {
        let (unknown, foreign) = (Some(Origin::Unknown), Some(Origin::Foreign));
        for (mark, tag, group, child, orphan) in [
            (None, None, 120, files(), Some(Origin::Elsewhere)),
            (Some("m/1/"), Some(5001), 110, files(), unknown.clone()),
            (Some("m/1/"), None, 120, files(), unknown.clone()),
            (None, Some(5001), 120, files(), unknown.clone()),
            (None, None, 110, files(), unknown.clone()),
            // Of the server beside it, and of one that is gone.
            (Some("m/2/"), None, 120, unknown.clone(), unknown.clone()),
            (None, Some(5002), 120, unknown.clone(), unknown.clone()),
            (None, None, 115, unknown.clone(), unknown.clone()),
            (Some("m/9/"), None, 120, unknown.clone(), unknown.clone()),
            (None, Some(5009), 120, unknown.clone(), unknown.clone()),
            // Of another daemon, and of nobody that is known.
            (Some("other/1/"), None, 120, foreign.clone(), foreign.clone()),
            (None, Some(7000), 120, files(), Some(Origin::Elsewhere)),
        ] {
            let signs = |parent| Entry { mark: mark.map(str::to_owned), tag, group, ..entry(120, parent) };
            assert_eq!(traced(&[signs(110), entry(110, 100)], 120), child, "a child, {mark:?} {tag:?} {group}");
            assert_eq!(traced(&[signs(1)], 120), orphan, "an orphan, {mark:?} {tag:?} {group}");
        }
    }

    #[test]
    fn who_descends_from_another_daemon_is_foreign_unless_this_one_does_too() {
        let daemon = Entry { serves: true, ..entry(70, 1) };
        let tree = [daemon, entry(71, 70), entry(72, 71), entry(60, 1)];
        assert_eq!([71, 72].map(|pid| traced(&tree, pid)), [Some(Origin::Foreign), Some(Origin::Foreign)]);
        assert_eq!(traced(&tree, 60), Some(Origin::Elsewhere));
        assert_eq!(traced_by(&tree, 72, true), Some(Origin::Elsewhere));
        let look = |pid| tree.iter().find(|entry| entry.pid == pid).cloned();
        assert_eq!([70, 72, 60, 99].map(|pid| is_nested(pid, look)), [Some(false), Some(true), Some(false), None]);
    }

    #[test]
    fn who_was_adopted_while_servers_ran_is_unknown_and_who_was_there_before_is_not() {
        let tree = [entry(101, 100), entry(103, 100), entry(104, 103), entry(120, 100), entry(121, 120)];
        let origins = [101, 103, 104, 120, 121].map(|pid| traced(&tree, pid));
        let (elsewhere, unknown) = (Some(Origin::Elsewhere), Some(Origin::Unknown));
        assert_eq!(origins, [elsewhere.clone(), elsewhere.clone(), elsewhere, unknown.clone(), unknown]);
    }

    #[test]
    fn who_has_ended_is_unknown_and_a_parent_that_ended_meanwhile_is_looked_for_again() {
        assert_eq!(traced(&[], 120), Some(Origin::Unknown));
        assert_eq!(traced(&[entry(120, 119)], 120), None);
        let reused = Entry { start: 500, ..entry(119, 1) };
        assert_eq!(traced(&[entry(120, 119), reused], 120), None);
    }
}
