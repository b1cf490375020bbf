//! Called for `outputSchema`: whether clients can compile it. The TypeScript SDK compiles that of each tool when a list
//! comes, and refuses the whole list where it cannot. What is doubtful counts as if it could not.

use serde_json::{Map, Value};

use crate::catalogue::legible::pattern::is_pattern;

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// What is wrong with a schema.
pub(crate) fn fault(schema: &str) -> Option<String> {
    let Ok(root) = serde_json::from_str::<Value>(schema) else { return Some("has a number that is too large".into()) };
    let keyword = wrong(&root, &root, true)?;
    Some(format!("has a `{keyword}` that clients cannot compile"))
}

/// The first keyword that cannot be compiled.
fn wrong<'a>(schema: &'a Value, root: &'a Value, top: bool) -> Option<&'a str> {
    let Value::Object(keywords) = schema else { return None };
    keywords.iter().find_map(|(keyword, value)| {
        let below = if holds_schemas(keyword, value) { below(value, keyword, root) } else { None };
        below.or_else(|| (!is_right(keyword, value, keywords, root, top)).then_some(keyword.as_str()))
    })
}

/// The first such keyword in the schemas that are a keyword's value.
fn below<'a>(value: &'a Value, keyword: &str, root: &'a Value) -> Option<&'a str> {
    match value {
        Value::Array(schemas) => schemas.iter().find_map(|schema| wrong(schema, root, false)),
        Value::Object(schemas) if is_map(keyword) => schemas.values().find_map(|schema| wrong(schema, root, false)),
        schema => wrong(schema, root, false),
    }
}

fn is_map(keyword: &str) -> bool {
    matches!(
        keyword,
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependencies" | "dependentSchemas"
    )
}

fn is_one(keyword: &str) -> bool {
    matches!(
        keyword,
        "additionalItems" | "additionalProperties" | "contains" | "propertyNames" | "not" | "if" | "then" | "else"
    )
}

fn is_several(keyword: &str) -> bool {
    matches!(keyword, "allOf" | "anyOf" | "oneOf")
}

fn holds_schemas(keyword: &str, value: &Value) -> bool {
    (is_map(keyword) || is_one(keyword) || is_several(keyword) || keyword == "items")
        && (value.is_object() || value.is_array())
}

/// Whether the value of a keyword is of the kind that the keyword wants; of unknown ones anything is.
fn is_right(keyword: &str, value: &Value, beside: &Map<String, Value>, root: &Value, top: bool) -> bool {
    let schema = value.is_object() || value.is_boolean();
    match keyword {
        _ if is_map(keyword) => value.is_object(),
        _ if is_one(keyword) => schema,
        _ if is_several(keyword) => value.is_array(),
        "items" => schema || value.is_array(),
        "type" => {
            let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
            known(value) || value.as_array().is_some_and(|names| names.iter().all(known))
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minLength" | "maxLength"
        | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains" | "maxContains" => {
            value.is_number()
        }
        "uniqueItems" => value.is_boolean(),
        "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
        "required" => value.is_array(),
        "format" => value.is_string(),
        "pattern" => value.as_str().is_some_and(is_pattern),
        "$ref" => value.as_str().is_some_and(|to| leads_to_a_schema(to, root)),
        // Of two with the same one the second would be taken for the first.
        "$id" => top && value.is_string(),
        "nullable" => value.is_boolean() && beside.contains_key("type"),
        "id" | "formatMinimum" | "formatMaximum" | "formatExclusiveMinimum" | "formatExclusiveMaximum" => false,
        _ => true,
    }
}

/// Whether a reference is to a schema within the same one.
fn leads_to_a_schema(to: &str, root: &Value) -> bool {
    let Some(pointer) = to.strip_prefix('#') else { return false };
    let first = pointer.split('/').nth(1).unwrap_or_default();
    let known = pointer.is_empty() || is_map(first) || is_one(first) || is_several(first) || first == "items";
    let target = root.pointer(pointer).filter(|_| known && !pointer.contains('%'));
    target.is_some_and(|target| target.is_object() || target.is_boolean())
}

#[cfg(test)]
mod tests {
    use crate::catalogue::legible::output::*;

    #[test]
    fn usual_schemas_can_be_compiled() {
        for schema in [
            r#"{"type":"object","properties":{"a":{"type":["string","null"],"pattern":"^[a-z0-9-]+$"}},"required":["a"]}"#,
            r##"{"type":"object","$id":"x","properties":{"a":{"$ref":"#/$defs/A"},"pattern":{"$ref":"#"}},"$defs":{"A":{"items":[{}]}}}"##,
            r#"{"type":"object","additionalProperties":false,"anyOf":[{"not":true}],"if":{},"x":null,"default":null}"#,
            r#"{"type":"object","properties":{"id":{},"type":{},"enum":{}},"$schema":"https://json-schema.org/draft/2020-12/schema"}"#,
        ] {
            assert_eq!(fault(schema), None, "{schema}");
        }
    }

    #[test]
    fn what_a_client_would_not_compile_is_told_by_its_keyword() {
        for (keyword, value) in [
            ("type", r#""nonsense""#),
            ("type", "null"),
            ("pattern", r#""(?P<a>x)""#),
            ("pattern", "5"),
            ("$ref", r##""#/$defs/none""##),
            ("$ref", r#""other.json""#),
            ("minimum", r#""5""#),
            ("exclusiveMinimum", "true"),
            ("enum", "[]"),
            ("required", "true"),
            ("anyOf", "{}"),
            ("items", "5"),
            ("additionalProperties", r#""no""#),
            ("$id", r#""a""#),
            ("id", r#""a""#),
            ("nullable", "true"),
            ("format", "null"),
        ] {
            let schema = format!(r#"{{"type":"object","properties":{{"x":{{"anyOf":[{{"{keyword}":{value}}}]}}}}}}"#);
            assert!(fault(&schema).is_some_and(|it| it.contains(&format!("`{keyword}`"))), "{keyword}: {value}");
        }
    }
}
