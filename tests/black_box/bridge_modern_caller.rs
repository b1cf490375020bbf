//! A modern caller of a legacy server: what the handshake told becomes `server/discover`, and every request and
//! answer gets or loses what the two eras say differently. Nothing else changes.

use serde_json::{Value, json};

use crate::support::{Script, elicitation, elicitation_by_url, legacy, play, proxy, sampling, script, settled};

const MESSAGE: &str = "notifications/message";
const INFO: &str = "io.modelcontextprotocol/serverInfo";

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

#[test]
fn the_discovery_is_made_of_the_handshake() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().with(sampling()).with(crate::support::tasks()).connect("old").await;
        let found = caller.ask("server/discover", json!({})).await.result().clone();
        let capabilities = json!({
            "tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
            "prompts": {"listChanged": true}, "logging": {}, "completions": {},
        });
        assert_eq!(found["capabilities"], capabilities, "tasks do not cross the eras");
        assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["_meta"][INFO]["name"], "mcpool-demo");
        assert!(found["instructions"].as_str().is_some_and(|text| text.starts_with("A server to try")));
        assert_eq!(
            (&found["resultType"], &found["ttlMs"], &found["cacheScope"]),
            (&json!("complete"), &json!(0), &json!("private"))
        );
        let opened = proxy.got("old", "initialize");
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0]["params"]["protocolVersion"], "2025-11-25");
        assert_eq!(opened[0]["params"]["capabilities"], json!({"sampling": {}}));
    });
}

#[test]
fn a_request_goes_without_the_modern_meta_and_comes_back_complete() {
    play(async {
        let exact = script().on("tools/call", |call, say| {
            let result = r#"{"z":1,"content":[],"n":123456789012345678901234567890,"_meta":{"k":[ ]},"s":"\/"}"#;
            say.line(&format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{}}}"#, call.id()));
        });
        let proxy = proxy().server("old", exact.into()).start().await;
        let caller = proxy.modern().connect("old").await;
        let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}"#;
        let call = |meta: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"b":1.0,"name":"n","arguments":{{"d":1e2,"d":"\u0041"}},"_meta":{{{meta}}}}}}}"#
            )
        };
        caller.send(&call(&format!(r#""com.example/a":[1.0],{meta},"traceparent":"00""#)));
        let answer = caller.line().await;
        for kept in [r#""z":1"#, r#""n":123456789012345678901234567890"#, r#""k":[ ]"#, r#""s":"\/""#, r#""id":"x""#] {
            assert!(answer.raw.contains(kept), "{kept} in {}", answer.raw);
        }
        assert_eq!(
            (&answer.result()["resultType"], &answer.result()["_meta"][INFO]["name"]),
            (&json!("complete"), &json!("script"))
        );
        caller.send(&call(meta));
        caller.line().await;
        let lines = proxy.process("old", 0).lines();
        let calls: Vec<_> = lines.iter().filter(|line| line.contains("tools/call")).collect();
        for kept in
            [r#""b":1.0"#, r#""arguments":{"d":1e2,"d":"\u0041"}"#, r#""com.example/a":[1.0]"#, r#""traceparent":"00""#]
        {
            assert!(calls[0].contains(kept), "{kept} in {}", calls[0]);
        }
        assert!(!calls[0].contains("io.modelcontextprotocol/"), "{}", calls[0]);
        assert!(!calls[1].contains("_meta"), "{}", calls[1]);
    });
}

#[test]
fn lists_and_resources_say_how_long_they_may_be_kept() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        let most = u64::try_from(mcpool::config::Config::default().catalogue.max_age.as_millis()).expect("a number");
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            let list = caller.ask(method, json!({})).await.result().clone();
            assert_eq!((&list["resultType"], &list["cacheScope"]), (&json!("complete"), &json!("private")), "{method}");
            assert_eq!(list["_meta"][INFO]["name"], "mcpool-demo", "{method}");
            assert!(list["ttlMs"].as_u64().is_some_and(|ttl| 0 < ttl && ttl <= most), "{method}: {list}");
            assert!(!list.to_string().contains("taskSupport"), "tasks do not cross the eras");
        }
        let note = caller.ask("resources/read", json!({"uri": "demo://note/1"})).await.result().clone();
        assert_eq!(
            (&note["ttlMs"], &note["cacheScope"], &note["resultType"]),
            (&json!(0), &json!("private"), &json!("complete"))
        );
        let prompt = caller.ask("prompts/get", json!({"name": "plain"})).await.result().clone();
        assert_eq!((&prompt["resultType"], prompt.get("ttlMs")), (&json!("complete"), None));
    });
}

#[test]
fn a_list_whose_changes_are_not_told_is_not_to_be_kept() {
    play(async {
        let quiet = script().on("tools/list", |list, say| say.result(list, json!({"tools": []})));
        let proxy = proxy().server("quiet", quiet.into()).start().await;
        let caller = proxy.modern().connect("quiet").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.result()["ttlMs"], 0);
    });
}

#[test]
fn what_the_modern_revision_lacks_is_not_found_and_what_nobody_knows_is_passed_on() {
    play(async {
        let odd = script()
            .capable(json!({"tools": {}, "logging": {}, "resources": {"subscribe": true}}))
            .on("x/odd", |it, say| say.result(it, json!({"odd": 1})));
        let proxy = proxy().server("old", odd.into()).start().await;
        let caller = proxy.modern().connect("old").await;
        let old =
            ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get", "tasks/list"];
        for method in old {
            let params = json!({"uri": "x:1", "level": "info", "taskId": "1"});
            assert_eq!(caller.ask(method, params).await.code(), -32601, "{method}");
            assert_eq!(proxy.got("old", method), Vec::<Value>::new());
        }
        assert_eq!(caller.ask("x/odd", json!({})).await.result()["odd"], 1);
    });
}

#[test]
fn errors_have_the_modern_codes_and_are_otherwise_unchanged() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        let missing = caller.ask("resources/read", json!({"uri": "demo://none"})).await;
        assert_eq!((missing.code(), missing.message()), (-32602, "Resource not found"));
        assert_eq!(missing.value["error"]["data"], json!({"uri": "demo://none"}));
        let error = json!({"code": -5, "message": "no", "data": {"why": [1]}});
        assert_eq!(caller.call("error", error.clone()).await.value["error"], error);
        assert_eq!(caller.call("fail", json!({"message": "x"})).await.result()["isError"], true);
        let without = proxy.dial("old");
        let revision = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(without.ask("tools/list", json!({"_meta": revision})).await.code(), -32602);
        let other = json!({"io.modelcontextprotocol/protocolVersion": "2099-01-01", "io.modelcontextprotocol/clientCapabilities": {}});
        let answer = without.ask("tools/list", json!({"_meta": other})).await;
        assert_eq!((answer.code(), &answer.value["error"]["data"]["supported"]), (-32022, &json!(["2026-07-28"])));
    });
}

/// A server whose tool wants a page to be visited before it is called.
fn gated() -> Script {
    let opened = std::rc::Rc::new(std::cell::Cell::new(0));
    script().on("tools/call", move |call, say| {
        if opened.replace(opened.get() + 1) % 2 == 1 {
            return say.result(call, text("in"));
        }
        let page = |n: u8| json!({"mode": "url", "message": "sign in", "url": format!("https://x.invalid/{n}"), "elicitationId": format!("e{n}")});
        let data = json!({"elicitations": [page(1), page(2)]});
        say.error(call, json!({"code": -32042, "message": "URL elicitation required", "data": data}));
    })
}

#[test]
fn pages_that_must_be_visited_first_are_asked_for_and_then_the_call_is_made_anew() {
    play(async {
        let proxy = proxy().server("old", gated().into()).start().await;
        let caller = proxy.modern().with(elicitation_by_url()).connect("old").await;
        let first = caller.call("open", json!({"a": 1})).await;
        let asks = first.asks();
        let mut urls: Vec<_> = asks.iter().map(|(_, ask)| ask["params"]["url"].as_str().expect("a page")).collect();
        urls.sort_unstable();
        assert_eq!(urls, ["https://x.invalid/1", "https://x.invalid/2"]);
        assert!(asks.iter().all(|(_, ask)| ask["params"].get("elicitationId").is_none()), "{}", first.raw);
        let answers = first.answers(|_, _| json!({"action": "accept"}));
        assert_eq!(caller.retry("open", json!({"a": 1}), &first, answers).answer().await.text(), "in");
        assert_eq!(proxy.got("old", "tools/call").len(), 2);
    });
}

#[test]
fn pages_that_are_not_visited_end_the_call() {
    play(async {
        let proxy = proxy().server("old", gated().into()).start().await;
        let caller = proxy.modern().with(elicitation_by_url()).connect("old").await;
        let first = caller.call("open", json!({})).await;
        let answers = first.answers(
            |_, params| json!({"action": if params["url"] == "https://x.invalid/1" { "accept" } else { "decline" }}),
        );
        assert_eq!(caller.retry("open", json!({}), &first, answers).answer().await.code(), -32602);
        assert_eq!(proxy.got("old", "tools/call").len(), 1);
    });
}

#[test]
fn who_can_visit_no_page_is_told_which_capability_is_missing() {
    play(async {
        let proxy = proxy().server("old", gated().into()).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let answer = caller.call("open", json!({})).await;
        assert_eq!(answer.code(), -32021);
        assert_eq!(answer.value["error"]["data"]["requiredCapabilities"], json!({"elicitation": {"url": {}}}));
    });
}

#[test]
fn a_log_level_counts_for_its_request_alone() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let quiet = proxy.modern().connect("old").await;
        let verbose = proxy.modern().logging("debug").connect("old").await;
        let terse = proxy.modern().logging("error").connect("old").await;
        verbose.call("log", json!({"level": "debug", "count": 2})).await;
        for line in 1..=2 {
            assert_eq!(verbose.heard(MESSAGE).await["params"]["data"]["line"], line);
        }
        quiet.call("log", json!({"level": "emergency"})).await;
        terse.call("log", json!({"level": "warning"})).await;
        terse.hears_nothing().await;
        terse.call("log", json!({"level": "error"})).await;
        assert_eq!(terse.heard(MESSAGE).await["params"]["level"], "error");
        for caller in [&quiet, &verbose, &terse] {
            caller.hears_nothing().await;
        }
        let told = proxy.got("old", "logging/setLevel");
        assert_eq!(told[0]["params"]["level"], "debug");
    });
}

#[test]
fn progress_comes_under_the_callers_token_and_a_cancelled_call_is_cancelled() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        let call = caller.begin_telling(json!("mine"), "slow", json!({"ms": 100, "steps": 2}));
        for step in 1..=2 {
            let heard = caller.heard("notifications/progress").await;
            assert_eq!(
                (&heard["params"]["progressToken"], &heard["params"]["progress"]),
                (&json!("mine"), &json!(step))
            );
        }
        call.answer().await.result();
        let call = caller.begin("slow", json!({"ms": 60_000}));
        settled().await;
        call.cancel();
        settled().await;
        let (call, cancelled) =
            (proxy.got("old", "tools/call").pop(), proxy.got("old", "notifications/cancelled").pop());
        assert_eq!(cancelled.expect("cancelled")["params"]["requestId"], call.expect("a call")["id"]);
        caller.hears_nothing().await;
    });
}

#[test]
fn each_request_goes_to_an_instance_that_was_told_its_capabilities() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        let with = |capabilities: Value| {
            let meta = json!({"io.modelcontextprotocol/clientCapabilities": capabilities});
            caller.request("tools/call", json!({"name": "whoami", "arguments": {}, "_meta": meta}))
        };
        for capabilities in [json!({}), json!({"sampling": {}}), json!({}), json!({"elicitation": {}, "sampling": {}})]
        {
            let told = with(capabilities.clone()).answer().await.json();
            assert_eq!((&told["capabilities"], &told["protocolVersion"]), (&capabilities, &json!("2025-11-25")));
        }
        assert_eq!(proxy.started("old"), 3);
    });
}
