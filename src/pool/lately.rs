//! Kept by `pool/pending.rs`: whose calls were answered a moment ago. Their server may write a line about such a call
//! behind its answer, which nobody else is to hear.

use std::time::Duration;

use tokio::time::Instant;

use crate::key::CallerKey;

/// How long a server may go on to talk about a call that it has answered.
const MOMENT: Duration = Duration::from_millis(250);

/// Whose call was answered last, and when; and the last one of another caller before that. So it can be told of each caller
/// whether another one was answered lately, however many there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lately {
    last: Option<(CallerKey, Instant)>,
    before: Option<(CallerKey, Instant)>,
}

impl Lately {
    /// Notes that a call was answered.
    pub fn note(&mut self, caller: CallerKey, now: Instant) {
        if self.last.is_some_and(|(last, _)| last != caller) {
            self.before = self.last;
        }
        self.last = Some((caller, now));
    }

    /// Returns two callers at most whose calls were answered a moment ago; one only if there is no other.
    pub fn callers(self, now: Instant) -> impl Iterator<Item = CallerKey> {
        let recent = move |(_, at): &(CallerKey, Instant)| now < *at + MOMENT;
        [self.last, self.before].into_iter().flatten().filter(recent).map(|(caller, _)| caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[tokio::test(start_paused = true)]
    async fn of_each_caller_it_can_be_told_whether_another_was_answered_a_moment_ago() {
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let (a, b) = (callers.insert(()), callers.insert(()));
        let (mut lately, start) = (Lately::default(), Instant::now());
        let at = |lately: Lately, now| lately.callers(now).collect::<Vec<_>>();
        lately.note(a, start);
        (0..9).for_each(|_| lately.note(b, start + MOMENT / 2));
        assert_eq!(at(lately, start + MOMENT / 2), [b, a]);
        assert_eq!(at(lately, start + MOMENT), [b]);
        assert_eq!(at(lately, start + MOMENT * 2), []);
    }
}
