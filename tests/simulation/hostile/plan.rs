//! What one run with hostile peers is made of, drawn from its seed: who is there, what they do, and the config between them.

use std::time::Duration;

use fastrand::Rng;
use mcpool::caller::Peer;
use mcpool::config::{Breaker, Config, EraChoice, Limits, Server};

/// The user of the modest callers, and of a hostile one that is merely another process of the same user.
const USER: u32 = 1000;
/// Another user.
const STRANGER: u32 = 2000;

/// What a hostile caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Calls as fast as it can.
    Flood,
    /// Many connections, with a call on each.
    Crowd,
    /// Begins lines and never ends them.
    HalfLines,
    /// Lines as long as they may be, and longer.
    LongLines,
    /// What is no message: broken JSON, bare CRs, deep nesting, members twice.
    Malformed,
    /// The same id again while it is in flight.
    SameIds,
    /// Cancels what it never began.
    Cancels,
    /// Answers what others were asked.
    Answers,
    /// Comes back with states that nobody gave it.
    States,
    /// Subscribes to everything.
    Subscriptions,
    /// Connects with ever new capabilities.
    Profiles,
    /// Sets one log level after the other.
    Levels,
    /// Says much and reads nothing.
    ReadsNothing,
    /// Hangs up in the middle of what it says and waits for.
    HangsUp,
    /// Calls the tool in which its instance dies.
    Crashes,
}

/// What a hostile server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malice {
    /// Answers ids that are not those of its calls.
    ForeignIds,
    /// Answers each call twice.
    Twice,
    /// Notifications without end: updates, progress under guessed tokens, log lines.
    Floods,
    /// Asks with no call.
    AsksUnasked,
    /// Asks thousands of things at once.
    AsksMuch,
    /// Lists of thousands of items.
    LongLists,
    /// Announces changed lists again and again.
    Storms,
    /// Half a line, and then nothing.
    HalfLines,
    /// Refuses every call with an internal error.
    Refuses,
    /// Dies in each call.
    Dies,
    /// Reads nothing once it was opened.
    NeverReads,
    /// Answers no call.
    NeverAnswers,
    /// Answers with lines longer than they may be.
    LongLines,
}

const ATTACKS: [Attack; 15] = [
    Attack::Flood,
    Attack::Crowd,
    Attack::HalfLines,
    Attack::LongLines,
    Attack::Malformed,
    Attack::SameIds,
    Attack::Cancels,
    Attack::Answers,
    Attack::States,
    Attack::Subscriptions,
    Attack::Profiles,
    Attack::Levels,
    Attack::ReadsNothing,
    Attack::HangsUp,
    Attack::Crashes,
];
const MALICE: [Malice; 13] = [
    Malice::ForeignIds,
    Malice::Twice,
    Malice::Floods,
    Malice::AsksUnasked,
    Malice::AsksMuch,
    Malice::LongLists,
    Malice::Storms,
    Malice::HalfLines,
    Malice::Refuses,
    Malice::Dies,
    Malice::NeverReads,
    Malice::NeverAnswers,
    Malice::LongLines,
];

/// One server.
#[derive(Clone, Debug)]
pub struct Nature {
    pub modern: bool,
    /// What it does; nothing if it is sound.
    pub malice: Vec<Malice>,
}

/// One connection of a modest caller.
#[derive(Clone, Debug)]
pub struct Guest {
    pub peer: Peer,
    /// The server of its endpoint; none on the endpoint of all.
    pub server: Option<usize>,
    pub modern: bool,
    /// It can be asked.
    pub answers: bool,
}

/// One hostile caller, with all of its connections. It never says that it can be asked: whoever can be may leave a question
/// open on each instance until `timeout.ask`, and instances that wait for answers are not shared out by principal yet.
#[derive(Clone, Debug)]
pub struct Raid {
    pub peer: Peer,
    pub attacks: Vec<Attack>,
}

/// All of it.
#[derive(Debug)]
pub struct Plan {
    pub servers: Vec<Nature>,
    pub guests: Vec<Guest>,
    pub raids: Vec<Raid>,
    /// The longest that a sound server works on a call.
    pub longest: Duration,
    /// The longest that a sound server takes for a step of its opening.
    pub opening: Duration,
    /// How long the modest go on.
    pub time: Duration,
    pub config: Config,
}

impl Nature {
    /// Whether callers can rely on it.
    pub fn is_sound(&self) -> bool {
        self.malice.is_empty()
    }

    pub fn does(&self, what: Malice) -> bool {
        self.malice.contains(&what)
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn new(rng: &mut Rng) -> Plan {
        let count = rng.usize(2..4);
        let hostile = rng.bool().then(|| rng.usize(..count));
        let servers: Vec<Nature> = (0..count)
            .map(|which| {
                let malice = if hostile == Some(which) { some(rng, &MALICE, 4) } else { Vec::new() };
                Nature { modern: rng.bool(), malice }
            })
            .collect();
        let raids: Vec<Raid> = match (hostile, rng.u32(..8)) {
            (Some(_), 0..3) => Vec::new(),
            (_, 7) => {
                // What two parties meet counts as the server's own trouble (decision 9), so one alone has its instances die.
                let second: Vec<Attack> = ATTACKS.into_iter().filter(|attack| *attack != Attack::Crashes).collect();
                vec![raid(rng, 0, &ATTACKS), raid(rng, 1, &second)]
            }
            _ => vec![raid(rng, 0, &ATTACKS)],
        };
        let answers = rng.u32(..3) == 0;
        let guests = (0..rng.usize(2..=4)).flat_map(|no| guests(rng, no, &servers, answers)).collect();
        let (longest, opening) = ([50, 300, 1000][rng.usize(..3)], [0, 20, 200][rng.usize(..3)]);
        let config = config(rng, &servers);
        Plan {
            servers,
            guests,
            raids,
            longest: Duration::from_millis(longest),
            opening: Duration::from_millis(opening),
            time: Duration::from_secs(rng.u64(6..20)),
            config,
        }
    }

    /// Whether any hostile caller does that.
    pub fn suffers(&self, attack: Attack) -> bool {
        self.raids.iter().any(|raid| raid.attacks.contains(&attack))
    }
}

/// A few of many, in their order.
fn some<T: Copy>(rng: &mut Rng, all: &[T], most: u32) -> Vec<T> {
    let many = rng.u32(1..=most);
    let mut left = all.to_vec();
    rng.shuffle(&mut left);
    left.truncate(many as usize);
    left
}

fn raid(rng: &mut Rng, no: i32, all: &[Attack]) -> Raid {
    let uid = [USER, STRANGER][rng.usize(..2)];
    let attacks = some(rng, all, 6);
    Raid { peer: Peer { uid, pid: Some(666 + no) }, attacks }
}

/// The connections of one modest process, each of which waits for one answer at a time.
fn guests(rng: &mut Rng, no: usize, servers: &[Nature], answers: bool) -> Vec<Guest> {
    let peer = Peer { uid: USER, pid: Some(100 + no as i32) };
    let guest = |rng: &mut Rng| {
        let server = (rng.u32(..4) > 0).then(|| rng.usize(..servers.len()));
        // Mostly of the era of its server.
        let own = server.map(|server| servers[server].modern);
        let modern = if rng.u32(..3) > 0 { own.unwrap_or_else(|| rng.bool()) } else { rng.bool() };
        let answers = answers && own == Some(false) && !modern;
        Guest { peer, server, modern, answers }
    };
    (0..rng.usize(1..=2)).map(|_| guest(rng)).collect()
}

/// The defaults, but for the sizes, which are reached sooner, and for how long a hostile server can keep its own callers.
fn config(rng: &mut Rng, servers: &[Nature]) -> Config {
    let server = |(which, nature): (usize, &Nature)| {
        let mut server = Server::new(format!("s{which}"), "model");
        let known = if nature.modern { EraChoice::Modern } else { EraChoice::Legacy };
        server.era = [EraChoice::Auto, known][rng.usize(..2)];
        server.instances.max = rng.usize(2..=4);
        server.concurrency = rng.usize(1..=8);
        server.queue.size = 64;
        if !nature.is_sound() {
            let timeout = &mut server.timeout;
            [timeout.start, timeout.start_max, timeout.discover] = [2, 4, 1].map(Duration::from_secs);
            [timeout.call, timeout.max, timeout.ask] = [3, 9, 4].map(Duration::from_secs);
            [timeout.hold, timeout.stop, server.queue.timeout] = [1, 1, 5].map(Duration::from_secs);
            server.breaker = Breaker { open: Duration::from_secs(2), ..Breaker::default() };
        }
        server
    };
    let mut config = Config::of(servers.iter().enumerate().map(server).collect());
    config.limits = Limits { message: [64 << 10, 10 << 20][rng.usize(..2)], ..Limits::default() };
    config
}
