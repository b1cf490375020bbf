//! Called when callers and processes come and go: what sharing has saved since the daemon started. What it saves at the
//! moment is measured by whoever wants to know; most of the time that is nothing, since hosts come and go.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// For as long as this a measurement is believed at most.
const LONGEST: Duration = Duration::from_secs(30);

/// Since the daemon started.
#[derive(Default)]
pub struct Sharing {
    callers: Level,
    processes: Level,
    /// Processes that would run if each caller had its own of each of its servers.
    without: Level,
    starts: Cell<u64>,
    starts_without: Cell<u64>,
    /// Bytes that were not taken up, times the seconds for which they were not.
    saved: Cell<f64>,
    /// When that was added to last.
    told: Cell<Option<Instant>>,
}

/// What there is of something, and what the most of it was.
#[derive(Default)]
struct Level {
    now: Cell<u64>,
    peak: Cell<u64>,
}

impl Level {
    fn rise(&self, by: u64) {
        self.now.set(self.now.get() + by);
        self.peak.set(self.peak.get().max(self.now.get()));
    }

    fn fall(&self, by: u64) {
        self.now.set(self.now.get().saturating_sub(by));
    }
}

impl Sharing {
    /// A caller came that would have started so many servers.
    pub fn came(&self, servers: usize) {
        self.callers.rise(1);
        self.without.rise(servers as u64);
        self.starts_without.set(self.starts_without.get() + servers as u64);
    }

    /// A caller that came with so many servers is gone.
    pub fn left(&self, servers: usize) {
        self.callers.fall(1);
        self.without.fall(servers as u64);
    }

    /// A process is started.
    pub fn started(&self) {
        self.processes.rise(1);
        self.starts.set(self.starts.get() + 1);
    }

    /// A process is gone.
    pub fn ended(&self) {
        self.processes.fall(1);
    }

    /// So many bytes are not taken up now, and were not since this was told last; it is told while processes run.
    pub fn saves(&self, bytes: u64, now: Instant) {
        let since = self.told.replace(Some(now)).map_or(Duration::ZERO, |told| now - told).min(LONGEST);
        self.saved.set(self.saved.get() + bytes as f64 * since.as_secs_f64());
    }

    /// All of it, by name.
    pub fn totals(&self) -> [(&'static str, u64); 7] {
        let (starts, without) = (self.starts.get(), self.starts_without.get());
        [
            ("starts", starts),
            ("starts_without", without),
            ("starts_saved", without.saturating_sub(starts)),
            ("peak_callers", self.callers.peak.get()),
            ("peak_processes", self.processes.peak.get()),
            ("peak_processes_without", self.without.peak.get()),
            ("memory_saved_byte_seconds", self.saved.get() as u64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_known_when_everybody_is_gone() {
        let sharing = Sharing::default();
        for _ in 0..3 {
            sharing.came(2);
            sharing.came(2);
            sharing.left(2);
            sharing.left(2);
        }
        sharing.started();
        sharing.ended();
        sharing.started();
        let now = Instant::now();
        sharing.saves(1 << 20, now);
        sharing.saves(1 << 20, now + Duration::from_secs(10));
        let totals = sharing.totals().map(|(_, count)| count);
        assert_eq!(totals, [2, 12, 10, 2, 1, 4, 10 << 20]);
    }
}
