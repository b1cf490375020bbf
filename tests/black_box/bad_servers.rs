//! Whatever servers write to their stdout: the calls that it concerns are answered, the rest is dropped and
//! counted, and the callers of other calls do not notice.

use mcpool::config::{EraChoice, Secret, Server};
use serde_json::{Value, json};

use crate::support::{Answer, Proxy, legacy, modern, modern_script, play, proxy, script};

const REVISION: &str = "2025-06-18";

#[test]
fn errors_of_servers_keep_their_code_and_data() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).server("new", modern(|_| {})).start().await;
        let (old, new) = (proxy.legacy(REVISION).connect("old").await, proxy.modern().connect("new").await);
        for caller in [&old, &new] {
            for code in [-32042, -32002, 0, 1, 42, -32603] {
                let answer = caller.call("error", json!({"code": code, "message": "m", "data": {"k": [1]}})).await;
                assert_eq!(answer.value["error"], json!({"code": code, "message": "m", "data": {"k": [1]}}));
            }
        }
        assert_eq!(old.ask("resources/read", json!({"uri": "demo://none"})).await.code(), -32002);
        assert_eq!(new.ask("resources/read", json!({"uri": "demo://none"})).await.code(), -32602);
    });
}

#[test]
fn noise_of_a_server_is_dropped_counted_and_harms_nobody() {
    play(async {
        let noisy = script().on("tools/call", |call, say| {
            say.line("starting up...");
            say.line("[1, 2]");
            say.bytes(b"\xff\xfe\n\n\r\n".to_vec());
            say.line(r#"{"jsonrpc":"2.0","id":424242,"result":{}}"#);
            say.line(r#"{"jsonrpc":"2.0","id":"made up","result":{}}"#);
            say.line(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#);
            say.text(call, "first");
            say.text(call, "second");
        });
        let proxy = proxy().server("noisy", noisy.into()).start().await;
        let a = proxy.legacy(REVISION).connect("noisy").await;
        let b = proxy.legacy(REVISION).connect("noisy").await;
        for caller in [&a, &b, &a] {
            assert_eq!(caller.call("x", json!({})).await.text(), "first");
            caller.hears_nothing().await;
        }
        assert_eq!((proxy.dropped("unknown_id"), proxy.started("noisy")), (9, 1));
        assert!(proxy.dropped("malformed") >= 9);
    });
}

#[test]
fn an_answer_with_both_result_and_error_fails_its_call_at_once() {
    play(async {
        let both = script().on("tools/call", |call, say| {
            say.line(
                &json!({"jsonrpc": "2.0", "id": call.id(), "result": {}, "error": {"code": 1, "message": "x"}})
                    .to_string(),
            );
        });
        let proxy = proxy().server("both", both.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("both").await;
        let answer = caller.call("x", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")));
        assert_eq!(proxy.dropped("malformed"), 1);
    });
}

#[test]
fn a_server_that_writes_nothing_but_noise_stops_being_used() {
    play(async {
        let hopeless = script().on("tools/call", |_, say| (0..200).for_each(|_| say.line("noise")));
        let proxy = proxy().server("hopeless", hopeless.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("hopeless").await;
        let answer = caller.call("x", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")));
        assert_eq!(answer.value["error"]["data"]["mcpool"]["server"], "hopeless");
    });
}

#[test]
fn an_answer_above_the_limit_becomes_an_error_and_the_process_goes_on() {
    play(async {
        let huge = script().on("tools/call", |call, say| {
            let size = if call.value["params"]["name"] == "big" { 6 << 20 } else { 2 };
            say.text(call, &"x".repeat(size));
        });
        let proxy = proxy().server("huge", huge.into()).config(|config| config.limits.message = 4 << 20).start().await;
        let a = proxy.legacy(REVISION).connect("huge").await;
        let b = proxy.legacy(REVISION).connect("huge").await;
        let (big, small) = (a.begin("big", json!({})), b.begin("small", json!({})));
        let answer = big.answer().await;
        assert_eq!((answer.code(), answer.reason()), (413, Some("too_large")));
        assert_eq!(answer.value["error"]["data"]["mcpool"]["server"], "huge");
        let told = ["server `huge`", "4194304 bytes", "`limits.max_message`"];
        assert!(told.iter().all(|part| answer.message().contains(part)), "{}", answer.raw);
        assert_eq!(small.answer().await.text(), "xx");
        assert_eq!((a.call("small", json!({})).await.text(), proxy.started("huge")), ("xx", 1));
    });
}

#[test]
fn a_ping_of_a_server_is_answered_and_what_it_may_not_ask_is_refused() {
    play(async {
        let asking = script().on("tools/call", |call, say| {
            say.line(r#"{"jsonrpc":"2.0","id":"p\"1","method":"ping"}"#);
            say.line(r#"{"jsonrpc":"2.0","id":-1,"method":"secrets/list"}"#);
            say.text(call, "done");
        });
        let proxy = proxy().server("asking", asking.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("asking").await;
        caller.call("x", json!({})).await;
        caller.hears_nothing().await;
        let lines = proxy.process("asking", 0).lines();
        assert!(lines.contains(&r#"{"jsonrpc":"2.0","id":"p\"1","result":{}}"#.to_owned()), "{lines:?}");
        let refused: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(refused.iter().any(|it| it["id"] == -1 && it["error"]["code"] == -32601), "{lines:?}");
    });
}

/// What a caller is told, and what is remembered, is short and holds no secret.
fn refused_in_short(proxy: &Proxy, refused: &Answer, begins: &str) {
    assert_eq!((refused.code(), refused.reason()), (503, Some("start_failed")), "{:.200}", refused.raw);
    assert!(refused.message().contains(begins) && refused.raw.len() < 2_000, "{:.3000}", refused.raw);
    let status = proxy.status().to_string();
    assert!(status.contains(begins) && status.len() < 10_000 && !status.contains("hunter2"), "{status:.10000}");
}

#[test]
fn what_a_server_says_of_its_refusal_is_cut_and_without_secrets() {
    play(async {
        let rude = script().on("initialize", |it, say| {
            let message = format!("no access with hunter2hunter2 {}", "x".repeat(1 << 20));
            say.error(it, json!({"code": -32000, "message": message}));
        });
        let secret = |server: &mut Server| drop(server.env.insert("KEY".into(), Secret::new("hunter2hunter2")));
        let proxy = proxy().server("rude", rude.into()).set(secret).start().await;
        let (_caller, refused) = proxy.legacy(REVISION).open("rude").await;
        refused_in_short(&proxy, &refused.expect("an answer"), "no access with *** xxx");
    });
}

#[test]
fn versions_that_a_server_speaks_are_told_in_short() {
    play(async {
        let future = modern_script().on("server/discover", |it, say| {
            say.result(it, json!({"supportedVersions": vec!["2099-01-01"; 50_000]}));
        });
        let modern = |server: &mut Server| server.era = EraChoice::Modern;
        let proxy = proxy().server("future", future.into()).set(modern).start().await;
        let caller = proxy.modern().connect("future").await;
        refused_in_short(&proxy, &caller.ask("tools/list", json!({})).await, "2099-01-01");
    });
}
