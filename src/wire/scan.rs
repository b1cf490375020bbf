//! Called by `wire::message` for every line: one pass that proves the line to be JSON and remembers where
//! the few members stand that mcpool acts on. Nothing is parsed into a tree and nothing is copied.

mod alike;

use std::fmt;

use super::json::{Fault, Reader};
use alike::{alike, first};
pub use alike::{is_read_as, plain};

/// A range of bytes of a line. `end == 0` says that the member is absent; it is as good as absent where it is `null`,
/// and then `start` says where that stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// What stands for nothing.
const NULL: &str = "null";

impl Span {
    /// The span as a range for slicing; an empty one if there is nothing to slice.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end.max(self.start) as usize
    }

    /// Whether the member stands in the line and is not `null`.
    pub fn found(self) -> bool {
        self.end != 0
    }

    /// Whether the member stands in the line as `null`.
    pub fn is_null(self) -> bool {
        self.end == 0 && self.start != 0
    }

    /// Where the member's value stands, `null` too.
    pub fn place(self) -> Option<Span> {
        match self {
            _ if self.found() => Some(self),
            _ if self.is_null() => Some(Span { start: self.start, end: self.start + NULL.len() as u32 }),
            _ => None,
        }
    }
}

macro_rules! fields {
    ($($table:ident { $($key:literal => $name:ident),* $(,)? })*) => {
        /// A member that mcpool acts on, named by where it stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field { $($($name),*),* }

        impl Field {
            const COUNT: usize = [$($(Field::$name),*),*].len();
        }

        $(#[inline]
        fn $table(key: &[u8]) -> Known {
            match key {
                $($key => Known::As(Field::$name),)*
                _ => {
                    // Most others are of another length, and plain.
                    const LENGTHS: u64 = 0 $(| 1 << $key.len())*;
                    let of_length = 1u64.checked_shl(key.len() as u32).unwrap_or(0) & LENGTHS != 0;
                    if !of_length && key.iter().all(|byte| matches!(byte, 1..0x80)) {
                        return Known::Not;
                    }
                    let (begins, _) = first(key);
                    $(if begins == $key[0] && alike(key, $key) { return Known::Alike(Field::$name); })*
                    Known::Not
                }
            }
        })*
    };
}

fields! {
    top {
        b"jsonrpc" => Jsonrpc, b"id" => Id, b"method" => Method, b"params" => Params,
        b"result" => Result, b"error" => Error,
    }
    params {
        b"_meta" => Meta, b"name" => Name, b"uri" => Uri, b"cursor" => Cursor,
        b"level" => Level, b"progressToken" => ProgressToken, b"requestId" => RequestId,
        b"requestState" => RequestState, b"inputResponses" => InputResponses, b"taskId" => TaskId,
        b"elicitationId" => ElicitationId, b"task" => Task, b"ref" => Ref, b"notifications" => Notifications,
        b"protocolVersion" => ProtocolVersion, b"capabilities" => Capabilities, b"clientInfo" => ClientInfo,
        b"mode" => Mode, b"arguments" => Arguments,
    }
    params_meta {
        b"progressToken" => MetaProgressToken,
        b"io.modelcontextprotocol/protocolVersion" => MetaVersion,
        b"io.modelcontextprotocol/clientInfo" => MetaClientInfo,
        b"io.modelcontextprotocol/clientCapabilities" => MetaCapabilities,
        b"io.modelcontextprotocol/logLevel" => MetaLogLevel,
        b"io.modelcontextprotocol/subscriptionId" => MetaSubscription,
        b"io.modelcontextprotocol/related-task" => MetaRelatedTask,
    }
    result {
        b"resultType" => ResultType, b"requestState" => ResultState, b"inputRequests" => ResultInputs,
        b"task" => ResultTask, b"taskId" => ResultTaskId, b"_meta" => ResultMeta,
    }
    result_meta {
        b"io.modelcontextprotocol/subscriptionId" => ResultSubscription,
    }
    error {
        b"code" => ErrorCode, b"message" => ErrorMessage, b"data" => ErrorData,
    }
}

/// What a key is to a table.
enum Known {
    As(Field),
    /// Not to mcpool, but to a peer that takes capital and small letters for the same.
    Alike(Field),
    Not,
}

/// Why a member could mean one thing to mcpool and another to who reads the line next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It stands twice.
    Twice(Field),
    /// Another one differs from it in capital and small letters only.
    Alike(Field),
}

impl Field {
    /// Whether it is a member of the message itself, and not of what that carries.
    pub fn is_on_top(self) -> bool {
        self as usize <= Field::Error as usize
    }

    /// Whether it is a member of the message itself or of its parameters.
    fn is_of_question(self) -> bool {
        self as usize <= Field::MetaRelatedTask as usize
    }
}

impl Doubt {
    /// The member that mcpool would act on.
    pub fn field(self) -> Field {
        let (Doubt::Twice(field) | Doubt::Alike(field)) = self;
        field
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Twice(field) => write!(f, "a member that decides ({field:?}) stands twice"),
            Doubt::Alike(field) => {
                write!(f, "the name of a member differs from one that decides ({field:?}) in capital letters only")
            }
        }
    }
}

/// Where the members that mcpool acts on stand in one line.
#[derive(Clone, Debug)]
pub struct Fields {
    spans: [Span; Field::COUNT],
    /// The first member that peers could read otherwise than mcpool; one of the message itself before all others.
    pub doubt: Option<Doubt>,
    /// Whether a member that could be left out is `null`, of the message itself or of its parameters.
    pub nulls: bool,
}

impl Fields {
    /// Scans one line.
    ///
    /// # Errors
    /// Whatever keeps the line from being one JSON object, nested no deeper than `depth`.
    pub fn of(line: &[u8], depth: usize) -> Result<Box<Fields>, Fault> {
        let mut fields = Box::new(Fields { spans: [Span::default(); Field::COUNT], doubt: None, nulls: false });
        let mut reader = Reader::new(line, depth);
        reader.space();
        fields.object(&mut reader, top)?;
        reader.end()?;
        Ok(fields)
    }

    /// Where `field` stands; not found if the line has no such member, or `null` for it.
    pub fn span(&self, field: Field) -> Span {
        self.spans[field as usize]
    }

    /// Where a `null` stands that could be left out.
    pub fn nulls(&self) -> impl Iterator<Item = usize> {
        let of_question = &self.spans[..=Field::MetaRelatedTask as usize];
        of_question.iter().filter(|span| span.is_null()).map(|span| span.start as usize)
    }

    fn object(&mut self, reader: &mut Reader<'_>, table: impl Fn(&[u8]) -> Known) -> Result<(), Fault> {
        reader.object(|reader, key| {
            let known = match if key.escaped { table(&plain(key.raw)) } else { table(key.raw) } {
                Known::As(field) => field,
                Known::Alike(field) => {
                    self.doubts(Doubt::Alike(field));
                    return reader.value();
                }
                Known::Not => return reader.value(),
            };
            let start = reader.position();
            let first = reader.peek();
            match known {
                Field::Params if first == Some(b'{') => self.object(reader, params)?,
                Field::Meta if first == Some(b'{') => self.object(reader, params_meta)?,
                Field::Result if first == Some(b'{') => self.object(reader, result)?,
                Field::ResultMeta if first == Some(b'{') => self.object(reader, result_meta)?,
                Field::Error if first == Some(b'{') => self.object(reader, error)?,
                _ => reader.value()?,
            }
            if self.spans[known as usize] != Span::default() {
                self.doubts(Doubt::Twice(known));
                return Ok(());
            }
            let null = first == Some(b'n');
            self.nulls |= null && known.is_of_question();
            let end = if null { 0 } else { reader.position() as u32 };
            self.spans[known as usize] = Span { start: start as u32, end };
            Ok(())
        })
    }

    #[cold]
    fn doubts(&mut self, doubt: Doubt) {
        if self.doubt.is_none_or(|known| doubt.field().is_on_top() && !known.field().is_on_top()) {
            self.doubt = Some(doubt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(line: &'a str, fields: &Fields, field: Field) -> &'a str {
        &line[fields.span(field).range()]
    }

    #[test]
    fn members_are_found_wherever_they_stand() {
        let line =
            r#" {"params":{"_meta":{"progressToken":0},"name":"a"} , "id" : -7 ,"m\u0065thod":"x","jsonrpc":"2.0"}"#;
        let fields = Fields::of(line.as_bytes(), 64).unwrap();
        assert_eq!(text(line, &fields, Field::Id), "-7");
        assert_eq!(text(line, &fields, Field::Method), "\"x\"");
        assert_eq!(text(line, &fields, Field::MetaProgressToken), "0");
        assert_eq!(text(line, &fields, Field::Name), "\"a\"");
        assert!(!fields.span(Field::Result).found());
    }

    #[test]
    fn a_member_of_the_payload_is_not_taken_for_one_of_ours() {
        let line = r#"{"id":1,"method":"m","params":{"arguments":{"_meta":{"progressToken":5},"id":9}}}"#;
        let fields = Fields::of(line.as_bytes(), 64).unwrap();
        assert_eq!(text(line, &fields, Field::Id), "1");
        assert!(!fields.span(Field::MetaProgressToken).found());
    }

    fn doubt(line: &str) -> Option<Doubt> {
        Fields::of(line.as_bytes(), 64).unwrap().doubt
    }

    #[test]
    fn a_member_that_stands_twice_is_told_the_first_and_outermost_one() {
        assert_eq!(doubt(r#"{"id":1,"id":2}"#), Some(Doubt::Twice(Field::Id)));
        assert_eq!(doubt(r#"{"id":null,"id":2}"#), Some(Doubt::Twice(Field::Id)));
        assert_eq!(doubt(r#"{"params":{"name":1,"n\u0061me":2,"uri":1,"uri":2}}"#), Some(Doubt::Twice(Field::Name)));
        let nested = r#""params":{"name":1,"name":2}"#;
        assert_eq!(doubt(&format!(r#"{{"method":1,"method":2,{nested}}}"#)), Some(Doubt::Twice(Field::Method)));
        assert_eq!(doubt(&format!(r#"{{{nested},"method":1,"method":2}}"#)), Some(Doubt::Twice(Field::Method)));
        // What nobody acts on is the peers' affair.
        assert_eq!(doubt(r#"{"params":{"arguments":{"name":1,"name":2},"x":1,"x":2},"y":1,"y":2}"#), None);
    }

    #[test]
    fn a_member_that_differs_in_capital_letters_only_is_told() {
        for (line, field) in [
            (r#"{"ID":1}"#, Field::Id),
            (r#"{"Id":1,"id":2}"#, Field::Id),
            (r#"{"method":1,"Method":2}"#, Field::Method),
            (r#"{"PARAM\u0053":{}}"#, Field::Params),
            ("{\"re\u{17f}ult\":1}", Field::Result),
            (r#"{"param\u017f":1}"#, Field::Params),
            (r#"{"params":{"Name":1}}"#, Field::Name),
            (r#"{"params":{"arguments":{},"Arguments":{}}}"#, Field::Arguments),
            (r#"{"params":{"tas\u212a":1}}"#, Field::Task),
            (r#"{"params":{"_META":1}}"#, Field::Meta),
            (r#"{"params":{"_meta":{"progresstoken":1}}}"#, Field::MetaProgressToken),
            (r#"{"params":{"_meta":{"IO.modelcontextprotocol/loglevel":1}}}"#, Field::MetaLogLevel),
            (r#"{"result":{"ResultType":1}}"#, Field::ResultType),
            (r#"{"error":{"Code":1}}"#, Field::ErrorCode),
        ] {
            assert_eq!(doubt(line), Some(Doubt::Alike(field)), "{line}");
        }
        assert_eq!(doubt(r#"{"params":{"names":1,"Nam":1,"arguments":{"Name":1},"_meta":{"Name":1}},"Name":1}"#), None);
    }

    #[test]
    fn null_stands_for_a_member_that_is_left_out() {
        let line = r#"{"id":null,"params":{"name":null,"uri":"a"},"result":null}"#;
        let fields = Fields::of(line.as_bytes(), 64).unwrap();
        for field in [Field::Id, Field::Name, Field::Result] {
            let span = fields.span(field);
            assert!(!span.found() && span.is_null() && span.range().is_empty());
            assert_eq!(&line[span.place().unwrap().range()], "null");
        }
        assert_eq!(fields.span(Field::Method).place(), None);
        assert_eq!(text(line, &fields, Field::Uri), "\"a\"");
    }
}
