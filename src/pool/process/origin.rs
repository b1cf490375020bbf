//! Called by `caller::entrance` for each connection: whether whoever connects descends from one of this daemon's servers.

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
    /// It has ended already, or lost its parents while servers ran: it may be from any.
    Unknown,
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
}

/// A server that runs.
pub struct Known<'a> {
    pub pid: u32,
    pub start: u64,
    pub mark: &'a str,
    pub tag: Option<u64>,
    pub name: &'a str,
}

/// Traces a process, `look` being what the system shows of one, with mark and tag where `true`. None: a parent ended
/// in between, and it should be traced again.
pub fn trace(pid: u32, house: &House<'_>, look: impl Fn(u32, bool) -> Option<Entry>) -> Option<Origin> {
    let Some(mut at) = look(pid, true) else { return Some(Origin::Unknown) };
    let tagged = |tag: &u64| house.tags.as_ref().is_some_and(|tags| tags.contains(tag));
    if let Some(tag) = at.tag.filter(tagged) {
        return Some(house.server(|server| server.tag == Some(tag)));
    }
    if let Some(mark) = at.mark.as_deref().filter(|mark| mark.starts_with(house.mark)) {
        return Some(house.server(|server| server.mark == mark));
    }
    for _ in 0..GENERATIONS {
        // A group is named for its leader, which may have ended.
        let leads = |server: &&Known<'_>| server.pid == at.pid && server.start == at.start || server.pid == at.group;
        if let Some(server) = house.servers.iter().find(leads) {
            return Some(Origin::Server(server.name.to_owned()));
        }
        if at.parent == house.me {
            // Process 1 is given everybody's orphans; who was there before all servers is of none.
            let strange = house.me != 1 && house.warden != Some(at.pid) && at.start >= house.since;
            return Some(if strange { Origin::Unknown } else { Origin::Elsewhere });
        }
        if at.parent <= 1 {
            return Some(Origin::Elsewhere);
        }
        // A parent is never younger: then its id is somebody else's by now.
        at = look(at.parent, false).filter(|parent| parent.start <= at.start)?;
    }
    Some(Origin::Unknown)
}

impl House<'_> {
    fn server(&self, is: impl Fn(&Known<'_>) -> bool) -> Origin {
        let found = self.servers.iter().find(|server| is(server));
        // Of a server that is gone: what is left of it has no business here.
        found.map_or(Origin::Unknown, |server| Origin::Server(server.name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, parent: u32) -> Entry {
        Entry { pid, parent, group: pid, start: u64::from(pid), ..Entry::default() }
    }

    fn traced(entries: &[Entry], pid: u32) -> Option<Origin> {
        let server = Known { pid: 110, start: 110, mark: "m/1/", tag: Some(5001), name: "files" };
        let (me, since, warden) = (100, 105, Some(101));
        let house = House { me, since, mark: "m/", tags: Some(5000..6000), servers: vec![server], warden };
        trace(pid, &house, |pid, shown| {
            let entry = entries.iter().find(|entry| entry.pid == pid)?.clone();
            Some(if shown { entry } else { Entry { mark: None, tag: None, ..entry } })
        })
    }

    fn files() -> Option<Origin> {
        Some(Origin::Server("files".to_owned()))
    }

    #[test]
    fn a_server_and_what_it_started_are_told_by_descent_group_mark_and_tag() {
        let tree = [entry(50, 1), entry(100, 50), entry(110, 100), entry(111, 110), entry(112, 111), entry(60, 50)];
        assert_eq!([110, 111, 112].map(|pid| traced(&tree, pid)), [files(), files(), files()]);
        assert_eq!([60, 100].map(|pid| traced(&tree, pid)), [Some(Origin::Elsewhere), Some(Origin::Elsewhere)]);
        let grouped = Entry { group: 110, ..entry(120, 100) };
        assert_eq!(traced(&[grouped], 120), files());
        for (mark, tag, origin) in [
            (Some("m/1/"), None, files()),
            (None, Some(5001), files()),
            (Some("m/2/"), None, Some(Origin::Unknown)),
            (None, Some(5002), Some(Origin::Unknown)),
            (Some("other/1/"), Some(7000), Some(Origin::Elsewhere)),
        ] {
            let orphan = Entry { mark: mark.map(str::to_owned), tag, ..entry(120, 1) };
            assert_eq!(traced(&[orphan], 120), origin, "{mark:?} {tag:?}");
        }
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
