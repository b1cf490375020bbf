//! What a server of a run with hostile peers says that it is, and that it has.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::instance::Instance;
use super::plan::Malice;

/// How many items the longest list has.
const MANY: usize = 3000;

impl Instance {
    pub(super) fn introduces_itself(self: &Rc<Instance>, id: &str, version: &str) {
        let signature = self.signature();
        let capabilities =
            r#""capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}}"#;
        let instructions = format!(r#""instructions":"{signature}read this""#);
        self.answer(id, &match self.nature().modern {
            true => format!(r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],{capabilities},{instructions},"ttlMs":0,"cacheScope":"public"}}"#),
            false => format!(r#"{{"protocolVersion":{version},{capabilities},"serverInfo":{{"name":"{signature}s{}","version":"1"}},{instructions}}}"#, self.which),
        });
        if !self.opened.replace(true) && !self.nature().is_sound() {
            spawn_local(self.clone().harass());
        }
    }

    pub(super) fn list(&self, id: &str, method: &str) {
        let signature = self.signature();
        let many = if self.does(Malice::LongLists) { MANY } else { 0 };
        let tool = |name: String| {
            format!(r#"{{"name":"{name}","description":"{signature}","inputSchema":{{"type":"object"}}}}"#)
        };
        let (member, items): (_, Vec<String>) = match method {
            "tools/list" => {
                let more = (0..many).map(|n| format!("{signature}t{n}"));
                ("tools", ["t0", "t1", "crash"].map(str::to_owned).into_iter().chain(more).map(tool).collect())
            }
            "resources/list" => {
                let uris = (0..3 + many).map(|n| uri(self.which, n));
                ("resources", uris.map(|uri| format!(r#"{{"uri":"{uri}","name":"{signature}r"}}"#)).collect())
            }
            "prompts/list" => ("prompts", Vec::new()),
            _ => ("resourceTemplates", Vec::new()),
        };
        let rest =
            if self.nature().modern { r#","resultType":"complete","ttlMs":1000,"cacheScope":"public""# } else { "" };
        self.answer(id, &format!(r#"{{"{member}":[{}]{rest}}}"#, items.join(",")));
    }
}

/// The resources that a server has.
pub fn uri(server: usize, n: usize) -> String {
    format!("sim://s{server}/r{n}")
}
