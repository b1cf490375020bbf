//! A legacy caller of a modern server: the discovery becomes the handshake, every request gets the `_meta` that the
//! server wants, and what a legacy server would do for itself is done here.

use mcpool::config::EraChoice;
use serde_json::{Value, json};

use crate::support::{both_eras, everything, modern, modern_script, play, proxy, sampling, seconds, settled};

const REVISION: &str = "2025-06-18";
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const MESSAGE: &str = "notifications/message";

#[test]
fn the_handshake_is_made_of_the_discovery_in_the_callers_revision() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        for revision in REVISIONS {
            let caller = proxy.legacy(revision).connect("new").await;
            let told = &caller.introduction;
            assert_eq!(
                (&told["protocolVersion"], &told["serverInfo"]["name"]),
                (&json!(revision), &json!("mcpool-demo"))
            );
            assert!(told["instructions"].as_str().is_some_and(|text| text.starts_with("A server to try")));
            let mut capabilities = json!({
                "tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
                "prompts": {"listChanged": true}, "logging": {},
            });
            if revision >= "2025-03-26" {
                capabilities["completions"] = json!({});
            }
            assert_eq!(told["capabilities"], capabilities, "{revision}: neither tasks nor extensions");
            for era in ["resultType", "ttlMs", "cacheScope", "supportedVersions", "_meta"] {
                assert_eq!(told.get(era), None, "{era}");
            }
        }
        // What it speaks is found out once, and the process that was asked first is the one that is used.
        assert_eq!((proxy.got("new", "initialize").len(), proxy.started("new")), (1, 1));
        let unknown = proxy.legacy("2026-07-28").connect("new").await;
        assert_eq!(unknown.introduction["protocolVersion"], "2025-11-25");
    });
}

#[test]
fn a_server_that_does_not_say_who_it_is_has_the_name_that_it_is_configured_by() {
    play(async {
        let proxy = proxy().server("shy", modern_script().into()).start().await;
        let caller = proxy.legacy(REVISION).connect("shy").await;
        assert_eq!(caller.introduction["serverInfo"], json!({"name": "shy", "version": "unknown"}));
        assert_eq!(caller.introduction.get("instructions"), None);
    });
}

#[test]
fn each_request_says_who_asks_and_keeps_what_it_said_itself() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let a = proxy.legacy(REVISION).with(everything()).connect("new").await;
        let b = proxy.legacy("2024-11-05").with(sampling()).connect("new").await;
        let meta = json!({"com.example/k": [1], "progressToken": "t", "io.modelcontextprotocol/clientCapabilities": {"forged": {}}});
        let told = a.ask("tools/call", json!({"name": "whoami", "arguments": {}, "_meta": meta})).await.json();
        assert_eq!((&told["era"], &told["clientInfo"]), (&json!("modern"), &json!({"name": "test", "version": "1"})));
        assert_eq!(told["capabilities"], everything());
        assert_eq!(b.call("whoami", json!({})).await.json()["capabilities"], sampling());
        let sent = proxy.got("new", "tools/call").remove(0)["params"]["_meta"].clone();
        assert_eq!(
            (&sent["com.example/k"], &sent["io.modelcontextprotocol/protocolVersion"]),
            (&json!([1]), &json!("2026-07-28"))
        );
        assert!(sent["progressToken"].is_number() || sent["progressToken"].is_string());
        assert_eq!(proxy.started("new"), 1, "modern instances have no profiles");
    });
}

#[test]
fn a_request_without_params_gets_some() {
    play(async {
        let odd = modern_script().on("x/odd", |it, say| say.result(it, json!({"resultType": "complete", "odd": 1})));
        let proxy = proxy().server("new", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        caller.send(r#"{"jsonrpc":"2.0","id":"o","method":"x/odd"}"#);
        assert_eq!(*caller.line().await.result(), json!({"odd": 1}));
        let sent = proxy.got("new", "x/odd").remove(0);
        assert_eq!(sent["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    });
}

#[test]
fn answers_lose_what_only_the_modern_era_says_and_nothing_else() {
    play(async {
        let exact = modern_script().on("tools/call", |call, say| {
            let meta = r#"{"k":[ ],"io.modelcontextprotocol/serverInfo":{"name":"n","version":"1"}}"#;
            let result = format!(
                r#"{{"z":1,"content":[],"n":12345678901234567890123,"resultType":"complete","_meta":{meta},"s":"\/"}}"#
            );
            say.line(&format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{}}}"#, call.id()));
        });
        let proxy = proxy().server("exact", exact.into()).server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("exact").await;
        let answer = caller.call("x", json!({})).await;
        for kept in [r#""z":1"#, r#""n":12345678901234567890123"#, r#""k":[ ]"#, r#""s":"\/""#] {
            assert!(answer.raw.contains(kept), "{kept} in {}", answer.raw);
        }
        let caller = proxy.legacy(REVISION).connect("new").await;
        let mut answers = vec![answer, caller.call("echo", json!({})).await];
        for (method, params) in [
            ("tools/list", json!({})),
            ("resources/list", json!({})),
            ("resources/read", json!({"uri": "demo://note/1"})),
            ("prompts/get", json!({"name": "plain"})),
        ] {
            answers.push(caller.ask(method, params).await);
        }
        for answer in answers {
            for era in ["resultType", "ttlMs", "cacheScope", "serverInfo"] {
                assert!(!answer.raw.contains(era), "{era} in {}", answer.raw);
            }
        }
    });
}

#[test]
fn errors_have_the_legacy_codes() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        let missing = caller.ask("resources/read", json!({"uri": "demo://none"})).await;
        assert_eq!((missing.code(), &missing.value["error"]["data"]), (-32002, &json!({"uri": "demo://none"})));
        assert_eq!(caller.call("none", json!({})).await.code(), -32602);
        let error = json!({"code": -32602, "message": "no", "data": {"uri": "x"}});
        assert_eq!(caller.call("error", error.clone()).await.value["error"], error, "only of what is read");
    });
}

#[test]
fn what_the_modern_era_has_no_word_for_is_done_here() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).server("bare", modern_script().into()).start().await;
        let caller = proxy.legacy(REVISION).with(everything()).connect("new").await;
        assert_eq!(*caller.ask("ping", json!({})).await.result(), json!({}));
        assert_eq!(*caller.ask("logging/setLevel", json!({"level": "debug"})).await.result(), json!({}));
        caller.notify("notifications/roots/list_changed", json!({}));
        caller.call("echo", json!({})).await;
        for method in ["ping", "logging/setLevel", "notifications/roots/list_changed", "notifications/initialized"] {
            assert_eq!(proxy.got("new", method), Vec::<Value>::new());
        }
        let bare = proxy.legacy(REVISION).connect("bare").await;
        assert_eq!(
            bare.ask("logging/setLevel", json!({"level": "debug"})).await.code(),
            -32601,
            "it declares no logging"
        );
    });
}

#[test]
fn a_level_that_was_set_goes_with_each_request() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let verbose = proxy.legacy(REVISION).connect("new").await;
        let quiet = proxy.legacy(REVISION).connect("new").await;
        verbose.ask("logging/setLevel", json!({"level": "warning"})).await.result();
        verbose.call("log", json!({"level": "info"})).await;
        verbose.call("log", json!({"level": "error"})).await;
        assert_eq!(verbose.heard(MESSAGE).await["params"]["level"], "error");
        quiet.call("log", json!({"level": "error"})).await;
        for caller in [&verbose, &quiet] {
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn progress_and_cancelling_cross() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        let call = caller.begin_telling(json!(0), "slow", json!({"ms": 100, "steps": 2}));
        for step in 1..=2 {
            let heard = caller.heard("notifications/progress").await;
            assert_eq!((&heard["params"]["progressToken"], &heard["params"]["progress"]), (&json!(0), &json!(step)));
        }
        call.answer().await.result();
        let call = caller.begin("slow", json!({"ms": 60_000}));
        settled().await;
        call.cancel();
        settled().await;
        let (call, cancelled) =
            (proxy.got("new", "tools/call").pop(), proxy.got("new", "notifications/cancelled").pop());
        assert_eq!(cancelled.expect("cancelled")["params"]["requestId"], call.expect("a call")["id"]);
        caller.hears_nothing().await;
    });
}

#[test]
fn tasks_do_not_cross_the_eras() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy("2025-11-25").connect("new").await;
        let params = json!({"name": "slow", "arguments": {"ms": 10}, "task": {"ttl": 1000}});
        assert_eq!(caller.ask("tools/call", params).await.code(), -32601);
        for method in ["tasks/list", "tasks/get", "tasks/result", "tasks/cancel"] {
            assert_eq!(caller.ask(method, json!({"taskId": "1"})).await.code(), -32601, "{method}");
        }
        assert_eq!(proxy.got("new", "tools/call"), Vec::<Value>::new());
    });
}

#[test]
fn a_server_that_refuses_the_handshake_or_dies_of_it_is_asked_the_modern_way() {
    play(async {
        let dies = modern_script().on("initialize", |_, _| std::panic::resume_unwind(Box::new("it crashed")));
        let lacks = modern_script().on("initialize", |it, say| say.error(it, json!({"code": -32601, "message": "no"})));
        for behaviour in [dies, lacks] {
            let behaviour = behaviour.on("tools/call", |call, say| {
                say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": "hi"}]}))
            });
            let proxy =
                proxy().server("new", behaviour.into()).set(|server| server.timeout.start = seconds(8)).start().await;
            let caller = proxy.legacy(REVISION).connect("new").await;
            assert_eq!(caller.call("x", json!({})).await.text(), "hi");
        }
    });
}

#[test]
fn the_config_pins_a_server_of_both_eras_to_one_for_all_callers() {
    play(async {
        for (era, name) in [(EraChoice::Legacy, "legacy"), (EraChoice::Modern, "modern")] {
            let proxy = proxy().server("both", both_eras()).set(move |server| server.era = era).start().await;
            let old = proxy.legacy("2025-11-25").connect("both").await;
            let new = proxy.modern().connect("both").await;
            let (a, b) = (old.call("whoami", json!({})).await.json(), new.call("whoami", json!({})).await.json());
            assert_eq!((&a["era"], &b["era"]), (&json!(name), &json!(name)));
            assert_eq!((&a["instance"], proxy.started("both")), (&b["instance"], 1), "they share an instance");
        }
    });
}
