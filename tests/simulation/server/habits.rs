//! What a model server is like: the eras that it speaks, and in what ways it misbehaves.

use fastrand::Rng;

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
    /// Chances in a hundred.
    pub fails_to_start: u32,
    pub crashes: u32,
    pub talks_nonsense: u32,
    pub ignores_cancel: u32,
    pub never_answers: u32,
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
        let mut chance = |most: u32| if wild { rng.u32(..most) } else { 0 };
        Habits {
            fails_to_start: chance(40),
            crashes: chance(12),
            talks_nonsense: chance(30),
            ignores_cancel: chance(100),
            never_answers: chance(8),
            legacy: eras != 0,
            modern: eras < 2,
            stranger: [Stranger::Unknown, Stranger::Unknown, Stranger::Unsupported, Stranger::Silent, Stranger::Dies]
                [rng.usize(..5)],
            wants_roots: rng.u32(..3) == 0,
            asks: rng.bool(),
            pause: [1, 20, 200, 2000][rng.usize(..4)],
        }
    }
}
