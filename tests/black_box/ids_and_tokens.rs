//! Ids and progress tokens are the caller's own business: any form, to the letter, and never mixed up.

use serde_json::json;

use crate::support::{legacy, modern, play, proxy, sampling, script, seconds, settled};

/// Sends a call under an id as written and gives the id of the answer as written.
async fn echoed(id: &str) -> String {
    let proxy = proxy().server("echo", legacy(|_| {})).start().await;
    let caller = proxy.legacy("2025-06-18").connect("echo").await;
    caller.send(&format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"echo"}},"id":{id}}}"#));
    let answer = caller.line().await.raw;
    let start = answer.find(r#""id":"#).expect("an id") + 5;
    let end = start + answer[start..].find(r#","result""#).expect("a result behind the id");
    answer[start..end].to_owned()
}

#[test]
fn an_id_of_any_form_comes_back_to_the_letter() {
    play(async {
        for id in [
            "0",
            "-7",
            "1.0",
            "1e3",
            "-0.0",
            "18446744073709551616123456789",
            r#""""#,
            r#""plain""#,
            r#""a \"quoted\" word""#,
            r#""back\\slash""#,
            r#""\u0061\u00e9\n\/""#,
            r#""\ud800 alone""#,
            "\"é 漢 🦀\"",
            r#""0""#,
        ] {
            assert_eq!(echoed(id).await, id);
        }
    });
}

#[test]
fn an_answer_may_bring_our_id_as_a_text_or_a_float() {
    play(async {
        let forms: [fn(&str) -> String; 2] = [|id| format!("\"{id}\""), |id| format!("{id}.0")];
        for form in forms {
            let server = script()
                .on("tools/call", |_, say| say.ask("q", "sampling/createMessage", json!({"messages": [], "maxTokens": 1})))
                .on("", move |answer, say| {
                    if answer.id() == "q" {
                        let id = form("2");
                        let content = answer.value.to_string().replace('"', "'");
                        say.line(&format!(
                            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{content}"}}]}}}}"#
                        ));
                    }
                });
            let proxy = proxy().server("s", server.into()).start().await;
            let caller = proxy.legacy("2025-06-18").with(sampling()).connect("s").await;
            let call = caller.begin("x", json!({}));
            let ask = caller.asked("sampling/createMessage").await;
            let id = form(&ask.request["id"].to_string());
            let call_id = proxy.got("s", "tools/call")[0]["id"].clone();
            assert_eq!(call_id, 2, "the script answers under this id");
            caller.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"role":"assistant","model":"m","content":{{"type":"text","text":"x"}}}}}}"#));
            let answer = call.answer().await;
            assert!(answer.text().contains("assistant"), "{}", answer.raw);
        }
    });
}

#[test]
fn the_same_id_means_something_else_for_every_caller() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy("2025-06-18").connect("echo").await;
        let b = proxy.legacy("2025-06-18").connect("echo").await;
        let slow = a.request_as(json!("x"), "tools/call", json!({"name": "slow", "arguments": {"ms": 50}}));
        let quick = b.request_as(json!("x"), "tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 2}}));
        assert_eq!(quick.answer().await.text(), "3");
        assert_eq!(slow.answer().await.text(), "slept 50 ms in 1 steps");
        assert_eq!(proxy.started("echo"), 1);
    });
}

#[test]
fn number_and_string_of_the_same_look_are_two_ids() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy("2025-06-18").connect("echo").await;
        let number = a.request_as(json!(5), "tools/call", json!({"name": "slow", "arguments": {"ms": 5}}));
        let text = a.request_as(json!("5"), "tools/call", json!({"name": "slow", "arguments": {"ms": 6}}));
        assert_eq!(number.answer().await.text(), "slept 5 ms in 1 steps");
        assert_eq!(text.answer().await.text(), "slept 6 ms in 1 steps");
    });
}

#[test]
fn two_callers_with_the_same_progress_token_each_hear_their_own_progress() {
    play(async {
        for token in [json!(0), json!(1), json!("t\"1")] {
            let proxy = proxy().server("echo", legacy(|_| {})).start().await;
            let a = proxy.legacy("2025-06-18").connect("echo").await;
            let b = proxy.legacy("2025-06-18").connect("echo").await;
            let first = a.begin_telling(token.clone(), "slow", json!({"ms": 30, "steps": 3}));
            let second = b.begin_telling(token.clone(), "slow", json!({"ms": 20, "steps": 2}));
            for (caller, steps) in [(&a, 3), (&b, 2)] {
                for step in 1..=steps {
                    let progress = caller.heard("notifications/progress").await;
                    assert_eq!(progress["params"]["progressToken"], token);
                    assert_eq!(
                        (&progress["params"]["progress"], &progress["params"]["total"]),
                        (&json!(step), &json!(steps))
                    );
                }
            }
            first.answer().await;
            second.answer().await;
            a.hears_nothing().await;
            b.hears_nothing().await;
            assert_eq!(proxy.started("echo"), 1);
        }
    });
}

#[test]
fn progress_comes_before_the_answer_and_never_after_it() {
    play(async {
        let late = script().on("tools/call", |call, say| {
            say.text(call, "done");
            say.notify("notifications/progress", json!({"progressToken": call.token(), "progress": 9}));
        });
        let proxy = proxy().server("late", late.into()).start().await;
        let caller = proxy.legacy("2025-06-18").connect("late").await;
        assert_eq!(caller.begin_telling(json!(1), "x", json!({})).answer().await.text(), "done");
        caller.hears_nothing().await;
        assert_eq!(proxy.dropped("progress_unwanted"), 1);
    });
}

#[test]
fn nobody_hears_progress_that_nobody_asked_for() {
    play(async {
        let chatty = script().on("tools/call", |call, say| {
            for token in [call.id().clone(), json!(1), json!("1"), json!(99)] {
                say.notify("notifications/progress", json!({"progressToken": token, "progress": 1}));
            }
            say.text(call, "done");
        });
        let proxy = proxy().server("chatty", chatty.into()).start().await;
        let caller = proxy.legacy("2025-06-18").connect("chatty").await;
        let other = proxy.legacy("2025-06-18").connect("chatty").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "done");
        caller.hears_nothing().await;
        other.hears_nothing().await;
        assert_eq!(proxy.dropped("progress_unwanted"), 4);
    });
}

#[test]
fn a_modern_caller_hears_its_progress_too() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let a = proxy.modern().connect("echo").await;
        let b = proxy.modern().connect("echo").await;
        let first = a.begin_telling(json!(1), "slow", json!({"ms": 10, "steps": 1}));
        let second = b.begin_telling(json!(1), "slow", json!({"ms": 10, "steps": 1}));
        for (caller, call) in [(&a, first), (&b, second)] {
            assert_eq!(caller.heard("notifications/progress").await["params"]["progressToken"], 1);
            assert_eq!(call.answer().await.result()["resultType"], "complete");
        }
        a.hears_nothing().await;
    });
}

#[test]
fn progress_keeps_a_call_alive_but_not_for_ever() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.timeout.call, server.timeout.max) = (seconds(2), seconds(7)))
            .start()
            .await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let lively = caller.begin_telling(json!(1), "slow", json!({"ms": 6000, "steps": 6}));
        assert_eq!(lively.answer().await.text(), "slept 6000 ms in 6 steps");
        let endless = caller.begin_telling(json!(2), "slow", json!({"ms": 60_000, "steps": 60})).answer().await;
        assert_eq!((endless.code(), endless.reason()), (504, Some("call_timeout")));
        let silent = caller.begin("slow", json!({"ms": 6000})).answer().await;
        assert_eq!((silent.code(), silent.reason()), (504, Some("call_timeout")));
        settled().await;
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 2);
    });
}

#[test]
fn ids_and_tokens_have_at_most_a_kibibyte() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy("2025-06-18").connect("echo").await;
        let long = "x".repeat(1100);
        let refused = caller.request_as(json!(long), "ping", json!({})).answer().await;
        assert_eq!(refused.code(), -32600, "{}", refused.raw);
        let refused = caller.begin_telling(json!(long), "echo", json!({})).answer().await;
        assert_eq!(refused.code(), -32600, "{}", refused.raw);
        caller.request_as(json!("x".repeat(1000)), "ping", json!({})).answer().await.result();
    });
}
