//! What a model server is like: the eras that it speaks, and in what ways it misbehaves.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::faults::Fault;

/// What a server is like.
#[derive(Clone, Debug)]
pub struct Habits {
    pub legacy: bool,
    pub modern: bool,
    /// How it takes the opening of an era that it does not speak.
    pub stranger: Stranger,
    /// It asks for roots as soon as it may.
    pub wants_roots: bool,
    /// It asks its client in the middle of calls.
    pub asks: bool,
    /// It says of one tool that it may be carried out twice.
    pub hints: bool,
    /// Chances in a hundred.
    pub fails_to_start: u32,
    pub crashes: u32,
    pub talks_nonsense: u32,
    pub ignores_cancel: u32,
    pub never_answers: u32,
    /// What else is wrong with it, with chances in a hundred: of a copy, or of a call.
    pub faults: BTreeMap<Fault, u32>,
    /// From when to when it cannot be started at all.
    pub outage: Option<(Duration, Duration)>,
    /// From when to when it answers every call with an internal error.
    pub trouble: Option<(Duration, Duration)>,
    /// It lists well, and dies a moment into each call.
    pub dies_in_calls: bool,
    /// The longest pause between two steps, in milliseconds.
    pub pause: u64,
}

/// How a server takes the opening of an era that it does not speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stranger {
    /// As a method that it never heard of.
    Unknown,
    /// As a version that it does not support.
    Unsupported,
    /// It says nothing.
    Silent,
    /// It ends.
    Dies,
}

impl Habits {
    /// The habits of one configured server.
    pub fn random(rng: &mut Rng) -> Habits {
        // As many that speak one era as that speak both.
        let eras = rng.u32(..4);
        let wild = rng.bool();
        // One that does not even refuse to `initialize` cannot be told from one that is slow: that is `era: modern`'s to say.
        let silence = if eras == 0 { Stranger::Dies } else { Stranger::Silent };
        let mut chance = |most: u32| if wild { rng.u32(..most) } else { 0 };
        Habits {
            fails_to_start: chance(40),
            crashes: chance(12),
            talks_nonsense: chance(30),
            ignores_cancel: chance(100),
            never_answers: chance(8),
            legacy: eras != 0,
            modern: eras < 2,
            stranger: [Stranger::Unknown, Stranger::Unknown, Stranger::Unsupported, silence, Stranger::Dies]
                [rng.usize(..5)],
            wants_roots: rng.u32(..3) == 0,
            asks: rng.bool(),
            hints: rng.bool(),
            faults: if wild { Fault::some(rng) } else { BTreeMap::new() },
            outage: (wild && rng.u32(..4) == 0).then(|| {
                let start = Duration::from_millis(rng.u64(..5000));
                (start, start + Duration::from_millis(rng.u64(..20_000)))
            }),
            trouble: (wild && rng.u32(..4) == 0).then(|| {
                let start = Duration::from_millis(rng.u64(..3000));
                (start, start + Duration::from_millis(rng.u64(..10_000)))
            }),
            dies_in_calls: wild && rng.u32(..12) == 0,
            pause: [1, 20, 200, 2000][rng.usize(..4)],
        }
    }

    /// Whether nothing is ever wrong with it, and nobody else has a part in its answers: then every call of it is
    /// answered, whatever becomes of other servers.
    pub fn is_sound(&self) -> bool {
        let harmless = [self.fails_to_start, self.crashes, self.talks_nonsense, self.never_answers] == [0; 4];
        harmless
            && self.faults.is_empty()
            && self.outage.is_none()
            && self.trouble.is_none()
            && !self.dies_in_calls
            && !self.asks
            && !self.wants_roots
    }

    /// Whether what it says of its eras when it is started cannot be relied on.
    pub fn is_fickle(&self) -> bool {
        self.fails_to_start > 0 || self.outage.is_some() || self.faults.keys().any(Fault::spoils_starts)
    }
}
