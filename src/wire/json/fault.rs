//! Made by the reader of JSON: what it finds wrong with a text. `wire::message` and `error` tell it on.

/// What keeps a text from being JSON that mcpool passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON at this byte.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// A carriage return that ends no line.
    #[error("a bare CR at byte {0}, which ends a line for many readers; write a line as LF or CRLF ends it")]
    BareCr(usize),
    /// JSON, but not an object where one must stand.
    #[error("not a JSON object")]
    NotAnObject,
    /// Nested deeper than what peers can parse.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// An array of more elements than may be.
    #[error("more than {0} messages in one batch")]
    TooMany(usize),
}

impl Fault {
    /// The code by which JSON-RPC calls it: -32700 for what is not JSON, -32600 for what is not a message.
    pub fn code(self) -> i64 {
        match self {
            Fault::Syntax(_) | Fault::BareCr(_) => -32700,
            Fault::NotAnObject | Fault::TooDeep(_) | Fault::TooMany(_) => -32600,
        }
    }
}
