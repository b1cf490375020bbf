//! What becomes of items that servers wrote against the specification.

use crate::catalogue::legible::*;

const GOOD: &str = r#"{"name":"a","inputSchema":{"type":"object"}}"#;

/// What is shown of an item, if anything is.
fn shown(kind: ListKind, era: Era, item: &str) -> Option<String> {
    match odd(kind, era, 0, item) {
        None => Some(item.to_owned()),
        Some(odd) => odd.shown.map(Into::into),
    }
}

fn tool(item: &str) -> Option<String> {
    shown(ListKind::Tools, Era::Legacy, item)
}

#[test]
fn what_follows_the_specification_is_not_touched() {
    let whole = r#"{ "name" : "a", "title":"t", "description":"", "x":null, "inputSchema":{"type":"obj\u0065ct","$schema":"s",
        "properties":{"x":{"default":null},"description":{}},"required":[],"oneOf":[true]},"outputSchema":{"type":"object"},
        "annotations":{"title":"t","readOnlyHint":false,"x":null},"execution":{"taskSupport":"optional"},"_meta":{"k":null},
        "icons":[{"src":"data:,","sizes":["any"],"theme":"dark","mimeType":"image/png"}]}"#;
    let resource = r#"{"uri":"a:b","name":"","size":5.0,"mimeType":"t","annotations":{"audience":["user"],"priority":1,
        "lastModified":"2025-01-12T15:00:58Z"}}"#;
    for (kind, item) in [
        (ListKind::Tools, GOOD),
        (ListKind::Tools, whole),
        (ListKind::Prompts, r#"{"name":"a","arguments":[{"name":"n","required":true,"description":"d"}]}"#),
        (ListKind::Resources, resource),
        (ListKind::Templates, r#"{"uriTemplate":"{+x}","name":"n"}"#),
    ] {
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(odd(kind, era, 0, item), None, "{item}");
        }
    }
}

#[test]
fn null_is_left_out_where_nothing_is_the_same_and_nothing_is_told_of_it() {
    for item in [
        r#"{"name":"a","description":null,"inputSchema":{"type":"object"}}"#,
        r#"{"name":"a","inputSchema":{"type":"object"},"outputSchema":null}"#,
        r#"{"name":"a","inputSchema":{"type":"object"},"icons":null,"title":null,"annotations":null,"_meta":null}"#,
        r#"{"name":"a","inputSchema":{"type":"object","required":null,"properties":null,"$schema":null}}"#,
    ] {
        let odd = odd(ListKind::Tools, Era::Legacy, 0, item).unwrap();
        assert_eq!((odd.shown.as_deref(), odd.why), (Some(GOOD), None), "{item}");
    }
    let hints = r#"{"name":"a","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":null,"x":null}}"#;
    assert!(tool(hints).unwrap().ends_with(r#""annotations":{"x":null}}"#));
    assert_eq!(shown(ListKind::Prompts, Era::Legacy, r#"{"name":"a","arguments":null}"#).unwrap(), r#"{"name":"a"}"#);
}

#[test]
fn what_an_item_can_do_without_is_left_out_of_it_where_it_is_wrong() {
    for (members, left) in [
        (r#""title":5"#, ""),
        (r#""description":["d"]"#, ""),
        (r#""icons":{}"#, ""),
        (r#""icons":[{"src":"s","sizes":"any"},{"theme":"dark"},null]"#, r#","icons":[{"src":"s"}]"#),
        (r#""annotations":[]"#, ""),
        (r#""annotations":{"readOnlyHint":"yes","idempotentHint":true}"#, r#","annotations":{"idempotentHint":true}"#),
        (r#""execution":{"taskSupport":"maybe"}"#, r#","execution":{}"#),
        (r#""outputSchema":true"#, ""),
        (r#""outputSchema":{"type":"object","properties":[]}"#, ""),
        (r#""outputSchema":{"type":"object","properties":{"x":{"pattern":"(?P<a>x)"}}}"#, ""),
        (r##""outputSchema":{"type":"object","properties":{"x":{"$ref":"#/$defs/none"}}}"##, ""),
        (r#""_meta":[]"#, ""),
    ] {
        let odd = odd(ListKind::Tools, Era::Legacy, 0, &GOOD.replace("}}", &format!("}},{members}}}"))).unwrap();
        assert_eq!(odd.shown.as_deref(), Some(GOOD.replace("}}", &format!("}}{left}}}")).as_str()), "{members}");
        assert!(odd.why.is_some(), "{members}");
    }
    let naive =
        r#"{"uri":"a:b","name":"n","annotations":{"lastModified":"2025-01-12T15:00:58","priority":2},"size":"5"}"#;
    let fitted = shown(ListKind::Resources, Era::Legacy, naive).unwrap();
    assert_eq!(fitted, r#"{"uri":"a:b","name":"n","annotations":{}}"#);
}

#[test]
fn an_output_of_any_kind_is_what_only_modern_tools_have() {
    for schema in ["{}", r#"{"type":"array"}"#, r#"{"type":["object","null"]}"#] {
        let item = GOOD.replace("}}", &format!(r#"}},"outputSchema":{schema}}}"#));
        assert_eq!(tool(&item).unwrap(), GOOD, "{schema}");
        assert_eq!(odd(ListKind::Tools, Era::Modern, 0, &item), None, "{schema}");
    }
}

#[test]
fn a_property_of_any_value_or_none_is_written_so_that_all_read_it() {
    let item = r#"{"name":"a","inputSchema":{"type":"object","properties":{"x":true,"y":false,"z":{"type":"null"}}}}"#;
    let odd = odd(ListKind::Tools, Era::Legacy, 0, item).unwrap();
    assert!(odd.shown.unwrap().contains(r#""properties":{"x":{},"y":{"not":{}},"z":{"type":"null"}}"#));
    assert_eq!(odd.why, None);
}

#[test]
fn an_item_that_is_nothing_without_what_is_wrong_is_left_out() {
    for item in [
        "5",
        "null",
        "[]",
        r#""text""#,
        "{}",
        r#"{"name":"a"}"#,
        r#"{"name":"a","inputSchema":null}"#,
        r#"{"name":"a","inputSchema":{}}"#,
        r#"{"name":"a","inputSchema":{"type":null}}"#,
        r#"{"name":"a","inputSchema":{"type":["object","null"]}}"#,
        r#"{"name":"a","inputSchema":{"type":"object","properties":[]}}"#,
        r#"{"name":"a","inputSchema":{"type":"object","properties":{"x":"string"}}}"#,
        r#"{"name":"a","inputSchema":{"type":"object","properties":{"x":null}}}"#,
        r#"{"name":"a","inputSchema":{"type":"object","required":true}}"#,
        r#"{"name":"a","inputSchema":{"type":"object","required":[1]}}"#,
        r#"{"name":7,"inputSchema":{"type":"object"}}"#,
        r#"{"name":null,"inputSchema":{"type":"object"}}"#,
        r#"{"inputSchema":{"type":"object"}}"#,
    ] {
        assert_eq!(tool(item), None, "{item}");
    }
    for item in [r#"{"name":"n"}"#, r#"{"uri":"a:b"}"#, r#"{"uri":"","name":"n"}"#, r#"{"uri":"notes/1","name":"n"}"#] {
        assert_eq!(shown(ListKind::Resources, Era::Modern, item), None, "{item}");
    }
    assert_eq!(shown(ListKind::Templates, Era::Legacy, r#"{"uriTemplate":null,"name":"n"}"#), None);
}

#[test]
fn what_clients_could_read_under_two_names_is_left_out() {
    for (more, name) in [
        (r#""name":"b""#, "name"),
        (r#""n\u0061me":"b""#, "name"),
        (r#""Name":"b""#, "name"),
        (r#""INPUTSCHEMA":{}"#, "inputSchema"),
        (r#""de\u017fcription":"d""#, "description"),
    ] {
        let odd = odd(ListKind::Tools, Era::Legacy, 0, &GOOD.replace("}}", &format!("}},{more}}}"))).unwrap();
        assert!(odd.shown.is_none() && odd.why.unwrap().contains(name), "{more}");
    }
}

#[test]
fn what_would_cost_the_whole_line_is_left_out() {
    let with = |value: &str| tool(&GOOD.replace("}}", &format!(r#"}},"x":{value}}}"#)));
    assert_eq!(with(r#""\ud83d""#), None);
    assert_eq!(with(r#""\uDE00\uD83D""#), None);
    assert!(with(r#""\ud83d\ude00""#).is_some() && with(r#""\\ud83d""#).is_some());
    assert_eq!(with(&"9".repeat(5000)), None);
    assert_eq!(with(&format!("{}1{}", "[".repeat(150), "]".repeat(150))), None);
}
