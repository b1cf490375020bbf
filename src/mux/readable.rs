//! Called by `mux::complete` with every answer of a server: whether any client could read it. Hand-written servers
//! answer with what none can; a client drops that and waits for ever.

use super::call::{Call, Source};
use super::errand::Errand;
use crate::wire::message::{Kind, Message};
use crate::wire::scan::Field;

/// The largest code that every client can hold.
const LARGEST_CODE: u64 = 1 << 53;

/// Returns whether the answer is what nearly all answers are, so that it needs no further look.
#[inline]
pub fn is_plain(answer: &Message) -> bool {
    answer.doubt().is_none() && answer.raw(Field::Result).is_some_and(|result| result.starts_with('{'))
}

/// Returns what is wrong with the answer to a request of this method, in words; none if it can be read.
pub fn fault(answer: &Message, method: &str) -> Option<String> {
    let ours = has_object(method);
    if let Some(doubt) =
        answer.doubt().filter(|doubt| ours || answer.kind() == Kind::Error && is_of_error(doubt.field()))
    {
        return Some(doubt.to_string());
    }
    match answer.kind() {
        Kind::Error => error_fault(answer).map(str::to_owned),
        Kind::Result => {
            let object = answer.raw(Field::Result).is_some_and(|result| result.starts_with('{'));
            (ours && !object).then(|| "its result is no object".to_owned())
        }
        Kind::Request | Kind::Notification => None,
    }
}

/// Returns the same for a caller's answer to a question. The server judges what is in the result.
pub fn fault_of_ask(answer: &Message) -> Option<String> {
    let object = answer.raw(Field::Result).is_none_or(|result| result.starts_with('{'));
    fault(answer, "").or_else(|| (!object).then(|| "its result is no object".to_owned()))
}

/// Returns what an answer that cannot be read says.
pub fn said(answer: &Message) -> &str {
    answer.raw(Field::Error).or(answer.raw(Field::Result)).unwrap_or("null")
}

/// Returns whether somebody reads the answer to a call. If mcpool only tells a server something, any answer will do.
pub fn is_read(call: &Call) -> bool {
    match &call.from {
        Source::Caller(..) | Source::Held { .. } => true,
        Source::Mcpool(Errand::List { .. } | Errand::Listen | Errand::Introduce(_)) => true,
        Source::Mcpool(
            Errand::Resubscribe { .. }
            | Errand::Level(..)
            | Errand::Unsubscribe(_)
            | Errand::Tasks { .. }
            | Errand::Probe(..),
        ) => false,
    }
}

fn error_fault(answer: &Message) -> Option<&'static str> {
    if !answer.raw(Field::Error).is_some_and(|error| error.starts_with('{')) {
        return Some("its error is no object");
    }
    let code = answer.raw(Field::ErrorCode).unwrap_or_default();
    let digits = code.strip_prefix('-').unwrap_or(code);
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !whole || !digits.parse().is_ok_and(|code: u64| code <= LARGEST_CODE) {
        return Some("its error has no `code` that is a whole number");
    }
    let text = answer.raw(Field::ErrorMessage).is_some_and(|message| message.starts_with('"'));
    (!text).then_some("its error has no `message` that is a text")
}

fn is_of_error(field: Field) -> bool {
    matches!(field, Field::ErrorCode | Field::ErrorMessage | Field::ErrorData)
}

/// Returns whether the result of a method is an object in every revision. For a method that mcpool does not know it may
/// be anything.
fn has_object(method: &str) -> bool {
    const FAMILIES: [&str; 4] = ["tools/", "resources/", "prompts/", "tasks/"];
    const OTHERS: [&str; 6] =
        ["completion/complete", "initialize", "logging/setLevel", "ping", "server/discover", "subscriptions/listen"];
    FAMILIES.iter().any(|family| method.starts_with(family)) || OTHERS.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(outcome: &str, method: &str) -> Option<String> {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,{outcome}}}"#);
        fault(&Message::read(line.into(), 64).unwrap(), method)
    }

    #[test]
    fn answers_are_told_that_no_client_reads() {
        for odd in [
            r#""error":"just text""#,
            r#""error":{}"#,
            r#""error":[]"#,
            r#""error":{"code":"ENOENT","message":"x"}"#,
            r#""error":{"code":-32000}"#,
            r#""error":{"message":"x"}"#,
            r#""error":{"code":1.5,"message":"x"}"#,
            r#""error":{"code":1e3,"message":"x"}"#,
            r#""error":{"code":99999999999999999999,"message":"x"}"#,
            r#""error":{"code":null,"message":"x"}"#,
            r#""error":{"code":404,"message":null}"#,
            r#""error":{"code":404,"message":{}}"#,
            r#""error":{"code":404,"Code":5,"message":"x"}"#,
            r#""error":{"code":404,"message":"x","message":"y"}"#,
            r#""result":null"#,
            r#""result":"hello""#,
            r#""result":[]"#,
            r#""result":7"#,
            r#""result":{"resultType":"complete","ResultType":"task"}"#,
            r#""result":{"_meta":{},"_meta":{}}"#,
        ] {
            assert!(judged(odd, "tools/call").is_some(), "{odd}");
        }
        for fine in [
            r#""error":{"code":-32603,"message":"","data":null}"#,
            r#""error":{"code":0,"message":"x","extra":1}"#,
            r#""result":{}"#,
            r#""result":{"content":null,"x":1,"x":2}"#,
        ] {
            assert_eq!(judged(fine, "tools/call"), None, "{fine}");
        }
    }

    #[test]
    fn what_an_unknown_method_returns_may_be_anything() {
        for outcome in [r#""result":null"#, r#""result":[1]"#, r#""result":{"Task":1,"task":2,"task":3}"#] {
            assert_eq!(judged(outcome, "vendor/x"), None, "{outcome}");
        }
        assert!(judged(r#""error":"text""#, "vendor/x").is_some());
    }
}
