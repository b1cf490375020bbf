//! What a server answers and no client can read is answered by mcpool, at once.

use mcpool::config::Secret;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, Caller, Script, legacy, modern, play, proxy, sampling, script, seconds, settled};

const REVISION: &str = "2025-06-18";

/// A server that answers a call with the line that the call's argument is, ID being the call's id.
fn parrot() -> Script {
    script()
        .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
        .on("vendor/x", |it, say| say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":null}}"#, it.id())))
        .on("tools/call", |it, say| {
            let line = it.value["params"]["arguments"]["line"].as_str().unwrap_or_default();
            say.line(&line.replace("ID", &it.id().to_string()));
        })
}

async fn told(caller: &Caller, line: &str) -> Answer {
    let clock = Instant::now();
    let answer = caller.call("x", json!({"line": line})).await;
    assert!(clock.elapsed() < seconds(1), "after {:?}: {line}", clock.elapsed());
    answer
}

#[test]
fn an_answer_that_no_client_can_read_is_an_error_at_once() {
    play(async {
        let proxy = proxy().server("s", parrot().into()).start().await;
        let (old, all) = (proxy.legacy(REVISION).connect("s").await, proxy.legacy(REVISION).connect("all").await);
        for (outcome, shows) in [
            (r#""error":{"code":"ENOENT","message":"no such file"}"#, "no such file"),
            (r#""error":{"code":-32000}"#, "-32000"),
            (r#""error":{"message":"lost"}"#, "lost"),
            (r#""error":"just text""#, "just text"),
            (r#""error":{}"#, "{}"),
            (r#""error":["a list"]"#, "a list"),
            (r#""error":{"code":1.5,"message":"half"}"#, "half"),
            (r#""error":{"code":404,"message":null}"#, "404"),
            (r#""error":{"code":404,"message":{"text":"nested"}}"#, "nested"),
            (r#""error":false"#, "false"),
            (r#""result":null"#, "null"),
            (r#""result":null,"error":null"#, "null"),
            (r#""result":"hello""#, "hello"),
            (r#""result":[1]"#, "[1]"),
            (r#""result":true"#, "true"),
            (r#""result":{},"error":{"code":1,"message":"both"}"#, "both"),
            (r#""x":"neither""#, "neither"),
        ] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":ID,{outcome}}}"#);
            for caller in [&old, &all] {
                let tool = if std::ptr::eq(caller, &old) { "x" } else { "s__x" };
                let clock = Instant::now();
                let answer = caller.call(tool, json!({"line": line})).await;
                assert!(clock.elapsed() < seconds(1), "after {:?}: {line}", clock.elapsed());
                assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")), "{line}");
                assert!(answer.message().contains(shows), "{line}: {}", answer.raw);
            }
        }
        assert_eq!(
            told(&old, r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"x"}]}}"#).await.text(),
            "x"
        );
        assert_eq!(proxy.started("s"), 1, "the process goes on");
    });
}

#[test]
fn a_modern_caller_and_a_caller_across_the_eras_are_told_as_well() {
    play(async {
        let odd = crate::support::modern_script().on("tools/call", |it, say| {
            say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":"just text"}}"#, it.id()));
        });
        let proxy = proxy().server("old", parrot().into()).server("new", odd.into()).start().await;
        let line = r#"{"jsonrpc":"2.0","id":ID,"error":{"code":"X"}}"#;
        for caller in [
            proxy.modern().connect("new").await,
            proxy.modern().connect("old").await,
            proxy.legacy(REVISION).connect("new").await,
        ] {
            assert_eq!(told(&caller, line).await.reason(), Some("server_misbehaved"));
        }
    });
}

#[test]
fn what_an_unknown_method_returns_is_passed_on_whatever_it_is() {
    play(async {
        let proxy = proxy().server("s", parrot().into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(*caller.ask("vendor/x", json!({})).await.result(), Value::Null);
    });
}

#[test]
fn a_secret_in_such_an_answer_is_not_shown_and_a_long_one_is_cut() {
    play(async {
        let proxy = proxy()
            .server("s", parrot().into())
            .set(|server| drop(server.env.insert("KEY".into(), Secret::new("hunter22"))))
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        let answer = told(&caller, "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":\"no hunter22 \u{1b}[2J\"}").await;
        assert_eq!(answer.reason(), Some("server_misbehaved"), "a control character is no JSON");
        let answer = told(&caller, r#"{"jsonrpc":"2.0","id":ID,"error":"no hunter22 \u001b[2J"}"#).await;
        assert!(answer.message().contains("no *** ") && !answer.message().contains('\u{1b}'), "{}", answer.raw);
        let answer = told(&caller, r#"{"jsonrpc":"2.0","id":ID,"hunter22":1}"#).await;
        assert!(!answer.message().contains("hunter22"), "{}", answer.raw);
        let long = format!(r#"{{"jsonrpc":"2.0","id":ID,"error":"{}"}}"#, "x".repeat(10_000));
        assert!(told(&caller, &long).await.message().len() < 1500);
    });
}

#[test]
fn an_answer_that_has_the_request_in_it_fails_its_call_at_once() {
    play(async {
        let proxy = proxy().server("s", parrot().into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        for line in [
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"x"},"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","error":{"code":1,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":ID,"method":5,"result":{"content":[]}}"#,
        ] {
            let answer = told(&caller, line).await;
            assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")), "{line}");
            assert!(answer.message().contains("it wrote: "), "{}", answer.raw);
        }
    });
}

#[test]
fn a_request_of_the_server_ends_no_call_that_has_its_id() {
    play(async {
        let odd =
            script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on("tools/call", |it, say| {
                for of_ours in
                    [r#""method":"vendor/ask","params":{"result":1}"#, r#""method":"vendor/ask","result":null"#]
                {
                    say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},{of_ours}}}"#, it.id()));
                }
                say.line(r#"{"jsonrpc":"2.0","id":"theirs","method":"vendor/ask","result":{}}"#);
                say.text(it, "done");
            });
        let proxy = proxy().server("s", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "done");
        settled().await;
        let lines = proxy.process("s", 0).lines();
        assert!(lines.iter().any(|line| line.contains(r#""theirs""#) && line.contains("-32600")), "{lines:?}");
    });
}

#[test]
fn an_answer_with_text_around_it_fails_its_call_at_once() {
    play(async {
        let proxy = proxy().server("s", parrot().into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        let answer = r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}"#;
        for line in [
            format!("INFO it is done{answer}"),
            format!("{answer}INFO it is done"),
            format!("[12:00] {{odd \"quote {answer}"),
            format!("\u{1b}[32mINFO\u{1b}[0m {answer}"),
            format!(r#"{{"level":"info","msg":"done"}}{answer}"#),
            format!("{answer}{answer}"),
            format!("\u{feff}{answer}"),
            format!("[{answer}"),
            r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[INFO it is done"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":ID,"result":{"mean":NaN}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":ID,"result":{"mean":-Infinity}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":ID,"result":{'single': True}}"#.to_owned(),
            r#"{"Jsonrpc":"2.0","Id":ID,"Result":{}}"#.to_owned(),
            r#"{"id":ID,"result":{}}"#.to_owned(),
        ] {
            let answer = told(&caller, &line).await;
            assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")), "{line}");
        }
        caller.hears_nothing().await;
    });
}

#[test]
fn two_answers_in_one_line_fail_both_calls_and_show_neither() {
    play(async {
        let held = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let gluing = script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on(
            "tools/call",
            move |it, say| {
                let mut held = held.borrow_mut();
                *held += &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"secret":"of {}"}}}}"#, it.id(), it.id());
                if held.matches("jsonrpc").count() == 2 {
                    say.line(&held);
                }
            },
        );
        let proxy = proxy().server("s", gluing.into()).start().await;
        let a = proxy.legacy(REVISION).connect("s").await;
        let b = proxy.legacy(REVISION).connect("s").await;
        let calls = [a.begin("x", json!({})), b.begin("x", json!({}))];
        for call in &calls {
            let answer = call.answer().await;
            assert_eq!(answer.reason(), Some("server_misbehaved"));
            assert!(!answer.raw.contains("secret"), "{}", answer.raw);
        }
    });
}

#[test]
fn a_log_of_what_a_server_was_asked_fails_nothing() {
    play(async {
        let logging =
            script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on("tools/call", |it, say| {
                say.line(&format!("DEBUG got {}", it.value));
                say.line(&format!(r#"{{"level":"info","id":{},"msg":"working"}}"#, it.id()));
                say.text(it, "fine");
            });
        let proxy = proxy().server("s", logging.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "fine");
        settled().await;
        let lines = proxy.process("s", 0).lines();
        assert!(!lines.iter().any(|line| line.contains("error")), "nothing of it is answered: {lines:?}");
    });
}

#[test]
fn an_opening_that_cannot_be_read_is_told_at_once() {
    play(async {
        for (line, shows) in [
            (r#"starting{"jsonrpc":"2.0","id":ID,"result":{}}"#, "cannot be read"),
            (r#"{"jsonrpc":"2.0","id":ID}"#, "cannot be read"),
            (r#"{"jsonrpc":"2.0","id":ID,"error":"no licence"}"#, "no licence"),
            (r#"{"jsonrpc":"2.0","id":ID,"error":{"code":"X","reason":"expired"}}"#, "expired"),
            (r#"{"jsonrpc":"2.0","id":ID,"result":null}"#, "without a version"),
        ] {
            let odd = script().on("initialize", move |it, say| say.line(&line.replace("ID", &it.id().to_string())));
            let proxy = proxy()
                .server("s", odd.into())
                .set(|server| server.era = mcpool::config::EraChoice::Legacy)
                .start()
                .await;
            let clock = Instant::now();
            let (_, opened) = proxy.legacy(REVISION).open("s").await;
            let answer = opened.expect("an answer");
            assert!(clock.elapsed() < seconds(5), "after {:?}: {line}", clock.elapsed());
            assert_eq!(answer.reason(), Some("start_failed"), "{line}: {}", answer.raw);
            assert!(answer.message().contains(shows), "{line}: {}", answer.raw);
        }
    });
}

#[test]
fn requests_of_a_server_that_cannot_be_taken_are_answered() {
    play(async {
        let asking =
            script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on("tools/call", |_, say| {
                let long = "x".repeat(5 << 20);
                say.line(&format!(
                    r#"{{"jsonrpc":"2.0","id":"long","method":"sampling/createMessage","params":{{"x":"{long}"}}}}"#
                ));
                say.line(r#"{"jsonrpc":"2.0","id":"list","method":"sampling/createMessage","params":[1]}"#);
                say.line(r#"{"jsonrpc":"2.0","id":"nan","method":"sampling/createMessage","params":{"x":NaN}}"#);
            });
        let proxy = proxy().server("s", asking.into()).config(|config| config.limits.message = 4 << 20).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("s").await;
        let _call = caller.begin("x", json!({}));
        settled().await;
        let lines = proxy.process("s", 0).lines();
        let answers: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for (id, code) in [("long", 413), ("list", -32600), ("nan", -32700)] {
            let answer = answers.iter().find(|answer| answer["id"] == id).unwrap_or_else(|| panic!("{id}: {lines:?}"));
            assert_eq!(answer["error"]["code"], code, "{answer}");
        }
    });
}

#[test]
fn an_answer_of_a_caller_that_no_server_can_read_is_an_error_to_the_server() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        for outcome in
            [r#""error":"text""#, r#""error":{"code":"X","message":"y"}"#, r#""result":{},"error":{}"#, r#""x":1"#]
        {
            let call = caller.begin("ask_sampling", json!({"prompt": "?"}));
            let ask = caller.asked("sampling/createMessage").await;
            caller.send(&format!(r#"{{"jsonrpc":"2.0","id":{},{outcome}}}"#, ask.request["id"]));
            let told = call.answer().await;
            assert!(told.text().contains("unusable"), "{outcome}: {}", told.raw);
        }
        caller.hears_nothing().await;
    });
}
