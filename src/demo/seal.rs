//! Seals the `requestState` of the modern server, which travels through a client that it cannot trust.
//!
//! As real servers do, it uses a key that is made at process start: what one process has sealed, no other opens.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::line::{Fault, Raw};

/// Answers that a call has collected so far, by the key of their ask.
pub type Answers = BTreeMap<String, Raw>;

/// The key of one process.
pub struct Seal([u8; 32]);

impl Seal {
    pub fn new(chance: &mut fastrand::Rng) -> Seal {
        let mut key = [0; 32];
        chance.fill(&mut key);
        Seal(key)
    }

    /// A state that [`Seal::open`] takes back for the same request only. It is readable, and has quotes and
    /// backslashes in it: what carries it has to carry it exactly.
    pub fn close(&self, request: &str, answers: &Answers) -> String {
        let payload = serde_json::to_string(answers).unwrap_or_default();
        format!("{}.{payload}", self.mark(request, &payload))
    }

    /// # Errors
    /// -32602 if this process did not seal the state, or sealed it for another request.
    pub fn open(&self, request: &str, state: &str) -> Result<Answers, Fault> {
        match state.split_once('.') {
            Some((mark, payload)) if mark == self.mark(request, payload) => {
                serde_json::from_str(payload).map_err(Fault::params)
            }
            _ => Err(Fault::params("requestState is not of this process, or belongs to another request")),
        }
    }

    /// The key stands at both ends, so that nobody can extend a marked text.
    fn mark(&self, request: &str, payload: &str) -> String {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(request.len().to_be_bytes())
            .chain_update(request)
            .chain_update(payload)
            .chain_update(self.0)
            .finalize();
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
