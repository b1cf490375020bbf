//! How a sound server does its work in a run with hostile peers: it takes the time that a call asks for, up to the longest,
//! says some words meanwhile, and answers with the mark of the call.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::field::{MODEST, number};
use super::instance::Instance;
use super::offer::uri;
use crate::simulation::world::{ID, mark};

impl Instance {
    /// Serves a call.
    pub(super) async fn work(self: Rc<Instance>, id: &str, token: Option<String>, line: &str) {
        let cause = mark(line, "cause").unwrap_or_default().to_owned();
        if cause.starts_with(MODEST) {
            self.field.reaches(&cause, self.no);
        }
        if line.contains("\"crash\"") {
            self.field.count("instances that died of a hostile call");
            self.field.dies(self.which, self.no);
            return self.ends.notify_one();
        }
        let work = Duration::from_millis(number(line, "work").unwrap_or(0)).min(self.field.plan.longest);
        sleep(work / 2).await;
        if let Some(token) = token {
            self.say(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"cause":"{cause}"}}}}"#
            ));
        }
        if line.contains("\"log\":1") && !self.nature().modern {
            self.say(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","data":{{"cause":"{cause}"}}}}}}"#
            ));
        }
        if let Some(n) = number(line, "touch") {
            self.touch(&uri(self.which, n as usize));
        }
        if line.contains("\"ask\":1") && self.can_ask.get() {
            self.ask(&cause).await;
        }
        sleep(work - work / 2).await;
        let kind = if self.nature().modern { r#","resultType":"complete""# } else { "" };
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"content":[{{"type":"text","text":"{cause}"}}],"x" :1.0,"cause":"{cause}"{kind}}}}}"#
        );
        if cause.starts_with(MODEST) {
            self.field.says(&cause, &answer);
        }
        self.say(answer.replacen(ID, id, 1));
    }

    /// A resource changed: whoever listens on this copy is told.
    fn touch(&self, uri: &str) {
        let line = |meta: String| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{meta}"uri":"{uri}"}}}}"#
            )
        };
        if self.subscribed.borrow().contains(uri) {
            self.say(line(String::new()));
        }
        for (id, filter) in &*self.streams.borrow() {
            if filter.contains(&format!("\"{uri}\"")) {
                self.say(line(format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"#)));
            }
        }
    }

    /// Asks the caller of a call, who answers with the mark of that call.
    async fn ask(&self, cause: &str) {
        let id = format!("\"ask-{}\"", self.field.next());
        let (answered, answer) = oneshot::channel();
        self.asks.borrow_mut().insert(id.clone(), answered);
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"well?","cause":"{cause}"}}}}"#
        ));
        let Ok(answer) = answer.await else { return };
        if cause.starts_with(MODEST) && mark(&answer, "said") != Some(cause) {
            self.field.fault(format!("{} asked for {cause} and was told {answer}", self.name()));
        }
        self.field.count("asks");
    }
}
