//! What a modest caller may be told: by whom, and what.

use std::time::Duration;

use mcpool::wire::message::{Message, member};
use mcpool::wire::scan::Field as Part;

use super::{Modest, What};
use crate::simulation::across;
use crate::simulation::hostile::field::{EVIL, MODEST, RAID, modest_marks};
use crate::simulation::world::ID;

impl Modest {
    /// No line may say what another caller said, nor what a server says that this caller did not call.
    pub(super) fn check_marks(&mut self, line: &str) {
        let own = format!("{MODEST}{}-", self.no);
        if let Some(strange) = modest_marks(line).find(|mark| !mark.starts_with(&own)).map(str::to_owned) {
            self.fail(format!("got what {strange} is about: {line}"));
        }
        if line.contains(RAID) {
            self.fail(format!("got what a hostile caller said: {line}"));
        }
        // Lists and introductions of all servers, and answers of hostile ones, are `check`'s.
        if line.contains(EVIL) && self.guest.server.is_some() && self.relies(self.guest.server) {
            self.fail(format!("got what a hostile server said: {line}"));
        }
    }

    /// A notification: the line, if it acknowledges the stream.
    pub(super) fn notified(&mut self, message: &Message, line: &str) -> Option<String> {
        if !self.relies(self.guest.server) {
            return (message.method() == "notifications/subscriptions/acknowledged").then(|| line.to_owned());
        }
        match message.method().as_ref() {
            "notifications/subscriptions/acknowledged" => return Some(line.to_owned()),
            "notifications/progress" if message.raw(Part::ProgressToken) == self.token.as_deref() => {}
            "notifications/progress" => self.fail(format!("got progress of nothing: {line}")),
            "notifications/resources/updated" => {
                let uri = message.text(Part::Uri).unwrap_or_default().into_owned();
                // What was unsubscribed from a moment before may be on its way.
                if !uri.starts_with("sim://") || !self.ever.contains(&uri) {
                    self.fail(format!("got an update of what it did not subscribe to: {line}"));
                }
            }
            _ => {}
        }
        // On the endpoint of all a hostile server may say something to whom it was introduced alone.
        None
    }

    /// The answer to a request, which took so long.
    pub(super) fn check(&mut self, what: &What, id: &str, answer: &str, took: Duration) {
        self.open |= *what == What::Open && !answer.contains("\"error\":");
        match what {
            What::Call(cause, server) if self.nature(*server).is_sound() => self.check_call(cause, *server, id, answer),
            What::Call(_, server) => self.check_spoilt(*server, answer),
            _ if !self.relies(self.guest.server) => {}
            What::Open | What::List(_) | What::Little | What::Listen if self.was_killed_in(answer) => {
                self.field.count("other modest requests that were beside one that killed their instance");
            }
            What::Open | What::List(_) | What::Little | What::Listen if self.is_blamed_in(answer) => {
                self.field.count("modest clients that were taken for the one that kills");
            }
            What::Open | What::Little | What::Listen if answer.contains("\"error\":") => {
                self.fail(format!("was refused {what:?}: {answer}"));
            }
            What::List(kind) => self.check_list(kind, answer, took),
            What::Little if !answer.contains(r#""result":{}"#) => self.fail(format!("got for {what:?}: {answer}")),
            What::Open | What::Little | What::Listen => {}
        }
    }

    fn check_call(&mut self, cause: &str, server: usize, id: &str, answer: &str) {
        if answer.contains(EVIL) {
            return self.fail(format!("got what a hostile server said: {answer}"));
        }
        let died = answer.contains("\"code\":502") && self.field.was_killed(cause);
        if died {
            return self.field.count("modest calls that were beside one that killed their instance");
        }
        if self.is_blamed_in(answer) {
            return self.field.count("modest clients that were taken for the one that kills");
        }
        let Some(said) = self.field.said(cause).map(|said| said.replacen(ID, id, 1)) else {
            return self.fail(format!("was refused {cause}: {answer}"));
        };
        let (own, other) = (self.guest.modern, self.nature(server).modern);
        let same = if own == other { said == answer } else { across::same_answer(&said, answer, own, "tools/call") };
        if !same {
            self.fail(format!("got for {cause}\n  {answer}\nand not\n  {said}"));
        }
    }

    /// An answer from a hostile server: it is that server's own, or an error that names it.
    fn check_spoilt(&mut self, server: usize, answer: &str) {
        self.field.count("modest calls of hostile servers");
        let own = answer.contains(&format!("{EVIL}s{server}-"));
        let named = answer.contains(&format!("s{server}")) && answer.contains("\"error\":");
        if !own && !named {
            self.fail(format!("called s{server} and got {answer}"));
        }
    }

    /// Whether a request was with a sound server that a hostile call killed.
    fn was_killed_in(&self, answer: &str) -> bool {
        answer.contains("\"server_died\"") && self.is_raided()
    }

    /// Whether it is refused alone. Not held yet: a client with calls on each copy that hostile calls kill looks like the one
    /// that kills them.
    fn is_blamed_in(&self, answer: &str) -> bool {
        answer.contains("\"breaker_open\"") && answer.contains("for this client") && self.is_raided()
    }

    fn is_raided(&self) -> bool {
        self.field.plan.servers_of(&self.guest).any(|server| self.field.is_killed(server))
    }

    /// A list has all that the sound servers have. On the endpoint of all a server is left out that has not answered within
    /// `patience`, or that hostile calls kill each time it is asked.
    fn check_list(&mut self, kind: &str, answer: &str, took: Duration) {
        let Some(items) = member(answer, "result").and_then(|result| member(result, kind)) else {
            return self.fail(format!("was refused its {kind}: {answer}"));
        };
        let late = self.guest.server.is_none() && took >= self.field.plan.config.endpoints[0].patience;
        let sound: Vec<usize> = self.field.plan.servers_of(&self.guest).collect();
        let mut whole = true;
        for server in sound {
            let wanted = match (kind, self.guest.server) {
                ("resources", _) => format!("\"sim://s{server}/r0\""),
                (_, None) => format!("\"s{server}__t0\""),
                (_, Some(_)) => "\"t0\"".to_owned(),
            };
            if items.contains(&wanted) {
                continue;
            }
            whole = false;
            let killed = self.guest.server.is_none() && self.field.is_killed(server);
            if !late && !killed {
                let answer: String = answer.chars().take(500).collect();
                return self.fail(format!("lacks {wanted} in its {kind}: {answer}"));
            }
            self.field.count("modest lists without a server that was late");
        }
        self.knows |= whole && kind == "resources";
    }
}
