//! What goes wrong with a whole copy of a model server, beyond what its habits say of single calls. Each is rare, so
//! that much still works, and ends when the world calms down: what was broken before stays broken.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use mcpool::config::LeaseChoice;
use mcpool::wire::message::Message;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Server;
use super::act::Act;
use super::pipe::Output;
use crate::simulation::truth::Truth;
use crate::simulation::world::{ID, NOBODY};

/// The id of what a server is asked first.
const FIRST: &str = "1";

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It writes lines that are no messages before it answers for the first time.
    Prattles,
    /// It takes its time before it introduces itself.
    StartsSlowly,
    /// It never introduces itself.
    NeverOpens,
    /// It does not answer a `ping`.
    IgnoresPing,
    /// It begins a line in the middle of a call, and says nothing more.
    HalfALine,
    /// It closes its stdout in the middle of a call, and lives.
    ClosesStdout,
    /// It answers nothing any more from some call on.
    Hangs,
    /// It reads nothing any more from some call on.
    StopsReading,
    /// It ends once it has answered so many calls.
    Retires,
    /// It says very much that nobody wants to know.
    Floods,
    /// What it lists changes.
    ChangesLists,
    /// It asks when no call is in flight.
    AsksNobody,
    /// Its answer is longer than any message may be.
    Oversized,
    /// It does not end when its stdin is closed.
    IgnoresTheEnd,
}

impl Fault {
    const ALL: [Fault; 14] = [
        Fault::Prattles,
        Fault::StartsSlowly,
        Fault::NeverOpens,
        Fault::IgnoresPing,
        Fault::HalfALine,
        Fault::ClosesStdout,
        Fault::Hangs,
        Fault::StopsReading,
        Fault::Retires,
        Fault::Floods,
        Fault::ChangesLists,
        Fault::AsksNobody,
        Fault::Oversized,
        Fault::IgnoresTheEnd,
    ];

    /// At most three, with chances in a hundred.
    pub fn some(rng: &mut Rng) -> BTreeMap<Fault, u32> {
        let draw = |_| {
            let fault = Fault::ALL[rng.usize(..Fault::ALL.len())];
            let most = if fault.is_of_copies() { 60 } else { 10 };
            (fault, rng.u32(1..=most))
        };
        (0..3).map(draw).take(3).collect()
    }

    /// Whether it is rolled for each copy, or each opening, instead of each call.
    fn is_of_copies(self) -> bool {
        use Fault::*;
        matches!(self, Prattles | StartsSlowly | NeverOpens | IgnoresPing | Retires | ChangesLists | IgnoresTheEnd)
    }

    /// Whether what its server says of its eras may come too late or never.
    pub fn spoils_starts(&self) -> bool {
        use Fault::*;
        matches!(self, Prattles | StartsSlowly | NeverOpens | Hangs | StopsReading | ClosesStdout | HalfALine)
    }
}

impl Server {
    /// Rolls for a fault.
    pub(super) fn has(&self, fault: Fault) -> bool {
        let odds = self.habits.faults.get(&fault).copied().unwrap_or_default();
        self.by_chance(odds)
    }

    /// Whether something happens that does in so many of a hundred cases, as long as anything goes wrong at all.
    pub(super) fn by_chance(&self, odds: u32) -> bool {
        odds > 0 && self.roll(100) < self.odds(odds)
    }

    /// These odds, or none once the world is calm.
    pub(super) fn odds(&self, odds: u32) -> u32 {
        if self.world.is_calm() { 0 } else { odds }
    }

    /// Before the first answer. Whether that is to be given now.
    pub(super) fn opens(self: &Rc<Server>, request: &Message, line: &str, tasks: &mut JoinSet<()>) -> bool {
        if self.met.replace(true) {
            return true;
        }
        if self.has(Fault::Prattles) {
            (0..=self.roll(6)).for_each(|_| self.say("Starting server...".to_owned()));
        }
        if self.has(Fault::NeverOpens) {
            self.world.count("servers that never introduce themselves");
            self.mute.set(true);
            return false;
        }
        if !self.has(Fault::StartsSlowly) {
            return true;
        }
        let (server, request, line) = (self.clone(), request.clone(), line.to_owned());
        let wait = Duration::from_millis(self.roll(8000).into());
        tasks.spawn_local(async move {
            sleep(wait).await;
            server.hear(&request, &line, &mut JoinSet::new());
        });
        false
    }

    /// A call arrived. Whether it is worked on.
    pub(super) fn takes_calls(self: &Rc<Server>) -> bool {
        if self.has(Fault::Hangs) {
            self.world.count("servers that hang for good");
            self.mute.set(true);
            self.watch();
        }
        if self.has(Fault::StopsReading) {
            self.world.count("servers that stop reading");
            self.deaf.set(true);
            self.watch();
        }
        !self.mute.get()
    }

    /// Whoever is probed has nothing to do, or has said nothing for long: a busy server proves itself by any word.
    pub(super) fn check_quiet(&self, method: &str, id: &str) {
        let works = |flag: &Rc<super::Flag>| {
            let open = |truth: &mut Truth| truth.is_with(self.no);
            flag.cancelled.get().is_none() && self.world.truth(&flag.cause, open) == Some(true)
        };
        // It took its time with what it was asked first, and was opened otherwise meanwhile.
        if id == FIRST {
            return;
        }
        if method == "ping" && self.met.get() {
            self.world.count("pings");
        }
        let config = self.world.server(self.which);
        let now = self.world.now();
        let silent = config.probe.every.is_some_and(|every| self.spoke.get() + every <= now);
        let overdue = |flag: &Rc<super::Flag>| {
            self.world.truth(&flag.cause, |truth| truth.reached + config.timeout.call <= now) == Some(true)
        };
        let calls = self.calls.borrow();
        let expected = silent || calls.values().any(overdue);
        if matches!(method, "ping" | "server/discover") && silent && calls.values().any(works) {
            self.world.count("servers that were probed at work");
        }
        if matches!(method, "ping" | "server/discover") && !expected && calls.values().any(works) {
            self.world.fault(format!("{} was probed with `{method}` though it has work", self.name()));
        }
    }

    /// A server that does not answer any more is replaced in time, if anybody looks.
    fn watch(self: &Rc<Server>) {
        let config = self.world.server(self.which);
        let Some(every) = config.probe.every else { return };
        let missed = every + config.probe.timeout * 2 + config.timeout.call;
        let last = config.timeout.max + config.timeout.ask + config.timeout.hold + config.timeout.stop * 3;
        let bound = missed * config.probe.failures + last + config.timeout.start * 2;
        let server = self.clone();
        tokio::task::spawn_local(async move {
            sleep(bound).await;
            if !server.over.get() {
                server.world.fault(format!("{} hangs since {bound:?} and is not replaced", server.name()));
            }
        });
    }

    /// A server that takes too much memory is replaced in time, if another can be started and it is not one caller's own.
    pub fn must_be_replaced(self: &Rc<Server>) {
        let config = self.world.server(self.which);
        if self.habits.is_fickle() || self.habits.crashes > 0 || config.lease == LeaseChoice::Session {
            return;
        }
        let time = config.timeout;
        let bound = time.call * 2 + time.max + (time.ask + time.hold) * 4 + (time.stop + time.start) * 3;
        let server = self.clone();
        tokio::task::spawn_local(async move {
            sleep(bound).await;
            if !server.over.get() {
                server.world.fault(format!("{} grew too large {bound:?} ago and is not replaced", server.name()));
            }
        });
    }

    /// In the middle of a call. Whether it goes on.
    pub(super) fn goes_on(&self, act: &Act) -> bool {
        if self.has(Fault::HalfALine) {
            self.put_out(Output::Half(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"a":"#, act.id)));
        } else if self.has(Fault::ClosesStdout) {
            self.put_out(Output::Close);
        }
        if self.has(Fault::Floods) {
            (0..40).for_each(|_| self.chat(act));
        }
        !self.mute.get()
    }

    /// Whether a call is the end of it.
    pub(super) async fn dies_of(&self, act: &Act) -> bool {
        if !self.habits.dies_in_calls || self.world.is_calm() {
            return false;
        }
        sleep(Duration::from_millis(self.roll(50).into())).await;
        if !self.over.get() && self.world.truth(&act.cause, |truth| truth.is_with(self.no)) == Some(true) {
            self.world.count("servers that die in each call");
            self.world.died_in_a_call(self.which);
        }
        self.crash.notify_one();
        true
    }

    /// Whether it fails at everything for a while.
    pub(super) fn is_in_trouble(&self) -> bool {
        let now = self.world.now();
        !self.world.is_calm() && self.habits.trouble.is_some_and(|(start, end)| (start..end).contains(&now))
    }

    /// Says something for the last time.
    fn put_out(&self, output: Output) {
        self.world.count("servers that fall silent in the middle of a call");
        self.world.note(&self.name(), &format!("{output:?}"));
        let _ = self.out.send(output);
        self.mute.set(true);
    }

    /// An answer that is too long for anybody. Whether it was given.
    pub(super) fn answers_too_much(&self, act: &Act) -> bool {
        let limit = self.world.config().limits.message;
        if limit > 1 << 20 || !self.has(Fault::Oversized) {
            return false;
        }
        let now = self.world.now();
        self.world.truth(&act.cause, |truth| {
            truth.oversized = Some(now);
            truth.ended = Some(now);
        });
        self.world.count("answers above the limit");
        let filling = "x".repeat(limit - self.roll(40) as usize);
        self.say_with_id(&format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"filling":"{filling}"}}}}"#), &act.id);
        true
    }

    /// A call was answered.
    pub(super) fn rests(self: &Rc<Server>) {
        if self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            if self.left.get() == 0 {
                self.world.count("servers that end after so many calls");
                let _ = self.out.send(Output::End);
            }
        }
        let open = |flag: &Rc<super::Flag>| self.world.truth(&flag.cause, |truth| truth.ended.is_none()) == Some(true);
        if self.era.get() == Some(false) && self.has(Fault::AsksNobody) && !self.calls.borrow().values().any(open) {
            self.world.count("asks with no call in flight");
            let can = self.can_ask.borrow();
            let method = can[self.roll(can.len() as u32) as usize];
            let server = self.clone();
            tokio::task::spawn_local(async move { server.put(method, NOBODY).await });
        }
    }
}
