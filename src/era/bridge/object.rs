//! Used by the whole bridge: a raw JSON object taken apart, a few members exchanged, and put together again. The
//! other members keep their order and their very text.

use std::borrow::Cow;
use std::fmt;

use crate::wire::message::{members, unquote};

/// The members of an object: keys as they stand between their quotes, raw values.
#[derive(Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Object<'a> {
    /// The object that `json` is; without members if it is none.
    pub fn of(json: &'a str) -> Object<'a> {
        Object(members(json).into_iter().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))).collect())
    }

    /// The same for a member that may be absent.
    pub fn of_member(json: Option<&'a str>) -> Object<'a> {
        json.map_or_else(Object::default, Object::of)
    }

    /// The raw value of a member; none for one that is `null`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| *value != "null")
    }

    /// The raw value of a member, `null` too.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value.as_ref())
    }

    /// The object without some members.
    pub fn without(mut self, names: &[&str]) -> Object<'a> {
        self.0.retain(|(key, _)| !names.iter().any(|name| is(key, name)));
        self
    }

    /// The object with a member of this raw value, in its old place if it was there.
    pub fn with(mut self, name: &'a str, value: impl Into<Cow<'a, str>>) -> Object<'a> {
        let first = self.0.iter().position(|(key, _)| is(key, name)).unwrap_or(self.0.len());
        self = self.without(&[name]);
        self.0.insert(first, (name.into(), value.into()));
        self
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            write!(f, r#"{}"{key}":{value}"#, if index == 0 { '{' } else { ',' })?;
        }
        f.write_str(if self.is_empty() { "{}" } else { "}" })
    }
}

/// Whether a key means `name`: to every JSON parser `\u005fmeta` is `_meta`, so it is here too.
fn is(key: &str, name: &str) -> bool {
    key == name || key.contains('\\') && unquote(&format!("\"{key}\"")).is_some_and(|plain| plain == name)
}

/// Whether a raw value is an object.
pub fn is_object(value: &str) -> bool {
    value.starts_with('{')
}

/// Whether a raw value is this string.
pub fn is_text(value: Option<&str>, text: &str) -> bool {
    value.and_then(unquote).is_some_and(|value| value == text)
}

/// A text as a raw JSON string.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_members_keep_their_order_and_their_text() {
        let object = Object::of(r#"{ "n" : 1.50e+0 , "_m\u0065ta":{}, "z": [ 1 ] }"#);
        assert_eq!(object.get("_meta"), Some("{}"));
        assert_eq!(object.without(&["_meta"]).with("a", "0").to_string(), r#"{"n":1.50e+0,"z":[ 1 ],"a":0}"#);
        assert_eq!(Object::of(r#"{"a":1,"b":2,"a":3}"#).with("a", "4").to_string(), r#"{"a":4,"b":2}"#);
        assert_eq!(Object::of("[1]").to_string(), "{}");
    }
}
