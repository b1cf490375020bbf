//! How long a modest caller may wait at most, and why. It follows from the config, from how long a sound server works, and
//! from how many there are, never from how much the hostile ones want.

use std::time::Duration;

use mcpool::pool::GIVE_WAY;

use super::plan::{Attack, Guest, Plan};

/// What mcpool needs to see that time is over, several times in a row.
const SLACK: Duration = Duration::from_millis(250);
/// How long a server may take to settle after it was opened.
const SETTLE: Duration = Duration::from_secs(1);

impl Plan {
    /// The longest that a call may take.
    ///
    /// Whoever wants places takes turns: users first, then their processes, then the connections of these. Each connection of
    /// the modest has one request at a time, so before one of them has its turn each of the others had one, and each hostile
    /// caller one for each of those; so had mcpool's own requests. For each turn one place must get free, and all places of a
    /// server do within the longest call. Then comes the call itself.
    ///
    /// Before that an instance may have to be opened, and where others hold all of them one of those has to give way: it is
    /// asked to after a while, and finishes what it has.
    ///
    /// Not held yet: kinds of clients take turns at instances that get free, not users. Whoever makes up kinds delays another
    /// kind by as many turns, for as long as a call may be queued.
    pub fn call(&self, guest: &Guest) -> Duration {
        let room = GIVE_WAY + self.longest;
        let queued = |which: usize| self.config.servers[which].queue.timeout;
        let queued = self.servers_of(guest).map(queued).max().filter(|_| self.suffers(Attack::Profiles));
        room + self.opening(guest) + self.turn(guest) + self.longest + SLACK + queued.unwrap_or_default()
    }

    /// The longest that anything else may take: mcpool may have to be introduced, and to fetch a list, before it answers.
    pub fn other(&self, guest: &Guest) -> Duration {
        let late = if guest.server.is_none() { self.config.endpoints[0].patience * 2 } else { Duration::ZERO };
        self.call(guest) * 2 + late
    }

    /// A call of a hostile server ends in one way or the other once all that the config bounds is over.
    pub fn spoilt(&self, server: usize) -> Duration {
        let server = &self.config.servers[server];
        let timeout = &server.timeout;
        SLACK * 4 + (timeout.start_max + timeout.discover + timeout.stop * 2) * 2 + server.queue.timeout + timeout.max
    }

    /// The longest until it is a caller's turn, once instances run.
    fn turn(&self, guest: &Guest) -> Duration {
        let places = self.servers_of(guest).map(|which| self.places(which, guest)).min().unwrap_or(1);
        let others = self.guests.len() * (2 + self.raids.len());
        self.longest * others.div_ceil(places) as u32
    }

    /// How many calls a server takes at once. Where a caller can be asked, an instance is one caller's at a time.
    fn places(&self, which: usize, guest: &Guest) -> usize {
        let server = &self.config.servers[which];
        if guest.answers { server.instances.max_alone } else { server.instances.max * server.concurrency }
    }

    /// The longest until an instance runs: found out in one era and the other, opened, settled. One that died of a hostile call
    /// is replaced after a pause.
    fn opening(&self, guest: &Guest) -> Duration {
        let pause = |which: usize| self.config.servers[which].backoff.most;
        let pause = self.servers_of(guest).map(pause).max().filter(|_| self.suffers(Attack::Crashes));
        self.opening * 2 + SETTLE + pause.unwrap_or_default()
    }

    /// The longest until a server is there again for a list that was under way when a call killed it.
    pub fn replaced(&self, which: usize) -> Duration {
        self.config.servers[which].backoff.most + self.opening * 2 + SETTLE + self.config.endpoints[0].patience
    }

    /// The sound servers that a caller sees.
    pub fn servers_of(&self, guest: &Guest) -> impl Iterator<Item = usize> {
        let sound = (0..self.servers.len()).filter(|which| self.servers[*which].is_sound());
        sound.filter(move |which| guest.server.is_none_or(|own| own == *which))
    }
}
