//! Kept in the catalogue, and asked by `pool::lease`: whether a legacy server was seen to ask its clients in the middle
//! of calls.

use serde::{Deserialize, Serialize};

/// After how many calls of clients that it could have asked a server is believed to ask nothing.
pub const PROVEN: u8 = 100;

/// What was seen of a server in calls of clients that it can ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// It was seen to ask for a sample or an elicitation.
    has_asked: bool,
    /// So many calls, at most [`PROVEN`], were answered without a question.
    quiet: u8,
}

impl Seen {
    /// Notes that it asked; whether that is news.
    pub fn asked(&mut self) -> bool {
        !std::mem::replace(&mut self.has_asked, true)
    }

    /// Notes that it answered such a call without a question; whether that is news.
    pub fn was_quiet(&mut self) -> bool {
        let news = !self.has_asked && self.quiet < PROVEN;
        self.quiet += u8::from(news);
        news
    }

    /// Whether it was seen to ask.
    pub fn has_asked(self) -> bool {
        self.has_asked
    }

    /// How many calls it answered without a question, as far as they are counted.
    pub fn quiet(self) -> u8 {
        self.quiet
    }

    /// Whether it is believed to ask nothing.
    pub fn is_proven(self) -> bool {
        !self.has_asked && self.quiet >= PROVEN
    }
}
