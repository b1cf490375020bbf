//! Called by `mux` when a caller opens and by `pool` when it picks an instance: what an instance was told about
//! its client. Instances are shared only between callers of equal profile.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use serde_json::Value;

use super::digest::Digest;
use super::{Era, nulls};

/// The largest capabilities object in bytes: each is kept with what a server offers to clients of that kind.
pub(super) const LARGEST: usize = 16 * 1024;

/// Capabilities of clients that every revision has as objects.
const KNOWN: [&str; 6] = ["roots", "sampling", "elicitation", "tasks", "experimental", "extensions"];

/// What an instance is told, or was told, about its client. Cheap to clone, and to compare however much was declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What `initialize` said.
    Legacy(Rc<Legacy>),
    /// Nothing: every request says it for itself.
    Modern,
}

/// What a legacy server learns from `initialize`.
#[derive(Debug)]
pub struct Legacy {
    /// The revision that was asked for.
    pub revision: &'static str,
    /// The capabilities object with its keys sorted, so that equal ones compare equal.
    pub capabilities: String,
    /// Whether sampling or elicitation is among them.
    pub answers_asks: bool,
    /// Whether roots are among them.
    pub has_roots: bool,
    /// Stands for the revision and the capabilities.
    digest: Digest,
}

impl PartialEq for Legacy {
    fn eq(&self, other: &Legacy) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Legacy {}

impl Hash for Legacy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Profile {
    /// The profile of a legacy client; `None` if the capabilities are no object, too large, or hold a known one that
    /// is no object.
    pub fn legacy(revision: &'static str, capabilities: &str) -> Option<Profile> {
        if capabilities.len() > LARGEST || !capabilities.starts_with('{') {
            return None;
        }
        let value: Value = serde_json::from_str(&nulls::without(capabilities)).ok()?;
        let object = value.as_object()?;
        // A server would refuse what is no object here, for everybody who has the same profile.
        if KNOWN.iter().any(|known| object.get(*known).is_some_and(|value| !value.is_object())) {
            return None;
        }
        let text = value.to_string();
        Some(Profile::Legacy(Rc::new(Legacy {
            revision,
            digest: Digest::of(&[revision, &text]),
            answers_asks: object.contains_key("sampling") || object.contains_key("elicitation"),
            has_roots: object.contains_key("roots"),
            capabilities: text,
        })))
    }

    /// The era whose instances it fits.
    pub fn era(&self) -> Era {
        match self {
            Profile::Legacy(_) => Era::Legacy,
            Profile::Modern => Era::Modern,
        }
    }

    /// Whether a legacy server can ask such a client for a sample or an elicitation.
    pub fn answers_asks(&self) -> bool {
        matches!(self, Profile::Legacy(legacy) if legacy.answers_asks)
    }

    /// Whether a legacy server can ask such a client for its roots.
    pub fn has_roots(&self) -> bool {
        matches!(self, Profile::Legacy(legacy) if legacy.has_roots)
    }

    /// What tells it from others, without saying what was declared.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Profile::Legacy(legacy) => Some(legacy.digest),
            Profile::Modern => None,
        }
    }

    /// The revision for status and logs.
    pub fn revision(&self) -> &'static str {
        match self {
            Profile::Legacy(legacy) => legacy.revision,
            Profile::Modern => super::modern::REVISION,
        }
    }
}

/// A JSON object with its keys sorted; the text itself if it cannot be read.
pub fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_in_another_order_are_the_same_profile() {
        let one = Profile::legacy("2025-06-18", r#"{"sampling":{},"roots":{"listChanged":true}}"#).unwrap();
        let two = Profile::legacy("2025-06-18", r#"{ "roots":{"listChanged":true}, "sampling":{} }"#).unwrap();
        assert_eq!(one, two);
        assert!(one.answers_asks() && one.has_roots());
        assert_ne!(one, Profile::legacy("2025-11-25", r#"{"sampling":{},"roots":{"listChanged":true}}"#).unwrap());
        assert!(Profile::legacy("2025-06-18", "[]").is_none());
        assert!(Profile::legacy("2025-06-18", r#"{"roots":true}"#).is_none());
        let nulls = r#"{"roots":{"listChanged":null},"sampling":null,"elicitation":null,"experimental":null}"#;
        assert_eq!(Profile::legacy("2025-06-18", nulls), Profile::legacy("2025-06-18", r#"{"roots":{}}"#));
        assert!(Profile::legacy("2025-06-18", "null").is_none());
    }
}
