//! Revisions and eras: every legacy revision is spoken, both eras are told apart, and what a server speaks is found
//! out whatever it does about the other.

use serde_json::json;

use crate::support::{both_eras, legacy, modern, mute, play, proxy, script, seconds};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

#[test]
fn every_legacy_revision_is_spoken() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.instances.max = 4).start().await;
        for revision in REVISIONS {
            let caller = proxy.legacy(revision).connect("echo").await;
            assert_eq!(caller.introduction["protocolVersion"], revision);
            let told = caller.call("whoami", json!({})).await.json();
            assert_eq!((&told["era"], &told["protocolVersion"]), (&json!("legacy"), &json!(revision)));
            let structured = caller.call("add", json!({"a": 1, "b": 1})).await.result()["structuredContent"].clone();
            assert_eq!(structured.is_object(), revision >= "2025-06-18");
        }
    });
}

#[test]
fn a_revision_that_nobody_knows_is_negotiated_down() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        for unknown in ["2026-07-28", "2099-01-01", "", "x"] {
            let caller = proxy.legacy(unknown).connect("echo").await;
            assert_eq!(caller.introduction["protocolVersion"], "2025-11-25");
        }
    });
}

#[test]
fn a_modern_caller_needs_no_opening_and_the_server_sees_its_meta() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let caller = proxy.modern().with(json!({"sampling": {}})).connect("echo").await;
        let told = caller.call("whoami", json!({})).await.json();
        assert_eq!((&told["era"], &told["protocolVersion"]), (&json!("modern"), &json!("2026-07-28")));
        assert_eq!((&told["capabilities"], &told["clientInfo"]["name"]), (&json!({"sampling": {}}), &json!("test")));
        let other = proxy.modern().connect("echo").await.call("whoami", json!({})).await.json();
        assert_eq!((&other["instance"], &other["capabilities"]), (&told["instance"], &json!({})));
    });
}

#[test]
fn a_probe_does_not_confuse_the_session_that_is_opened_after_it() {
    play(async {
        for behaviour in [legacy(|_| {}), modern(|_| {}), both_eras()] {
            let proxy = proxy().server("it", behaviour).start().await;
            let caller = proxy.modern().connect("it").await;
            caller.ask("server/discover", json!({})).await.result();
            let info = json!({"name": "both", "version": "1"});
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
            caller.send(&json!({"jsonrpc": "2.0", "id": 100, "method": "initialize", "params": params}).to_string());
            assert_eq!(caller.line().await.result()["protocolVersion"], "2025-11-25");
            caller.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
            let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}});
            caller.send(&json!({"jsonrpc": "2.0", "id": 101, "method": "tools/call", "params": params}).to_string());
            let answer = caller.line().await;
            assert_eq!((answer.text(), answer.result().get("resultType")), ("3", None));
            let modern = caller.call("add", json!({"a": 2, "b": 2})).await;
            assert_eq!((modern.text(), &modern.result()["resultType"]), ("4", &json!("complete")));
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn a_server_of_both_eras_gets_a_process_for_each() {
    play(async {
        let proxy = proxy().server("both", both_eras()).start().await;
        let old = proxy.legacy("2025-06-18").connect("both").await;
        let new = proxy.modern().connect("both").await;
        assert_eq!(old.call("whoami", json!({})).await.json()["era"], "legacy");
        assert_eq!(new.call("whoami", json!({})).await.json()["era"], "modern");
        assert_eq!(old.call("whoami", json!({})).await.json()["initializes"], 1);
        assert_eq!(proxy.started("both"), 2);
        assert_eq!(proxy.server("both")["eras"], json!(["legacy", "modern"]));
    });
}

#[test]
fn what_a_server_lacks_is_found_out_once() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        for _ in 0..3 {
            let caller = proxy.modern().connect("old").await;
            let found = caller.ask("server/discover", json!({})).await;
            assert_eq!(found.result()["supportedVersions"], json!(["2026-07-28"]));
            assert_eq!(caller.call("whoami", json!({})).await.json()["era"], "legacy");
        }
        assert_eq!((proxy.got("old", "server/discover").len(), proxy.started("old")), (1, 1));
    });
}

#[test]
fn a_server_that_is_silent_about_discover_is_a_legacy_one() {
    play(async {
        let silent = script().on("server/discover", |_, _| {}).on("tools/call", |it, say| say.text(it, "hi"));
        let proxy =
            proxy().server("it", silent.into()).set(|server| server.timeout.discover = seconds(8)).start().await;
        let clock = tokio::time::Instant::now();
        let caller = proxy.modern().connect("it").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "hi");
        assert!(clock.elapsed() < seconds(10), "after {:?}", clock.elapsed());
    });
}

#[test]
fn however_long_discovery_may_take_a_silent_server_is_given_time_to_initialize() {
    play(async {
        let silent = script().on("server/discover", |_, _| {}).on("tools/call", |it, say| say.text(it, "hi"));
        let times = |server: &mut mcpool::config::Server| {
            (server.timeout.start, server.timeout.discover) = (seconds(4), seconds(8))
        };
        let proxy = proxy().server("it", silent.into()).set(times).start().await;
        let caller = proxy.modern().connect("it").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "hi");
        assert_eq!(proxy.started("it"), 1);
    });
}

#[test]
fn a_server_that_is_silent_about_everything_is_given_up() {
    play(async {
        let proxy = proxy().server("mute", mute()).set(|server| server.timeout.start = seconds(8)).start().await;
        let clock = tokio::time::Instant::now();
        for (caller, method) in
            [(proxy.modern().connect("mute").await, "server/discover"), (proxy.dial("mute"), "initialize")]
        {
            let info = json!({"name": "test", "version": "1"});
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
            let answer = caller.ask(method, params).await;
            assert_eq!((answer.code(), answer.reason()), (503, Some("start_failed")), "{}", answer.raw);
            assert!(clock.elapsed() < seconds(60), "after {:?}", clock.elapsed());
        }
    });
}

#[test]
fn a_modern_request_lacks_nothing_that_its_revision_requires() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.dial("new");
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(caller.ask("tools/list", json!({"_meta": meta})).await.code(), -32602);
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2099-01-01", "io.modelcontextprotocol/clientCapabilities": {}});
        let answer = caller.ask("tools/list", json!({"_meta": meta})).await;
        assert_eq!((answer.code(), &answer.value["error"]["data"]["supported"]), (-32022, &json!(["2026-07-28"])));
    });
}

#[test]
fn a_question_of_a_modern_server_travels_in_its_answer_and_back_to_the_process_that_asked() {
    play(async {
        let proxy = proxy()
            .server("new", modern(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (1, 2))
            .start()
            .await;
        let caller = proxy.modern().with(json!({"elicitation": {}})).connect("new").await;
        let first = caller.call("ask_elicit", json!({"message": "?"})).await;
        assert_eq!(first.result()["resultType"], "input_required");
        let other = proxy.modern().connect("new").await;
        let held = other.begin("slow", json!({"ms": 200}));
        crate::support::settled().await;
        let answers = json!({"ask-0": {"action": "accept", "content": {"answer": "x"}}});
        let retry = json!({"name": "ask_elicit", "arguments": {"message": "?"}, "inputResponses": answers, "requestState": first.result()["requestState"]});
        assert_eq!(caller.ask("tools/call", retry).await.json()["content"]["answer"], "x");
        held.answer().await;
        let sent = proxy.process("new", 0).got("tools/call").pop().expect("the retry");
        assert_eq!(sent["params"]["inputResponses"], answers);
        assert!(!sent["params"]["requestState"].as_str().expect("a state").starts_with("mcpool."));
    });
}
