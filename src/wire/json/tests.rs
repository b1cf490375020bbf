//! The grammar, and serde_json as a second judge of it.

use super::*;

fn check(text: &str) -> Result<(), Fault> {
    let mut reader = Reader::new(text.as_bytes(), 8);
    reader.value()?;
    reader.end()
}

#[test]
fn what_is_json_passes() {
    for text in [
        "0",
        "-0.5e+7",
        "1e400",
        "\"\\ud800 \\\"\"",
        "[]",
        "{}",
        "[[],{},[1,{\"a\":[null]}]]",
        " { \"a\" : [ true , false ] } ",
        "123456789012345678901234567890",
        "{\"a\":1,\"a\":2}",
        "\"0123456789012345678901234567890123456789\\n\"",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        "01",
        "1.",
        "-",
        "[1,]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "tru",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a",
        "[1",
        "{\"a\":1",
        "1 2",
        "[}",
        "\"\t\"",
        "{1:2}",
    ] {
        assert!(matches!(check(text), Err(Fault::Syntax(_))), "{text}");
    }
}

#[test]
fn a_carriage_return_is_no_white_space() {
    for text in
        ["\r1", "1\r", "[\r]", "[1\r,2]", "[1,\r2]", "{\r}", "{\"a\"\r:1}", "{\"a\":\r1}", "{\"a\":1\r}", "\"a\rb\""]
    {
        let at = text.find('\r').unwrap();
        assert_eq!(check(text), Err(Fault::BareCr(at)), "{text:?}");
    }
}

#[test]
fn depth_is_bounded() {
    assert_eq!(check("[[[[[[[[]]]]]]]]"), Ok(()));
    assert_eq!(check("[[[[[[[[[]]]]]]]]]"), Err(Fault::TooDeep(8)));
}

#[test]
fn the_judgement_is_that_of_serde_json_on_random_texts() {
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet = [
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "1", "-", ".5", "e3", "true", "null", " ", "\\", "\\u00e9", "0",
        "\r",
    ];
    for _ in 0..200_000 {
        let text: String = (0..random.usize(1..9)).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
        let judged = check(&text).is_ok();
        // But for a carriage return, which is white space to serde_json.
        let sound = !text.contains('\r') && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        assert_eq!(judged, sound, "{text:?}");
    }
}
