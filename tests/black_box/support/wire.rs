//! Called by every proxy under test: everything that passes between it and its peers is written down, and when the
//! test ends, what the proxy said is held against the JSON schema of the revision that its receiver speaks.
//!
//! A peer that was told by its test to talk nonsense is no fault of the proxy, which has to pass it on unchanged: so
//! the peers' own lines are judged by the same rules, and what is wrong in them is excused in the proxy.

mod schema;
mod talk;
mod tap;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use serde_json::Value;

use self::talk::Talk;
pub use self::tap::Tap;

/// Longer lines are about their length, and costly to check.
const LONGEST: usize = 1 << 20;

/// Who is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peer {
    Caller,
    Server,
}

/// Which way a line went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// From the proxy to its peer.
    Out,
    /// From the peer to the proxy.
    In,
}

type Line = (Way, Vec<u8>);

/// Everything that was said by and to a proxy.
#[derive(Clone, Default)]
pub struct Wire(Rc<RefCell<Vec<Link>>>);

/// What passed between the proxy and one peer, in its order.
#[derive(Clone)]
pub struct Link {
    peer: Peer,
    name: String,
    said: Rc<RefCell<Vec<Line>>>,
}

impl Wire {
    /// The link to a new peer.
    pub fn link(&self, peer: Peer, name: String) -> Link {
        let link = Link { peer, name, said: Rc::default() };
        self.0.borrow_mut().push(link.clone());
        link
    }

    /// What the proxy said that its receivers' revisions do not allow, for people.
    pub fn violations(&self) -> Vec<String> {
        if !schema::known() {
            return Vec::new();
        }
        let judged: Vec<_> = self.0.borrow().iter().flat_map(Link::judge).collect();
        let excused: HashSet<&str> =
            judged.iter().filter(|it| it.way == Way::In).map(|it| it.payload.as_str()).collect();
        let faults = judged.iter().filter(|it| it.way == Way::Out && !excused.contains(it.payload.as_str()));
        faults.map(|it| it.told.clone()).collect()
    }
}

/// A line that is not as it should be.
struct Judged {
    way: Way,
    /// What both peers see of it alike.
    payload: String,
    told: String,
}

impl Link {
    /// Writes down a line.
    fn write(&self, way: Way, line: Vec<u8>) {
        self.said.borrow_mut().push((way, line));
    }

    /// What the peer was told.
    pub fn told(&self) -> Vec<String> {
        let said = self.said.borrow();
        let told = said.iter().filter(|(way, _)| *way == Way::Out);
        told.map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect()
    }

    fn judge(&self) -> Vec<Judged> {
        let mut talk = Talk::with(self.peer);
        let mut wrong = Vec::new();
        for (way, line) in self.said.borrow().iter().filter(|(_, line)| line.len() < LONGEST && !line.is_empty()) {
            let mut add = |payload: String, why: String| {
                let to = if *way == Way::Out { "to" } else { "from" };
                let told = format!("{to} {}: {why}\n    {}", self.name, String::from_utf8_lossy(line));
                wrong.push(Judged { way: *way, payload, told });
            };
            match serde_json::from_slice::<Value>(line) {
                Ok(Value::Array(batch)) => {
                    for message in &batch {
                        talk.hear(*way, message).unwrap_or_else(|why| add(payload(message), why));
                    }
                }
                Ok(message) => talk.hear(*way, &message).unwrap_or_else(|why| add(payload(&message), why)),
                // Lone surrogates and deep nesting are JSON that this parser cannot follow.
                Err(error) => add("no JSON".to_owned(), error.to_string()),
            }
        }
        wrong
    }
}

/// What is left of a message on its way through the proxy, whatever it has to rewrite.
fn payload(message: &Value) -> String {
    const REWRITTEN: [&str; 11] = [
        "_meta",
        "cacheScope",
        "elicitationId",
        "inputResponses",
        "name",
        "progressToken",
        "requestId",
        "requestState",
        "resultType",
        "task",
        "ttlMs",
    ];
    let strip = |value: &Value| {
        let mut value = value.clone();
        if let Some(members) = value.as_object_mut() {
            members.retain(|key, _| !REWRITTEN.contains(&key.as_str()));
        }
        value
    };
    match (message.get("method"), message.get("result"), message.get("error")) {
        (Some(method), ..) => format!("{method} {}", strip(&message["params"])),
        (_, Some(result), _) => format!("result {}", strip(result)),
        (.., Some(error)) => format!("error {error}"),
        _ => message.to_string(),
    }
}
