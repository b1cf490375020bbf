//! Called by `mux` for each request, notification and subscription, and for each item of a list that is shown: what a
//! caller may do, decided in one place. These are pure functions of what its endpoint names, of who it is, and of what
//! it wants. An endpoint that names something allows that and nothing else (decision 11).

use crate::caller::names::matches;
use crate::config::{Access, Named, Roots};
use crate::era::bridge::seal::OURS;
use crate::error::Error;
use crate::wire::message::{Message, members, unquote};
use crate::wire::scan::{Field, is_read_as};

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
            named.resources.iter().any(|pattern| pattern == uri || matches(pattern, uri) && is_straight(pattern, uri))
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
                let is = |known: &[u8]| is_read_as(key.as_bytes(), known);
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

/// Whether a request answers nothing that its caller may not be asked. A modern server takes `inputResponses` for true
/// that it never asked for, and a `requestState` for its own.
///
/// # Errors
/// It does, where the endpoint withholds roots or lets nobody be asked.
pub fn judge_answers(access: &Access, request: &Message) -> Result<(), Error> {
    let roots = access.roots == Roots::Client;
    if access.asks && roots {
        return Ok(());
    }
    let sealed = request.text(Field::RequestState).is_some_and(|state| state.starts_with(OURS));
    let no = |what: &str| Err(Error::InvalidParams(format!("{what}; send the request anew without it")));
    for (key, value) in members(request.raw(Field::Params).unwrap_or("{}")).into_iter().filter(|it| it.1 != "null") {
        let is = |known: &[u8]| is_read_as(key.as_bytes(), known);
        match () {
            () if is(b"requestState") && !sealed => {
                return no("on this endpoint `requestState` is what mcpool gave out, and this is not");
            }
            () if is(b"inputResponses") && !sealed && !access.asks => {
                return no("`inputResponses` answers nothing that callers of this endpoint were asked");
            }
            () if is(b"inputResponses") && !roots && tells_roots(value) => {
                return no("`inputResponses` tells roots, which this endpoint keeps from servers");
            }
            () => {}
        }
    }
    Ok(())
}

/// Whether one of the answers to a server's questions tells roots.
fn tells_roots(responses: &str) -> bool {
    members(responses)
        .into_iter()
        .flat_map(|(_, answer)| members(answer))
        .any(|(key, _)| is_read_as(key.as_bytes(), b"roots"))
}

/// Whether a URI says plainly where it leads: no way up, however it is escaped, and nothing that a reader would skip. Where a
/// `*` of its pattern begins it names no other root either: no empty segment, no slash that is escaped.
fn is_straight(pattern: &str, uri: &str) -> bool {
    let fixed = pattern.split('*').next().unwrap_or_default();
    if uri.contains(' ') || has_empty_segment(uri, fixed.len()) || has_odd_escape(uri) {
        return false;
    }
    let (mut text, mut fixed) = (uri.as_bytes().to_vec(), fixed.as_bytes().to_vec());
    for _ in 0..UNESCAPED {
        let up = |segment: &[u8]| segment == b"." || segment == b"..";
        let odd = |byte: &u8| *byte < b' ' || *byte == 0x7f || *byte == b'\\';
        if text.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b';')).any(up) || text.iter().any(odd) {
            return false;
        }
        let (plain, start) = (unescaped(&text), unescaped(&fixed));
        if plain == text {
            return true;
        }
        // A character in more bytes than it needs is read by some as that character.
        if slashes(&plain) - slashes(&text) > slashes(&start) - slashes(&fixed) || std::str::from_utf8(&plain).is_err()
        {
            return false;
        }
        (text, fixed) = (plain, start);
    }
    false
}

/// Whether two slashes follow each other in the path of a URI, behind the first `fixed` bytes.
fn has_empty_segment(uri: &str, fixed: usize) -> bool {
    let path = match uri.split_once("://") {
        // What stands up to the next slash is whose it is, which may be nobody.
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
        None => 0,
    };
    uri.bytes()
        .zip(uri.bytes().skip(1))
        .enumerate()
        .any(|(at, pair)| pair == (b'/', b'/') && at >= path && at + 1 >= fixed)
}

/// Whether a `%` stands there that escapes nothing, which readers take in their own ways.
fn has_odd_escape(uri: &str) -> bool {
    let digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    uri.split('%').skip(1).any(|behind| !(digit(behind.bytes().next()) && digit(behind.as_bytes().get(1).copied())))
}

fn slashes(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'/').count()
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

#[cfg(test)]
mod tests {
    use crate::caller::access::*;
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
            "file:///srv/docs//etc/passwd",
            "file:///srv/docs/a//b",
            "file:///srv/docs/%2Fetc%2Fpasswd",
            "file:///srv/docs/a%2fb",
            "file:///srv/docs/%252Fetc",
            "file:///srv/docs/%25252Fetc",
            "file:///srv/docs/a%5cb",
            "file:///srv/docs/a%255Cb",
            "file:///srv/docs/%c0%ae%c0%ae/secret",
            "file:///srv/docs/%25c0%25ae/secret",
            "file:///srv/docs/%e0%80%af",
            "file:///srv/docs/a%00",
            "file:///srv/docs/a%2500",
            "file:///srv/docs/%u002e%u002e/secret",
            "file:///srv/docs/a%2",
        ] {
            assert!(!allows(&docs, Thing::Resource(uri)), "{uri}");
        }
    }

    #[test]
    fn what_a_pattern_says_itself_may_have_empty_segments_and_escaped_slashes() {
        for (pattern, fits, others) in [
            ("docs://handbook/*", vec!["docs://handbook/a/b"], vec!["docs://handbook//etc/passwd"]),
            (
                "file://*",
                vec!["file:///srv/a", "file://host/a"],
                vec!["file:////srv", "file://host//a", "file:///a//b"],
            ),
            ("repo:/a%2Fb/*", vec!["repo:/a%2Fb/c"], vec!["repo:/a%2Fb/c%2Fd", "repo:/a%2Fb//c"]),
            ("x:/a//b/*", vec!["x:/a//b/c"], vec!["x:/a//b//c"]),
            ("*", vec!["http://host/a"], vec!["http://host/a%2Fb"]),
        ] {
            let access = access(|grants| grants.resources = patterns(&[pattern]));
            assert!(fits.iter().all(|uri| allows(&access, Thing::Resource(uri))), "{pattern}");
            assert!(others.iter().all(|uri| !allows(&access, Thing::Resource(uri))), "{pattern}");
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
}
