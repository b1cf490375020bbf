//! Called by `wire::message` for the few lines that hold `null` for members that could be left out, as serialisers of
//! Rust, Java, C#, PHP and Go write them.

use bytes::Bytes;

use super::{Kind, Message};
use crate::wire::json::{DEEPEST, Reader};
use crate::wire::scan::{Field, Span};

/// A member: where it begins, with its key, and ends, and whether it goes.
struct Member {
    start: usize,
    end: usize,
    goes: bool,
}

/// The line of a message without the members that are `null`, of the message itself and of its parameters.
#[cold]
pub fn leave_out(message: &Message) -> Bytes {
    let mut splice = message.splice();
    // The result of an answer without an error is its outcome, and a set of no capabilities is a set.
    let outcome = message.span(Field::Result).place().filter(|_| message.kind() == Kind::Result);
    let stay =
        [outcome, message.span(Field::Capabilities).place()].map(|place| place.map(|place| place.start as usize));
    let nulls: Vec<usize> = message.fields.nulls().filter(|at| !stay.contains(&Some(*at))).collect();
    let whole = Span { start: 0, end: message.line().len() as u32 };
    for object in [whole, message.span(Field::Params), message.span(Field::Meta)] {
        // With each run of members one comma goes: the one behind it, or before it at the end.
        let members = members(message, object, &nulls);
        let mut at = 0;
        while let Some(first) = members[at..].iter().position(|member| member.goes).map(|first| at + first) {
            let next =
                members[first..].iter().position(|member| !member.goes).map_or(members.len(), |next| first + next);
            let at_the_end = next == members.len() && first > 0;
            let start = if at_the_end { members[first - 1].end } else { members[first].start };
            let end = members.get(next).map_or(members[next - 1].end, |next| next.start);
            splice.put(Span { start: start as u32, end: end as u32 }, "");
            at = next;
        }
    }
    splice.to_bytes()
}

fn members(message: &Message, object: Span, nulls: &[usize]) -> Vec<Member> {
    let offset = object.start as usize;
    let mut members = Vec::new();
    let mut reader = Reader::new(&message.line()[object.range()], DEEPEST);
    reader.space();
    // It was read before: if it is an object, nothing can be wrong with it.
    let _ = reader.object(|reader, key| {
        let at = offset + reader.position();
        reader.value()?;
        let (start, end) = (offset + key.start - 1, offset + reader.position());
        members.push(Member { start, end, goes: nulls.contains(&at) });
        Ok(())
    });
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(line: &str) -> String {
        let message = Message::read(line.to_owned().into(), 64).unwrap();
        String::from_utf8(message.line().to_vec()).unwrap()
    }

    #[test]
    fn what_is_null_is_left_out_with_its_comma() {
        for (line, without) in [
            (r#"{"params":null,"jsonrpc":"2.0","method":"a"}"#, r#"{"jsonrpc":"2.0","method":"a"}"#),
            (r#"{"jsonrpc":"2.0","method":"a","params":null}"#, r#"{"jsonrpc":"2.0","method":"a"}"#),
            (
                r#"{ "jsonrpc":"2.0" , "params" : null , "id":1 , "method":"a" , "result":null, "error": null }"#,
                r#"{ "jsonrpc":"2.0" , "id":1 , "method":"a" }"#,
            ),
            (
                r#"{"id":null,"params":null,"jsonrpc":"2.0","error":null,"method":"notifications/a","result":null}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/a"}"#,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"error":null,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            (r#"{"result":null,"jsonrpc":"2.0","id":1,"error":{}}"#, r#"{"jsonrpc":"2.0","id":1,"error":{}}"#),
            (r#"{"jsonrpc":"2.0","id":1,"error":null,"result":null}"#, r#"{"jsonrpc":"2.0","id":1,"result":null}"#),
            (r#"{"jsonrpc":"2.0","id":1,"method":null,"result":1}"#, r#"{"jsonrpc":"2.0","id":1,"result":1}"#),
            (r#"{"p\u0061rams":null,"jsonrpc":"2.0","method":"a"}"#, r#"{"jsonrpc":"2.0","method":"a"}"#),
        ] {
            assert_eq!(left(line), without, "{line}");
        }
    }

    #[test]
    fn parameters_that_are_null_are_left_out_too() {
        let whole = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}"#);
        for (params, without) in [
            (r#"{"cursor":null,"_meta":null}"#, "{}"),
            (r#"{"name":"x","arguments":null}"#, r#"{"name":"x"}"#),
            (
                r#"{"name":"x","cursor":null,"_meta":{ "a":1 , "progressToken":null }}"#,
                r#"{"name":"x","_meta":{ "a":1 }}"#,
            ),
            (
                r#"{"_meta":{"progressToken":null},"task":null,"uri":"a","y":null}"#,
                r#"{"_meta":{},"uri":"a","y":null}"#,
            ),
        ] {
            assert_eq!(left(&whole(params)), whole(without));
        }
    }

    #[test]
    fn other_nulls_stay() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":null,"arguments":{"x":null}},"x":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":null,"task":null}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x","data":null}}"#,
        ] {
            assert_eq!(left(line), line);
        }
    }
}
