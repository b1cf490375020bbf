//! Whatever callers write: mcpool answers what can be answered, closes what cannot, and nobody else notices.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, legacy, play, proxy, settled};

const REVISION: &str = "2025-06-18";

async fn echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).config(|config| config.limits.message = 4 << 20).start().await
}

/// What a caller is told about a line, and that another caller of the same process does not notice.
async fn told(line: &[u8], then: impl AsyncFnOnce(&Caller, Answer)) {
    let proxy = echo().await;
    let bad = proxy.legacy(REVISION).connect("echo").await;
    let good = proxy.legacy(REVISION).connect("echo").await;
    let working = good.begin("slow", json!({"ms": 20}));
    bad.send_bytes(line);
    let answer = bad.line().await;
    then(&bad, answer).await;
    assert_eq!(working.answer().await.text(), "slept 20 ms in 1 steps");
    good.hears_nothing().await;
    assert_eq!(proxy.started("echo"), 1);
}

#[test]
fn a_request_that_cannot_be_addressed_is_answered_to_nobody_and_the_connection_closed() {
    play(async {
        for (line, code) in [
            ("{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"x\":\n", -32700),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":\n", -32700),
        ] {
            told(line.as_bytes(), async |caller, answer| {
                assert_eq!((answer.code(), &answer.value["id"]), (code, &Value::Null), "{line}");
                caller.closed().await;
            })
            .await;
        }
    });
}

#[test]
fn a_request_whose_id_is_none_is_answered_to_nobody_and_the_connection_stays() {
    play(async {
        for id in ["null", "{}", "[1]", "true"] {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n");
            told(line.as_bytes(), async |caller, answer| {
                assert_eq!((answer.code(), &answer.value["id"]), (-32600, &Value::Null), "{line}");
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            })
            .await;
        }
    });
}

#[test]
fn what_is_no_message_at_all_is_answered_to_nobody_and_the_connection_stays() {
    play(async {
        for (line, code) in [
            ("hello\n", -32700),
            ("Content-Length: 52\r\n\r\n", -32700),
            ("{\"jsonrpc\":\n", -32700),
            ("7\n", -32600),
            ("\"text\"\n", -32600),
            ("null\n", -32600),
            ("[]\n", -32600),
            ("{}\n", -32600),
        ] {
            told(line.as_bytes(), async |caller, answer| {
                assert_eq!((answer.code(), &answer.value["id"]), (code, &Value::Null), "{line}");
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            })
            .await;
        }
    });
}

#[test]
fn nobody_waits_for_an_answer_to_an_answer_or_to_a_notification() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let working = caller.begin("slow", json!({"ms": 20}));
        let big = "x".repeat(5 << 20);
        let lines = [
            // What rmcp says of a line that it cannot parse.
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","result":{}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":{},"result":{}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":null,"result":{},"error":{}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":99,"result":{"x":NaN}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":[1]}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"x":NaN}}"#.to_owned(),
            r#"{"method":"notifications/initialized"}"#.to_owned(),
            r#"{"jsonrpc":"1.0","method":"anything"}"#.to_owned(),
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"x":"{big}"}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","error":{{"code":1,"message":"{big}"}}}}"#),
        ];
        lines.iter().for_each(|line| caller.send(line));
        assert_eq!(working.answer().await.text(), "slept 20 ms in 1 steps");
        caller.hears_nothing().await;
        let dropped = ["malformed", "too_large", "answer_to_no_ask"].map(|reason| proxy.dropped(reason));
        assert_eq!(dropped, [lines.len() as u64 - 3, 2, 1]);
    });
}

#[test]
fn a_request_is_answered_under_its_id_whatever_stands_around_it() {
    play(async {
        let request = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
        for line in [
            format!("\u{feff}{request}\n"),
            format!("\u{1b}[0m {request}\n"),
            format!("{request} {{\"id\":3}}\n"),
            format!("{request}{request}\n"),
            "{\"Jsonrpc\":\"2.0\",\"Id\":9,\"Method\":\"ping\"}\n".to_owned(),
        ] {
            told(line.as_bytes(), async |caller, answer| {
                assert!([-32700, -32600].contains(&answer.code()) && answer.value["id"] == 9, "{line}: {}", answer.raw);
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            })
            .await;
        }
    });
}

#[test]
fn what_can_be_addressed_is_answered_and_the_connection_stays() {
    play(async {
        for (line, code) in [
            ("{\"jsonrpc\":\"2.0\",\"id\":9}\n", -32600),
            ("{\"jsonrpc\":\"1.0\",\"id\":9,\"method\":\"ping\"}\n", -32600),
            ("{\"id\":9,\"method\":\"ping\"}\n", -32600),
            ("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":7}\n", -32600),
            ("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\",\"params\":[1]}\n", -32600),
            ("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\",\"params\":{]}\n", -32700),
            ("{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"initialize\",\"params\":{}}\n", -32600),
        ] {
            told(line.as_bytes(), async |caller, answer| {
                assert_eq!((answer.code(), &answer.value["id"]), (code, &json!(9)), "{line}");
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            })
            .await;
        }
    });
}

#[test]
fn invalid_utf8_never_reaches_a_server() {
    play(async {
        let line = b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{\"name\":\"\xff\"}}\n";
        told(line, async |caller, answer| {
            assert_eq!((answer.code(), &answer.value["id"]), (-32700, &json!(9)));
            assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        })
        .await;
    });
}

#[test]
fn nesting_has_a_bound() {
    play(async {
        for depth in [1_000, 100_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let line = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{{\"x\":{open}{close}}}}}\n"
            );
            told(line.as_bytes(), async |_, answer| assert_eq!(answer.value["id"], 9, "{}", answer.raw)).await;
        }
    });
}

#[test]
fn a_line_above_the_limit_is_refused_by_its_id_and_the_connection_stays() {
    play(async {
        let (huge, big) = ("x".repeat(100 << 20), "x".repeat(5 << 20));
        for line in [
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"x\":\"{huge}\"}}}}}}\n"
            ),
            format!(
                "{{\"method\":\"tools/call\",\"params\":{{\"id\":5,\"x\":\"{big}\"}},\"jsonrpc\":\"2.0\",\"id\":9}}\n"
            ),
        ] {
            told(line.as_bytes(), async |caller, answer| {
                assert_eq!((answer.code(), answer.reason(), &answer.value["id"]), (413, Some("too_large"), &json!(9)));
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            })
            .await;
        }
    });
}

#[test]
fn a_line_above_a_mebibyte_passes_both_ways() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let big = "x".repeat(5 << 19);
        assert_eq!(caller.call("echo", json!({"big": big})).await.code(), 413, "the answer holds it twice");
        let half = "x".repeat(5 << 18);
        assert!(caller.call("echo", json!({"big": half})).await.text().len() > 1 << 20);
    });
}

#[test]
fn an_id_in_flight_cannot_be_used_again() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let first = caller.request_as(json!("a"), "tools/call", json!({"name": "slow", "arguments": {"ms": 100}}));
        settled().await;
        caller.send(r#"{"jsonrpc":"2.0","id":"\u0061","method":"ping"}"#);
        assert_eq!(caller.line().await.code(), -32600, "the same id in other letters");
        assert_eq!(first.answer().await.text(), "slept 100 ms in 1 steps");
    });
}

#[test]
fn nothing_but_ping_goes_before_initialize() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.dial("echo");
        assert_eq!(caller.call("echo", json!({})).await.code(), -32602);
        assert_eq!(caller.ask("tools/list", json!({})).await.code(), -32602);
        assert_eq!(*caller.ask("ping", json!({})).await.result(), json!({}));
        assert_eq!(caller.ask("initialize", json!({"protocolVersion": REVISION})).await.code(), -32602);
        caller.ask("initialize", json!({"protocolVersion": REVISION, "capabilities": {}})).await.result();
        assert_eq!(proxy.started("echo"), 1);
    });
}
