//! Called for every line that a peer sent: what kind of message it is, and its members as raw text.

mod nulls;

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

use super::id::RawId;
use super::json::{Fault, Reader};
use super::scan::{Doubt, Field, Fields, Span};
use super::skim::{self, Shape};
use super::splice::Splice;

/// A message that was received and checked. Nothing is changed in it but that nulls are left out.
#[derive(Clone, Debug)]
pub struct Message {
    line: ByteString,
    /// Behind a pointer, since messages are handed on more often than they are looked into.
    fields: Box<Fields>,
    kind: Kind,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Answers with a result.
    Result,
    /// Answers with an error.
    Error,
}

/// Why a line is no message, and whom an error could be addressed to.
#[derive(Debug)]
pub struct Malformed {
    /// What is wrong, in words for the sender.
    pub why: String,
    /// -32700 if the line is not JSON, -32600 if it is not JSON-RPC.
    pub code: i64,
    /// The id of the message, if one could be found.
    pub id: Option<RawId>,
    /// What the message would have been.
    pub shape: Shape,
    /// Whether it has a method and a result or an error too.
    pub echo: bool,
    /// Whether the line begins with it: otherwise it may be quoted only, as in a log.
    pub begins: bool,
    /// The ids of further answers in the same line.
    pub further: Vec<RawId>,
}

impl Malformed {
    fn of(line: &[u8], code: i64, why: String) -> Malformed {
        let mut found = skim::messages(line).into_iter();
        let first = found.next().unwrap_or_default();
        let answers = found.filter(|skim| skim.shape().answers() || skim.is_echo());
        Malformed {
            why,
            code,
            id: first.id().cloned(),
            shape: first.shape(),
            echo: first.is_echo(),
            begins: line.trim_ascii_start().first() == Some(&b'{'),
            further: answers.filter_map(|skim| skim.id().cloned()).collect(),
        }
    }
}

impl Message {
    /// Reads a line, refusing what is nested deeper than `depth`. Members that mcpool knows and that are `null` are left
    /// out, of the message itself and of its parameters: there are peers that take no such message.
    ///
    /// # Errors
    /// A line that is not one JSON-RPC 2.0 message.
    pub fn read(line: Bytes, depth: usize) -> Result<Message, Malformed> {
        let message = Message::read_as_it_is(line, depth)?;
        // In doubt it stays as it is: of two members of one name the second would become the only one.
        let clear = message.fields.doubt.is_none();
        if message.fields.nulls && clear {
            return Message::read_as_it_is(nulls::leave_out(&message), depth);
        }
        Ok(message)
    }

    fn read_as_it_is(line: Bytes, depth: usize) -> Result<Message, Malformed> {
        let fields = Fields::of(&line, depth).map_err(|fault| Malformed::of(&line, fault.code(), fault.to_string()))?;
        match classify(&line, &fields) {
            Err(why) => Err(Malformed::of(&line, -32600, why)),
            Ok(kind) => match ByteString::try_from(line.clone()) {
                Ok(line) => Ok(Message { line, fields, kind }),
                Err(_) => Err(Malformed::of(&line, -32700, "not valid UTF-8".into())),
            },
        }
    }

    /// Whether a line is a JSON-RPC batch and not a message.
    pub fn is_batch(line: &[u8]) -> bool {
        line.trim_ascii_start().first() == Some(&b'[')
    }

    /// The elements of a batch, each a line of its own.
    ///
    /// # Errors
    /// The line is no array, or one of more than `most` elements.
    pub fn batch(line: &Bytes, depth: usize, most: usize) -> Result<Vec<Bytes>, Fault> {
        let mut elements = Vec::new();
        let mut reader = Reader::new(line, depth);
        reader.space();
        reader.array(|reader| {
            if elements.len() == most {
                return Err(Fault::TooMany(most));
            }
            let start = reader.position();
            reader.value()?;
            elements.push(line.slice(start..reader.position()));
            Ok(())
        })?;
        reader.end()?;
        Ok(elements)
    }

    /// What the message is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The line as it was received, without the nulls that were left out.
    pub fn line(&self) -> &Bytes {
        self.line.as_bytes()
    }

    /// The raw text of a member; none for one that is `null`.
    pub fn raw(&self, field: Field) -> Option<&str> {
        let span = self.fields.span(field);
        if span.found() { self.line.get(span.range()) } else { None }
    }

    /// A member that is a string, without its quotes and escapes.
    pub fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        unquote(self.raw(field)?)
    }

    /// A member that is an id or a token.
    pub fn id(&self, field: Field) -> Option<RawId> {
        RawId::new(self.raw(field)?)
    }

    /// Returns whether it calls a tool, as most requests do, and says so without an escape.
    pub fn calls_a_tool(&self) -> bool {
        self.raw(Field::Method) == Some(r#""tools/call""#)
    }

    /// The method; empty for an answer.
    pub fn method(&self) -> Cow<'_, str> {
        self.text(Field::Method).unwrap_or_default()
    }

    /// Where a member stands that is not `null`.
    pub fn span(&self, field: Field) -> Span {
        self.fields.span(field)
    }

    /// A member of the parameters or of the outcome that the receiver could read otherwise than mcpool.
    pub fn doubt(&self) -> Option<Doubt> {
        self.fields.doubt
    }

    /// The line, to be forwarded with some ranges replaced.
    pub fn splice(&self) -> Splice {
        Splice::new(self.line.as_bytes().clone())
    }
}

/// A JSON string without its quotes and escapes; `None` for anything else.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// The members of a raw JSON object, in order, keys without quotes.
pub fn members(json: &str) -> Vec<(&str, &str)> {
    let mut members = Vec::new();
    let mut reader = Reader::new(json.as_bytes(), super::json::DEEPEST);
    // A text that is no object has no members.
    let _ = reader.object(|reader, key| {
        let start = reader.position();
        reader.value()?;
        if let (Ok(key), Some(value)) = (std::str::from_utf8(key.raw), json.get(start..reader.position())) {
            members.push((key, value));
        }
        Ok(())
    });
    members
}

/// One member of a raw JSON object.
pub fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    members(json).into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The elements of a raw JSON array.
pub fn elements(json: &str) -> Vec<&str> {
    serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default().into_iter().map(RawValue::get).collect()
}

/// What a message is. A member that is `null` is as good as left out.
fn classify(line: &[u8], fields: &Fields) -> Result<Kind, String> {
    let first = |field| {
        let span: Span = fields.span(field);
        if span.found() { line.get(span.start as usize).copied() } else { None }
    };
    if let Some(doubt) = fields.doubt.filter(|doubt| doubt.field().is_on_top()) {
        return Err(doubt.to_string());
    }
    if &line[fields.span(Field::Jsonrpc).range()] != b"\"2.0\"" {
        return Err("`jsonrpc` must be \"2.0\"".into());
    }
    if !matches!(first(Field::Id), None | Some(b'"' | b'-' | b'0'..=b'9')) {
        return Err("`id` must be a string or a number".into());
    }
    let (method, id) = (first(Field::Method), first(Field::Id));
    match (method, id, first(Field::Result), first(Field::Error)) {
        (Some(b'"'), _, None, None) => match first(Field::Params) {
            None | Some(b'{') if id.is_some() => Ok(Kind::Request),
            None | Some(b'{') if fields.span(Field::Id).is_null() && !is_of_notification(line, fields) => {
                Err("the `id` of a request must not be null".into())
            }
            None | Some(b'{') => Ok(Kind::Notification),
            _ => Err("`params` must be an object".into()),
        },
        (None, Some(_), Some(_), None) => Ok(Kind::Result),
        (None, Some(_), None, Some(_)) => Ok(Kind::Error),
        (None, Some(_), None, None) if fields.span(Field::Result).is_null() => Ok(Kind::Result),
        (None, _, Some(_), Some(_)) => Err("an answer has either `result` or `error`, not both".into()),
        (None, None, _, Some(_)) => Err("an error without an `id`".into()),
        (Some(b'"'), ..) => Err("a request has no `result` or `error`".into()),
        (Some(_), ..) => Err("`method` must be a string".into()),
        _ => Err("neither a `method` nor an answer with an `id`".into()),
    }
}

/// Whether the method is one of those that want no answer: of others, an `id` that is null is a fault.
fn is_of_notification(line: &[u8], fields: &Fields) -> bool {
    line[fields.span(Field::Method).range()].starts_with(b"\"notifications/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Message, Malformed> {
        Message::read(Bytes::copy_from_slice(line.as_bytes()), 64)
    }

    #[test]
    fn messages_are_told_apart() {
        let kind = |line| read(line).unwrap().kind();
        assert_eq!(kind(r#"{"method":"a","params":{},"jsonrpc":"2.0","id":0}"#), Kind::Request);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"a"}"#), Kind::Notification);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":"x","result":null}"#), Kind::Result);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1.5,"error":{}}"#), Kind::Error);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"error":null,"result":{}}"#), Kind::Result);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"error":{},"result":null,"method":null}"#), Kind::Error);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null,"result":null}"#), Kind::Request);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"method":"notifications/a"}"#), Kind::Notification);
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call"}"#).unwrap().method(), "tools/call");
    }

    #[test]
    fn what_is_no_message_is_addressed_if_it_can_be() {
        for (line, code, id) in [
            ("hello", -32700, None),
            ("[]", -32600, None),
            ("{\"id\":3}", -32600, Some("3")),
            ("{\"jsonrpc\":\"1.0\",\"id\":3,\"method\":\"x\"}", -32600, Some("3")),
            ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}", -32600, None),
            ("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":1}", -32600, Some("3")),
            ("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\",\"params\":[1]}", -32600, Some("3")),
            ("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":1,\"error\":{}}", -32600, Some("3")),
            ("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\",\"params\":{]}", -32700, Some("3")),
        ] {
            let bad = read(line).unwrap_err();
            assert_eq!((bad.code, bad.id.as_ref().map(RawId::as_str)), (code, id), "{line}");
        }
        let broken = Message::read(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"\xff\"}"), 64);
        assert_eq!(broken.unwrap_err().id.unwrap().as_str(), "9");
    }

    #[test]
    fn a_batch_is_cut_into_its_messages() {
        let cut = Message::batch(&Bytes::from_static(b" [ {\"a\":[1]} , 2]"), 8, 2).unwrap();
        assert_eq!(cut, ["{\"a\":[1]}", "2"]);
        assert!(Message::is_batch(b" [") && !Message::is_batch(b"{}"));
        assert!(Message::batch(&Bytes::from_static(b"[1"), 8, 2).is_err());
        assert_eq!(Message::batch(&Bytes::from_static(b"[1,2,3]"), 8, 2), Err(Fault::TooMany(2)));
    }
}
