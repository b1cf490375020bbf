//! Called by the account of a server: how long things took, as a histogram of plain cells, since every call adds to two
//! of them. The recorder's own histogram keeps each time by itself until somebody sorts them.

use std::fmt::Write;
use std::time::Duration;

use crate::wire::tally::Tally;

/// Upper bounds in microseconds, from a cached answer to the longest call there may be by default.
const BOUNDS: [u64; 15] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    30_000_000,
    60_000_000,
    900_000_000,
];
const MICROSECONDS: f64 = 1e6;

/// Times, by how long they were.
#[derive(Default)]
pub struct Times {
    /// One for each bound, and one for what is beyond them all.
    buckets: [Tally; BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    sum: Tally,
}

impl Times {
    /// Adds one.
    pub fn note(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < micros)].one();
        self.sum.add(micros);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Tally::get).sum()
    }

    /// All of them together, in microseconds.
    pub fn micros(&self) -> u64 {
        self.sum.get()
    }

    /// How long they were on average; none if there was none.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.get().checked_div(self.count()).map(Duration::from_micros)
    }

    /// Writes them in Prometheus' text format; `labels` without braces.
    pub(super) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| (*bound as f64 / MICROSECONDS).to_string());
        for (bucket, bound) in self.buckets.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            count += bucket.get();
            // A `String` takes everything.
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let sum = self.sum.get() as f64 / MICROSECONDS;
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let times = Times::default();
        assert_eq!(times.mean(), None);
        [1_000, 1_001, 3_600_000_000].map(Duration::from_micros).into_iter().for_each(|time| times.note(time));
        let mut text = String::new();
        times.write(&mut text, "t", "server=\"a\"");
        let expected = [
            "t_bucket{server=\"a\",le=\"0.001\"} 1",
            "t_bucket{server=\"a\",le=\"0.0025\"} 2",
            "t_bucket{server=\"a\",le=\"900\"} 2",
            "t_bucket{server=\"a\",le=\"+Inf\"} 3",
            "t_sum{server=\"a\"} 3600.002001",
            "t_count{server=\"a\"} 3",
        ];
        assert!(expected.iter().all(|line| text.lines().any(|other| other == *line)), "{text}");
        assert_eq!((times.count(), times.mean()), (3, Some(Duration::from_micros(1_200_000_667))));
    }
}
