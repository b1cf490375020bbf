//! Called by `wire::message` for every line: one pass that proves the line to be JSON and remembers where
//! the few members stand that mcpool acts on. Nothing is parsed into a tree and nothing is copied.

use std::borrow::Cow;

use super::json::{Fault, Reader};

/// A range of bytes of a line. `end == 0` says that the member is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The span as a range for slicing.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether the member stands in the line.
    pub fn found(self) -> bool {
        self.end != 0
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
        fn $table(key: &[u8]) -> Option<Field> {
            match key {
                $($key => Some(Field::$name),)*
                _ => None,
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
        b"_meta" => Meta, b"name" => Name, b"uri" => Uri, b"cursor" => Cursor, b"level" => Level,
        b"progressToken" => ProgressToken, b"requestId" => RequestId, b"requestState" => RequestState,
        b"taskId" => TaskId, b"elicitationId" => ElicitationId, b"task" => Task, b"ref" => Ref,
        b"notifications" => Notifications, b"protocolVersion" => ProtocolVersion,
        b"capabilities" => Capabilities, b"mode" => Mode,
    }
    params_meta {
        b"progressToken" => MetaProgressToken,
        b"io.modelcontextprotocol/protocolVersion" => MetaVersion,
        b"io.modelcontextprotocol/clientCapabilities" => MetaCapabilities,
        b"io.modelcontextprotocol/logLevel" => MetaLogLevel,
        b"io.modelcontextprotocol/subscriptionId" => MetaSubscription,
        b"io.modelcontextprotocol/related-task" => MetaRelatedTask,
    }
    result {
        b"resultType" => ResultType, b"requestState" => ResultState, b"task" => ResultTask,
        b"taskId" => ResultTaskId, b"_meta" => ResultMeta,
    }
    result_meta {
        b"io.modelcontextprotocol/subscriptionId" => ResultSubscription,
    }
}

/// Where the members that mcpool acts on stand in one line.
#[derive(Clone, Debug)]
pub struct Fields {
    spans: [Span; Field::COUNT],
    /// A member that stands twice where mcpool would act on one of them and the receiver perhaps on the other.
    pub twice: Option<Field>,
}

impl Fields {
    /// Scans one line.
    ///
    /// # Errors
    /// Whatever keeps the line from being one JSON object, nested no deeper than `depth`.
    pub fn of(line: &[u8], depth: usize) -> Result<Box<Fields>, Fault> {
        let mut fields = Box::new(Fields { spans: [Span::default(); Field::COUNT], twice: None });
        let mut reader = Reader::new(line, depth);
        reader.space();
        fields.object(&mut reader, top)?;
        reader.end()?;
        Ok(fields)
    }

    /// Where `field` stands; not found if the line has no such member.
    pub fn span(&self, field: Field) -> Span {
        self.spans[field as usize]
    }

    fn object(&mut self, reader: &mut Reader<'_>, table: impl Fn(&[u8]) -> Option<Field>) -> Result<(), Fault> {
        reader.object(|reader, key| {
            let known = if key.escaped { table(&plain(key.raw)) } else { table(key.raw) };
            let start = reader.position();
            match known {
                Some(Field::Params) if reader.peek() == Some(b'{') => self.object(reader, params)?,
                Some(Field::Meta) if reader.peek() == Some(b'{') => self.object(reader, params_meta)?,
                Some(Field::Result) if reader.peek() == Some(b'{') => self.object(reader, result)?,
                Some(Field::ResultMeta) if reader.peek() == Some(b'{') => self.object(reader, result_meta)?,
                _ => reader.value()?,
            }
            if let Some(field) = known {
                if self.spans[field as usize].found() {
                    self.twice = Some(field);
                }
                self.spans[field as usize] = Span { start: start as u32, end: reader.position() as u32 };
            }
            Ok(())
        })
    }
}

/// A key without its escapes: `m\u0065thod` is `method` to every JSON parser, so it is here too.
fn plain(key: &[u8]) -> Cow<'_, [u8]> {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |text| Cow::Owned(text.into_bytes()))
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

    #[test]
    fn a_member_that_stands_twice_is_told() {
        assert_eq!(Fields::of(br#"{"id":1,"id":2}"#, 64).unwrap().twice, Some(Field::Id));
        assert_eq!(Fields::of(br#"{"id":1,"params":{"arguments":1,"arguments":2}}"#, 64).unwrap().twice, None);
    }
}
