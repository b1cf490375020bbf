//! Called by accounts of calls: the methods that calls are counted by. These are the methods of the specification's
//! revisions, and one more for all others, since callers choose what they call.

/// The requests of callers in all revisions, and the tasks of an extension.
const KNOWN: [&str; 20] = [
    "tools/call",
    "tools/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "logging/setLevel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
];

/// A method that is counted by itself, or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(u8);

impl Method {
    /// How many there are.
    pub const COUNT: usize = KNOWN.len() + 1;

    /// The one of that name.
    pub fn named(name: &str) -> Method {
        let known = KNOWN.iter().position(|known| *known == name);
        Method(known.unwrap_or(KNOWN.len()) as u8)
    }

    /// All of them, by their index.
    pub fn all() -> impl Iterator<Item = Method> {
        (0..Method::COUNT).map(|index| Method(index as u8))
    }

    /// The label.
    pub fn as_str(self) -> &'static str {
        KNOWN.get(self.index()).copied().unwrap_or("other")
    }

    /// Where it stands in an array of [`Method::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
