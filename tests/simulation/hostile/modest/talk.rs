//! How a modest caller speaks: one request, its answer no later than that may come, and what is said to it meanwhile.

use std::time::Duration;

use mcpool::wire::message::{Kind, Message};
use mcpool::wire::scan::Field as Part;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{META, Modest, What};
use crate::simulation::world::mark;

impl Modest {
    /// Makes a request and waits for its answer, no longer than that may take.
    pub(super) async fn request(&mut self, what: What, method: &str, params: String) {
        self.next += 1;
        let id = self.next.to_string();
        let mut meta: Vec<String> = Vec::new();
        if self.guest.modern {
            meta.push(META.to_owned());
        }
        if matches!(what, What::Call(..)) && self.roll(2) == 0 {
            // Such as others have.
            let token = self.roll(20).to_string();
            meta.push(format!(r#""progressToken":{token}"#));
            self.token = Some(token);
        }
        let mut parts: Vec<String> = Some(params).into_iter().filter(|params| !params.is_empty()).collect();
        if !meta.is_empty() {
            parts.push(format!(r#""_meta":{{{}}}"#, meta.join(",")));
        }
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{}}}}}"#, parts.join(","));
        if what == What::Listen {
            self.stream = Some(id.clone());
        }
        let (since, bound) = (Instant::now(), self.bound(&what));
        self.say(&line).await;
        loop {
            let Ok(heard) = timeout_at(since + bound, self.lines.next_line()).await else {
                self.fail(format!("waited {bound:?} in vain for {what:?}"));
                break;
            };
            let Some(answer) = self.heard(heard, Some(&id)).await else {
                if self.failed {
                    break;
                }
                continue;
            };
            self.check(&what, &id, &answer, since.elapsed());
            self.field.count(if matches!(what, What::Call(..)) { "modest calls" } else { "other modest requests" });
            break;
        }
        self.token = None;
    }

    fn bound(&self, what: &What) -> Duration {
        let plan = &self.field.plan;
        let hostile = |server: usize| Some(server).filter(|server| !plan.servers[*server].is_sound());
        let spoilt = match what {
            What::Call(_, server) => hostile(*server),
            _ => self.guest.server.and_then(hostile),
        };
        match (spoilt, what) {
            (Some(server), _) => plan.spoilt(server),
            (None, What::Call(..)) => plan.call(&self.guest),
            (None, _) => plan.other(&self.guest),
        }
    }

    /// Does nothing for a while but to hear.
    pub(super) async fn rest(&mut self, millis: u64) {
        let until = Instant::now() + Duration::from_millis(millis);
        while !self.failed
            && let Ok(heard) = timeout_at(until, self.lines.next_line()).await
        {
            self.heard(heard, None).await;
        }
    }

    pub(super) async fn say(&mut self, line: &str) {
        self.field.note(&self.name(), line);
        let written = timeout(Duration::from_secs(1), self.writer.write_all(format!("{line}\n").as_bytes())).await;
        if !matches!(written, Ok(Ok(()))) {
            self.fail(format!("could not say {line}"));
        }
    }

    /// A line came: what it says if it is the answer that is waited for.
    async fn heard(&mut self, line: std::io::Result<Option<String>>, id: Option<&str>) -> Option<String> {
        let Ok(Some(line)) = line else {
            self.fail("was hung up on".to_owned());
            return None;
        };
        self.field.note(&self.name(), &format!("<- {line}"));
        self.check_marks(&line);
        let Ok(message) = Message::read(line.clone().into(), 1000) else {
            self.fail(format!("got what is no message: {line}"));
            return None;
        };
        match message.kind() {
            Kind::Result | Kind::Error if message.raw(Part::Id) == id => return Some(line),
            Kind::Result | Kind::Error if message.raw(Part::Id) == self.stream.as_deref() => self.stream = None,
            Kind::Result | Kind::Error => self.fail(format!("got an answer to nothing: {line}")),
            Kind::Request => self.asked(&message, &line).await,
            Kind::Notification => {
                return self.notified(&message, &line).filter(|_| self.stream.as_deref() == id && id.is_some());
            }
        }
        None
    }

    async fn asked(&mut self, ask: &Message, line: &str) {
        let id = ask.raw(Part::Id).unwrap_or_default();
        let said = mark(line, "cause").unwrap_or_default();
        // Whoever asks, and whatever: who cannot be asked is not. Who can be says what a hostile server asks is about nothing.
        if !self.guest.answers || self.relies(self.guest.server) && said.is_empty() {
            self.fail(format!("was asked {line}"));
        }
        let answer =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"said":"{said}"}}}}}}"#);
        self.say(&answer).await;
    }
}
