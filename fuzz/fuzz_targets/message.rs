//! `wire::message` and what it stands on, over any bytes, against what serde_json makes of them.
//!
//! What differs on purpose: bytes that are not UTF-8 are found after the grammar was proven; a carriage return is no white
//! space; a member of mcpool's own that stands twice, or once more in other letters, is told; one that is null is as good
//! as absent; nesting is bounded by a number of mcpool's own.
//!
//! Whatever is written is one line, for readers too that end a line at a carriage return.
#![no_main]

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpool::wire::id::RawId;
use mcpool::wire::json::Fault;
use mcpool::wire::message::{Kind, Malformed, Message, elements, members, unquote};
use mcpool::wire::scan::Field;
use mcpool::wire::skim::Skim;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Below what serde_json takes, so that it is never the one to refuse.
const DEPTH: usize = 100;
const MOST: usize = 20;

fuzz_target!(|input: &[u8]| {
    let line = Bytes::copy_from_slice(input);
    let json = !input.contains(&b'\r') && serde_json::from_slice::<IgnoredAny>(input).is_ok();
    let text = std::str::from_utf8(input).ok();
    let object = if json { text.and_then(|text| serde_json::from_str::<Object>(text).ok()) } else { None };

    skimmed(input, object.as_ref());
    match Message::read(line.clone(), DEPTH) {
        Ok(message) => {
            let text = text.expect("a message is UTF-8");
            let object = object.expect("a message is an object");
            let found = Found::of(text, &object);
            assert_eq!(found.kind(text), Some(message.kind()));
            assert_eq!(message.doubt().is_some(), found.doubt);
            one_line(&message.splice().to_bytes());
            if !found.nulls.is_empty() && !found.doubt {
                left_out(&message, text, &found);
            } else {
                assert_eq!(message.line(), &line);
                spans(&message, text, &found);
            }
            if found.nulls.is_empty() {
                spliced(&message, input.len());
            }
        }
        Err(malformed) => refused(&malformed, input, json, object.as_ref().zip(text)),
    }
    batch(&line, json, text);
    if let Some(text) = text {
        anything(text);
    }
});

/// Whether what was refused had to be, and whether it is addressed by something that can stand in an answer.
fn refused(malformed: &Malformed, input: &[u8], json: bool, object: Option<(&Object<'_>, &str)>) {
    if let Some(id) = &malformed.id {
        assert!(serde_json::from_str::<IgnoredAny>(id.as_str()).is_ok(), "{} is no id", id.as_str());
    }
    let deep = malformed.why == Fault::TooDeep(DEPTH).to_string();
    assert!(!deep || deepest(input) > DEPTH);
    match object {
        Some((object, text)) => {
            assert_eq!(malformed.code, -32600, "{}", malformed.why);
            assert!(deep || Found::of(text, object).kind(text).is_none());
        }
        None if !json => assert!(malformed.code == -32700 || malformed.why == Fault::NotAnObject.to_string() || deep),
        // JSON but no object, or not UTF-8.
        None => {}
    }
}

/// The brackets that are open at once, at most; those in strings are counted too.
fn deepest(input: &[u8]) -> usize {
    input.iter().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

/// Every member that is found stands where serde_json finds it.
fn spans(message: &Message, text: &str, found: &Found) {
    for (.., field) in PLACES {
        assert_eq!(message.raw(*field), found.spans.get(&(*field as usize)).map(|span| &text[span.clone()]));
        let Some(raw) = message.raw(*field) else { continue };
        assert_eq!(message.span(*field).range(), found.spans[&(*field as usize)]);
        assert_eq!(message.text(*field).as_deref(), serde_json::from_str::<String>(raw).ok().as_deref());
        let id = raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
        assert_eq!(message.id(*field).is_some(), id);
        if let Ok(Object(expected)) = serde_json::from_str::<Object>(raw) {
            let expected = expected.iter().map(|(key, value)| (inner(key), value.get()));
            assert_eq!(members(raw), expected.collect::<Vec<_>>());
        }
    }
}

/// No reader takes it for more than one line that ends lines at a carriage return; what is read ends at a line feed.
fn one_line(written: &[u8]) {
    assert!(!written.contains(&b'\r'));
}

/// What is null may be left out; everything else is as it was, and nothing more goes when it is read again.
fn left_out(message: &Message, text: &str, found: &Found) {
    for (.., field) in PLACES.iter().filter(|(.., field)| !CONTAINERS.contains(field)) {
        let before = found.spans.get(&(*field as usize)).map(|span| &text[span.clone()]);
        assert_eq!(message.raw(*field), before);
    }
    let left = std::str::from_utf8(message.line()).expect("what is left is UTF-8");
    let object = serde_json::from_str::<Object>(left).expect("what is left is an object");
    spans(message, left, &Found::of(left, &object));
    let again = Message::read(message.line().clone(), DEPTH).expect("what is left is a message");
    assert_eq!((again.kind(), again.line()), (message.kind(), message.line()));
}

/// What is replaced is replaced and nothing else is touched.
fn spliced(message: &Message, salt: usize) {
    const TEXTS: [&str; 4] = ["42", r#""a long text that does not fit into the place of a short one""#, "\"\"", "-0.1e9"];
    let mut chosen = LEAVES.iter().filter(|field| message.span(**field).found()).collect::<Vec<_>>();
    let turn = salt % chosen.len().max(1);
    chosen.rotate_left(turn);
    let mut splice = message.splice();
    let mut expected = message.line().to_vec();
    for (number, field) in chosen.iter().enumerate() {
        splice.put_if(message.span(**field), TEXTS[(salt + number) % TEXTS.len()]);
    }
    let mut back_to_front = chosen.iter().enumerate().collect::<Vec<_>>();
    back_to_front.sort_by_key(|(_, field)| std::cmp::Reverse(message.span(***field).start));
    for (number, field) in back_to_front {
        expected.splice(message.span(**field).range(), TEXTS[(salt + number) % TEXTS.len()].bytes());
    }
    assert_eq!(splice.to_bytes(), expected);
    let again = Message::read(expected.into(), DEPTH).expect("what was spliced is a message");
    assert_eq!(again.kind(), message.kind());
    for field in PLACES.iter().map(|(.., field)| field).filter(|field| !CONTAINERS.contains(field)) {
        let number = chosen.iter().position(|other| *other == field);
        let text = number.map(|number| TEXTS[(salt + number) % TEXTS.len()]).or(message.raw(*field));
        assert_eq!(again.raw(*field), text);
    }
}

/// Of a line that is JSON the long way of finding the id finds the same; of any other one nothing that is no id.
fn skimmed(input: &[u8], object: Option<&Object<'_>>) {
    let skim = Skim::over(input);
    if let Some(id) = skim.id() {
        assert!(serde_json::from_str::<IgnoredAny>(id.as_str()).is_ok(), "{} is no id", id.as_str());
    }
    for size in [1, 7] {
        let mut pieces = Skim::default();
        input.chunks(size).for_each(|piece| pieces.feed(piece));
        assert_eq!(pieces.id().map(RawId::as_str), skim.id().map(RawId::as_str));
        assert_eq!(pieces.is_answer(), skim.is_answer());
    }
    let Some(Object(pairs)) = object else { return };
    let keys = pairs.iter().map(|(key, value)| (plain(key), value.get())).collect::<Vec<_>>();
    let odd = |key: &str| ["id", "method", "result", "error"].iter().any(|known| differs(key, known));
    let has = |name: &str| keys.iter().any(|(key, _)| key == name);
    let ids = keys.iter().filter(|(key, _)| key == "id").map(|(_, value)| *value).collect::<Vec<_>>();
    let nothing = keys.iter().any(|(key, value)| key == "method" && *value == "null");
    if let [id] = ids[..]
        && !keys.iter().any(|(key, _)| odd(key))
        && !nothing
    {
        let id = RawId::new(id).filter(|_| id.len() <= 256);
        assert_eq!(skim.id().map(RawId::as_str), id.as_ref().map(RawId::as_str));
        assert_eq!(skim.is_answer(), id.is_some() && !has("method") && (has("result") || has("error")));
    }
}

/// A batch is cut as serde_json cuts it.
fn batch(line: &Bytes, json: bool, text: Option<&str>) {
    match Message::batch(line, DEPTH, MOST) {
        Ok(cut) => {
            assert!(json && Message::is_batch(line) && cut.len() <= MOST);
            cut.iter().for_each(|element| one_line(element));
            if let Some(text) = text {
                assert_eq!(cut, elements(text));
            }
        }
        Err(Fault::TooDeep(_)) => assert!(deepest(line) > DEPTH),
        Err(Fault::TooMany(_)) => assert!(line.iter().filter(|byte| **byte == b',').count() >= MOST),
        Err(_) => assert!(!json || !Message::is_batch(line)),
    }
}

/// What is meant for JSON takes any other text too.
fn anything(text: &str) {
    members(text);
    elements(text);
    if let (Some(unquoted), Ok(parsed)) = (unquote(text), serde_json::from_str::<String>(text)) {
        assert_eq!(unquoted, parsed);
    }
    // An id is cut out of a message without the space around it.
    let id = |text: &str| RawId::new(text).filter(|_| text.trim_ascii() == text);
    if let (Some(id), Some(half)) = (id(text), text.get(..text.len() / 2).and_then(id)) {
        let meaning = |id: &RawId| serde_json::from_str::<String>(id.as_str());
        if let (Ok(one), Ok(other)) = (meaning(&id), meaning(&half)) {
            assert_eq!(id == half, one == other);
        }
    }
}

/// An object's members in order, those that stand twice among them.
struct Object<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Object)
    }
}

fn inner(key: &RawValue) -> &str {
    &key.get()[1..key.get().len() - 1]
}

/// A key without its escapes; nothing that is known if it cannot be decoded.
fn plain(key: &RawValue) -> String {
    serde_json::from_str::<String>(key.get()).unwrap_or_else(|_| inner(key).to_owned())
}

/// Whether a key is another for mcpool and the same for who folds case, or ends a text at a zero.
fn differs(key: &str, known: &str) -> bool {
    let fold = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    };
    let folded = key.split('\0').next().unwrap_or_default().chars().map(fold).collect::<String>();
    key != known && folded == known.to_ascii_lowercase()
}

/// Where serde_json finds the members that mcpool acts on.
#[derive(Default)]
struct Found {
    /// Without those that are null.
    spans: HashMap<usize, Range<usize>>,
    nulls: Vec<usize>,
    doubt: bool,
    doubt_on_top: bool,
}

impl Found {
    fn of(text: &str, object: &Object<'_>) -> Found {
        let mut found = Found::default();
        found.walk(text, object, None);
        found
    }

    fn walk(&mut self, text: &str, Object(members): &Object<'_>, above: Option<Field>) {
        for (key, value) in members {
            let key = plain(key);
            let mut here = PLACES.iter().filter(|(over, ..)| *over == above);
            let Some((.., field)) = here.clone().find(|(_, name, _)| *name == key) else {
                let alike = here.any(|(_, name, _)| differs(&key, name));
                self.doubt |= alike;
                self.doubt_on_top |= alike && above.is_none();
                continue;
            };
            if CONTAINERS.contains(field)
                && let Ok(object) = serde_json::from_str::<Object>(value.get())
            {
                self.walk(text, &object, Some(*field));
            }
            let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
            let field = *field as usize;
            let seen = self.spans.contains_key(&field) || self.nulls.contains(&field);
            self.doubt |= seen;
            self.doubt_on_top |= seen && above.is_none();
            match value.get() {
                _ if seen => {}
                "null" => self.nulls.push(field),
                value => drop(self.spans.insert(field, start..start + value.len())),
            }
        }
    }

    /// What the message is, by the words of JSON-RPC 2.0 as MCP narrows them.
    fn kind(&self, text: &str) -> Option<Kind> {
        let raw = |field: Field| self.spans.get(&(field as usize)).map(|span| &text[span.clone()]);
        let sound_id = raw(Field::Id).is_none_or(|id| RawId::new(id).is_some());
        let null = |field: Field| self.nulls.contains(&(field as usize));
        if self.doubt_on_top || raw(Field::Jsonrpc) != Some("\"2.0\"") || !sound_id {
            return None;
        }
        match (raw(Field::Method), raw(Field::Id), raw(Field::Result), raw(Field::Error)) {
            (Some(method), id, None, None) => {
                let params = raw(Field::Params).is_none_or(|params| params.starts_with('{'));
                let kind = if id.is_some() { Kind::Request } else { Kind::Notification };
                let waits = null(Field::Id) && !method.starts_with("\"notifications/");
                (params && method.starts_with('"') && !waits).then_some(kind)
            }
            (None, Some(_), Some(_), None) => Some(Kind::Result),
            (None, Some(_), None, Some(_)) => Some(Kind::Error),
            (None, Some(_), None, None) if null(Field::Result) => Some(Kind::Result),
            _ => None,
        }
    }
}

const CONTAINERS: &[Field] = &[Field::Params, Field::Meta, Field::Result, Field::ResultMeta, Field::Error];

/// What never holds one another, so that all of them can be replaced at once.
const LEAVES: &[Field] = &[
    Field::Id,
    Field::Name,
    Field::Uri,
    Field::Cursor,
    Field::ProgressToken,
    Field::RequestId,
    Field::RequestState,
    Field::Capabilities,
    Field::MetaProgressToken,
    Field::MetaSubscription,
    Field::ResultState,
    Field::ResultTask,
    Field::ResultSubscription,
    Field::ErrorCode,
];

const PLACES: &[(Option<Field>, &str, Field)] = &[
    (None, "jsonrpc", Field::Jsonrpc),
    (None, "id", Field::Id),
    (None, "method", Field::Method),
    (None, "params", Field::Params),
    (None, "result", Field::Result),
    (None, "error", Field::Error),
    (Some(Field::Params), "_meta", Field::Meta),
    (Some(Field::Params), "name", Field::Name),
    (Some(Field::Params), "uri", Field::Uri),
    (Some(Field::Params), "cursor", Field::Cursor),
    (Some(Field::Params), "level", Field::Level),
    (Some(Field::Params), "progressToken", Field::ProgressToken),
    (Some(Field::Params), "requestId", Field::RequestId),
    (Some(Field::Params), "requestState", Field::RequestState),
    (Some(Field::Params), "taskId", Field::TaskId),
    (Some(Field::Params), "elicitationId", Field::ElicitationId),
    (Some(Field::Params), "task", Field::Task),
    (Some(Field::Params), "ref", Field::Ref),
    (Some(Field::Params), "notifications", Field::Notifications),
    (Some(Field::Params), "protocolVersion", Field::ProtocolVersion),
    (Some(Field::Params), "capabilities", Field::Capabilities),
    (Some(Field::Params), "mode", Field::Mode),
    (Some(Field::Params), "inputResponses", Field::InputResponses),
    (Some(Field::Params), "clientInfo", Field::ClientInfo),
    (Some(Field::Params), "arguments", Field::Arguments),
    (Some(Field::Meta), "progressToken", Field::MetaProgressToken),
    (Some(Field::Meta), "io.modelcontextprotocol/protocolVersion", Field::MetaVersion),
    (Some(Field::Meta), "io.modelcontextprotocol/clientInfo", Field::MetaClientInfo),
    (Some(Field::Meta), "io.modelcontextprotocol/clientCapabilities", Field::MetaCapabilities),
    (Some(Field::Meta), "io.modelcontextprotocol/logLevel", Field::MetaLogLevel),
    (Some(Field::Meta), "io.modelcontextprotocol/subscriptionId", Field::MetaSubscription),
    (Some(Field::Meta), "io.modelcontextprotocol/related-task", Field::MetaRelatedTask),
    (Some(Field::Result), "resultType", Field::ResultType),
    (Some(Field::Result), "requestState", Field::ResultState),
    (Some(Field::Result), "inputRequests", Field::ResultInputs),
    (Some(Field::Result), "task", Field::ResultTask),
    (Some(Field::Result), "taskId", Field::ResultTaskId),
    (Some(Field::Result), "_meta", Field::ResultMeta),
    (Some(Field::ResultMeta), "io.modelcontextprotocol/subscriptionId", Field::ResultSubscription),
    (Some(Field::Error), "code", Field::ErrorCode),
    (Some(Field::Error), "message", Field::ErrorMessage),
    (Some(Field::Error), "data", Field::ErrorData),
];
