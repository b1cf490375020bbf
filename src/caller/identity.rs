//! Made by `endpoint::identity` for each connection; asked when a caller is taken in, and by `check --as`: who a caller
//! is, and which rule of an endpoint applies to it.

use crate::caller::names::matches;
use crate::config::{Rule, Who};

/// Who a caller is, as the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
    /// The path of its program; of `mcpool connect` that of the program which started it.
    pub program: Option<String>,
    /// Its control group, as `/proc/PID/cgroup` names it.
    pub cgroup: Option<String>,
}

/// Whether a rule is for a caller. What is not known of it fits nothing.
pub fn fits(who: &Who, caller: &Identity) -> bool {
    faults(who, caller).is_empty()
}

/// The conditions of a rule that a caller does not meet, by the names of their keys.
pub fn faults(who: &Who, caller: &Identity) -> Vec<&'static str> {
    let text = |patterns: &Option<Vec<String>>, text: &Option<String>| {
        let known =
            |patterns: &Vec<String>| text.as_ref().is_some_and(|text| patterns.iter().any(|it| matches(it, text)));
        patterns.as_ref().is_none_or(known)
    };
    let met = [
        ("uid", who.uids.as_ref().is_none_or(|uids| uids.contains(&caller.uid))),
        ("gid", who.gids.as_ref().is_none_or(|gids| caller.gid.is_some_and(|gid| gids.contains(&gid)))),
        ("program", text(&who.programs, &caller.program)),
        ("cgroup", text(&who.cgroups, &caller.cgroup)),
    ];
    met.into_iter().filter(|(_, met)| !met).map(|(key, _)| key).collect()
}

/// The rule that counts for a caller: the first that fits.
pub fn rule_for(rules: &[Rule], caller: &Identity) -> Option<usize> {
    rules.iter().position(|rule| fits(&rule.who, caller))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Grants;

    #[test]
    fn the_first_rule_that_fits_counts_and_what_is_not_known_fits_none() {
        let rule = |who| Rule { who, grants: Grants::default(), callers: None, in_flight: None };
        let uid = |uid| Who { uids: Some(vec![uid]), ..Who::default() };
        let program = |path| Who { programs: Some(vec![String::from(path)]), ..Who::default() };
        let rules = [rule(Who { gids: Some(vec![7]), ..uid(1) }), rule(program("/usr/bin/*")), rule(uid(1))];
        let caller = Identity { uid: 1, ..Identity::default() };
        assert_eq!(rule_for(&rules, &caller), Some(2));
        assert_eq!(faults(&rules[0].who, &caller), ["gid"]);
        let editor = Identity { program: Some("/usr/bin/editor".into()), gid: Some(7), ..caller.clone() };
        assert_eq!(rule_for(&rules, &editor), Some(0));
        assert_eq!(rule_for(&rules, &Identity { uid: 2, ..editor }), Some(1));
        assert_eq!(rule_for(&rules, &Identity { uid: 2, ..caller }), None);
    }
}
