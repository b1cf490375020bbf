//! Called by `mux` for `logging/setLevel` and `notifications/message`: the severities of RFC 5424 in the
//! spelling of the specification (page "Logging" of each revision).

/// A log level, the most verbose one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

const NAMES: [(Level, &str); 8] = [
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Notice, "notice"),
    (Level::Warning, "warning"),
    (Level::Error, "error"),
    (Level::Critical, "critical"),
    (Level::Alert, "alert"),
    (Level::Emergency, "emergency"),
];

impl Level {
    /// The level of that name.
    pub fn named(name: &str) -> Option<Level> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(level, _)| *level)
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        NAMES[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_its_name() {
        assert!(NAMES.iter().all(|(level, name)| Level::named(name) == Some(*level) && level.as_str() == *name));
        assert!(Level::Debug < Level::Error && Level::named("loud").is_none());
    }
}
