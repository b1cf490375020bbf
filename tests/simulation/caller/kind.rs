//! What a model client speaks, and what it can be asked.

use fastrand::Rng;

/// What a client speaks.
#[derive(Clone)]
pub enum Kind {
    Legacy { revision: &'static str, capabilities: String },
    Modern { capabilities: String },
}

impl Kind {
    pub(super) fn random(rng: &mut Rng) -> Kind {
        let revision = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"][rng.usize(..4)];
        let modern = rng.bool();
        let mut capabilities = Vec::new();
        for name in ["sampling", "elicitation", "roots"] {
            if rng.u32(..3) > 0 {
                let forms = ["{}", r#"{"form":{}}"#, r#"{"form":{},"url":{}}"#];
                let new = name == "elicitation" && (modern || revision == "2025-11-25");
                capabilities.push(format!("\"{name}\":{}", forms[if new { rng.usize(..3) } else { 0 }]));
            }
        }
        let capabilities = format!("{{{}}}", capabilities.join(","));
        if modern { Kind::Modern { capabilities } } else { Kind::Legacy { revision, capabilities } }
    }

    pub(super) fn capabilities(&self) -> &str {
        let (Kind::Legacy { capabilities, .. } | Kind::Modern { capabilities }) = self;
        capabilities
    }

    pub(super) fn is_modern(&self) -> bool {
        matches!(self, Kind::Modern { .. })
    }

    pub(super) fn speaks_batches(&self) -> bool {
        matches!(self, Kind::Legacy { revision: "2025-03-26", .. })
    }

    pub(super) fn revision(&self) -> &'static str {
        match self {
            Kind::Legacy { revision, .. } => revision,
            Kind::Modern { .. } => "2026-07-28",
        }
    }
}
