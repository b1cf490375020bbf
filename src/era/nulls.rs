//! Called for what peers say of themselves when they open: serialisers of many languages write `null` for what they
//! leave out, and whoever is told on would take `"logging": null` for a capability or refuse the whole.

use std::fmt::Write;

use crate::wire::message::{member, members};

/// Deeper than any introduction.
const DEEPEST: usize = 8;

/// A raw object without its members that are `null`, at any depth; the very text if there are none.
pub fn without(json: &str) -> String {
    if json.contains("null") { trimmed(json, DEEPEST) } else { json.to_owned() }
}

/// An `InitializeResult` or `DiscoverResult` without them. Every revision demands capabilities, if only an empty set.
pub fn of_introduction(result: &str) -> String {
    let none = member(result, "capabilities") == Some("null");
    let result = without(result);
    if !none {
        return result;
    }
    let comma = if result == "{}" { "" } else { "," };
    format!(r#"{{"capabilities":{{}}{comma}{}"#, &result[1..])
}

fn trimmed(json: &str, depth: usize) -> String {
    let mut object = String::from("{");
    for (key, value) in members(json).into_iter().filter(|(_, value)| *value != "null") {
        let comma = if object.len() > 1 { "," } else { "" };
        let deeper = match key {
            _ if depth == 0 || !value.starts_with('{') => None,
            // What stands in there belongs to others.
            "_meta" => None,
            "experimental" | "extensions" => Some(0),
            _ => Some(depth - 1),
        };
        // Writing to a string cannot fail.
        let _ = match deeper {
            Some(depth) => write!(object, r#"{comma}"{key}":{}"#, trimmed(value, depth)),
            None => write!(object, r#"{comma}"{key}":{value}"#),
        };
    }
    object + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_is_not_said() {
        assert_eq!(
            without(
                r#"{ "roots":{"listChanged":null}, "sampling":null,"experimental":{"x":null,"y":{"z":null}},"a":[null] }"#
            ),
            r#"{"roots":{},"experimental":{"y":{"z":null}},"a":[null]}"#
        );
        assert_eq!(without(r#"{ "roots": {} }"#), r#"{ "roots": {} }"#);
        assert_eq!(
            of_introduction(r#"{"capabilities":null,"instructions":null,"serverInfo":{"name":"s","title":null}}"#),
            r#"{"capabilities":{},"serverInfo":{"name":"s"}}"#
        );
    }
}
