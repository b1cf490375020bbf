//! What a caller may do, decided in one place: pure functions of what its endpoint names, of who it is, and of what it
//! wants. An endpoint that names something allows that and nothing else (decision 11).

use super::names::matches;
use crate::config::{Access, Named, Rule, Who};
use crate::error::Error;
use crate::wire::message::{Message, members, unquote};
use crate::wire::scan::{Field, alike, plain};

/// What everybody may send: it opens and ends things, is answered by mcpool, or shows only what may be used. Tasks are
/// looked up among the caller's own.
const ALWAYS: [&str; 14] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "tasks/list",
    "tasks/update",
];

/// How often a URI may be escaped in itself before nobody knows what it means.
const UNESCAPED: usize = 3;

/// Something of a server that a caller may use or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing<'a> {
    /// By the name that callers see.
    Tool(&'a str),
    Prompt(&'a str),
    /// By URI.
    Resource(&'a str),
    /// A template, by its text.
    Template(&'a str),
    /// A method that names nothing of the others.
    Method(&'a str),
}

impl std::fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Thing::Tool(name) => write!(f, "tool `{name}`"),
            Thing::Prompt(name) => write!(f, "prompt `{name}`"),
            Thing::Resource(uri) => write!(f, "resource `{uri}`"),
            Thing::Template(template) => write!(f, "resource template `{template}`"),
            Thing::Method(method) => write!(f, "method `{method}`"),
        }
    }
}

/// Whether a thing may be used.
pub fn allows(access: &Access, thing: Thing<'_>) -> bool {
    access.named.as_ref().is_none_or(|named| is_named(named, thing))
}

fn is_named(named: &Named, thing: Thing<'_>) -> bool {
    let fits = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    match thing {
        Thing::Tool(name) => fits(&named.tools, name),
        Thing::Prompt(name) => fits(&named.prompts, name),
        Thing::Resource(uri) => {
            // A server may go up from where a pattern begins, so only what is written out in full may.
            let plain = is_straight(uri);
            named.resources.iter().any(|pattern| pattern == uri || plain && matches(pattern, uri))
        }
        Thing::Template(template) => fits(&named.resources, template),
        Thing::Method(method) => ALWAYS.contains(&method) || fits(&named.methods, method),
    }
}

/// Whether a request may be sent on.
///
/// # Errors
/// It may not, and what of it.
pub fn judge(access: &Access, request: &Message) -> Result<(), Error> {
    if access.named.is_none() {
        return Ok(());
    }
    let check = |thing: Thing<'_>| match allows(access, thing) {
        true => Ok(()),
        false => Err(Error::Forbidden { what: thing.to_string() }),
    };
    let text = |field| request.text(field).unwrap_or_default();
    match request.method().as_ref() {
        "tools/call" => check(Thing::Tool(&text(Field::Name))),
        "prompts/get" => check(Thing::Prompt(&text(Field::Name))),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => check(Thing::Resource(&text(Field::Uri))),
        "completion/complete" => {
            // Whatever a server may take for what it refers to has to be allowed.
            let mut refers = false;
            for (key, value) in members(request.raw(Field::Ref).unwrap_or("{}")) {
                let key = plain(key.as_bytes());
                let is = |known: &[u8]| *key == *known || alike(&key, known);
                let value = unquote(value).unwrap_or_default();
                match () {
                    () if is(b"name") => check(Thing::Prompt(&value))?,
                    () if is(b"uri") => check(Thing::Template(&value))?,
                    () => continue,
                }
                refers = true;
            }
            if refers { Ok(()) } else { check(Thing::Prompt("")) }
        }
        method => check(Thing::Method(method)),
    }
}

/// Whether a URI says plainly where it leads: no way up, however it is escaped, and nothing that a reader would skip.
fn is_straight(uri: &str) -> bool {
    if uri.contains(' ') {
        return false;
    }
    let mut text = uri.as_bytes().to_vec();
    for _ in 0..UNESCAPED {
        let up = |segment: &[u8]| segment == b"." || segment == b"..";
        let odd = |byte: &u8| *byte < b' ' || *byte == 0x7f || *byte == b'\\';
        if text.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b';')).any(up) || text.iter().any(odd) {
            return false;
        }
        let plain = unescaped(&text);
        if plain == text {
            return true;
        }
        text = plain;
    }
    false
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    plain
}

/// Who a caller is, as the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    pub uid: u32,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
    /// The path of its program; of `mcpool connect` that of the program which started it.
    pub program: Option<String>,
    /// Its control group, as `/proc/PID/cgroup` names it.
    pub cgroup: Option<String>,
}

/// Whether a rule is for a caller. What is not known of it fits nothing.
pub fn fits(who: &Who, caller: &Principal) -> bool {
    faults(who, caller).is_empty()
}

/// The conditions of a rule that a caller does not meet, by the names of their keys.
pub fn faults(who: &Who, caller: &Principal) -> Vec<&'static str> {
    let text = |patterns: &Option<Vec<String>>, text: &Option<String>| {
        let known =
            |patterns: &Vec<String>| text.as_ref().is_some_and(|text| patterns.iter().any(|it| matches(it, text)));
        patterns.as_ref().is_none_or(known)
    };
    let met = [
        ("uid", who.uids.as_ref().is_none_or(|uids| uids.contains(&caller.uid))),
        ("gid", who.gids.as_ref().is_none_or(|gids| caller.gid.is_some_and(|gid| gids.contains(&gid)))),
        ("program", text(&who.programs, &caller.program)),
        ("cgroup", text(&who.cgroups, &caller.cgroup)),
    ];
    met.into_iter().filter(|(_, met)| !met).map(|(key, _)| key).collect()
}

/// The rule that counts for a caller: the first that fits.
pub fn rule_for(rules: &[Rule], caller: &Principal) -> Option<usize> {
    rules.iter().position(|rule| fits(&rule.who, caller))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Grants;

    fn access(change: impl FnOnce(&mut Grants)) -> Access {
        let mut grants = Grants::default();
        change(&mut grants);
        grants.access(true)
    }

    fn patterns(patterns: &[&str]) -> Option<Vec<String>> {
        Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    #[test]
    fn what_is_not_named_may_not_be_used() {
        let tools = access(|grants| grants.tools = patterns(&["read_*"]));
        assert!(allows(&tools, Thing::Tool("read_file")) && !allows(&tools, Thing::Tool("write_file")));
        for thing in
            [Thing::Prompt("read_x"), Thing::Resource("read_x"), Thing::Method("vendor/x"), Thing::Template("a")]
        {
            assert!(!allows(&tools, thing), "{thing}");
        }
        assert!(ALWAYS.iter().all(|method| allows(&tools, Thing::Method(method))));
        assert!(allows(&Grants::default().access(false), Thing::Method("vendor/x")));
    }

    #[test]
    fn a_pattern_of_resources_is_not_left_by_going_up() {
        let docs = access(|grants| grants.resources = patterns(&["file:///srv/docs/*", "odd:/a/../b"]));
        for uri in ["file:///srv/docs/a", "file:///srv/docs/a..b/c%20d", "file:///srv/docs/%C3%BC", "odd:/a/../b"] {
            assert!(allows(&docs, Thing::Resource(uri)), "{uri}");
        }
        for uri in [
            "file:///srv/docs/../secret",
            "file:///srv/docs/%2e%2e/secret",
            "file:///srv/docs/%252e%252e/secret",
            "file:///srv/docs/..%2fsecret",
            "file:///srv/docs/..\\secret",
            "file:///srv/docs/.\t./secret",
            "file:///srv/docs/a/..",
            "file:///srv/docs/%25252525252e./x",
            "file:///srv/docsecret",
            "FILE:///srv/docs/a",
        ] {
            assert!(!allows(&docs, Thing::Resource(uri)), "{uri}");
        }
    }

    #[test]
    fn whatever_a_completion_may_refer_to_has_to_be_allowed() {
        let access = access(|grants| (grants.prompts, grants.resources) = (patterns(&["good"]), patterns(&["a://*"])));
        let judged = |reference: &str| {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference}}}}}"#);
            judge(&access, &Message::read(line.into(), 100).unwrap()).is_ok()
        };
        assert!(
            judged(r#"{"type":"ref/prompt","name":"good"}"#) && judged(r#"{"type":"ref/resource","uri":"a://{x}"}"#)
        );
        for reference in [
            r#"{"name":"good","name":"bad"}"#,
            r#"{"name":"good","Name":"bad"}"#,
            r#"{"name":"good","ur\u0131":"b://"}"#,
            r#"{"name":"good","name\u0000":"bad"}"#,
            r#"{"name":"good","n\u0061me":"bad"}"#,
            r#"{"name":"good","uri":"b://"}"#,
            "{}",
            "7",
        ] {
            assert!(!judged(reference), "{reference}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_what_is_not_known_fits_none() {
        let rule = |who| Rule { who, grants: Grants::default(), callers: None, in_flight: None };
        let uid = |uid| Who { uids: Some(vec![uid]), ..Who::default() };
        let program = |path| Who { programs: patterns(&[path]), ..Who::default() };
        let rules = [rule(Who { gids: Some(vec![7]), ..uid(1) }), rule(program("/usr/bin/*")), rule(uid(1))];
        let caller = Principal { uid: 1, ..Principal::default() };
        assert_eq!(rule_for(&rules, &caller), Some(2));
        assert_eq!(faults(&rules[0].who, &caller), ["gid"]);
        let editor = Principal { program: Some("/usr/bin/editor".into()), gid: Some(7), ..caller.clone() };
        assert_eq!(rule_for(&rules, &editor), Some(0));
        assert_eq!(rule_for(&rules, &Principal { uid: 2, ..editor }), Some(1));
        assert_eq!(rule_for(&rules, &Principal { uid: 2, ..caller }), None);
    }
}
