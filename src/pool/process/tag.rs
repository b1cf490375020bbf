//! Called by `household`: a second mark of a server's processes, for those that clear their environment. It is the
//! limit on file locks, which Linux has kept and not used since 2.4.25: every child inherits it, anybody may read it,
//! and who has no rights can lower it and never raise it.

use std::ops::Range;

/// How many servers have tags of their own; then they begin anew.
const SPAN: u64 = 1 << 20;
/// What an unlimited one counts as.
const MOST: u64 = 1 << 62;

/// The tags of one daemon's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags(u64);

impl Tags {
    /// Draws those of a daemon whose own limit is `limit`; None if there is no room below it.
    pub fn draw(limit: Option<u64>, random: u64) -> Option<Tags> {
        // In the upper half, so that a daemon below one of these servers has room too.
        let half = limit.map_or(MOST, |limit| limit.min(MOST)).checked_sub(2 * SPAN)? / 2;
        Some(Tags(SPAN + half + random % half.max(1)))
    }

    /// Those that begin so, as a daemon tells its warden.
    pub fn from(first: u64) -> Tags {
        Tags(first)
    }

    /// Returns the first of them.
    pub fn first(self) -> u64 {
        self.0
    }

    /// That of the server with this number.
    pub fn of(self, serial: u64) -> u64 {
        self.0 + serial % SPAN
    }

    /// All of them.
    pub fn all(self) -> Range<u64> {
        self.0..self.0.saturating_add(SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_below_the_limit_and_leave_room_for_others_below_them() {
        let mut limit = None;
        for random in [0, 1, u64::MAX, 12_345_678_901_234_567_890] {
            let tags = Tags::draw(limit, random).unwrap();
            assert!(limit.is_none_or(|limit| tags.all().end <= limit), "{tags:?} of {limit:?}");
            assert!(tags.all().contains(&tags.of(7)) && tags.of(7) != tags.of(8));
            assert!(tags.all().contains(&tags.of(u64::MAX)));
            limit = Some(tags.of(7));
        }
        assert_eq!(Tags::draw(Some(1000), 7), None);
        assert_eq!(Tags::draw(Some(0), 7), None);
    }
}
