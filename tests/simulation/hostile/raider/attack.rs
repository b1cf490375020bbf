//! What a hostile caller says.

use super::Raider;
use crate::simulation::hostile::modest::META;
use crate::simulation::hostile::offer::uri;
use crate::simulation::hostile::plan::Attack;

/// How many calls come at once.
const FLOOD: usize = 400;

impl Raider {
    /// The lines of an attack on one connection.
    pub(super) fn lines(&mut self, attack: Attack, link: usize) -> Vec<String> {
        match attack {
            Attack::Flood => (0..1 + self.rng.usize(..FLOOD)).map(|_| self.call(link)).collect(),
            Attack::LongLines => self.long(link),
            Attack::Malformed => self.malformed(),
            Attack::SameIds => {
                let line = self.call(link);
                vec![line; 5]
            }
            Attack::Cancels => (0..30)
                .flat_map(|n| [n.to_string(), format!("\"raid-{n}\""), format!("\"{n}\"")])
                .map(|id| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"raid-"}}}}"#))
                .collect(),
            Attack::Answers => self.answers(),
            Attack::States => self.states(link),
            Attack::Subscriptions => self.subscriptions(link),
            Attack::Levels => (0..30).map(|n| self.level(link, n)).collect(),
            Attack::Crashes => vec![self.request(link, "tools/call", &self.named(link, "crash", 0, ""))],
            _ => Vec::new(),
        }
    }

    /// A request on a connection, with what its era wants.
    fn request(&self, link: usize, method: &str, params: &str) -> String {
        let id = self.field.next();
        let meta = if self.links[link].modern { format!(r#","_meta":{{{META}}}"#) } else { String::new() };
        format!(r#"{{"jsonrpc":"2.0","id":"raid-{id}","method":"{method}","params":{{"x":"raid-"{params}{meta}}}}}"#)
    }

    /// The parameters of a call.
    fn named(&self, link: usize, tool: &str, work: u64, more: &str) -> String {
        let tool = self.links[link].tool.replace("t0", tool);
        format!(r#","name":"{tool}","arguments":{{"cause":"raid-{}","work":{work}{more}}}"#, self.field.next())
    }

    pub(super) fn call(&mut self, link: usize) -> String {
        let work = self.rng.u64(..=2 * self.field.plan.longest.as_millis() as u64);
        let more = ["", r#","log":1"#, r#","touch":0"#, r#","ask":1"#][self.roll(4) as usize];
        self.request(link, "tools/call", &self.named(link, "t0", work, more))
    }

    pub(super) fn list(&mut self, link: usize) -> String {
        let method =
            ["tools/list", "resources/list", "resources/templates/list", "prompts/list"][self.roll(4) as usize];
        self.request(link, method, "")
    }

    /// As long as a line may be, and one byte longer; where that is not too much for a test.
    fn long(&mut self, link: usize) -> Vec<String> {
        let most = self.field.plan.config.limits.message;
        if most > 1 << 20 {
            return Vec::new();
        }
        let short = self.request(link, "tools/call", &self.named(link, "t0", 0, r#","long":"""#));
        let padded = |length: usize| {
            short.replacen(r#""long":"""#, &format!(r#""long":"{}""#, "r".repeat(length - short.len())), 1)
        };
        vec![padded(most), padded(most + 1), padded(most * 2)]
    }

    fn malformed(&mut self) -> Vec<String> {
        let deep = "[".repeat(300) + &"]".repeat(300);
        let lines = [
            r#"{"jsonrpc":"2.0","id":"raid-1","method":"tools/call","params":"#.to_owned(),
            "raid- is no JSON".to_owned(),
            "[]".to_owned(),
            "[1,2,3]".to_owned(),
            "{}".to_owned(),
            "\r".to_owned(),
            "{\"jsonrpc\":\"2.0\",\r\"id\":\"raid-2\",\"method\":\"ping\"}".to_owned(),
            "{\"jsonrpc\":\"2.0\",\"id\":\"raid-3\",\"method\":\"tools/call\",\"params\":{\"name\":\"t0\",\"x\":[\r{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\r]}}".to_owned(),
            format!(r#"{{"jsonrpc":"2.0","id":"raid-4","method":"tools/call","params":{{"name":"t0","x":{deep}}}}}"#),
            r#"{"jsonrpc":"2.0","id":"raid-5","id":1,"method":"ping"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":"raid-6","method":"tools/call","params":{"name":"t0","Name":"t1"}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/raid-","params":{"x":1}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"raid-"}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"raid-"}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#.to_owned(),
            "\u{0}\u{1}\u{2}".to_owned(),
        ];
        (0..8).map(|_| lines[self.rng.usize(..lines.len())].clone()).collect()
    }

    /// Ids of asks go on from anywhere, so that these are guesses.
    fn answers(&mut self) -> Vec<String> {
        let guess = |n: u64| match n % 3 {
            0 => format!("\"ask-{n}\""),
            1 => n.to_string(),
            _ => (n << 24).to_string(),
        };
        let answer = |id: String| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"said":"raid-"}}}}}}"#)
        };
        let least = self.rng.u64(..1 << 20);
        (0..50).chain(least..least + 50).map(guess).map(answer).collect()
    }

    fn states(&self, link: usize) -> Vec<String> {
        let states =
            ["mcpool.held.AAAA", "mcpool.asked.AAAA", "mcpool.1.1.x", "raid-", "mcpool.held.", "mcpool.roots.AAAA"];
        let state = |state: &str| {
            let more = format!(r#","requestState":"{state}","inputResponses":{{"q0":{{"action":"accept"}}}}"#);
            self.request(link, "tools/call", &(self.named(link, "t0", 0, "") + &more))
        };
        states.into_iter().map(state).collect()
    }

    fn subscriptions(&mut self, link: usize) -> Vec<String> {
        let server = self.links[link].server;
        let known = (0..3).map(|n| uri(server, n));
        let uris: Vec<String> = known.chain((0..40).map(|n| format!("sim://s{server}/raid-{n}"))).collect();
        if !self.links[link].modern {
            let ends = self.roll(3) == 0;
            let method = if ends { "resources/unsubscribe" } else { "resources/subscribe" };
            return uris.iter().map(|uri| self.request(link, method, &format!(r#","uri":"{uri}""#))).collect();
        }
        let all: Vec<String> = uris.iter().map(|uri| format!("\"{uri}\"")).collect();
        let wanted = format!(
            r#","notifications":{{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":[{}]}}"#,
            all.join(",")
        );
        vec![self.request(link, "subscriptions/listen", &wanted); 3]
    }

    fn level(&self, link: usize, n: usize) -> String {
        let level = ["debug", "emergency", "info", "raid-", "error"][n % 5];
        if self.links[link].modern {
            // Each call has its own.
            let line = self.request(link, "tools/call", &self.named(link, "t0", 0, r#","log":1"#));
            return line.replacen(META, &format!(r#"{META},"io.modelcontextprotocol/logLevel":"{level}""#), 1);
        }
        self.request(link, "logging/setLevel", &format!(r#","level":"{level}""#))
    }
}
