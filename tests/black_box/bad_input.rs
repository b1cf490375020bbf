//! Whatever callers write: mcpool answers what can be answered, closes what cannot, and nobody else notices.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, after, legacy, modern, play, proxy, script, seconds, settled};

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
fn half_a_line_and_then_silence_ends_the_connection() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(b"{\"jsonrpc\":\"2.0\",");
        caller.closed().await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        assert_eq!(proxy.status()["callers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn half_a_line_has_one_deadline_that_a_few_bytes_do_not_move() {
    play(async {
        for first in [1, 9 << 20] {
            let proxy = proxy().server("echo", legacy(|_| {})).start().await;
            let caller = proxy.legacy(REVISION).connect("echo").await;
            caller.send_bytes(&[b"{\"x\":\"".as_slice(), &b"x".repeat(first)].concat());
            let clock = tokio::time::Instant::now();
            let drip = async {
                loop {
                    after(seconds(1)).await;
                    caller.send_bytes(b"x");
                }
            };
            tokio::select! {
                () = caller.closed() => {}
                () = drip => {}
            }
            // What came fast bought one more.
            assert!(clock.elapsed() <= seconds(61), "after {:?}", clock.elapsed());
        }
    });
}

#[test]
fn a_long_line_that_keeps_coming_is_waited_for() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\",\"params\":{\"x\":\"");
        for _ in 0..100 {
            after(seconds(1)).await;
            caller.send_bytes(&b"x".repeat(20 << 10));
        }
        caller.send("\"}}");
        assert_eq!(*caller.line().await.result(), json!({}));
        // What comes behind it has a deadline of its own.
        caller.send_bytes(b"{");
        let clock = tokio::time::Instant::now();
        caller.closed().await;
        assert_eq!(clock.elapsed().as_secs(), 30);
    });
}

#[test]
fn a_caller_that_closes_its_side_is_let_go_with_all_its_calls() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.begin("forget", json!({}));
        settled().await;
        caller.end_input();
        caller.closed().await;
        assert_eq!(proxy.instances("echo")[0]["in_flight"], 0);
    });
}

#[test]
fn a_request_that_is_cut_off_at_the_end_is_answered_and_a_whole_one_is_carried_out() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(br#"{"jsonrpc":"2.0","id":"cut","method":"tools/ca"#);
        settled().await;
        caller.end_input();
        let answer = caller.line().await;
        assert_eq!((&answer.value["id"], answer.code()), (&json!("cut"), -32700), "{}", answer.raw);
        caller.closed().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.send_bytes(br#"{"jsonrpc":"2.0","id":"whole","method":"ping"}"#);
        settled().await;
        caller.end_input();
        assert_eq!(caller.line().await.value["id"], "whole");
        caller.closed().await;
    });
}

#[test]
fn an_idle_caller_is_left_in_peace() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        after(seconds(24 * 3600)).await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
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

#[test]
fn unknown_methods_and_notifications_pass_to_the_letter() {
    play(async {
        let odd = script()
            .on("x/y", |it, say| say.error(it, json!({"code": 7, "message": "seven"})))
            .on("notifications/z", |_, _| {});
        let proxy = proxy().server("odd", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("odd").await;
        assert_eq!(caller.ask("x/y", json!({"b": 1, "a": 2})).await.code(), 7);
        caller.send(r#"{"params":{"n":1.00},"method":"notifications/z","jsonrpc":"2.0"}"#);
        settled().await;
        assert!(
            proxy
                .process("odd", 0)
                .lines()
                .contains(&r#"{"params":{"n":1.00},"method":"notifications/z","jsonrpc":"2.0"}"#.to_owned())
        );
    });
}

#[test]
fn params_and_results_come_out_byte_for_byte() {
    play(async {
        let result =
            r#"{"z":1,"a":1.0,"a":1e400,"big":123456789012345678901234567890,"s":"\ud800\u0041\/","_meta":{"k":[ ]}}"#;
        let exact = script()
            .on("x", move |it, say| say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, it.id())));
        let proxy = proxy().server("exact", exact.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("exact").await;
        let request = r#"{"method":"x","id":5,"params":{"d":1,"d":2,"f":1.0,"s":"\ud800","_meta":{"q":1}},"jsonrpc":"2.0","more":[1,2]}"#;
        caller.send(request);
        assert_eq!(caller.line().await.raw, format!(r#"{{"jsonrpc":"2.0","id":5,"result":{result}}}"#));
        let sent = proxy
            .process("exact", 0)
            .lines()
            .into_iter()
            .find(|line| line.contains(r#""method":"x""#))
            .expect("it was sent");
        let (before, behind) = request.split_once("\"id\":5").expect("an id");
        assert!(sent.starts_with(before) && sent.ends_with(behind), "{sent}");
    });
}

#[test]
fn what_a_modern_call_carries_reaches_the_last_hop() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("new").await;
        let extra = json!({"com.example/trace": {"z": 1, "a": [2]}});
        let params = json!({"name": "echo", "arguments": {}, "_meta": extra, "inputResponses": {"k": {"v": 1}}, "requestState": "opaque"});
        caller.ask("tools/call", params).await;
        let sent = proxy.got("new", "tools/call").pop().expect("a call");
        assert_eq!(sent["params"]["_meta"]["com.example/trace"], extra["com.example/trace"]);
        assert_eq!(sent["params"]["inputResponses"], json!({"k": {"v": 1}}));
        assert_eq!(sent["params"]["requestState"], "opaque");
    });
}

#[test]
fn nothing_is_left_of_callers_that_came_and_went() {
    play(async {
        let proxy = echo().await;
        for _ in 0..20 {
            let caller = proxy.legacy(REVISION).connect("echo").await;
            caller.begin("forget", json!({}));
            caller.send_bytes(b"{\"half\":");
            settled().await;
            caller.hang_up().await;
        }
        let instance = &proxy.instances("echo")[0];
        assert_eq!((&instance["in_flight"], &instance["asks"]), (&json!(0), &json!(0)));
        assert_eq!(proxy.status()["callers"], json!([]));
        assert_eq!(proxy.started("echo"), 1);
    });
}
