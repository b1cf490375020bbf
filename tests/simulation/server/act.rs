//! Called for each call that reaches a model server: a few steps by chance, then an end.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::{Fault, Flag, Server, uri};
use crate::simulation::json;
use crate::simulation::world::ID;

/// A call that is being served.
pub(super) struct Act {
    pub id: String,
    pub cause: String,
    pub token: Option<String>,
    pub params: String,
    pub method: String,
    pub modern: bool,
    /// Whether its caller is of the other era.
    pub crossed: bool,
    /// From which level on the caller wants log lines about it, if it does.
    pub logs: Option<String>,
    /// It is the second half of a call that wanted input.
    pub resumed: bool,
    /// Whether the specification lets such a call end in a question (page "Multi Round-Trip Requests").
    pub may_ask: bool,
    pub flag: Rc<Flag>,
    pub obeys: bool,
}

impl Server {
    /// Serves a call.
    pub(super) async fn act(self: Rc<Server>, act: Act) {
        if !self.goes_on(&act) || self.dies_of(&act).await {
            return;
        }
        if self.habits.asks && act.crossed && act.may_ask && self.roll(3) == 0 {
            match act.modern {
                true => return self.want_round(&act),
                false => self.ask(&act).await,
            }
        }
        for _ in 0..self.roll(5) {
            if !self.pause(&act).await || !self.goes_on(&act) {
                return;
            }
            match self.roll(14) {
                0..=3 => self.progress(&act),
                4 | 5 => self.log(&act),
                6 | 7 if self.habits.asks && !act.modern => self.ask(&act).await,
                6 | 7 if self.habits.asks && act.may_ask && act.crossed => return self.want_round(&act),
                6 | 7 if self.habits.asks && act.may_ask && !act.resumed => return self.want_input(&act),
                8 | 9 => self.update(),
                10 => self.announce(),
                11 | 12 if self.by_chance(self.habits.talks_nonsense) => self.nonsense(&act),
                _ => {}
            }
        }
        if self.pause(&act).await && !self.mute.get() {
            self.finish(&act);
        }
    }

    /// Lets time pass; `false` if the call was cancelled meanwhile and the server heeds that.
    async fn pause(&self, act: &Act) -> bool {
        let most = if self.world.is_calm() { self.habits.pause.min(20) } else { self.habits.pause };
        let pause = self.rng.borrow_mut().u64(..=most);
        if pause > 0 {
            tokio::select! {
                biased;
                () = act.flag.changed.notified(), if act.obeys && act.flag.cancelled.get().is_none() => {}
                () = sleep(Duration::from_millis(pause)) => {}
            }
        }
        act.flag.cancelled.get().is_none_or(|since| !act.obeys && self.world.now() < since + self.obstinacy)
    }

    fn progress(&self, act: &Act) {
        let Some(token) = &act.token else { return };
        let count = self.world.truth(&act.cause, |truth| {
            // What was sent again to another copy is that one's.
            truth.progress.0 += u32::from(truth.arrived == Some(self.no));
            truth.progress.0
        });
        self.world.breaker_closes(self.which);
        self.say(format!(
            r#"{{"params":{{"progressToken":{token},"cause":"{}","progress":{}}},"method":"notifications/progress","jsonrpc":"2.0"}}"#,
            act.cause,
            count.unwrap_or_default()
        ));
    }

    fn log(&self, act: &Act) {
        const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        let level = LEVELS[self.roll(4) as usize];
        if act.logs.as_ref().is_some_and(|wanted| rank(level) >= rank(wanted)) {
            self.say(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":{{"cause":"{}","log":"{}"}}}}}}"#,
                act.cause,
                self.world.next()
            ));
        }
    }

    /// A resource changed: whoever listens on this copy is told, on each of its streams once.
    fn update(&self) {
        let uri = uri(self.which, self.roll(3) as usize);
        let sequence = self.world.next();
        let line = |meta: String| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{meta}"uri":"{uri}","seq":"{sequence}"}}}}"#
            )
        };
        if self.subscribed.borrow().contains(&uri) {
            self.say(line(String::new()));
        }
        for (id, filter) in &*self.streams.borrow() {
            if filter.contains(&format!("\"{uri}\"")) {
                self.say(line(format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"#)));
            }
        }
    }

    /// Says much: what others are not to be harmed by.
    pub(super) fn chat(&self, act: &Act) {
        self.log(act);
        self.update();
        self.announce();
        self.nonsense(act);
    }

    fn announce(&self) {
        self.version.set(self.version.get() + u32::from(self.has(Fault::ChangesLists)));
        if self.streams.borrow().is_empty() && !self.can_ask.borrow().is_empty() {
            self.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned());
        }
        for (id, filter) in &*self.streams.borrow() {
            if filter.contains(r#""toolsListChanged":true"#) {
                self.say(format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#));
            }
        }
    }

    fn nonsense(&self, act: &Act) {
        self.say(match self.roll(8) {
            0 => "listening on port 3000".to_owned(),
            1 => r#"{"jsonrpc":"2.0","id":987654,"result":{"stray":true}}"#.to_owned(),
            2 => r#"{"jsonrpc":"2.0","id":"never","error":{"code":1,"message":"stray"}}"#.to_owned(),
            3 => r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":987654,"progress":1}}"#.to_owned(),
            4 => r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":987654}}"#.to_owned(),
            5 if act.token.is_none() => format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1,"cause":"{}"}}}}"#,
                act.id, act.cause
            ),
            6 => r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}"#.to_owned(),
            _ => "[]".to_owned(),
        });
    }

    fn finish(self: &Rc<Server>, act: &Act) {
        let chance = self.roll(100);
        let [crashes, never_answers, nonsense] =
            [self.habits.crashes, self.habits.never_answers, self.habits.talks_nonsense].map(|odds| self.odds(odds));
        if chance < crashes {
            return self.crash.notify_one();
        }
        if chance < crashes + never_answers || self.answers_too_much(act) {
            return;
        }
        let line = self.answer(act);
        if chance >= 100 - nonsense / 8 {
            let both =
                format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}},"error":{{"code":1,"message":"both"}}}}"#, act.id);
            self.world.truth(&act.cause, |truth| truth.ended = Some(self.world.now()));
            return self.say(both);
        }
        self.end(act, &line);
        if chance >= 100 - nonsense / 2 {
            self.say_with_id(&line.replacen("cause", "again", 1), &act.id);
        }
        self.rests();
    }

    /// Gives the answer that the caller is to get.
    pub(super) fn end(&self, act: &Act, line: &str) {
        let now = self.world.now();
        self.world.truth(&act.cause, |truth| {
            if truth.arrived == Some(self.no) {
                truth.answer = Some((line.to_owned(), now));
                truth.ended = Some(now);
            }
        });
        self.world.breaker_closes(self.which);
        self.say_with_id(line, &act.id);
    }

    fn answer(&self, act: &Act) -> String {
        let mut rng = self.rng.borrow_mut();
        let text = |key: &str, value: String| (key.to_owned(), value);
        let cause = text("cause", format!("\"{}\"", act.cause));
        let asks = self.habits.asks && !act.modern && act.may_ask;
        let body = if self.is_in_trouble() {
            self.world.count("calls answered with an internal error");
            text("error", format!(r#"{{"code":-32603,"message":"out of order","data":{{"cause":"{}"}}}}"#, act.cause))
        } else if asks && rng.u32(..10) == 0 {
            text("error", self.want_elicitation(&act.cause))
        } else if rng.u32(..8) == 0 {
            text("error", error(&mut rng, &act.cause))
        } else {
            let mut result = vec![cause, text("echo", act.params.clone()), text("x", json::value(&mut rng, 2))];
            if act.modern {
                result.push(text("resultType", "\"complete\"".into()));
            }
            result.extend(marks(&mut rng, act));
            text("result", json::members_in_any_order(&mut rng, result))
        };
        let members = vec![text("jsonrpc", "\"2.0\"".into()), text("id", ID.to_string()), body];
        json::members_in_any_order(&mut rng, members)
    }
}

/// An error of one of the codes that mean something.
fn error(rng: &mut Rng, cause: &str) -> String {
    let text = |key: &str, value: String| (key.to_owned(), value);
    let uri = ["", r#""uri":"sim://gone","#][rng.usize(..2)];
    let data = format!(r#"{{{uri}"cause":"{cause}","x":{}}}"#, json::value(rng, 2));
    let code = json::pick(rng, &["-32099", "-32002", "-32602", "7"]).to_owned();
    let error = vec![text("code", code), text("message", json::string(rng)), text("data", data)];
    json::members_in_any_order(rng, error)
}

/// What servers say besides in their results: of themselves, and of how long that is good.
fn marks(rng: &mut Rng, act: &Act) -> Vec<(String, String)> {
    let server = r#""io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}"#;
    let meta = match (act.modern, rng.u32(..4)) {
        (_, 0) => r#"{"x/y":1.0}"#.to_owned(),
        (true, 1) => format!(r#"{{{server},"x/z":[]}}"#),
        (true, 2) => format!("{{{server}}}"),
        (false, 1) => "{}".to_owned(),
        _ => return Vec::new(),
    };
    let mut marks = vec![("_meta".to_owned(), meta)];
    if act.modern && act.method == "resources/read" {
        marks.push(("ttlMs".to_owned(), "7".to_owned()));
        marks.push(("cacheScope".to_owned(), "\"public\"".to_owned()));
    }
    marks
}
