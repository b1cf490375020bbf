//! Called by breakers and pools: how long something that failed is left alone.

use std::time::Duration;

use crate::config::Backoff;

impl Backoff {
    /// The pause after so many failures in a row, the first being 1. `jitter` is a factor around 1, so that what failed
    /// together does not come back together.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.least.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.most).mul_f64(jitter).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most() {
        let backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_secs(5) };
        let pauses: Vec<u64> = (0..6).map(|failures| backoff.pause(failures, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 1, 2, 4, 5, 5]);
        assert_eq!(backoff.pause(u32::MAX, 0.5), Duration::from_millis(2500));
        assert_eq!(backoff.pause(2, 1.25), Duration::from_millis(2500));
        assert_eq!(backoff.pause(u32::MAX, 1.25), Duration::from_secs(5));
    }
}
