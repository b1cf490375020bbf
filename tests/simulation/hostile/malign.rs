//! What a hostile server does instead of its work, in a run with hostile peers.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::instance::Instance;
use super::offer::uri;
use super::plan::Malice;

/// How many notifications come in a row, and how many asks.
const FLOOD: usize = 300;
const ASKS: usize = 2000;

impl Instance {
    /// What it does unasked, as long as it runs.
    pub(super) async fn harass(self: Rc<Instance>) {
        for _ in 0..6 {
            sleep(Duration::from_millis(u64::from(self.roll(2000)))).await;
            if self.field.is_over() {
                return;
            }
            if self.does(Malice::AsksUnasked) && self.field.bears(5) {
                self.asks(1 + self.roll(5) as usize);
            }
            if self.does(Malice::Storms) && self.field.bears(FLOOD) {
                (0..FLOOD).for_each(|n| self.say(announcement(n)));
            }
            if self.does(Malice::Floods) && self.field.bears(FLOOD) {
                self.flood();
            }
        }
    }

    /// A call reached it.
    pub(super) async fn spoil(self: Rc<Instance>, id: &str) {
        self.field.count("calls that reached a hostile server");
        let signature = self.signature();
        if self.does(Malice::AsksMuch) && self.field.bears(ASKS) {
            self.asks(ASKS);
        }
        if self.does(Malice::Floods) && self.field.bears(FLOOD) {
            self.flood();
        }
        if self.does(Malice::ForeignIds) && self.field.bears(20) {
            for _ in 0..20 {
                let id = self.roll(60);
                self.answer(&id.to_string(), &format!(r#"{{"content":[],"x":"{signature}stray"}}"#));
            }
            self.answer("\"modest-0-s0-1\"", &format!(r#"{{"x":"{signature}stray"}}"#));
        }
        if self.does(Malice::NeverReads) {
            self.deaf.set(true);
        }
        sleep(Duration::from_millis(u64::from(self.roll(50)))).await;
        if self.does(Malice::Dies) {
            return self.ends.notify_one();
        }
        if self.does(Malice::HalfLines) {
            self.mutter(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":"{signature}"#));
            return std::future::pending().await;
        }
        if self.does(Malice::NeverAnswers) {
            return std::future::pending().await;
        }
        if self.does(Malice::Refuses) {
            return self.refuse(id, -32603, &format!("{signature}no"));
        }
        let kind = if self.nature().modern { r#","resultType":"complete""# } else { "" };
        let limit = self.field.plan.config.limits.message;
        // Where that is not too much for a test.
        let long = if self.does(Malice::LongLines) && limit <= 1 << 20 { "e".repeat(limit) } else { String::new() };
        let result = format!(r#"{{"content":[{{"type":"text","text":"{signature}here{long}"}}]{kind}}}"#);
        (0..=usize::from(self.does(Malice::Twice))).for_each(|_| self.answer(id, &result));
    }

    fn asks(&self, many: usize) {
        let signature = self.signature();
        for n in 0..many {
            let id = self.field.next();
            let method = ["elicitation/create", "sampling/createMessage", "roots/list", "ping"][n % 4];
            self.say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"message":"{signature}ask"}}}}"#
            ));
        }
    }

    fn flood(&self) {
        let signature = self.signature();
        for n in 0..FLOOD {
            let token = self.roll(60);
            self.say(match n % 4 {
                // Also of what is another server's.
                0 => format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{}","x":"{signature}"}}}}"#,
                    uri(n % 3, n % 5)
                ),
                1 => format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n},"message":"{signature}"}}}}"#
                ),
                2 => format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"emergency","data":"{signature}"}}}}"#
                ),
                _ => format!(r#"{{"jsonrpc":"2.0","method":"notifications/{signature}","params":{{"n":{n}}}}}"#),
            });
        }
    }
}

fn announcement(n: usize) -> String {
    let kind = ["tools", "prompts", "resources"][n % 3];
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#)
}
