//! What the multiplexer itself asks a model server: openings, lists, subscriptions, pings.

use std::rc::Rc;

use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;

use super::habits::Stranger;
use super::list::modern_rest;
use super::{Fault, Server};

impl Server {
    /// A copy is spoken to in one era only.
    pub(super) fn check_era(&self, request: &Message, line: &str) {
        let modern = request.span(Field::MetaVersion).found();
        let opening = matches!(request.method().as_ref(), "initialize" | "server/discover");
        if modern && !opening && self.era.get().is_none() {
            self.era.set(Some(true));
        }
        if !opening && self.era.get() != Some(modern) {
            self.world.fault(format!("{} was opened in another era than that of: {line}", self.name()));
        }
    }

    /// The opening of an era that it does not speak.
    pub(super) fn refuse_era(&self, id: &str) {
        let (code, message) = match self.habits.stranger {
            Stranger::Unknown => (-32601, "unknown method"),
            Stranger::Unsupported => (if self.habits.legacy { -32602 } else { -32022 }, "unsupported"),
            Stranger::Silent => return,
            Stranger::Dies => return self.crash.notify_one(),
        };
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#));
    }

    /// A request of the multiplexer's own, or one that both eras answer alike.
    pub(super) fn asked(self: &Rc<Server>, request: &Message) {
        let id = request.raw(Field::Id).unwrap_or_default();
        let method = request.method();
        if method.ends_with("/list") && self.by_chance(self.habits.never_answers) {
            return;
        }
        self.check_quiet(&method, id);
        // Of what mcpool sends itself, lists and introductions tell that a server works.
        if method.ends_with("/list") || self.era.get().is_none() {
            self.world.breaker_closes(self.which);
        }
        let body = match (method.as_ref(), request.span(Field::MetaVersion).found()) {
            ("initialize", _) => return self.initialize(request, id),
            ("server/discover", _) => return self.discover(id),
            ("subscriptions/listen", true) => return self.listen(request, id),
            ("tools/list", modern) => self.page(request, "tools", "name", modern),
            ("prompts/list", modern) => self.page(request, "prompts", "name", modern),
            ("resources/list", modern) => self.page(request, "resources", "uri", modern),
            ("resources/templates/list", modern) => format!(r#"{{"resourceTemplates":[]{}}}"#, modern_rest(modern)),
            ("resources/subscribe", false) => self.subscribe(request, true),
            ("resources/unsubscribe", false) => self.subscribe(request, false),
            ("ping", false) if self.has(Fault::IgnoresPing) => return,
            ("ping" | "logging/setLevel", false) => "{}".to_owned(),
            (method, _) => {
                self.world.fault(format!("{} was sent `{method}`, which nobody caused", self.name()));
                return;
            }
        };
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{body}}}"#));
    }
}
