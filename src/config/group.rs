//! Called by `strict`: whether a group is one user's alone. Many systems give everybody a group of their own and let
//! that group write whatever they make; nobody else can write it for that.

use std::fs::File;
use std::io::Read;

/// The longest list of users or groups that is read, in bytes. Of a longer one nothing is concluded.
const LONGEST: u64 = 4 << 20;

/// Whether nobody but this process's user is in a group. Root's is none of these: others are often put there.
pub(super) fn is_mine_alone(gid: u32) -> bool {
    let (uid, own) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if uid == 0 || gid == 0 || gid != own {
        return false;
    }
    let (Some(users), Some(groups)) = (text("/etc/passwd"), text("/etc/group")) else { return false };
    is_alone(&users, &groups, uid, gid)
}

/// The same, from the system's lists of users and groups. Who is not in them may be somewhere else.
fn is_alone(users: &str, groups: &str, uid: u32, gid: u32) -> bool {
    let number = |text: Option<&&str>| text.and_then(|text| text.parse::<u32>().ok());
    let users: Vec<Vec<&str>> = users.lines().map(|line| line.split(':').collect()).collect();
    let Some(me) = users.iter().find(|user| number(user.get(2)) == Some(uid)).and_then(|user| user.first()) else {
        return false;
    };
    let has_others = users.iter().any(|user| number(user.get(3)) == Some(gid) && number(user.get(2)) != Some(uid));
    let mut group = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let members = group.find(|group| number(group.get(2)) == Some(gid)).and_then(|group| group.get(3).copied());
    !has_others && members.is_some_and(|members| members.split(',').all(|member| member.is_empty() || member == *me))
}

fn text(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    ((text.len() as u64) < LONGEST).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_ones_own_as_long_as_nobody_else_is_in_it() {
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
        let groups = "root:x:0:\nann:x:1000:\nbob:x:1001:bob,ann\nstaff:x:50:ann\n";
        assert!(is_alone(users, groups, 1000, 1000));
        assert!(!is_alone(users, groups, 1001, 1001), "ann is in it too");
        assert!(!is_alone(users, "", 1000, 1000), "whoever is in it is told elsewhere");
        let users = format!("{users}eve:x:1002:1000::/:/bin/sh\n");
        assert!(!is_alone(&users, groups, 1000, 1000), "it is eve's too");
    }
}
