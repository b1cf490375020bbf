//! Called by `mux` when an instance fails: what happened to a server last, kept for whoever asks later, also when
//! nothing is backed off from any more.

use std::time::SystemTime;

/// The last failure of a server.
#[derive(Debug)]
pub struct Mishap {
    pub at: SystemTime,
    /// What failed, in one of a few words: `start`, `ended`, `misbehaved`, `deaf`, `unresponsive`.
    pub what: &'static str,
    /// Why, without the server's secrets.
    pub cause: String,
    /// The last lines of its stderr, likewise.
    pub stderr: Vec<String>,
}

impl Mishap {
    /// Returns a mishap that happens now. The cause may quote stderr, which is shown by itself.
    pub fn now(what: &'static str, cause: &str, stderr: Vec<String>) -> Mishap {
        let cause = cause.split(super::tail::ENDS).next().unwrap_or_default().to_owned();
        Mishap { at: SystemTime::now(), what, cause, stderr }
    }
}
