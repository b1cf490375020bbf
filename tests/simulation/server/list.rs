//! What a model server lists: three items of each kind, on two pages.

use mcpool::wire::message::Message;
use mcpool::wire::scan::Field;

use super::Server;

/// The tool that says of itself that it may be called twice, if its server says so of any.
pub(super) const SAFE: &str = "t1";

impl Server {
    /// Half of a list; the cursor leads to the other half.
    pub(super) fn page(&self, request: &Message, kind: &str, key: &str, modern: bool) -> String {
        let second = request.raw(Field::Cursor).is_some();
        let item = |n: usize| {
            let name = if key == "uri" { uri(self.which, n) } else { format!("{}{n}", &kind[..1]) };
            let safe = self.habits.hints && name == SAFE;
            let hints = if safe { r#","annotations":{"title":"x","readOnlyHint":true}"# } else { "" };
            // What clients could not read would not be shown among several servers.
            let needed = match kind {
                "tools" => r#","inputSchema":{"type":"object"}"#,
                "resources" => r#","name":"r""#,
                _ => "",
            };
            format!(r#"{{"{key}":"{name}","n":1.{}{hints}{needed}}}"#, self.version.get())
        };
        let (items, next) =
            if second { (vec![item(2)], "") } else { (vec![item(0), item(1)], r#","nextCursor":"more""#) };
        format!(r#"{{"{kind}":[{}]{next}{}}}"#, items.join(","), modern_rest(modern))
    }
}

/// What modern lists carry besides their items.
pub(super) fn modern_rest(modern: bool) -> &'static str {
    if modern { r#","resultType":"complete","ttlMs":1000,"cacheScope":"public""# } else { "" }
}

/// The resources that a server has.
pub fn uri(server: usize, n: usize) -> String {
    format!("sim://s{server}/r{n}")
}
