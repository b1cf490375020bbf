//! Made by `mux::offer` for each caller and server: the key under which the catalogue files what the server offers, and
//! to whom it may be shown.

use serde::{Deserialize, Serialize};

use crate::era::digest::Digest;
use crate::era::profile::{Profile, canonical};
use crate::era::{Era, legacy};
use crate::key::CallerKey;

/// What a server was told about its client, as far as what it offers depends on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantKey {
    pub era: Era,
    pub revision: String,
    pub capabilities: String,
    /// Not kept on disk: only what is for everybody is.
    #[serde(skip)]
    pub scope: Scope,
}

/// Whose a list is among clients of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    #[default]
    All,
    /// Theirs who have these roots: the server asks for roots.
    Roots(Digest),
    /// One caller's: the instance that said it is its own, or its roots are not known.
    Owner(CallerKey),
}

impl VariantKey {
    /// The variant of a legacy profile, or of modern requests with these capabilities.
    pub fn new(profile: &Profile, capabilities: &str) -> VariantKey {
        let capabilities = match profile {
            Profile::Legacy(legacy) => legacy.capabilities.clone(),
            Profile::Modern => canonical(capabilities),
        };
        VariantKey { era: profile.era(), revision: profile.revision().to_owned(), capabilities, scope: Scope::All }
    }

    /// The same for others of the same kind.
    pub fn within(&self, scope: Scope) -> VariantKey {
        VariantKey { scope, ..self.clone() }
    }

    /// The profile of clients to whom this variant is offered.
    pub fn profile(&self) -> Option<Profile> {
        match self.era {
            Era::Modern => Some(Profile::Modern),
            Era::Legacy => Profile::legacy(legacy::negotiate(&self.revision), &self.capabilities),
        }
    }

    /// The variant under which a server's introduction is kept: a modern one is the same for all.
    pub fn of_introduction(profile: &Profile) -> VariantKey {
        VariantKey::new(profile, "{}")
    }
}
